package dbsync

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// Sync is the plane: all lanes into one unit, for all spaces.
type Sync struct {
	cfg     Config
	changed signal // fired after anything that somebody may wait for

	mu      sync.Mutex
	views   map[string]*route.View // space → in force
	catalog *catalog
	lanes   map[string]*lane // wanted by the catalog
	made    int64            // version of what books are made from
	asks    []*atollv1.Ask
	done    map[ackID]*atollv1.Ack // closed, opened, settled, compared
	home    string                 // what keeps the own server from being used, "" when nothing does
	beating bool                   // the own server has Atoll's tables
	running bool
}

var _ console.Plane = (*Sync)(nil)

// New checks the configuration. Run starts the work.
func New(cfg Config) (*Sync, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.fill()
	return &Sync{cfg: cfg, views: map[string]*route.View{}, catalog: &catalog{}, lanes: map[string]*lane{}, done: map[ackID]*atollv1.Ack{}}, nil
}

// Run runs the lanes, heartbeats and asks until ctx ends, and waits for all.
func (s *Sync) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.lister(ctx) })
	wg.Go(func() { s.ender(ctx) })
	running := map[*lane]context.CancelFunc{}
	var homed *server
	stopHome := func() {}
	defer func() { stopHome() }() //nolint:gocritic // the one of the end: each home sets its own
	for {
		next := s.changed.next()
		wanted, home := s.wanted()
		for l, stop := range running {
			if !slices.Contains(wanted, l) {
				stop()
				delete(running, l)
			}
		}
		for _, l := range wanted {
			if running[l] == nil {
				lctx, stop := context.WithCancel(ctx)
				running[l] = stop
				wg.Go(func() { defer stop(); l.run(lctx) })
			}
		}
		if !reflect.DeepEqual(homed, home) {
			stopHome()
			homed = home
			if home != nil {
				hctx, stop := context.WithCancel(ctx)
				stopHome = stop
				wg.Go(func() { s.runHome(hctx, *home) })
			}
		}
		select {
		case <-next:
		case <-ctx.Done():
			for _, stop := range running {
				stop()
			}
			return nil
		}
	}
}

func (s *Sync) wanted() ([]*lane, *server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*lane, 0, len(s.lanes))
	for _, l := range s.lanes {
		out = append(out, l)
	}
	return out, s.catalog.home
}

// Install puts a snapshot in force. Lanes whose tables or servers it changes
// are ended before its epoch shows, and begin anew with them.
func (s *Sync) Install(_ context.Context, snapshot *space.Snapshot) error {
	v, err := route.NewView(snapshot)
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.views[snapshot.Space]
	if old != nil && old.Snapshot.Epoch >= snapshot.Epoch {
		s.mu.Unlock()
		return nil
	}
	s.views[snapshot.Space] = v
	s.recatalogLocked()
	for _, l := range s.lanes {
		var gone []*space.Transfer
		if old != nil {
			gone = old.Snapshot.Moves
		}
		l.keepLocked(snapshot.Space, gone)
	}
	s.pruneLocked()
	s.made++
	s.mu.Unlock()
	s.touch()
	return nil
}

func (s *Sync) recatalogLocked() {
	names := make([]string, 0, len(s.views))
	for name := range s.views {
		names = append(names, name)
	}
	slices.Sort(names)
	views := make([]*route.View, len(names))
	for i, name := range names {
		views[i] = s.views[name]
	}
	s.catalog = newCatalog(s.cfg.Unit, s.cfg.Reach, views)
	for name, spec := range s.catalog.lanes {
		l := s.lanes[name]
		switch {
		case l == nil:
			s.lanes[name] = newLane(s, spec)
		case !reflect.DeepEqual(l.spec, spec):
			l.spec, l.fresh = spec, true
			if l.cancel != nil {
				l.cancel()
			}
		}
	}
	for name, l := range s.lanes {
		if s.catalog.lanes[name] == nil {
			if l.cancel != nil {
				l.cancel()
			}
			delete(s.lanes, name)
		}
	}
}

// touch wakes whoever waits, and lets a report go out.
func (s *Sync) touch() {
	s.changed.fire()
	s.cfg.Changed()
}

