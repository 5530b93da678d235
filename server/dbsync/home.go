package dbsync

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// ackID names what an ask wants done once.
type ackID struct {
	space, move string
	epoch       int64
	step        string
}

// Steps of asks and acks.
const (
	stepClose   = "close"
	stepOpen    = "open"
	stepSettle  = "settle"
	stepCompare = "compare" // of an apply, not of a move
	stepEnd     = "end"     // of a proxy that is forgotten

	ackClosed   = "closed"
	ackOpened   = "opened"
	ackSettled  = "settled"
	ackCompared = "compared"
	ackEnded    = "ended"
	ackPassed   = "passed"
	// ackThrough says that a lane has passed a move's OPEN: the move may leave
	// the snapshot once every lane has said so.
	ackThrough = "passed-open"
)

var ackOf = map[string]string{stepClose: ackClosed, stepOpen: ackOpened, stepSettle: ackSettled, stepCompare: ackCompared, stepEnd: ackEnded}

// runHome works in the own unit's database: heartbeats, tokens, comparisons.
func (s *Sync) runHome(ctx context.Context, at server) {
	delay := retryFirst
	for ctx.Err() == nil {
		started := time.Now()
		err := s.homeSession(ctx, at)
		if ctx.Err() != nil {
			return
		}
		s.setHome(fmt.Sprintf("own database: %v", err))
		if time.Since(started) > 10*time.Second {
			delay = retryFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay/2 + rand.N(delay)):
		}
		delay = min(2*delay, retryMost)
	}
}

func (s *Sync) setHome(trouble string) {
	s.mu.Lock()
	changed := s.home != trouble
	s.home, s.beating = trouble, trouble == ""
	s.mu.Unlock()
	if changed {
		if trouble != "" {
			s.cfg.Log.Warn("own database", "unit", s.cfg.Unit, "trouble", trouble)
		}
		s.touch()
	}
}

func (s *Sync) homeSession(ctx context.Context, at server) error {
	db, err := open(at, 4)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := createSchema(ctx, db); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.beats(gctx, db) })
	g.Go(func() error { return s.clerk(gctx, db) })
	g.Go(func() error { return s.keeper(gctx, db) })
	g.Go(func() error { return s.settler(gctx, at) })
	return g.Wait()
}

