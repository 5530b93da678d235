package mover

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/server/pause"
)

// Mover is one console's part in all moves. Every console answers the Moves
// service and says what planes are asked; the one that leads drives.
type Mover struct {
	cfg   Config
	begun time.Time
	newID func(time.Time) string // names a move

	mu       sync.Mutex
	moves    map[string]known      // by move id: as persisted
	live     map[string]move.State // by move id: as its driver here has it, with answers that are not persisted
	heard    map[string]hearing    // by plane name
	wishes   map[string]string     // move id → who wants it aborted
	drivers  map[string]*driver    // by move id
	progress chan struct{}         // closed and replaced at each change of a move
	asked    chan struct{}         // closed and replaced at each change of what is persisted
	filled   chan struct{}         // closed once the store was read
	stopped  chan struct{}         // closed when Run ends
}

var _ atollv1connect.MovesHandler = (*Mover)(nil)

// known is a move as it stands in the store.
type known struct {
	state    move.State
	revision int64
}

// hearing is the newest report of a plane.
type hearing struct {
	plane  *atollv1.Plane
	report *atollv1.ReportRequest // not to be changed
	at     time.Time
}

// New returns a mover that does nothing before Run.
func New(cfg Config) (*Mover, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	return &Mover{
		cfg: cfg, begun: cfg.Clock(), newID: newID, moves: map[string]known{}, live: map[string]move.State{}, heard: map[string]hearing{},
		wishes: map[string]string{}, drivers: map[string]*driver{},
		progress: make(chan struct{}), asked: make(chan struct{}), filled: make(chan struct{}), stopped: make(chan struct{}),
	}, nil
}

// Run follows the store, and drives moves while this console leads, until ctx
// ends. A move that is not over then is resumed by the next leader. Run is
// called once.
func (m *Mover) Run(ctx context.Context) error {
	defer close(m.stopped)
	var wg sync.WaitGroup
	wg.Go(func() { m.follow(ctx) })
	wg.Go(func() { m.lead(ctx) })
	wg.Wait()
	return nil
}

// Ready is closed once the mover has read the store.
func (m *Mover) Ready() <-chan struct{} { return m.filled }

func (m *Mover) now() time.Time { return m.cfg.Clock().UTC() }

// Heard takes a plane's report. It does not block.
func (m *Mover) Heard(plane *atollv1.Plane, report *atollv1.ReportRequest) {
	h := hearing{plane: plane, report: report, at: m.cfg.Clock()}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard[plane.GetName()] = h
	for _, d := range m.drivers {
		d.newsLocked(plane.GetName())
	}
}

// Asks is all that the moves want of a plane now, by space and move. It
// follows from what is persisted alone, so every console gives the same.
func (m *Mover) Asks(plane *atollv1.Plane) []*atollv1.Ask {
	m.mu.Lock()
	defer m.mu.Unlock()
	var asks []*atollv1.Ask
	for id, k := range m.moves {
		if step := k.state.Ask(plane.GetKind(), plane.GetUnit()); step != "" {
			asks = append(asks, &atollv1.Ask{Space: k.state.Space, Move: id, Epoch: k.state.FenceEpoch, Step: step})
		}
	}
	slices.SortFunc(asks, func(a, b *atollv1.Ask) int {
		if c := strings.Compare(a.GetSpace(), b.GetSpace()); c != 0 {
			return c
		}
		return strings.Compare(a.GetMove(), b.GetMove())
	})
	return asks
}

// Changed returns a channel that is closed when Asks may answer otherwise.
func (m *Mover) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// progressed returns a channel that is closed at the next change of any move.
func (m *Mover) progressed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.progress
}

func (m *Mover) progressLocked() {
	close(m.progress)
	m.progress = make(chan struct{})
}

// keep takes a move as it stands in the store, unless a later writing of it is
// known already.
func (m *Mover) keep(s move.State, revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moves[s.ID].revision >= revision {
		return
	}
	m.moves[s.ID] = known{s, revision}
	if s.Phase.Over() {
		delete(m.live, s.ID)
		delete(m.wishes, s.ID)
	}
	m.dropEndedLocked()
	close(m.asked)
	m.asked = make(chan struct{})
	m.progressLocked()
}

// dropEndedLocked keeps the memory of ended moves bounded. They are kept at
// all so that a late word of the store does not revive one.
func (m *Mover) dropEndedLocked() {
	ended := slices.DeleteFunc(slices.Collect(maps.Keys(m.moves)), func(id string) bool { return !m.moves[id].state.Phase.Over() })
	if len(ended) <= endedKnown {
		return
	}
	slices.SortFunc(ended, func(a, b string) int { return int(m.moves[a].revision - m.moves[b].revision) })
	for _, id := range ended[:len(ended)-endedKnown] {
		delete(m.moves, id)
	}
}

// show makes a driver's view of its move visible here.
func (m *Mover) show(s move.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !s.Phase.Over() {
		m.live[s.ID] = s
	}
	m.progressLocked()
}

// hide ends the view of a driver that drives no longer.
func (m *Mover) hide(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, id)
	delete(m.drivers, id)
	m.progressLocked()
}

// see is a move as this console knows it, the driver's view first.
func (m *Mover) see(id string) (move.State, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.live[id]; ok {
		return s, true
	}
	k, ok := m.moves[id]
	return k.state, ok
}

// active lists the moves that are not over, as persisted, the oldest first.
func (m *Mover) active() []move.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []move.State
	for _, k := range m.moves {
		if !k.state.Phase.Over() {
			list = append(list, k.state)
		}
	}
	slices.SortFunc(list, func(a, b move.State) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// lead drives the moves whenever this console is the leader.
func (m *Mover) lead(ctx context.Context) {
	for ctx.Err() == nil {
		l, err := store.Campaign(ctx, m.cfg.Store, "mover", m.cfg.Member, m.cfg.LeaderTTL)
		if err != nil {
			if ctx.Err() == nil {
				m.cfg.Log.Warn("mover does not get to lead, trying again", "err", err)
				pause.For(ctx, retryMax)
			}
			continue
		}
		m.cfg.Log.Info("mover leads", "member", m.cfg.Member, "term", l.Term())
		m.drive(ctx, l)
		// The lease ends by itself if this does not reach the store.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		if err := l.Resign(stop); err != nil {
			m.cfg.Log.Warn("mover resigned without the store", "err", err)
		}
		cancel()
	}
}

// drive runs a driver for each move that is not over, until the leadership
// ends, and waits for all of them.
func (m *Mover) drive(ctx context.Context, l *store.Leadership) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	select {
	case <-m.filled:
	case <-ctx.Done():
		return
	}
	for {
		changed := m.progressed()
		for _, s := range m.active() {
			d := m.newDriver(s, l)
			if d == nil {
				continue
			}
			wg.Go(func() {
				defer m.hide(d.id)
				if err := d.run(ctx); err != nil && ctx.Err() == nil {
					m.cfg.Log.Warn("move is not driven here any more", "move", d.id, "err", err)
					cancel() // another console may lead; if not, this one campaigns again
				}
			})
		}
		select {
		case <-changed:
		case <-l.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// newDriver returns nil for a move that has a driver.
func (m *Mover) newDriver(s move.State, l *store.Leadership) *driver {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drivers[s.ID] != nil {
		return nil
	}
	d := &driver{m: m, leader: l, space: s.Space, id: s.ID, wake: make(chan struct{}, 1), news: map[string]bool{}}
	m.drivers[s.ID] = d
	return d
}
