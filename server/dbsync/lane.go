package dbsync

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/space"
)

// Sides of a lane that may have something to say.
const (
	sessionSide = iota // the start: connections, prechecks
	linkSide           // the reader
	applySide          // the applier
	sides
)

// counts of one lane since the plane started.
type counts struct {
	groups, rows, packs, retries, redials int64
}

// lane copies from one other unit into this one, for as long as the snapshots
// want it.
type lane struct {
	s      *Sync
	name   string
	origin string

	mu         sync.Mutex
	reasons    [sides]string // why it waits; empty: it does not
	stopped    bool          // somebody has to mend something
	at         binlog.Position
	beat       time.Time // of the last heartbeat applied, by the origin's clock
	since      time.Time // of the session, stands in for beat before the first
	counts     counts
	queue      *queue
	parked     []parkedKey
	shown      []*atollv1.ParkedRow // the first of parked, for people, as last read
	parkedSaid time.Time            // when the log last spoke of them

	// Guarded by Sync.mu: sibling lanes and acks read them.
	spec   *laneSpec
	cancel context.CancelFunc // of the session that runs, with spec
	passed []*token           // loaded from the target, then kept with it
	loaded bool
	kept   map[string][]*space.Transfer // space → moves that the lane needs beyond the snapshot
	fresh  bool                         // spec changed since the last session began
}

func newLane(s *Sync, spec *laneSpec) *lane {
	return &lane{s: s, name: spec.Name, origin: spec.Origin, spec: spec, kept: map[string][]*space.Transfer{}, since: time.Now()}
}

func (l *lane) say(side int, reason string) {
	l.mu.Lock()
	changed := l.reasons[side] != reason
	l.reasons[side] = reason
	l.mu.Unlock()
	if changed && reason != "" {
		l.s.cfg.Log.Info("lane waits", "lane", l.name, "reason", reason)
	}
}

func (l *lane) count(f func(*counts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.counts)
}

// waiting waits until cond holds, which something that fires s.changed makes
// true. It shows the reason meanwhile. There is no deadline: to go on without
// cond would lose or overwrite rows.
func (l *lane) waiting(ctx context.Context, side int, reason string, cond func() bool) error {
	said := false
	for {
		next := l.s.changed.next()
		if cond() {
			// Install ends a session before the new epoch shows: a session that is
			// still on has the right tables.
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if said {
				l.say(side, "")
			}
			return nil
		}
		if !said {
			said = true
			l.say(side, reason)
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// run holds sessions until ctx ends.
func (l *lane) run(ctx context.Context) {
	delay := retryFirst
	for ctx.Err() == nil {
		sctx, spec := l.begin(ctx)
		started := time.Now()
		err := l.session(sctx, spec)
		replaced := sctx.Err() != nil
		l.end()
		if ctx.Err() != nil {
			return
		}
		if replaced {
			delay = retryFirst
			continue
		}
		if time.Since(started) > 10*time.Second {
			delay = retryFirst
		}
		if !l.rest(ctx, err, delay) {
			return
		}
		delay = min(2*delay, retryMost)
	}
}

// rest waits before the next session: for long when somebody has to act, and
// until the lane is wanted differently when another worker has it.
func (l *lane) rest(ctx context.Context, err error, delay time.Duration) bool {
	stale := errors.Is(err, apply.ErrStale)
	refused := errors.Is(err, binlog.ErrRefused)
	if refused {
		delay = retryRefused
	}
	text := strings.TrimPrefix(err.Error(), binlog.ErrRefused.Error()+": ")
	l.mu.Lock()
	l.stopped = stale || refused
	l.mu.Unlock()
	l.say(sessionSide, text)
	l.s.touch()
	next := l.s.changed.next()
	timer := time.NewTimer(delay/2 + rand.N(delay))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			if !stale {
				return true
			}
		case <-next:
			next = l.s.changed.next()
			if l.replaced() {
				return true
			}
		}
	}
}

// begin opens a session by the spec of now.
func (l *lane) begin(ctx context.Context) (context.Context, *laneSpec) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	sctx, cancel := context.WithCancel(ctx)
	l.cancel, l.fresh = cancel, false
	return sctx, l.spec
}

func (l *lane) end() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.cancel()
	l.cancel = nil
}

// replaced tells whether the spec changed while no session was on.
func (l *lane) replaced() bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return l.fresh
}

// session runs the lane by one spec, until ctx ends or something fails.
func (l *lane) session(ctx context.Context, spec *laneSpec) error {
	target, err := open(spec.Target, 3)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := l.load(ctx, target); err != nil {
		return err
	}
	source, err := openWithin(spec.Source, 4, 2*l.s.cfg.Idle)
	if err != nil {
		return err
	}
	defer source.Close()
	known, err := precheck(ctx, spec, source, target)
	if err != nil {
		return err
	}
	if err := l.first(ctx, spec, source, target); err != nil {
		return err
	}
	a := newApplier(l, spec, target, source, known)
	defer a.target.Close()
	mark, err := a.target.Take(ctx)
	if err != nil {
		return err
	}
	from, err := binlog.ParsePosition(mark.Position)
	if err != nil {
		return fmt.Errorf("checkpoint of lane %s: %w", l.name, err)
	}
	q := newQueue(l.s.cfg.QueueBytes)
	l.mu.Lock()
	l.reasons, l.stopped, l.at, l.queue, l.since = [sides]string{}, false, from, q, time.Now()
	l.mu.Unlock()
	l.s.touch()
	password, err := readPassword(spec.Source.PasswordFile)
	if err != nil {
		return err
	}
	src := binlog.Source{Addr: spec.Source.Addr, User: spec.Source.User, Password: password,
		ServerID: readerID(spec), Idle: l.s.cfg.Idle, MaxGroup: l.s.cfg.GroupBytes}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return newReader(l, spec, q).run(gctx, src, from) })
	g.Go(func() error { return a.run(gctx, q, from) })
	return g.Wait()
}

// readerID is the server id that a lane shows to its source. It is the same at
// each start, so that the source ends what a former life left open, and far
// from the small numbers that people give to servers.
func readerID(spec *laneSpec) uint32 {
	h := fnv.New32a()
	h.Write([]byte(spec.Name + "@" + spec.Target.Addr))
	return h.Sum32() | 1<<31
}

func readPassword(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

func open(s server, connections int) (*sql.DB, error) { return openWithin(s, connections, 0) }

// openWithin bounds what a statement may take: over a link that hangs the
// default would be long.
func openWithin(s server, connections int, limit time.Duration) (*sql.DB, error) {
	password, err := readPassword(s.PasswordFile)
	if err != nil {
		return nil, err
	}
	return apply.Open(apply.Server{Addr: s.Addr, User: s.User, Password: password, Timeout: limit}, connections)
}
