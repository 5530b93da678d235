package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/server/sandbox"
	"github.com/atoll-live/atoll/server/sandbox/load"
)

// Fault is one thing that was done to the sandbox.
type Fault struct {
	AtMS        int64  `json:"at_ms"` // since the load began
	What        string `json:"what"`  // kill | restart | pause | cut
	Target      string `json:"target"`
	Phase       string `json:"phase,omitempty"` // of the move that was on its way
	ForMS       int64  `json:"for_ms"`          // of a pause or a cut
	RecoveredMS int64  `json:"recovered_ms"`    // from its end to the first acknowledged write of a moving key that began after it; -1: none
	ProbedMS    int64  `json:"probed_ms"`       // from its end until exactly one unit accepted a probe of each key; -1: not within 10 s
	Probe       string `json:"probe,omitempty"` // what was wrong with the last probes

	end time.Time
}

// What the faults are, and when they come.
const (
	faultEveryMin = 2 * time.Second
	faultEveryMax = 5 * time.Second
	phaseWait     = 8 * time.Second // for a phase that a fault is meant for
	pauseMin      = time.Second
	cutMin        = time.Second
	faultLongest  = 20 * time.Second
	quietEnd      = 15 * time.Second // before the load ends there are no more faults
	recoverMax    = 10 * time.Second // within it a write of a moving key must be accepted again
)

// faultKinds are the kinds of process that faults hit.
var faultKinds = []string{"gateway", "dbproxy", "dbsync", "app", "console", "mariadb"}

// faultPhases are phases that a fault is meant for; "" is any moment.
var faultPhases = []string{"", "", "CHECK", "HOLD", "FENCE", "BARRIER", "SWITCH", "RELEASE", "SETTLE"}

// injector makes one fault after another, never two at a time.
type injector struct {
	r      *run
	random *rand.Rand
	began  time.Time
	stop   time.Time // no more faults from then on

	mu      sync.Mutex
	phase   string        // of the move on its way
	changed chan struct{} // closed and replaced with each phase
	faults  []Fault
}

func newInjector(r *run, began time.Time) *injector {
	return &injector{r: r, random: rand.New(rand.NewPCG(r.cfg.Seed, 0xfa17)), began: began, changed: make(chan struct{}),
		stop: began.Add(r.cfg.Duration - quietEnd)}
}

// saw is told the phase of the move on its way, "" when none is.
func (i *injector) saw(phase string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.phase != phase {
		i.phase = phase
		close(i.changed)
		i.changed = make(chan struct{})
	}
}

func (i *injector) now() (phase string, changed <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.phase, i.changed
}

// run makes faults until it is time to stop. What it cannot do, because a
// process is just being started, it leaves.
func (i *injector) run(ctx context.Context) {
	for {
		wait := faultEveryMin + time.Duration(i.random.Int64N(int64(faultEveryMax-faultEveryMin)))
		phase := faultPhases[i.random.IntN(len(faultPhases))]
		dice, length, pick := i.random.Float64(), i.random.Float64(), i.random.Uint64()
		pause.For(ctx, wait)
		if phase != "" {
			i.await(ctx, phase)
		}
		if ctx.Err() != nil || time.Now().After(i.stop) {
			return
		}
		longest := min(faultLongest, time.Until(i.stop))
		f := Fault{AtMS: time.Since(i.began).Milliseconds()}
		f.Phase, _ = i.now()
		var err error
		switch {
		case dice < 0.4:
			err = i.end(&f, "kill", syscall.SIGKILL, pick)
		case dice < 0.5:
			err = i.end(&f, "restart", syscall.SIGTERM, pick)
		case dice < 0.85:
			err = i.pause(ctx, &f, pick, pauseMin+time.Duration(length*length*float64(longest-pauseMin)))
		default:
			err = i.cut(ctx, &f, pick, cutMin+time.Duration(length*length*float64(longest-cutMin)/2))
		}
		if err != nil {
			continue
		}
		f.end = time.Now()
		i.probe(ctx, &f)
		i.r.screen.line("  fault: %s %s%s, %s", f.What, f.Target, during(f), probed(f))
		i.mu.Lock()
		i.faults = append(i.faults, f)
		i.mu.Unlock()
	}
}

// probe sees whether exactly one unit accepts writes again.
func (i *injector) probe(ctx context.Context, f *Fault) {
	took, err := i.r.prober.until(ctx, f.end, recoverMax)
	f.ProbedMS = took.Milliseconds()
	if err != nil {
		f.ProbedMS, f.Probe = -1, err.Error()
	}
}

func probed(f Fault) string {
	if f.Probe != "" {
		return "and then: " + f.Probe
	}
	return fmt.Sprintf("one unit accepts after %d ms", f.ProbedMS)
}

