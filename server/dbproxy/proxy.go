package dbproxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/dbproxy/source"
	"github.com/atoll-live/atoll/space"
)

// Proxy is the database proxy of one unit.
type Proxy struct {
	cfg    Config
	log    *slog.Logger
	prover *prove.Prover
	guard  *guard.Guard
	agent  *console.Agent // nil without consoles
	parks  parks

	figures figures
	state   atomic.Pointer[state]                   // nil before the first tending
	trouble atomic.Pointer[string]                  // of the tending
	center  atomic.Pointer[map[string]prove.Hazard] // of the center's tables, nil before they were read
	asking  atomic.Bool                             // the center is being read
	wake    chan struct{}                           // a nudge for the enforcer, holds one

	mu        sync.Mutex
	changed   chan struct{}         // closed, and replaced, by each Install and each new state
	heldEpoch int64                 // reported in place of the epoch in force, when not 0
	known     []*source.Source      // every server ever used, for closing
	fenced    map[fenceID]time.Time // since when a fence is in force here
	gains     gains
	others    map[string]*space.Snapshot // of spaces that are not served here
	sessions  map[*session]struct{}
	addr      net.Addr

	leaseMu sync.Mutex // makes renewals and lapses one after the other

	work  sync.WaitGroup // sessions and reapers
	ended chan struct{}  // closed when reapers shall end
	next  atomic.Uint32  // connection id towards clients
}

var _ console.Plane = (*Proxy)(nil)

// New checks the configuration. It starts and connects to nothing.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("dbproxy: %w", err)
	}
	cfg.fill()
	if cfg.Incarnation == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		cfg.Incarnation = hex.EncodeToString(b[:])
	}
	prover, err := prove.New(prove.Config{})
	if err != nil {
		return nil, fmt.Errorf("dbproxy: %w", err)
	}
	p := &Proxy{
		cfg: cfg, log: cfg.Log, prover: prover, wake: make(chan struct{}, 1), changed: make(chan struct{}), ended: make(chan struct{}),
		fenced: map[fenceID]time.Time{}, others: map[string]*space.Snapshot{}, sessions: map[*session]struct{}{},
	}
	p.parks.max, p.parks.maxSize = cfg.Limits.ParkedMax, cfg.Limits.ParkedSize
	p.guard = guard.New(cfg.Unit, cfg.Clock, p.poke)
	if len(cfg.Consoles) == 0 {
		return p, nil
	}
	p.agent, err = console.NewAgent(console.Config{
		URLs: cfg.Consoles, Token: cfg.Token, Dir: cfg.Dir, Log: cfg.Log,
		Identity: &atollv1.Plane{Name: cfg.Plane, Kind: "dbproxy", Unit: cfg.Unit, Incarnation: cfg.Incarnation, Address: cfg.Listen},
	}, p)
	if err != nil {
		return nil, fmt.Errorf("dbproxy: %w", err)
	}
	return p, nil
}

// shutdownLimit is how long Run goes on, after its ctx ended, to see
// transactions end. What it cannot see is the next life's to end.
const shutdownLimit = 3 * time.Second

// Run serves until ctx ends, or until it cannot listen or the console refuses
// the plane. When it returns nothing of it runs any more.
func (p *Proxy) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", p.cfg.Listen)
	if err != nil {
		return fmt.Errorf("dbproxy: %w", err)
	}
	p.mu.Lock()
	p.addr = l.Addr()
	p.mu.Unlock()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Sessions and reapers outlive ctx by a bound, to end what they have open.
	late, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	context.AfterFunc(late, func() { close(p.ended) })
	context.AfterFunc(ctx, func() {
		_ = l.Close()
		p.closeSessions()
		time.AfterFunc(shutdownLimit/3, p.cutSessions)
		time.AfterFunc(shutdownLimit, end)
	})
	var wg sync.WaitGroup
	loops := []func(context.Context) error{
		func(ctx context.Context) error { return p.accept(ctx, late, l) }, p.tend, p.enforce, p.sweep,
	}
	if p.agent != nil {
		loops = append(loops, p.agent.Run)
	}
	for _, loop := range loops {
		wg.Go(func() {
			if err := loop(ctx); err != nil {
				stop(err)
			}
		})
	}
	wg.Wait()
	p.work.Wait()
	p.closeSources()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("dbproxy: %w", err)
	}
	return nil
}

// Addr is where applications connect; nil before Run listens.
func (p *Proxy) Addr() net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// Ready says whether the proxy serves: it has a snapshot, and the unit's
// server is its own.
func (p *Proxy) Ready() bool { return p.state.Load() != nil }

func (p *Proxy) accept(ctx, late context.Context, l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the listener was closed because we end
			}
			p.log.Warn("accept failed, going on", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retryMin): // out of files, most likely
			}
			continue
		}
		s := newSession(p, nc)
		if !p.enroll(ctx, s) {
			s.turnAway()
			continue
		}
		p.figures.sessions.Add(1)
		p.work.Go(func() {
			defer p.figures.sessions.Add(-1)
			defer p.forget(s)
			s.serve(late)
		})
	}
}

// enroll adds a session, unless there are too many or the proxy ends.
func (p *Proxy) enroll(ctx context.Context, s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil || len(p.sessions) >= p.cfg.Limits.Connections {
		return false
	}
	p.sessions[s] = struct{}{}
	return true
}

func (p *Proxy) forget(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
}

// closeSessions closes the clients' connections: a session that waits for its
// client then ends in good order.
func (p *Proxy) closeSessions() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.sessions {
		_ = s.client.Close()
	}
}

// cutSessions ends those that still wait for their server.
func (p *Proxy) cutSessions() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.sessions {
		s.stop()
	}
}

func (p *Proxy) closeSources() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.known {
		s.Close()
	}
}

// poke makes the console hear at once, and the enforcer look.
func (p *Proxy) poke() {
	if p.agent != nil {
		p.agent.Poke()
	}
	p.look()
}

// look makes the enforcer look.
func (p *Proxy) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// changes gives the channel that closes when a snapshot or a state comes. Take
// it before deciding by them: then no change is missed.
func (p *Proxy) changes() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *Proxy) signal() {
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
}
