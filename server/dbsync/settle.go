package dbsync

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbsync/compare"
	"github.com/atoll-live/atoll/space"
)

// settleLimit bounds one comparison; beyond it the ack says how far it came.
const settleLimit = 60 * time.Second

// settleAfter is how long a comparison lets the held requests go first, which
// the release of the keys set free at this moment.
const settleAfter = 500 * time.Millisecond

// settler compares the moved keys' rows when a move asks for it.
func (s *Sync) settler(ctx context.Context, at server) error {
	for {
		next := s.changed.next()
		for _, j := range s.due(stepSettle) {
			if err := s.settle(ctx, at, j); err != nil {
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

// settle compares the rows of a move's keys in this unit and in the one that
// gave them. What keeps the other side from being read goes into the ack: the
// move is done all the same.
func (s *Sync) settle(ctx context.Context, at server, j job) error {
	s.mu.Lock()
	l, v := s.lanes[laneName(j.move.From, s.cfg.Unit)], s.views[j.space]
	var spec *laneSpec
	if l != nil {
		spec = l.spec
	}
	s.mu.Unlock()
	a := &atollv1.Ack{Figures: map[string]int64{"rows_compared": 0, "rows_different": 0}}
	if spec == nil {
		a.Detail = "there is no lane between the units"
		s.ack(j.ackID, a)
		return nil
	}
	here, err := open(at, 2)
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := open(spec.Source, 2)
	if err != nil {
		return err
	}
	defer there.Close()
	cctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	select {
	case <-time.After(settleAfter):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var notes []string
	for i := range spec.Tables {
		t := &spec.Tables[i]
		if t.Space != j.space || t.Rule != j.move.Rule || t.Kind != space.TableUnit {
			continue
		}
		r, err := compare.Run(cctx, movedRows(t, v, j.move, there, here), s.cfg.Settle)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.Figures["rows_compared"] += r.Rows
		a.Figures["rows_different"] += r.Different
		if err != nil {
			notes = append(notes, err.Error())
		}
		if r.Different > 0 {
			notes = append(notes, fmt.Sprintf("table %s: %d rows differ, among them %s", t.Name, r.Different, strings.Join(r.First, " ")))
		}
	}
	a.Detail = strings.Join(notes, "; ")
	s.ack(j.ackID, a)
	return nil
}

func movedRows(t *table, v *route.View, m *space.Transfer, there, here *sql.DB) compare.Table {
	c := compare.Table{A: compare.Side{DB: there, Schema: t.From}, B: compare.Side{DB: here, Schema: t.To}, Name: t.Name, Key: t.Key,
		Pick: func(key string) bool { return route.Contains(m.Keys, v.DecideKey(t.Rule, key)) }}
	if len(m.Keys.Buckets) == 0 && len(m.Keys.Prefixes) == 0 {
		c.Keys = m.Keys.Keys
	}
	return c
}
