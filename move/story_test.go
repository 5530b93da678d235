package move

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/space"
)

var rewrite = flag.Bool("rewrite", false, "write what the machine did into testdata; read the difference")

// TestStories tells what the machine does, line by line: a line that begins
// with ">" is an event, what follows is what came of it.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := tell(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if line, a, b := firstDifference(string(want), string(got)); line > 0 {
				t.Errorf("%s:%d: want %q, the machine says %q\n\nwhole story:\n%s", file, line, a, b, got)
			}
		})
	}
}

func firstDifference(want, got string) (line int, a, b string) {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b = "", ""
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return i + 1, a, b
		}
	}
	return 0, "", ""
}

func tell(t *testing.T, script string) []byte {
	var out bytes.Buffer
	b := &stage{t: t, out: &out}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "#"), line == "":
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, ">"):
			fmt.Fprintln(&out, line)
			b.play(strings.Fields(line[1:]))
		}
	}
	return out.Bytes()
}

// stage is a store with one move, and the movers that drive it.
type stage struct {
	t      *testing.T
	out    *bytes.Buffer
	now    time.Time
	state  State // in the store
	rev    int
	epoch  int64 // of the snapshot in the store
	leader string
	deaf   bool // the store refuses every write
	movers map[string]*driver
}

type driver struct {
	name  string
	state State
	rev   int
}

func (b *stage) play(words []string) {
	m := "m1"
	if name, ok := strings.CutPrefix(words[0], "@"); ok {
		m, words = name, words[1:]
	}
	if words[0] == "new" || words[0] == "happy" {
		b.begin(words)
		return
	}
	switch words[0] {
	case "writes":
		b.deaf = words[1] == "off"
		return
	case "wait": // nobody says anything meanwhile
		b.event(words)
		return
	case "take-over":
		b.leader = m
		b.movers[m] = &driver{name: m, state: b.stored(), rev: b.rev}
		b.feed(m, TakenOver{At: b.now, Leader: m})
		return
	case "show":
		b.show(b.movers[m].state)
		return
	}
	b.feed(m, b.event(words))
}

