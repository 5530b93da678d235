package dbsync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/dbsync/compare"
	"github.com/atoll-live/atoll/space"
)

// Limits of the answer about tables that are to be listed.
const (
	listingLimit = time.Hour // of all comparisons of one ask, whatever it says
	enoughRows   = 1000      // differing rows of a table after which it is read no further
	enoughTables = 100       // tables that may not be listed, likewise
)

// listing is an ask to compare tables that a document is about to list.
type listing struct {
	id  ackID
	ask *atollv1.Ask
}

// lister answers the asks of step compare, one after another. It needs no
// snapshot, and none of the own server's: the ask says where the tables are.
func (s *Sync) lister(ctx context.Context) {
	for ctx.Err() == nil {
		next := s.changed.next()
		if l := s.listing(); l != nil {
			s.answer(ctx, l)
			continue
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
}

// listing is an ask that is not answered yet, nil when there is none.
func (s *Sync) listing() *listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asks {
		id := ackID{a.GetSpace(), a.GetMove(), a.GetEpoch(), a.GetStep()}
		if id.step == stepCompare && s.done[id] == nil {
			return &listing{id, a}
		}
	}
	return nil
}

// answer compares what an ask names. Nobody waits for it any longer when the
// ask is gone.
func (s *Sync) answer(ctx context.Context, l *listing) {
	limit := time.Duration(l.ask.GetLimitMs()) * time.Millisecond
	if limit <= 0 || limit > listingLimit {
		limit = listingLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.untilDropped(ctx, l.id)
		cancel()
	}()
	defer func() { cancel(); <-gone }()
	a := &atollv1.Ack{Figures: map[string]int64{"rows_compared": 0, "rows_different": 0}}
	for _, c := range l.ask.GetComparisons() {
		err := s.compareListed(ctx, c, a)
		if errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("not done within %v, after %d rows (give it more time: atoll apply --compare-time 10m)", limit, a.Figures["rows_compared"])
		}
		if err != nil {
			a.Error = fmt.Sprintf("Database %s: compare %s with %s: %v", c.GetDatabase(), c.GetFrom().GetUnit(), c.GetTo().GetUnit(), err)
			break
		}
		if len(a.GetDifferences()) >= enoughTables {
			a.Detail = fmt.Sprintf("after %d such tables no more were looked at", enoughTables)
			break
		}
	}
	s.cfg.Log.Info("tables compared for an apply", "call", l.id.move, "rows", a.Figures["rows_compared"], "tables refused", len(a.GetDifferences()), "err", a.GetError())
	s.ack(l.id, a)
}

