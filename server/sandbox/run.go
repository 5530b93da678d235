package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/supervise"
)

// leftoverLimit is how long the processes of a supervisor that was killed may
// take to end.
const leftoverLimit = 5 * time.Second

// Hooks are told how a start goes. A nil one is not called.
type Hooks struct {
	Progress func(step string) // before each step, in words for people
	Ready    func(*Info)       // once, when all is ready
	Log      *slog.Logger      // discards when nil
}

func (h Hooks) progress(format string, a ...any) {
	if h.Progress != nil {
		h.Progress(fmt.Sprintf(format, a...))
	}
}

// Run brings a sandbox up in this process and keeps it until ctx ends; then it
// stops everything in order and returns nil. When it cannot come up, what was
// started is stopped and Run says why, in one line with the mend; wrong
// options give an *InvalidError and change nothing.
func Run(ctx context.Context, o Options, h Hooks) error {
	return run(ctx, o, h, func(r *runner) error {
		op, err := newOperator(r)
		r.steps = op
		return err
	})
}

// steps is what is done between and after the stages.
type steps interface {
	before(ctx context.Context) error // when servers and console run
	after(ctx context.Context) error  // when the planes run
}

// run is Run with another operator, or other processes, in tests.
func run(ctx context.Context, o Options, h Hooks, adjust func(*runner) error) error {
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	o, programs, err := preflight(ctx, o)
	if err != nil {
		return err
	}
	if err := claimDir(o.Dir); err != nil {
		return err
	}
	held, err := takeLock(o.Dir)
	if err != nil {
		return err
	}
	defer held.release()
	if o.Fresh {
		if err := wipe(o.Dir); err != nil {
			return err
		}
	}
	secrets, err := readSecrets(o.Dir)
	if err != nil {
		return err
	}
	layout, err := NewLayout(o, programs, secrets, isRoot())
	if err != nil {
		return err
	}
	if err := writeFiles(layout); err != nil {
		return err
	}
	defer os.Remove(filepath.Join(o.Dir, infoFile))
	r := &runner{layout: layout, programs: programs, hooks: h}
	if err := adjust(r); err != nil {
		return err
	}
	return r.run(ctx)
}

func isRoot() bool { return os.Geteuid() == 0 }

// preflight finds what would keep a sandbox from coming up, before anything
// is changed.
func preflight(ctx context.Context, o Options) (Options, Programs, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return o, Programs{}, err
	}
	if err := o.Validate(); err != nil {
		return o, Programs{}, err
	}
	if err := ownDir(o.Dir); err != nil {
		return o, Programs{}, err
	}
	if !o.Fresh {
		if err := adopt(o); err != nil {
			return o, Programs{}, err
		}
	}
	programs, err := FindPrograms()
	if err != nil {
		return o, programs, err
	}
	layout, err := NewLayout(o, programs, Secrets{}, isRoot())
	if err != nil {
		return o, programs, err
	}
	pid, err := runningIn(o.Dir)
	if err != nil {
		return o, programs, err
	}
	if pid != 0 {
		return o, programs, nil // taking the lock says so
	}
	limit := time.Duration(0)
	if _, err := os.Stat(filepath.Join(o.Dir, infoFile)); err == nil {
		limit = leftoverLimit // the last supervisor was killed
	}
	return o, programs, checkPorts(ctx, layout.Ports, limit)
}

// runner is one run of a sandbox.
type runner struct {
	layout   *Layout
	programs Programs
	steps    steps
	hooks    Hooks
	super    *supervise.Supervisor

	mu    sync.Mutex
	ready bool // info.json stands, and follows the process ids from now on
}

func (r *runner) run(ctx context.Context) error {
	r.super = supervise.New(supervise.Config{
		NoRestart: r.layout.Options.NoRestart,
		Log:       r.hooks.Log,
		Changed:   func([]supervise.State) { r.refresh() },
	})
	err := r.super.Run(ctx, r.bring)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("the sandbox was stopped while it started: %w", context.Cause(ctx))
	}
	return err
}

// bring starts stage after stage and does between them what an operator would.
func (r *runner) bring(ctx context.Context) error {
	l := r.layout
	if missing := l.missingDatabases(); len(missing) > 0 {
		r.hooks.progress("making the databases of %s", names(missing, func(d Database) string { return d.Unit }))
		if err := installDatabases(ctx, r.programs.InstallDB, missing, isRoot()); err != nil {
			return err
		}
	}
	if err := r.start(ctx, l.Servers); err != nil {
		return err
	}
	if err := r.start(ctx, l.Consoles); err != nil {
		return err
	}
	if err := r.steps.before(ctx); err != nil {
		return err
	}
	for _, stage := range l.Planes {
		if err := r.start(ctx, stage); err != nil {
			return err
		}
	}
	if err := r.steps.after(ctx); err != nil {
		return err
	}
	return r.announce()
}

func (l *Layout) missingDatabases() []Database {
	var missing []Database
	for _, d := range l.Databases {
		if _, err := os.Stat(d.Dir); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, d)
		}
	}
	return missing
}

func (r *runner) start(ctx context.Context, stage []supervise.Process) error {
	if len(stage) == 0 {
		return nil
	}
	r.hooks.progress("starting %s", names(stage, func(p supervise.Process) string { return p.Name }))
	return r.super.Start(ctx, stage...)
}

func (r *runner) announce() error {
	r.mu.Lock()
	r.ready = true
	r.mu.Unlock()
	info := r.info()
	if err := info.write(r.layout.Options.Dir); err != nil {
		return err
	}
	if r.hooks.Ready != nil {
		r.hooks.Ready(info)
	}
	return nil
}

// refresh keeps the process ids in info.json those of now.
func (r *runner) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready {
		return
	}
	if err := r.info().write(r.layout.Options.Dir); err != nil {
		r.hooks.Log.Warn("process ids", "error", err)
	}
}

func (r *runner) info() *Info {
	info := r.layout.Info
	info.Supervisor = os.Getpid()
	info.Processes = nil
	logs := map[string]string{}
	for _, p := range r.layout.Processes() {
		logs[p.Name] = p.Log
	}
	for _, s := range r.super.States() {
		info.Processes = append(info.Processes, ProcessInfo{Name: s.Name, Kind: s.Kind, Unit: s.Unit, PID: s.PID, Restarts: s.Restarts, Log: logs[s.Name]})
	}
	return &info
}