// stored reads the state back as a mover does, through JSON.
func (b *stage) stored() State {
	raw, err := json.Marshal(b.state)
	if err != nil {
		b.t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(raw, &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

func testLimits() Limits {
	return Limits{Check: 10 * time.Second, Quiesce: 200 * time.Millisecond, Hold: 5 * time.Second,
		Fence: 1900 * time.Millisecond, Barrier: 5 * time.Second, Stuck: 10 * time.Second, Settle: 30 * time.Second}
}

// begin makes a move: "new key=value…", or "happy PHASE", which drives one
// silently to the phase.
func (b *stage) begin(words []string) {
	data, overrides, center := []string{"unit-a", "unit-b"}, []string(nil), ""
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "data":
			data = nil
		case "center":
			center = value
		case "override":
			overrides = strings.Split(value, ",")
		}
	}
	b.now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	b.epoch, b.rev, b.leader, b.deaf = 7, 1, "m1", false
	s, err := New(Plan{
		ID: "mv1", Space: "shop", Rule: "1003", From: "unit-a", To: "unit-b", Center: center, By: "ann", Epoch: b.epoch,
		Keys:         space.KeySet{Buckets: []space.Range{{From: 3000, To: 6000}}},
		Participants: Participants(data), Overrides: overrides, Limits: testLimits(), Leader: "m1",
	}, b.now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.state = s
	b.movers = map[string]*driver{"m1": {name: "m1", state: b.stored(), rev: b.rev}}
	if words[0] == "happy" {
		b.quietly(func() { b.drive("m1", Phase(words[1])) })
	}
	fmt.Fprintf(b.out, "  phase %s\n", b.movers["m1"].state.Phase)
}

func (b *stage) quietly(f func()) {
	out := b.out
	b.out = &bytes.Buffer{}
	f()
	b.out = out
}

var fleet = []string{"gateway@unit-a#1", "gateway@unit-b#1", "dbproxy@unit-a#1", "dbproxy@unit-b#1", "dbsync@unit-a#1", "dbsync@unit-b#1"}

// drive lets every plane answer at once until the move is in the phase.
func (b *stage) drive(m string, until Phase) {
	b.feed(m, b.event(append([]string{"registered"}, fleet...)))
	for range 20 {
		s := b.movers[m].state
		if s.Phase == until || s.Phase.Over() {
			return
		}
		switch s.Phase {
		case Check:
			b.feed(m, b.event([]string{"checked", "ok"}))
		default:
			b.feed(m, b.event(append([]string{"registered"}, fleet...)))
			for _, line := range answersTo(s) {
				if b.movers[m].state.Phase == s.Phase && b.movers[m].state.ReleaseEpoch == s.ReleaseEpoch {
					b.feed(m, b.event(strings.Fields(line)))
				}
			}
		}
	}
	b.t.Fatalf("the move does not reach %s, it is in %s", until, b.movers[m].state.Phase)
}

// answersTo are reports that meet everything the present phase waits for.
func answersTo(s State) []string {
	var lines []string
	for _, plane := range fleet {
		line := fmt.Sprintf("report %s epoch=%d", plane, s.Epoch)
		kind, unit, _ := strings.Cut(strings.TrimSuffix(plane, "#1"), "@")
		switch {
		case s.Phase == Hold && kind == "gateway":
			line += fmt.Sprintf(" quiet=%d", s.HoldEpoch)
		case s.Phase == Fence && kind == "dbproxy":
			line += fmt.Sprintf(" drained=%d", s.FenceEpoch)
		case s.Phase == Barrier && kind == "dbsync":
			line += fmt.Sprintf(" passed:%s=%d", Lane(map[string]string{s.From: s.To, s.To: s.From}[unit], unit), s.FenceEpoch)
		case s.Phase == Release && kind == "dbsync" && unit == s.To:
			line += fmt.Sprintf(" opened=%d", s.FenceEpoch)
		case s.Phase == Settle && kind == "dbsync" && unit == s.To:
			line += fmt.Sprintf(" settled=%d", s.FenceEpoch)
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *stage) event(words []string) Event {
	switch words[0] {
	case "tick", "wait":
		d, err := time.ParseDuration(strings.TrimPrefix(words[1], "+"))
		if err != nil {
			b.t.Fatal(err)
		}
		b.now = b.now.Add(d)
		e := Tick{At: b.now, Silent: map[string]time.Duration{}}
		for _, w := range words[2:] { // silent=dbproxy@unit-a:3s
			plane, since, _ := strings.Cut(strings.TrimPrefix(w, "silent="), ":")
			e.Silent[plane], _ = time.ParseDuration(since)
		}
		return e
	case "checked":
		return b.checked(words[1:])
	case "registered":
		return b.registered(words[1:])
	case "report":
		return b.report(words[1:])
	case "lapsed":
		name, inc, _ := strings.Cut(words[1], "#")
		return Lapsed{At: b.now, Plane: name, Incarnation: inc}
	case "abort":
		return Abort{At: b.now, By: words[1]}
	case "published":
		epoch, _ := strconv.ParseInt(words[2], 10, 64)
		return Published{At: b.now, What: Kind(words[1]), Epoch: epoch}
	}
	b.t.Fatalf("no such line: %v", words)
	return nil
}

func (b *stage) checked(words []string) Event {
	e := Checked{At: b.now}
	for _, w := range words {
		name, detail, bad := strings.Cut(w, "=")
		e.Checks = append(e.Checks, CheckResult{Name: name, OK: !bad, Detail: detail})
	}
	return e
}

func (b *stage) registered(words []string) Event {
	e := Registered{At: b.now, AsOf: b.epoch, Planes: map[string]Plane{}}
	for _, w := range words {
		if asOf, ok := strings.CutPrefix(w, "asof="); ok {
			e.AsOf, _ = strconv.ParseInt(asOf, 10, 64)
			continue
		}
		name, inc, _ := strings.Cut(w, "#")
		kind, unit, _ := strings.Cut(name, "@")
		unit, _, _ = strings.Cut(unit, "/")
		e.Planes[name] = Plane{Kind: kind, Unit: unit, Incarnation: inc}
	}
	return e
}

// report reads "plane#incarnation epoch=9 joint[:lane]=epoch[!error][,figure:n]".
func (b *stage) report(words []string) Event {
	name, inc, _ := strings.Cut(words[0], "#")
	e := Reported{At: b.now, Plane: name, Incarnation: inc}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		value, figure, _ := strings.Cut(value, ",")
		value, failure, _ := strings.Cut(value, "!")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			b.t.Fatal(err)
		}
		if key == "epoch" {
			e.Epoch = n
			continue
		}
		joint, lane, _ := strings.Cut(key, ":")
		a := Answer{Joint: Joint(joint), Lane: lane, Epoch: n, Error: failure, Detail: "gtid-" + value}
		if name, count, ok := strings.Cut(figure, ":"); ok {
			n, _ := strconv.ParseInt(count, 10, 64)
			a.Figures = map[string]int64{name: n}
		}
		e.Answers = append(e.Answers, a)
	}
	return e
}

// feed gives an event to a mover and carries out what it commands.
func (b *stage) feed(m string, e Event) {
	d := b.movers[m]
	before := d.state
	next, commands := Step(d.state, e)
	d.state = next
	b.carryOut(d, commands, 0)
	if d.state.Phase != before.Phase {
		fmt.Fprintf(b.out, "  phase %s\n", d.state.Phase)
	}
	if d.state.Reason != before.Reason {
		fmt.Fprintf(b.out, "  reason %s\n", d.state.Reason)
	}
	for _, w := range d.state.Waiting() {
		fmt.Fprintf(b.out, "  waits for %s\n", w)
	}
}

func (b *stage) carryOut(d *driver, commands []Command, depth int) {
	if depth > 10 {
		b.t.Fatal("the machine does not come to rest")
	}
	for _, c := range commands {
		switch {
		case c.Kind == Audit:
			fmt.Fprintf(b.out, "  audit %s\n", c.Text)
			continue
		case b.deaf:
			fmt.Fprintf(b.out, "  %s: the store does not answer\n", c.Kind)
			d.state, _ = Step(b.stored(), Conflict{At: b.now})
			return
		case b.leader != d.name || b.rev != d.rev:
			fmt.Fprintf(b.out, "  %s refused by the compares of %s\n", c.Kind, d.name)
			d.state, d.rev = b.stored(), b.rev
			d.state, _ = Step(d.state, Conflict{At: b.now})
			return
		}
		var more []Command
		if c.Kind.Publishes() {
			d.state, more = Step(d.state, Published{At: b.now, What: c.Kind, Epoch: b.epoch + 1})
			b.epoch++
			fmt.Fprintf(b.out, "  publish %s at %d: %s\n", c.Kind, b.epoch, words(d.state.Transfer()))
		} else {
			fmt.Fprintf(b.out, "  %s\n", c.Kind)
		}
		b.rev++
		b.state, d.rev = d.state, b.rev
		d.state = b.stored()
		b.carryOut(d, more, depth+1)
	}
}

func words(t *space.Transfer) string {
	text := fmt.Sprintf("hold=%v fenced=%v fence-epoch=%d", t.Hold, t.Fenced, t.FenceEpoch)
	if t.Outcome != "" {
		text += " outcome=" + string(t.Outcome)
	}
	return text
}

func (b *stage) show(s State) {
	for _, p := range s.Phases {
		fmt.Fprintf(b.out, "  %s %d ms\n", p.Name, p.MS)
	}
	var figures []string
	for name, n := range s.Figures() {
		figures = append(figures, fmt.Sprintf("%s=%d", name, n))
	}
	sort.Strings(figures)
	fmt.Fprintf(b.out, "  figures %v barriers %v stuck %v\n", figures, s.Barriers, s.Stuck)
}
