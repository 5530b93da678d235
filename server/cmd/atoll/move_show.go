package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
)

// moveOut is a move as scripts read it. What is absent is null.
type moveOut struct {
	ID          string            `json:"id"`
	Space       string            `json:"space"`
	Rule        string            `json:"rule"`
	State       string            `json:"state"` // planned | running | done | aborted | failed | stuck
	Phase       string            `json:"phase"`
	From        string            `json:"from"`
	To          string            `json:"to"`
	Buckets     string            `json:"buckets"`
	Keys        []string          `json:"keys"`
	Prefixes    []string          `json:"prefixes"`
	EpochBefore int64             `json:"epoch_before"`
	EpochAfter  int64             `json:"epoch_after"`
	DurationMS  int64             `json:"duration_ms"`
	WritePause  *pauseOut         `json:"write_pause_ms"` // null: only a load that writes can measure it
	Refused     int64             `json:"refused"`
	Phases      []phaseOut        `json:"phases"`
	Reason      *string           `json:"reason"`
	EffectiveAt *string           `json:"fence_effective_at"`
	Barriers    map[string]string `json:"barriers"` // lane → position of the token
	Checks      []checkOut        `json:"checks"`
	WaitingFor  []string          `json:"waiting_for"`
	Figures     map[string]int64  `json:"figures"`
}

type pauseOut struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

type phaseOut struct {
	Name      string  `json:"name"`
	MS        int64   `json:"ms"`
	StartedAt *string `json:"started_at"`
}