// untilDropped returns when an ask is no longer on the list, or ctx ends.
func (s *Sync) untilDropped(ctx context.Context, id ackID) {
	for {
		next := s.changed.next()
		s.mu.Lock()
		listed := s.listedLocked(id.space, id.move, id.epoch)
		s.mu.Unlock()
		if !listed {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}

// compareListed adds to an answer which tables of a comparison may not be
// listed: first those of which a lane could not carry every row, then those
// with rows that differ.
func (s *Sync) compareListed(ctx context.Context, c *atollv1.Comparison, a *atollv1.Ack) error {
	from, err := s.opened(c.GetFrom())
	if err != nil {
		return err
	}
	defer from.DB.Close()
	to, err := s.opened(c.GetTo())
	if err != nil {
		return err
	}
	defer to.DB.Close()
	p := &pair{Comparison: c, from: from, to: to}
	if err := p.describe(ctx); err != nil {
		return err
	}
	for _, t := range c.GetTables() {
		if len(a.GetDifferences()) >= enoughTables {
			return nil
		}
		d := &atollv1.TableDifference{Space: c.GetSpace(), Database: c.GetDatabase(), Table: t.GetName()}
		if d.Trouble = p.trouble(t); d.Trouble != "" {
			a.Differences = append(a.Differences, d)
			continue
		}
		r, err := compare.Run(ctx, compare.Table{A: from, B: to, Name: t.GetName(), Key: t.GetKey(), Enough: enoughRows}, s.patience(c, t))
		a.Figures["rows_compared"] += r.Rows
		if err != nil {
			return err
		}
		if r.OddRows > 0 {
			d.Trouble = p.oddKeys(t, r)
			a.Differences = append(a.Differences, d)
			continue
		}
		if r.Different > 0 {
			a.Figures["rows_different"] += r.Different
			d.Different, d.More, d.First = r.Different, r.More, r.First
			a.Differences = append(a.Differences, d)
		}
	}
	return nil
}

func (s *Sync) opened(d *atollv1.DataSource) (compare.Side, error) {
	db, err := open(reached(s.cfg.Reach, &space.DataSource{Unit: d.GetUnit(), Host: d.GetHost(), Port: int(d.GetPort()), User: d.GetUser(),
		PasswordFile: d.GetPasswordFile()}), 2)
	return compare.Side{DB: db, Schema: d.GetDatabase()}, err
}

// patience is how long rows that differ may be on their way: while a lane here
// does not carry the table, nothing brings them.
func (s *Sync) patience(c *atollv1.Comparison, t *atollv1.ComparedTable) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[laneName(c.GetFrom().GetUnit(), c.GetTo().GetUnit())]
	if l == nil || !slices.ContainsFunc(l.spec.Tables, func(o table) bool {
		return o.Name == t.GetName() && o.From == c.GetFrom().GetDatabase() && o.To == c.GetTo().GetDatabase()
	}) {
		return 0
	}
	return s.cfg.Settle
}

// pair is the tables of a comparison as both servers have them.
type pair struct {
	*atollv1.Comparison
	from, to    compare.Side
	there, here map[string]*apply.Description
}

func (p *pair) describe(ctx context.Context) error {
	var names []string
	for _, t := range p.GetTables() {
		names = append(names, t.GetName())
	}
	var err error
	if p.there, err = apply.DescribeAll(ctx, p.from.DB, p.from.Schema, names); err != nil {
		return fmt.Errorf("in %s: %w", p.GetFrom().GetUnit(), err)
	}
	if p.here, err = apply.DescribeAll(ctx, p.to.DB, p.to.Schema, names); err != nil {
		return fmt.Errorf("in %s: %w", p.GetTo().GetUnit(), err)
	}
	return nil
}

// trouble is what keeps the rows of a table from being compared, or a lane from
// carrying them; "" when nothing does.
func (p *pair) trouble(t *atollv1.ComparedTable) string {
	a, b := p.there[t.GetName()], p.here[t.GetName()]
	from, to := p.GetFrom().GetUnit(), p.GetTo().GetUnit()
	switch {
	case a == nil && b == nil:
		return fmt.Sprintf("table %s is neither in %s nor in %s (create it in each unit, then apply again)", t.GetName(), from, to)
	case a == nil:
		return fmt.Sprintf("table %s is not in %s (create it there as in %s, then apply again)", t.GetName(), from, to)
	case b == nil:
		return fmt.Sprintf("table %s is not in %s (create it there as in %s, then apply again)", t.GetName(), to, from)
	}
	for _, side := range []struct {
		unit   string
		d      *apply.Description
		target bool
	}{{from, a, t.GetKind() == string(space.TableUnit)}, {to, b, true}} {
		if list := side.d.Troubles(t.GetKey(), side.target); len(list) > 0 {
			return "in " + side.unit + ": " + strings.Join(list, "; ")
		}
	}
	if !slices.EqualFunc(a.Key, b.Key, strings.EqualFold) {
		return fmt.Sprintf("table %s: its primary key is (%s) in %s and (%s) in %s (make them equal, then apply again)",
			t.GetName(), strings.Join(a.Key, ","), from, strings.Join(b.Key, ","), to)
	}
	if list := unlikeColumns(a, b, from, to); len(list) > 0 {
		return fmt.Sprintf("table %s: its columns differ: %s (make them equal, then apply again)", t.GetName(), strings.Join(list, ", "))
	}
	return ""
}

// oddKeys says which rows stand in the way of knowing the owner: a statement
// about a key that a proxy lets through would change them as well.
func (p *pair) oddKeys(t *atollv1.ComparedTable, r compare.Result) string {
	column, _ := p.there[t.GetName()].KeyColumn(t.GetKey())
	return fmt.Sprintf("table %s holds keys in %s that no proxy lets through, since the column calls them equal to others: "+
		"%d rows in %s and %s, among them those with primary key %s (a key is %s: change them, then apply again)",
		t.GetName(), column.Name, r.OddRows, p.GetFrom().GetUnit(), p.GetTo().GetUnit(), strings.Join(r.Odd, " "), column.Form())
}

// unlikeColumns says which columns are not the same in two units. Their order
// may differ.
func unlikeColumns(a, b *apply.Description, from, to string) []string {
	var out []string
	for i := range a.Columns {
		switch c, o := &a.Columns[i], b.Column(a.Columns[i].Name); {
		case o == nil:
			out = append(out, fmt.Sprintf("%s is not in %s", c.Name, to))
		case c.FullType != o.FullType || c.Charset != o.Charset || c.Collation != o.Collation:
			out = append(out, fmt.Sprintf("%s is %s in %s and %s in %s", c.Name, typeOf(c), from, typeOf(o), to))
		}
	}
	for i := range b.Columns {
		if c := &b.Columns[i]; a.Column(c.Name) == nil {
			out = append(out, fmt.Sprintf("%s is not in %s", c.Name, from))
		}
	}
	return out
}

func typeOf(c *apply.ColumnInfo) string {
	return strings.TrimSpace(c.FullType + " " + c.Collation)
}
