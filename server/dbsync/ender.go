package dbsync

import (
	"context"
	"fmt"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/sitedb"
)

const (
	// endLimit bounds the ending of a dead proxy's threads, whatever the ask says.
	endLimit = time.Minute
	// deadFor is how long a proxy must open no new session after that. One that
	// lives, though nobody hears it, has clients that come again.
	deadFor = time.Second
)

// ender answers the asks of step end: what a proxy of this unit that is gone
// for good has left at the unit's server is ended, and seen gone. A statement
// of it that waits for a row could otherwise be done behind a fence that
// nobody counts it in.
func (s *Sync) ender(ctx context.Context) {
	for ctx.Err() == nil {
		next := s.changed.next()
		if a, at, ok := s.ending(); ok {
			s.end(ctx, a, at)
			continue
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
}

// ending is an ask that is not answered yet, with the unit's server, nil when
// no document names one. Before the first snapshot that is not known.
func (s *Sync) ending() (a *atollv1.Ask, at *server, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asks {
		if a.GetStep() == stepEnd && s.done[endID(a)] == nil && len(s.views) > 0 {
			return a, s.catalog.home, true
		}
	}
	return nil, nil, false
}

func endID(a *atollv1.Ask) ackID { return ackID{a.GetSpace(), a.GetMove(), a.GetEpoch(), stepEnd} }

func (s *Sync) end(ctx context.Context, ask *atollv1.Ask, at *server) {
	limit := time.Duration(ask.GetLimitMs()) * time.Millisecond
	if limit <= 0 || limit > endLimit {
		limit = endLimit
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a := &atollv1.Ack{Figures: map[string]int64{"threads_ended": 0}}
	if at != nil {
		n, err := endThreads(bounded, *at, ask.GetPlane())
		if ctx.Err() != nil {
			return
		}
		a.Figures["threads_ended"] = int64(n)
		if err != nil {
			a.Error = err.Error()
		}
	}
	s.cfg.Log.Info("server threads of a dead proxy ended", "plane", ask.GetPlane(), "threads", a.Figures["threads_ended"], "err", a.GetError())
	s.ack(endID(ask), a)
}

// endThreads ends all that a proxy has marked, and gives how many threads were
// seen gone. A proxy that goes on marking others is not dead.
func endThreads(ctx context.Context, at server, plane string) (n int, err error) {
	db, err := open(at, 1)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	marks, err := sitedb.Marks(ctx, db, plane, "")
	if err != nil {
		return 0, err
	}
	for _, m := range marks {
		if err := m.SeeGone(ctx, db); err != nil {
			return n, fmt.Errorf("end server thread %d of %s: %w", m.ID, plane, err)
		}
		if err := m.Drop(ctx, db); err != nil {
			return n, err
		}
		n++
	}
	select {
	case <-time.After(deadFor):
	case <-ctx.Done():
		return n, context.Cause(ctx)
	}
	if marks, err = sitedb.Marks(ctx, db, plane, ""); err == nil && len(marks) > 0 {
		err = fmt.Errorf("%s lives: it has opened %d sessions meanwhile (stop the process)", plane, len(marks))
	}
	return n, err
}
