package demo

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/server/sandbox"
	"github.com/atoll-live/atoll/server/sandbox/load"
)

// Soak is what a run of many moves in a row adds to the report.
type Soak struct {
	PauseMS   load.Pause            `json:"write_pause_ms"` // of all moves together
	SettledMS load.Pause            `json:"settled_ms"`     // from the start of a move to the begin of SETTLE
	Phases    map[string]load.Pause `json:"phases_ms"`
	Processes []Footprint           `json:"processes"`
}

// Footprint is what one process, or one database, holds early in the run and at
// its end, under the same load.
type Footprint struct {
	Name       string `json:"name"`
	Lives      int    `json:"lives"` // restarts in between; not compared then
	Files      [2]int `json:"files"` // open, with sockets
	Threads    [2]int `json:"threads"`
	Goroutines [2]int `json:"goroutines"` // of planes
	Sessions   [2]int `json:"sessions"`   // of databases
	RSSKB      [2]int `json:"rss_kb"`
}

const (
	soakGap     = 500 * time.Millisecond // between two moves
	soakWarm    = 5                      // moves before the first footprint
	soakSettle  = 3 * time.Second        // of load alone before a footprint
	settledMax  = 5 * time.Second        // from the start of a move to SETTLE
	growthShare = 0.25                   // more than this share, and more than growthRoom, is a leak
	growthRoom  = 40
)

// moveInARow moves the same buckets there and back n times, then ends the load.
func (r *run) moveInARow(ctx context.Context, n int) error {
	defer r.load.End()
	r.report.Soak = &Soak{}
	from, to, buckets := r.cfg.Info.Units[0].Code, r.cfg.Info.Units[1].Code, ""
	for i := range n {
		if i == min(soakWarm, n/2) {
			r.footprint(ctx, 0)
		}
		m, err := r.move(ctx, from, to, buckets)
		if err != nil || m == nil {
			return err
		}
		r.moves = append(r.moves, m)
		if m.state != "done" {
			return nil // the verdict names it
		}
		from, to, buckets = to, from, m.buckets
		pause.For(ctx, soakGap)
	}
	r.footprint(ctx, 1)
	return nil
}

// footprint takes one of the two footprints of every process.
func (r *run) footprint(ctx context.Context, which int) {
	pause.For(ctx, soakSettle)
	info, err := sandbox.ReadInfo(r.cfg.Info.Dir)
	if err != nil {
		r.screen.line("  %v", err)
		return
	}
	goroutines := r.goroutines(ctx)
	for _, p := range info.Processes {
		f := r.report.Soak.of(p.Name)
		if which == 0 {
			f.Lives = -p.Restarts
		} else {
			f.Lives += p.Restarts
		}
		f.Files[which] = countFiles(p.PID)
		f.Threads[which] = status(p.PID, "Threads:")
		f.RSSKB[which] = status(p.PID, "VmRSS:")
		f.Goroutines[which] = goroutines[p.Name]
	}
	for _, side := range r.sides {
		var name string
		f := r.report.Soak.of("mariadb@" + side.Unit)
		if err := side.DB.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Threads_connected'").Scan(&name, &f.Sessions[which]); err != nil {
			r.screen.line("  sessions of %s: %v", side.Unit, err)
		}
	}
}

func (s *Soak) of(name string) *Footprint {
	i := slices.IndexFunc(s.Processes, func(f Footprint) bool { return f.Name == name })
	if i < 0 {
		i = len(s.Processes)
		s.Processes = append(s.Processes, Footprint{Name: name})
	}
	return &s.Processes[i]
}

// goroutines are what planes say of themselves.
func (r *run) goroutines(ctx context.Context) map[string]int {
	all := map[string]int{}
	list, err := r.client.Planes().List(ctx, connect.NewRequest(&atollv1.ListPlanesRequest{}))
	if err != nil {
		r.screen.line("  %v", err)
		return all
	}
	for _, p := range list.Msg.GetPlanes() {
		all[p.GetPlane().GetName()] = int(p.GetReport().GetFigures()["goroutines"])
	}
	return all
}

func countFiles(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}

// status reads a number of /proc/PID/status, 0 when it is not there.
func status(pid int, field string) int {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "\n"+field)
	if words := strings.Fields(rest); len(words) > 0 {
		n, _ := strconv.Atoi(words[0])
		return n
	}
	return 0
}

// fillSoak pools what the moves took.
func (r *run) fillSoak(writes []load.Write) {
	s := r.report.Soak
	var delays, settled []time.Duration
	phases := map[string][]time.Duration{}
	for _, m := range r.moves {
		delays = append(delays, load.Pauses(writes, m.moved, m.hold, m.release)...)
		var until time.Duration
		for _, p := range m.proto.GetPhases() {
			took := time.Duration(p.GetMs()) * time.Millisecond
			phases[p.GetName()] = append(phases[p.GetName()], took)
			if p.GetName() != string(move.Settle) {
				until += took
			}
		}
		settled = append(settled, until)
	}
	s.PauseMS, s.SettledMS, s.Phases = load.Summary(delays), load.Summary(settled), map[string]load.Pause{}
	for name, took := range phases {
		s.Phases[name] = load.Summary(took)
	}
}

// judgeSoak adds what a run of many moves must keep to.
func (r *Report) judgeSoak(all *reasons, pauseMax time.Duration) {
	s := r.Soak
	limit := float64(pauseMax.Milliseconds())
	all.broken(s.PauseMS.P99 > limit, "write pause p99 of %d moves together was %.0f ms, more than %.0f", len(r.Moves), s.PauseMS.P99, limit)
	all.broken(s.SettledMS.Max > float64(settledMax.Milliseconds()), "a move took %.0f ms to SETTLE, more than %d", s.SettledMS.Max, settledMax.Milliseconds())
	for _, f := range s.Processes {
		for what, n := range map[string][2]int{"files": f.Files, "threads": f.Threads, "goroutines": f.Goroutines, "sessions": f.Sessions} {
			grown := n[1] - n[0]
			all.broken(f.Lives == 0 && grown > growthRoom && float64(grown) > growthShare*float64(n[0]),
				"%s had %d %s early on and %d at the end", f.Name, n[0], what, n[1])
		}
		all.broken(f.Lives != 0, "%s was started anew %d times", f.Name, f.Lives)
	}
}

// lines are the tables of a soak.
func (s *Soak) lines() []string {
	row := func(name string, p load.Pause) string {
		return fmt.Sprintf("  %-22s %8.0f %8.0f %8.0f   n %d", name, p.P50, p.P99, p.Max, p.N)
	}
	out := []string{fmt.Sprintf("  %-22s %8s %8s %8s", "milliseconds", "p50", "p99", "max")}
	for _, p := range move.Order {
		out = append(out, row(string(p), s.Phases[string(p)]))
	}
	out = append(out, row("start to SETTLE", s.SettledMS), row("write pause, pooled", s.PauseMS), "",
		fmt.Sprintf("  %-22s %15s %15s %15s %15s %17s", "early, and at the end", "files", "threads", "goroutines", "sessions", "MB"))
	pair := func(n [2]int) string {
		if n == [2]int{} {
			return "–"
		}
		return fmt.Sprintf("%d → %d", n[0], n[1])
	}
	for _, f := range s.Processes {
		out = append(out, fmt.Sprintf("  %-22s %15s %15s %15s %15s %17s", f.Name, pair(f.Files), pair(f.Threads), pair(f.Goroutines), pair(f.Sessions),
			pair([2]int{f.RSSKB[0] / 1024, f.RSSKB[1] / 1024})))
	}
	return out
}
