package demo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/sandbox/load"
)

// screen draws the run for people: a line of figures every few seconds, each
// phase of a move as it ends, the delays around a move as a plot.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	began    time.Time
	shown    map[string]bool // "move/phase" lines that stand already
}

func newScreen(out io.Writer, terminal bool) *screen {
	if out == nil {
		out = io.Discard
	}
	return &screen{out: out, terminal: terminal, shown: map[string]bool{}, began: time.Now()}
}

func (s *screen) colour(code, text string) string {
	if !s.terminal {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *screen) say(text string) { s.line("%s", text) }

func (s *screen) begin(cfg Config, at time.Time) {
	s.began = at
	s.line("load: %.0f orders/s offered for %.0f s through any gateway and straight to the proxies, %s between the sites, seed %d",
		cfg.Rate, cfg.Duration.Seconds(), cfg.WANRTT, cfg.Seed)
	if cfg.Break != "" {
		s.line("%s", s.colour("33", "negative control: "+cfg.Break))
	}
}

// follow prints figures until the load is over.
func (s *screen) follow(ctx context.Context, l *load.Ledger, over <-chan struct{}) {
	const every = 5 * time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	seen := 0
	var before load.Counts
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-ticker.C:
		}
		recent, c := l.Recent(seen), l.Totals()
		seen += len(recent)
		var delays []time.Duration
		for _, w := range recent {
			if w.Outcome == load.Acked {
				delays = append(delays, max(w.Done.Sub(w.Scheduled)-w.Held, 0))
			}
		}
		p := load.Summary(delays)
		s.line("%4.0f orders/s offered  %4.0f acknowledged/s  p50 %5.1f ms  p99 %6.1f ms  refused %d  stale %d",
			float64(c.Offered-before.Offered)/every.Seconds(), float64(c.Acked-before.Acked)/every.Seconds(),
			p.P50, p.P99, c.HTTPRefused, c.StaleReads)
		before = c
	}
}

func (s *screen) moveBegins(m *atollv1.Move) {
	s.line("%s", s.colour("1", fmt.Sprintf("move %s: buckets %s  %s → %s", m.GetId(), m.GetBuckets(), m.GetFrom(), m.GetTo())))
}

// movePhase prints the phases that ended since the last call.
func (s *screen) movePhase(m *atollv1.Move) {
	for _, p := range m.GetPhases() {
		name := m.GetId() + "/" + p.GetName()
		if p.GetName() == m.GetPhase() && !over(m.GetState()) || s.shown[name] {
			continue
		}
		s.shown[name] = true
		s.line("  %-8s %6d ms  %s", p.GetName(), p.GetMs(), s.colour("36", strings.Repeat("█", min(int(p.GetMs())/20+1, 60))))
	}
}

func (s *screen) moveEnds(m *atollv1.Move) {
	s.movePhase(m)
	colour := "32"
	if m.GetState() != "done" {
		colour = "31"
	}
	text := fmt.Sprintf("move %s %s after %d ms, %d open transactions ended by the fence",
		m.GetId(), m.GetState(), m.GetDurationMs(), m.GetFigures()["tx_killed"])
	if m.GetReason() != "" {
		text += ": " + m.GetReason()
	}
	s.line("%s", s.colour(colour, text))
}

// plotWidth is how many columns the plot of delays has, plotMax its height in ms.
const plotWidth = 64

// pauses plots the worst delay of moved keys' writes by the time they were
// scheduled: what clients saw while their keys moved.
func (s *screen) pauses(m MoveReport, writes []load.Write) {
	p := m.WritePauseMS
	s.line("write pause of move %s: p50 %.0f  p99 %.0f  max %.0f ms over %d writes", m.ID, p.P50, p.P99, p.Max, p.N)
	if len(writes) == 0 {
		return
	}
	at := func(w load.Write) time.Time { return w.Scheduled }
	first := at(slices.MinFunc(writes, func(a, b load.Write) int { return at(a).Compare(at(b)) }))
	last := at(slices.MaxFunc(writes, func(a, b load.Write) int { return at(a).Compare(at(b)) }))
	span := max(last.Sub(first), time.Millisecond)
	worst := make([]float64, plotWidth)
	for _, w := range writes {
		i := min(int(float64(plotWidth)*float64(at(w).Sub(first))/float64(span)), plotWidth-1)
		worst[i] = max(worst[i], float64((w.Done.Sub(w.Scheduled) - w.Held).Milliseconds()))
	}
	top := max(slices.Max(worst), 1)
	const rows = 6
	for row := rows; row > 0; row-- {
		var line strings.Builder
		for _, v := range worst {
			if v >= top*(float64(row)-0.5)/rows {
				line.WriteString("█")
			} else {
				line.WriteString(" ")
			}
		}
		s.line("%5.0f ms │%s", top*float64(row)/rows, s.colour("36", line.String()))
	}
	s.line("         └%s %.1f s", strings.Repeat("─", plotWidth), span.Seconds())
}

func (s *screen) verdict(r *Report) {
	s.line("acknowledged %d orders (%.2f %% of offered), %d groups of the binlogs and %d rows checked", r.OrdersAcked, 100*r.AckedShare, r.GroupsChecked, r.RowsCompared)
	s.line("lost %d  doubled %d  ghosts %d  stale reads %d  rows different %d  refused %d  owner violations %d  parked %d",
		r.OrdersLost, r.OrdersDoubled, r.Ghosts, r.StaleReads, r.RowsDifferent, r.WritesRefused, r.OwnerViolations, r.RowsParked)
	if r.Soak != nil {
		for _, line := range r.Soak.lines() {
			s.line("%s", line)
		}
	}
	if len(r.Faults) > 0 {
		ends := tally{}
		for _, m := range r.Moves {
			ends[m.State]++
		}
		s.line("%d moves  %s", len(r.Moves), ends)
		for _, line := range summary(r.Faults) {
			s.line("%s", line)
		}
	}
	if r.Verdict == Pass {
		s.line("%s", s.colour("1;32", "verdict: pass"))
		return
	}
	s.line("%s", s.colour("1;31", "verdict: fail: "+*r.Reason))
}
