package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Backoff of restarts. A child that ran for steady starts at the first step
// again. Restarts go on for as long as the supervisor lives.
const (
	backoffMin = 200 * time.Millisecond
	backoffMax = 5 * time.Second
	steady     = 10 * time.Second
)

// Config of a Supervisor.
type Config struct {
	NoRestart bool // leave dead what died
	Log       *slog.Logger
	// Changed is told the state of all children, in the order in which they
	// were started, after any change of it; one call at a time.
	Changed func([]State)
}

// Supervisor owns children. New starts nothing.
type Supervisor struct {
	cfg   Config
	fork  *forker
	wake  chan struct{} // capacity 1: Changed has something to tell
	alive context.Context
	halt  context.CancelFunc // ends restarts

	mu       sync.Mutex
	children []*child
	stages   [][]*child // in the order of their start
}

// New returns a Supervisor without children.
func New(cfg Config) *Supervisor {
	s := &Supervisor{cfg: cfg, fork: newForker(), wake: make(chan struct{}, 1)}
	s.alive, s.halt = context.WithCancel(context.Background())
	return s
}

// Run calls bring, which starts the children with Start, stage after stage,
// and then keeps them until ctx ends. When bring fails or ctx ends, all that
// was started is stopped, the last stage first, and Run returns after the
// last child is gone. It returns bring's error, or nil after ctx.
func (s *Supervisor) Run(ctx context.Context, bring func(context.Context) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(s.fork.run)
	defer s.fork.stop()
	told := make(chan struct{})
	wg.Go(func() { defer close(told); s.tell() })

	err := bring(ctx)
	if err == nil {
		<-ctx.Done()
	}
	s.halt()
	s.stop()
	<-told
	return err
}

// Start starts one stage and waits until all of it is ready. A child that
// ends before, or is not ready within ReadyLimit, fails the stage. It is
// called only within Run's bring.
func (s *Supervisor) Start(ctx context.Context, stage ...Process) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var started []*child
	for _, p := range stage {
		started = append(started, newChild(p, s))
	}
	s.mu.Lock()
	s.children = append(s.children, started...)
	s.stages = append(s.stages, started)
	s.mu.Unlock()
	results := make(chan error, len(started))
	for _, c := range started {
		go func() { results <- c.bring(ctx) }()
	}
	var first error
	for range started {
		if err := <-results; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// stop ends the stages, the last first: who is asked stops before whom it asks.
func (s *Supervisor) stop() {
	s.mu.Lock()
	stages := s.stages
	s.mu.Unlock()
	for _, stage := range slices.Backward(stages) {
		var wg sync.WaitGroup
		for _, c := range stage {
			wg.Go(c.stop)
		}
		wg.Wait()
	}
}

// States is the state of all children.
func (s *Supervisor) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]State, len(s.children))
	for i, c := range s.children {
		all[i] = c.state
	}
	return all
}

// set changes a child's state and has it told.
func (s *Supervisor) set(c *child, change func(*State)) {
	s.mu.Lock()
	change(&c.state)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Supervisor) tell() {
	for {
		select {
		case <-s.wake:
			if s.cfg.Changed != nil {
				s.cfg.Changed(s.States())
			}
		case <-s.alive.Done():
			return
		}
	}
}

// child is one process over its lives.
type child struct {
	Process
	s     *Supervisor
	state State // guarded by Supervisor.mu

	over chan struct{} // closed when a started child is gone for good

	mu      sync.Mutex
	life    *life // nil between two lives
	started bool
}

func newChild(p Process, s *Supervisor) *child {
	if p.Grace == 0 {
		p.Grace = DefaultGrace
	}
	return &child{Process: p, s: s, state: State{Name: p.Name, Kind: p.Kind, Unit: p.Unit}, over: make(chan struct{})}
}

// bring starts the first life and waits until it is ready.
func (c *child) bring(ctx context.Context) error {
	l, err := c.begin()
	if err != nil {
		return err
	}
	go c.tend(l)
	limit := time.NewTimer(ReadyLimit)
	defer limit.Stop()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		last := c.Ready.Check(ctx)
		if last == nil {
			return l.stillRuns(c)
		}
		select {
		case <-tick.C:
		case <-l.gone:
			return l.stillRuns(c)
		case <-limit.C:
			return fmt.Errorf("start %s: not ready within %v: %w (its log: %s)", c.Name, ReadyLimit, last, c.Log)
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w", c.Name, context.Cause(ctx))
		}
	}
}

func (l *life) stillRuns(c *child) error {
	select {
	case <-l.gone:
		return fmt.Errorf("start %s: %s%s (its log: %s)", c.Name, l.ended, lastWords(c.Log), c.Log)
	default:
		return nil
	}
}

// begin forks a new life, unless the supervisor stops.
func (c *child) begin() (*life, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s.alive.Err() != nil {
		return nil, errors.New("the supervisor stops")
	}
	l, err := c.s.fork.start(c.Process)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	c.life = l
	first := !c.started
	c.started = true
	c.s.set(c, func(s *State) {
		s.PID = l.pid
		if !first {
			s.Restarts++
		}
	})
	return l, nil
}

// tend follows the child's lives until the supervisor stops, or after the
// first one when nothing is restarted.
func (c *child) tend(l *life) {
	defer close(c.over)
	wait := backoffMin
	for {
		began := time.Now()
		<-l.gone
		c.s.set(c, func(s *State) { s.PID, s.Ended = 0, l.ended })
		if c.s.alive.Err() != nil || c.s.cfg.NoRestart {
			c.note("child ended", l)
			return
		}
		if time.Since(began) >= steady {
			wait = backoffMin
		}
		c.note("child ended, it is started again", l)
		if l = c.again(&wait); l == nil {
			return
		}
	}
}

func (c *child) note(message string, l *life) {
	if c.s.alive.Err() == nil {
		c.s.cfg.Log.Warn(message, "name", c.Name, "pid", l.pid, "ended", l.ended)
	}
}

// again starts the next life after the backoff; nil when the supervisor stops.
func (c *child) again(wait *time.Duration) *life {
	for {
		t := time.NewTimer(*wait)
		select {
		case <-t.C:
		case <-c.s.alive.Done():
			t.Stop()
			return nil
		}
		*wait = min(2**wait, backoffMax)
		l, err := c.begin()
		if err == nil {
			return l
		}
		if c.s.alive.Err() != nil {
			return nil
		}
		c.s.cfg.Log.Warn("restart", "name", c.Name, "error", err)
	}
}

// stop asks the child to end, kills it after its grace, and waits until it is
// gone. The supervisor has ended restarts before.
func (c *child) stop() {
	c.mu.Lock()
	l, started := c.life, c.started
	c.mu.Unlock()
	if !started {
		return
	}
	l.signal(syscall.SIGTERM)
	grace := time.NewTimer(c.Grace)
	defer grace.Stop()
	select {
	case <-c.over:
		return
	case <-grace.C:
		c.s.cfg.Log.Warn("child did not stop in time and is killed", "name", c.Name, "pid", l.pid, "grace", c.Grace.String())
		l.signal(syscall.SIGKILL)
	}
	<-c.over
}
