package dbproxy

import (
	"context"
	"errors"
	"time"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/wire/mysql"
)

// killEvery is how often a statement that does not end is killed again: a
// KILL QUERY that comes just before the statement does is lost.
const killEvery = 50 * time.Millisecond

// press ends t, the open transaction of the session, for a fence whose
// deadline is over. The enforcer calls it again and again until t is over; it
// never blocks.
func (s *session) press(ctx context.Context, t *guard.Tx, transfer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx != t || s.pressed || s.cut {
		return
	}
	now := time.Now()
	if s.pressedAt.IsZero() {
		s.pressedAt = now
	}
	overdue := now.Sub(s.pressedAt) > s.p.cfg.Limits.End
	switch {
	case s.phase == idle:
		s.doom(t, transfer)
		s.pressed = true
		s.p.work.Go(func() { s.rollBackIdle(t) })
	case overdue:
		s.doom(t, transfer)
		s.cutLocked(t)
	case s.phase == running && now.Sub(s.killedAt) > killEvery:
		s.doom(t, transfer)
		s.killedAt, s.pressed = now, true
		s.p.work.Go(func() { s.killQuery(ctx) })
	}
}

func (s *session) doom(t *guard.Tx, transfer string) {
	if t.Doom(transfer) {
		s.p.figures.txKilled.Add(1)
	}
}

// rollBackIdle ends a transaction that waits for its client. Pressed keeps
// the session off the home connection meanwhile.
func (s *session) rollBackIdle(t *guard.Tx) {
	_ = s.home.SetDeadline(time.Now().Add(s.p.cfg.Limits.End))
	err := s.rollback()
	if err == nil {
		err = s.home.SetDeadline(time.Time{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pressed = false
	s.free.Broadcast()
	if err != nil {
		s.cutLocked(t)
		return
	}
	s.tx, s.notice = nil, rolledBack()
	t.End()
}

func (s *session) killQuery(ctx context.Context) {
	err := s.home.source.KillQuery(ctx, s.home.thread)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pressed = false
	s.free.Broadcast()
	if err != nil {
		s.p.log.Warn("statement not killed, trying again", "unit", s.home.source.Unit, "thread", s.home.thread.ID, "err", err)
	}
}

// abandon cuts the session off and leaves t, which may be nil, to a reaper. It
// is false when t is not the session's any more, or the session is cut off.
func (s *session) abandon(t *guard.Tx) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t != s.tx || s.cut {
		return false
	}
	s.cutLocked(t)
	return true
}

// stop cuts the session off whatever it does.
func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home != nil && (s.phase != idle || s.tx != nil) {
		s.cutLocked(s.tx)
	}
}

// sweep cuts the session off when its server has ended the connection between
// two statements.
func (s *session) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home != nil && !s.cut && !s.pressed && s.phase == idle && !s.home.Idle() {
		s.cutLocked(s.tx)
	}
}

// cutLocked closes the connections without an answer. Only a reaper that has
// seen the server thread gone may then say that t is over. The caller holds
// mu.
func (s *session) cutLocked(t *guard.Tx) {
	if s.cut {
		return
	}
	s.cut = true
	close(s.cutoff)
	_ = s.client.Close()
	_ = s.home.Close()
	if t != nil && s.phase != idle {
		s.p.figures.unknownOutcomes.Add(1)
	}
	s.p.reap(s.home.source, s.home.thread, t)
}

// lost is called when the home connection failed in the middle of an answer,
// or the client did: what the server still does is not known.
func (s *session) lost(err error) error {
	s.lockWhenFree()
	defer s.mu.Unlock()
	s.cutLocked(s.tx)
	return errors.Join(errCut, err)
}

// tries of a ROLLBACK: a KILL QUERY that came late can hit it once.
const rollbackTries = 3

// rollback ends the server's transaction, and sees it ended.
func (s *session) rollback() error {
	var err error
	for range rollbackTries {
		if err = s.home.Request(append([]byte{byte(mysql.ComQuery)}, "ROLLBACK"...)); err != nil {
			return err
		}
		var end mysql.Terminal
		if end, err = s.drop(s.home); err != nil {
			return err
		}
		if end.Kind != mysql.EndERR && !end.OK.Status.Has(mysql.StatusInTransaction) {
			return nil
		}
		err = errors.New("the server did not roll back")
		if end.Err != nil {
			err = end.Err
		}
	}
	return err
}

// drop reads an answer that nobody gets.
func (s *session) drop(l *link) (mysql.Terminal, error) {
	r, err := mysql.ReadResponse(l.Conn, l.Capabilities)
	if err != nil {
		return mysql.Terminal{}, err
	}
	return r.Stream(nil)
}

// settle decides, once the server's answer is complete but for its end, what
// becomes of the open transaction. A refusal stands in place of the end of
// the answer. Either way the home connection is free afterwards.
func (s *session) settle(plan *prove.Plan, end *mysql.Terminal) (*prove.Refusal, error) {
	// From here on the connection may be read again before the client has the
	// end of its answer: for a ping, a ROLLBACK, or by the enforcer once the
	// session is idle.
	s.end = append(s.end[:0], end.Payload...)
	end.Payload = s.end
	failed, open := end.Kind == mysql.EndERR, s.inTransaction()
	if err := s.follow(end); err != nil {
		return nil, s.lost(err)
	}
	if !open || !failed && commits(plan) {
		s.began = s.deciding
	}
	s.lockWhenFree()
	if s.cut {
		s.mu.Unlock()
		return nil, errCut
	}
	t := s.tx
	over := !s.inTransaction() || !failed && commits(plan)
	if t == nil || t.MayCommit() {
		s.phase = idle
		if over {
			s.tx = nil
		}
		s.mu.Unlock()
		if t != nil && over {
			t.End()
		}
		return nil, nil
	}
	s.phase, s.pressedAt = ending, time.Time{}
	s.mu.Unlock()
	return s.settleDoomed(t, !failed && over)
}

// settleDoomed ends a transaction that a fence, or a lapsed lease, has doomed
// while its statement ran. What the server has committed before is committed:
// it is in front of the barrier, and the client hears so.
func (s *session) settleDoomed(t *guard.Tx, committed bool) (*prove.Refusal, error) {
	if t.DoomedBy() == "" || !s.p.leaseHolds() {
		s.abandon(t)
		return nil, errCut
	}
	if err := s.rollback(); err != nil {
		return nil, s.lost(err)
	}
	s.status &^= mysql.StatusInTransaction
	s.over(t)
	if committed {
		return nil, nil
	}
	return rolledBack(), nil
}

// follow reads the state of the session from the end of an answer. An error
// packet carries none, so the server is asked when it matters.
func (s *session) follow(end *mysql.Terminal) error {
	if end.Kind != mysql.EndERR {
		s.status = end.OK.Status
		return nil
	}
	if !s.inTransaction() && s.status.Has(mysql.StatusAutocommit) {
		return nil // the statement was alone, and is not done
	}
	if err := s.home.Request([]byte{byte(mysql.ComPing)}); err != nil {
		return err
	}
	pong, err := s.drop(s.home)
	if err == nil && pong.Kind == mysql.EndOK {
		s.status = pong.OK.Status
	}
	return err
}

// commits says whether a statement that succeeded has ended the transaction
// before it, whatever it began itself.
func commits(plan *prove.Plan) bool {
	if plan == nil {
		return false
	}
	switch plan.Class {
	case prove.Begin, prove.Commit, prove.Rollback:
		return true
	}
	return plan.ImplicitCommit || plan.Autocommit == prove.On
}