type checkOut struct {
	Name       string `json:"name"`
	OK         bool   `json:"ok"`
	Detail     string `json:"detail"`
	Overridden bool   `json:"overridden"`
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func moveOf(m *atollv1.Move) moveOut {
	o := moveOut{
		ID: m.GetId(), Space: m.GetSpace(), Rule: m.GetRule(), State: m.GetState(), Phase: m.GetPhase(), From: m.GetFrom(), To: m.GetTo(),
		Buckets: m.GetBuckets(), Keys: orEmpty(m.GetKeys()), Prefixes: orEmpty(m.GetPrefixes()),
		EpochBefore: m.GetEpochBefore(), EpochAfter: m.GetEpochAfter(), DurationMS: m.GetDurationMs(), Refused: m.GetRefused(),
		Phases: []phaseOut{}, Reason: orNull(m.GetReason()), EffectiveAt: orNull(m.GetFenceEffectiveAt()),
		Barriers: map[string]string{}, Checks: []checkOut{}, WaitingFor: orEmpty(m.GetWaitingFor()), Figures: map[string]int64{},
	}
	for _, p := range m.GetPhases() {
		o.Phases = append(o.Phases, phaseOut{p.GetName(), p.GetMs(), orNull(p.GetStartedAt())})
	}
	for _, c := range m.GetChecks() {
		o.Checks = append(o.Checks, checkOut{c.GetName(), c.GetOk(), c.GetDetail(), c.GetOverridden()})
	}
	maps.Copy(o.Barriers, m.GetBarriers())
	maps.Copy(o.Figures, m.GetFigures())
	return o
}

func moveOver(m *atollv1.Move) bool {
	return slices.Contains([]string{"done", "aborted", "failed"}, m.GetState())
}

// How long a move is not heard of before following it is given up, and how
// long after a broken stream the next is opened.
const (
	followPatience = 30 * time.Second
	followRetry    = 250 * time.Millisecond
)

// followMove shows a move each time it changes until it is over, and returns
// its last state. A console that goes away in between is looked for again, and
// the others with it.
func followMove(ctx context.Context, f *ConsoleFlags, m *atollv1.Move, update func(*atollv1.Move) error) (*atollv1.Move, error) {
	urls, err := f.Consoles()
	if err != nil {
		return m, err
	}
	token, err := f.Token()
	if err != nil {
		return m, err
	}
	heard := time.Now()
	for i := 0; ; i++ {
		url := urls[i%len(urls)]
		last, err := followOnce(ctx, url, token, m.GetId(), func(now *atollv1.Move) error {
			heard = time.Now()
			m = now
			return update(now)
		})
		switch {
		case err == nil && last != nil && moveOver(last):
			return last, nil
		case ctx.Err() != nil:
			return m, followEnded(ctx, m)
		case connect.CodeOf(err) == connect.CodeNotFound, connect.CodeOf(err) == connect.CodeUnauthenticated:
			return m, callError(url, err)
		case time.Since(heard) > followPatience:
			return m, unreachableError(fmt.Errorf("console %s does not answer; the move goes on (atoll move watch %s)", url, m.GetId()))
		}
		t := time.NewTimer(followRetry)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

func followEnded(ctx context.Context, m *atollv1.Move) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return fmt.Errorf("interrupted; the move goes on (atoll move watch %s)", m.GetId())
}

// followOnce follows one stream to its end. The error of a consumer ends it
// too.
func followOnce(ctx context.Context, url, token, id string, update func(*atollv1.Move) error) (*atollv1.Move, error) {
	client, err := console.NewClient([]string{url}, token)
	if err != nil {
		return nil, usageError(err)
	}
	req := connect.NewRequest(&atollv1.MoveIDRequest{Id: id})
	req.Header().Set(userHeader, whoami())
	stream, err := client.Moves().Follow(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	var last *atollv1.Move
	for stream.Receive() {
		last = stream.Msg().GetMove()
		if err := update(last); err != nil {
			return last, err
		}
	}
	return last, stream.Err()
}

// moveShow shows how a move gets on: on a terminal as lines that are drawn
// again in their place, elsewhere as a line for each thing that happens.
type moveShow struct {
	w        io.Writer
	terminal bool
	lines    int    // drawn last, on a terminal
	said     string // said last, elsewhere
	headed   bool
}

func newMoveShow(w io.Writer, terminal bool) *moveShow { return &moveShow{w: w, terminal: terminal} }

func (s *moveShow) update(m *atollv1.Move) error {
	if s.terminal {
		return s.draw(m)
	}
	return s.say(m)
}

// say prints a line when the phase, the state or who is waited for changed.
func (s *moveShow) say(m *atollv1.Move) error {
	var b strings.Builder
	if !s.headed {
		s.headed = true
		fmt.Fprintf(&b, "move %s: %s from %s to %s\n", m.GetId(), whatMoves(m), m.GetFrom(), m.GetTo())
	}
	names, words := waiting(m)
	if said := m.GetPhase() + m.GetState() + names; said != s.said && !moveOver(m) {
		s.said = said
		fmt.Fprintf(&b, "%8s  %-8s", seconds(m.GetDurationMs()), m.GetPhase())
		if m.GetState() == "stuck" {
			b.WriteString(" stuck,")
		}
		if words != "" {
			fmt.Fprintf(&b, " waits for %s", words)
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}

// waitingShown is how many of those who are waited for one line names.
const waitingShown = 4

// waiting is who is waited for: names to tell a change by, without the times
// that change by themselves, and words.
func waiting(m *atollv1.Move) (names, words string) {
	cut := " ("
	if m.GetPhase() == "CHECK" {
		cut = ": "
	}
	var named, texts []string
	for _, w := range m.GetWaitingFor() {
		name, _, _ := strings.Cut(w, cut)
		named = append(named, name)
		if m.GetPhase() != "CHECK" {
			w = name
		}
		texts = append(texts, w)
	}
	if more := len(texts) - waitingShown; more > 0 {
		texts = append(texts[:waitingShown], fmt.Sprintf("%d more", more))
	}
	return strings.Join(named, ","), strings.Join(texts, ", ")
}

// moveSteps are the phases of a whole move, with what happens in each.
var moveSteps = []struct{ name, what string }{
	{"CHECK", "planes, lanes and the way back are looked at"},
	{"HOLD", "new work of the keys waits at the edge"},
	{"FENCE", "writes of the keys are refused at every proxy, none is open"},
	{"BARRIER", "a token comes out of both lanes"},
	{"SWITCH", "the new map is in force; from here it only goes on"},
	{"RELEASE", "the keys open at the new owner"},
	{"SETTLE", "the rows of both sides are compared"},
}

// draw paints all phases over the ones it painted last.
func (s *moveShow) draw(m *atollv1.Move) error {
	times := map[string]int64{}
	for _, p := range m.GetPhases() {
		times[p.GetName()] = p.GetMs()
	}
	lines := []string{fmt.Sprintf("move %s: %s from %s to %s", m.GetId(), whatMoves(m), m.GetFrom(), m.GetTo())}
	for _, step := range moveSteps {
		ms, begun := times[step.name]
		mark, colour, note := "·", faint, ""
		switch current := step.name == m.GetPhase(); {
		case current && !moveOver(m):
			mark, colour, note = "▸", yellow, strings.Join(m.GetWaitingFor(), "; ")
			if m.GetState() == "stuck" {
				mark, colour = "!", red
			}
			if note != "" {
				note = "waits for " + note
			} else {
				note = step.what
			}
		case current && m.GetState() != "done":
			mark, colour, note = "✗", red, m.GetReason()
		case begun:
			mark, colour = "✓", green
		}
		took := ""
		if begun {
			took = seconds(ms)
		}
		lines = append(lines, s.fit(fmt.Sprintf("  %s %-8s %8s  ", mark, step.name, took), note, colour))
	}
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.lines)
	}
	for _, line := range lines {
		b.WriteString("\x1b[2K" + line + "\n")
	}
	s.lines = len(lines)
	_, err := io.WriteString(s.w, b.String())
	return err
}

// fit cuts a line to the terminal's width: one that wraps could not be drawn
// over.
func (s *moveShow) fit(head, note, colour string) string {
	width := 100
	if f, ok := s.w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			width = int(size.Col)
		}
	}
	return colour + head + reset + shorten(note, max(width-len([]rune(head))-1, 1))
}

func shorten(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}

func seconds(ms int64) string {
	if ms < 10_000 {
		return strconv.FormatInt(ms, 10) + " ms"
	}
	return strconv.FormatFloat(float64(ms)/1000, 'f', 1, 64) + " s"
}

func moveColour(state string) string {
	switch state {
	case "done":
		return green
	case "running", "planned":
		return yellow
	}
	return red
}

// whatMoves says in words what a move carries.
func whatMoves(m *atollv1.Move) string {
	var parts []string
	if m.GetBuckets() != "" {
		parts = append(parts, "buckets "+m.GetBuckets())
	}
	if keys := m.GetKeys(); len(keys) == 1 {
		parts = append(parts, "key "+keys[0])
	} else if len(keys) > 1 {
		parts = append(parts, fmt.Sprintf("%d keys", len(keys)))
	}
	if n := len(m.GetPrefixes()); n > 0 {
		parts = append(parts, fmt.Sprintf("%d prefixes", n))
	}
	return strings.Join(parts, ", ")
}

// writeMove prints a move for people.
func writeMove(w io.Writer, m *atollv1.Move) error {
	var b strings.Builder
	fmt.Fprintf(&b, "move %s is %s", m.GetId(), m.GetState())
	if !moveOver(m) {
		fmt.Fprintf(&b, " in %s", m.GetPhase())
	}
	fmt.Fprintf(&b, ": space %s, rule %s, %s from %s to %s, epoch %d to %d, %s\n", m.GetSpace(), m.GetRule(), whatMoves(m),
		m.GetFrom(), m.GetTo(), m.GetEpochBefore(), m.GetEpochAfter(), seconds(m.GetDurationMs()))
	if m.GetReason() != "" {
		fmt.Fprintf(&b, "  reason: %s\n", m.GetReason())
	}
	for _, p := range m.GetPhases() {
		fmt.Fprintf(&b, "  %-8s %8s\n", p.GetName(), seconds(p.GetMs()))
	}
	for _, text := range m.GetWaitingFor() {
		fmt.Fprintf(&b, "  waits for %s\n", text)
	}
	for _, c := range m.GetChecks() {
		if !c.GetOk() {
			fmt.Fprintf(&b, "  check %s\n", checkWords(c))
		}
	}
	for _, lane := range sortedKeys(m.GetBarriers()) {
		fmt.Fprintf(&b, "  token out of lane %s at %s\n", lane, m.GetBarriers()[lane])
	}
	if at := m.GetFenceEffectiveAt(); at != "" {
		fmt.Fprintf(&b, "  fence effective at %s\n", at)
	}
	for _, name := range sortedKeys(m.GetFigures()) {
		fmt.Fprintf(&b, "  %s: %d\n", name, m.GetFigures()[name])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func checkWords(c *atollv1.Check) string {
	switch {
	case c.GetOk():
		return c.GetName() + ": passes"
	case c.GetOverridden():
		return fmt.Sprintf("%s: does not pass, overridden: %s", c.GetName(), c.GetDetail())
	}
	return fmt.Sprintf("%s: does not pass: %s", c.GetName(), c.GetDetail())
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// writePlan prints what would be done.
func writePlan(w io.Writer, m *atollv1.Move) error {
	var b strings.Builder
	fmt.Fprintf(&b, "would move from %s to %s in space %s by rule %s: %s\n", m.GetFrom(), m.GetTo(), m.GetSpace(), m.GetRule(), whatMoves(m))
	if all := m.GetFigures()["buckets_all"]; all > 0 && m.GetFigures()["buckets_moving"] > 0 {
		moving := m.GetFigures()["buckets_moving"]
		fmt.Fprintf(&b, "  share: %d of %d buckets, %.4g %%\n", moving, all, 100*float64(moving)/float64(all))
	}
	for _, key := range m.GetKeys() {
		fmt.Fprintf(&b, "  key: %s\n", key)
	}
	for _, prefix := range m.GetPrefixes() {
		fmt.Fprintf(&b, "  prefix: %s\n", prefix)
	}
	b.WriteString("steps, with the longest time of each:\n")
	limits := map[string]int64{}
	for _, p := range m.GetPhases() {
		limits[p.GetName()] = p.GetMs()
	}
	for _, step := range moveSteps {
		fmt.Fprintf(&b, "  %-8s %8s  %s\n", step.name, seconds(limits[step.name]), step.what)
	}
	b.WriteString("checks now:\n")
	for _, c := range m.GetChecks() {
		fmt.Fprintf(&b, "  %s\n", checkWords(c))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