// Renew implements console.Plane. Lanes need no lease: what they write is
// judged by its place in the origin's log.
func (s *Sync) Renew(string, int64, time.Duration) {}

func (s *Sync) epoch(name string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.views[name]; v != nil {
		return v.Snapshot.Epoch
	}
	return -1
}

func (s *Sync) version() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made
}

// book makes the book of a lane for one space, from what is in force.
func (s *Sync) book(l *lane, name string) (*book, error) {
	s.mu.Lock()
	v, kept, passed := s.views[name], l.kept[name], slices.Clone(l.passed)
	s.mu.Unlock()
	if v == nil {
		return nil, fmt.Errorf("space %s has no snapshot", name)
	}
	return newBook(l.origin, v, kept, passed), nil
}

// transfer finds the move of a token: in the snapshot, among what the lane
// keeps, or beside an earlier token of it. It is nil for a move that was over
// before this plane looked; then the document shows its result.
func (s *Sync) transfer(l *lane, id tokenID) *space.Transfer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transferLocked(l, id)
}

func (s *Sync) transferLocked(l *lane, id tokenID) *space.Transfer {
	if v := s.views[id.space]; v != nil {
		if m := find(v.Snapshot.Moves, id.move); m != nil {
			return m
		}
	}
	if m := find(l.kept[id.space], id.move); m != nil {
		return m
	}
	for _, t := range l.passed {
		if t.space == id.space && t.move == id.move && t.transfer != nil {
			return t.transfer
		}
	}
	return nil
}

// behind tells whether the lane out of a move's former owner into this unit
// has yet to pass the CLOSE that goes with an OPEN.
func (s *Sync) behind(m *space.Transfer, open *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behindLocked(m, open.tokenID)
}

func (s *Sync) behindLocked(m *space.Transfer, open tokenID) bool {
	if m.From == s.cfg.Unit {
		return false
	}
	sibling := s.lanes[laneName(m.From, s.cfg.Unit)]
	if sibling == nil {
		return false
	}
	return !sibling.hasLocked(tokenID{open.space, open.move, open.epoch, sitedb.TokenClose})
}

// closing tells whether a CLOSE that a lane has come to must wait: the origin
// got its keys by an earlier move, and what the owner before it wrote is still
// on its way here by another lane. The CLOSE says that everything of the keys
// has arrived; it would not be so.
func (s *Sync) closing(l *lane, id tokenID) (open *token, waits bool) {
	if id.kind != sitedb.TokenClose {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.transferLocked(l, id)
	for _, t := range l.passed {
		if t.kind != sitedb.TokenOpen || t.space != id.space {
			continue
		}
		got := s.transferLocked(l, t.tokenID)
		if got != nil && (m == nil || overlap(got, m)) && s.behindLocked(got, t.tokenID) {
			return t, true
		}
	}
	return nil, false
}

func (l *lane) hasLocked(id tokenID) bool {
	return slices.ContainsFunc(l.passed, func(t *token) bool { return t.tokenID == id })
}

// keepLocked decides which moves that have left the snapshot the lane still
// needs: switched ones whose tokens it has yet to pass.
func (l *lane) keepLocked(name string, gone []*space.Transfer) {
	v := l.s.views[name]
	var keep []*space.Transfer
	for _, m := range append(slices.Clone(l.kept[name]), gone...) {
		if v != nil && find(v.Snapshot.Moves, m.ID) != nil || find(keep, m.ID) != nil || m.Outcome != space.OutcomeSwitched {
			continue
		}
		open := tokenID{name, m.ID, m.FenceEpoch, sitedb.TokenOpen}
		closed := tokenID{name, m.ID, m.FenceEpoch, sitedb.TokenClose}
		if m.From == l.origin && !l.hasLocked(closed) || m.To == l.origin && (!l.hasLocked(open) || l.s.behindLocked(m, open)) {
			keep = append(keep, m)
		}
	}
	l.kept[name] = keep
}

// tokensPassed takes note of tokens whose transaction is committed.
func (s *Sync) tokensPassed(l *lane, tokens []*token) {
	s.mu.Lock()
	for _, t := range tokens {
		if !l.hasLocked(t.tokenID) {
			l.passed = append(l.passed, t)
		}
	}
	s.made++
	s.mu.Unlock()
	s.touch()
}