// beats writes the own heartbeat, from which the lanes out of this unit
// elsewhere measure their lag.
func (s *Sync) beats(ctx context.Context, db *sql.DB) error {
	tick := time.NewTicker(s.cfg.Beat)
	defer tick.Stop()
	for {
		_, err := db.ExecContext(ctx, "INSERT INTO "+sitedb.Schema+".heartbeat (unit, seq, at) VALUES (?,1,UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE seq=seq+1, at=VALUES(at)", s.cfg.Unit)
		if err != nil {
			return fmt.Errorf("write heartbeat: %w", err)
		}
		s.setHome("")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// parkedEvery is how often parked rows are read again while there are some.
const parkedEvery = time.Second

// clerk writes the tokens that are asked for, and finds those that a former
// life wrote.
func (s *Sync) clerk(ctx context.Context, db *sql.DB) error {
	looked := map[ackID]bool{}
	for {
		next := s.changed.next()
		for _, m := range s.involved() {
			if !looked[m] {
				if err := s.recall(ctx, db, m); err != nil {
					return err
				}
				looked[m] = true
			}
		}
		for _, a := range s.due(stepClose, stepOpen) {
			if err := s.writeToken(ctx, db, a); err != nil {
				return err
			}
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// keeper stores bases and reads parked rows. It stands apart from the clerk: a
// move waits for tokens, and for nothing else here.
func (s *Sync) keeper(ctx context.Context, db *sql.DB) error {
	based := map[baseKey]int64{}
	timer := time.NewTicker(parkedEvery)
	defer timer.Stop()
	for {
		next := s.changed.next()
		if err := s.storeBases(ctx, db, based); err != nil {
			return err
		}
		select {
		case <-next:
		case <-timer.C:
			if err := s.refreshParked(ctx, db); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// involved lists the fenced moves that may have asked this unit for tokens, as
// ids without a step.
func (s *Sync) involved() []ackID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ackID
	for name, v := range s.views {
		for _, m := range v.Snapshot.Moves {
			if m.FenceEpoch > 0 && s.closes(v, m) {
				out = append(out, ackID{space: name, move: m.ID, epoch: m.FenceEpoch})
			}
		}
	}
	return out
}

// closes tells whether a move asks this unit for CLOSE or BARRIER: its ends, and
// the center, whose lane into the new owner is waited for.
func (s *Sync) closes(v *route.View, m *space.Transfer) bool {
	return m.From == s.cfg.Unit || m.To == s.cfg.Unit || v.Center() == s.cfg.Unit
}

// recall acks what the own token table already shows.
func (s *Sync) recall(ctx context.Context, db *sql.DB, id ackID) error {
	rows, err := db.QueryContext(ctx, "SELECT kind FROM "+sitedb.Schema+".token WHERE space=? AND move=? AND epoch=? AND unit=?", id.space, id.move, id.epoch, s.cfg.Unit)
	if err != nil {
		return fmt.Errorf("read own tokens: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		if err := rows.Scan(&kind); err != nil {
			return fmt.Errorf("read own tokens: %w", err)
		}
		done := id
		done.step = stepClose
		if kind == sitedb.TokenOpen {
			done.step = stepOpen
		}
		s.ack(done, &atollv1.Ack{})
	}
	return rows.Err()
}

// job is an ask that can be done now.
type job struct {
	ackID
	move *space.Transfer
}

// due lists the asks of some steps that are neither done nor too early: the
// snapshot that the ask follows from must be in force here.
func (s *Sync) due(steps ...string) []job {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []job
	for _, a := range s.asks {
		id := ackID{a.GetSpace(), a.GetMove(), a.GetEpoch(), a.GetStep()}
		v := s.views[id.space]
		if !slices.Contains(steps, id.step) || s.done[id] != nil || v == nil {
			continue
		}
		m := find(v.Snapshot.Moves, id.move)
		if m == nil || m.FenceEpoch != id.epoch {
			continue
		}
		mine := m.To == s.cfg.Unit && m.Outcome == space.OutcomeSwitched
		if id.step == stepClose {
			mine = s.closes(v, m) && m.Outcome == space.OutcomeNone
		}
		if mine {
			out = append(out, job{id, m})
		}
	}
	return out
}

// writeToken writes the token of an ask into the own database. Asked again it
// writes nothing, so that the token keeps its place.
func (s *Sync) writeToken(ctx context.Context, db *sql.DB, j job) error {
	kind := sitedb.TokenOpen
	if j.step == stepClose {
		kind = sitedb.TokenBarrier
		if j.move.From == s.cfg.Unit {
			kind = sitedb.TokenClose
		}
	}
	_, err := db.ExecContext(ctx, "INSERT IGNORE INTO "+sitedb.Schema+".token (space, move, epoch, kind, unit, at) VALUES (?,?,?,?,?,UTC_TIMESTAMP(6))",
		j.space, j.ackID.move, j.epoch, kind, s.cfg.Unit)
	if err != nil {
		return fmt.Errorf("write %s of move %s: %w", kind, j.ackID.move, err)
	}
	var position sql.NullString
	if err := db.QueryRowContext(ctx, "SELECT @@gtid_binlog_pos").Scan(&position); err != nil {
		return fmt.Errorf("read own position: %w", err)
	}
	s.cfg.Log.Info("token written", "space", j.space, "move", j.ackID.move, "epoch", j.epoch, "kind", kind, "position", position.String)
	s.ack(j.ackID, &atollv1.Ack{Detail: position.String})
	return nil
}

func (s *Sync) ack(id ackID, a *atollv1.Ack) {
	a.Space, a.Move, a.Epoch, a.Step = id.space, id.move, id.epoch, ackOf[id.step]
	s.mu.Lock()
	if s.done[id] == nil {
		s.done[id] = a
	}
	s.mu.Unlock()
	s.touch()
}

func (s *Sync) refreshParked(ctx context.Context, db *sql.DB) error {
	lanes, _ := s.wanted()
	for _, l := range lanes {
		if l.parkedRows() > 0 {
			if err := l.loadParked(ctx, db); err != nil {
				return err
			}
		}
	}
	return nil
}