func during(f Fault) string {
	text := ""
	if f.ForMS > 0 {
		text = fmt.Sprintf(" for %d ms", f.ForMS)
	}
	if f.Phase != "" {
		text += " in " + f.Phase
	}
	return text
}

// await waits for a move to come to a phase.
func (i *injector) await(ctx context.Context, phase string) {
	limit := time.NewTimer(phaseWait)
	defer limit.Stop()
	for {
		at, changed := i.now()
		if at == phase {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

var errNoTarget = errors.New("no process of the kind runs now")

// target is a process that runs, of a kind by lot.
func (i *injector) target(pick uint64) (sandbox.ProcessInfo, error) {
	info, err := sandbox.ReadInfo(i.r.cfg.Info.Dir)
	if err != nil {
		return sandbox.ProcessInfo{}, err
	}
	kind := faultKinds[pick%uint64(len(faultKinds))]
	var all []sandbox.ProcessInfo
	for _, p := range info.Processes {
		if p.Kind == kind && ours(p.PID, info.Dir) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return sandbox.ProcessInfo{}, errNoTarget
	}
	return all[pick/uint64(len(faultKinds))%uint64(len(all))], nil
}

// ours tells whether a process is one of the sandbox in dir: a process that has
// just died still stands in the list, and its number may be another's by now.
func ours(pid int, dir string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return pid > 0 && err == nil && strings.Contains(string(line), dir)
}

// end ends a process; its supervisor starts it again.
func (i *injector) end(f *Fault, what string, signal syscall.Signal, pick uint64) error {
	p, err := i.target(pick)
	if err != nil {
		return err
	}
	f.What, f.Target = what, p.Name
	return syscall.Kill(p.PID, signal)
}

// pause stops a process and lets it go on, also when ctx ends.
func (i *injector) pause(ctx context.Context, f *Fault, pick uint64, d time.Duration) error {
	p, err := i.target(pick)
	if err != nil {
		return err
	}
	f.What, f.Target, f.ForMS = "pause", p.Name, d.Milliseconds()
	if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
		return err
	}
	pause.For(ctx, d)
	return syscall.Kill(p.PID, syscall.SIGCONT)
}

// cut stalls a unit's links and heals them, also when ctx ends.
func (i *injector) cut(ctx context.Context, f *Fault, pick uint64, d time.Duration) error {
	unit := i.r.cfg.Info.Units[pick%uint64(len(i.r.cfg.Info.Units))].Code
	f.What, f.Target, f.ForMS = "cut", unit, d.Milliseconds()
	if err := sandbox.Cut(ctx, i.r.cfg.Info, unit); err != nil {
		return err
	}
	pause.For(ctx, d)
	return sandbox.Heal(context.WithoutCancel(ctx), i.r.cfg.Info, unit)
}

// report tells of each fault how long it took until a write of a moving key
// that began after it was acknowledged.
func (i *injector) report(writes []load.Write, moving func(key string) bool) []Fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	of := slices.DeleteFunc(slices.Clone(writes), func(w load.Write) bool { return w.Outcome != load.Acked || !moving(w.Key) })
	for n := range i.faults {
		f := &i.faults[n]
		f.RecoveredMS = -1
		for _, w := range of {
			if ms := w.Done.Sub(f.end).Milliseconds(); w.Scheduled.After(f.end) && (f.RecoveredMS < 0 || ms < f.RecoveredMS) {
				f.RecoveredMS = ms
			}
		}
	}
	return i.faults
}

// summary says in four lines what was done to the sandbox and how it was got
// over.
func summary(faults []Fault) []string {
	what, target, phase := tally{}, tally{}, tally{}
	var probed []int64
	for _, f := range faults {
		what[f.What]++
		kind, _, _ := strings.Cut(f.Target, "@")
		if f.What == "cut" {
			kind = "links of a unit"
		}
		target[kind]++
		if f.Phase == "" {
			f.Phase = "no move"
		}
		phase[f.Phase]++
		if f.ProbedMS >= 0 {
			probed = append(probed, f.ProbedMS)
		}
	}
	lines := []string{
		fmt.Sprintf("%d faults  %s", len(faults), what),
		"hit  " + target.String(),
		"in  " + phase.String(),
	}
	if n := len(probed); n > 0 {
		slices.Sort(probed)
		lines = append(lines, fmt.Sprintf("one unit accepts again after  p50 %d ms, p90 %d ms, max %d ms", probed[n/2], probed[n*9/10], probed[n-1]))
	}
	return lines
}

// tally counts by name.
type tally map[string]int

func (t tally) String() string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(t)) {
		texts = append(texts, fmt.Sprintf("%s %d", name, t[name]))
	}
	return strings.Join(texts, ", ")
}
