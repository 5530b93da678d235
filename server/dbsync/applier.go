package dbsync

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/server/keytext"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// applier takes the groups of a lane's queue, in order, judges their rows and
// commits them into the target, joined into packs. One goroutine uses it.
type applier struct {
	lane   *lane
	spec   *laneSpec
	target *apply.Target

	tables map[[2]string]*table
	keys   keyColumns
	known  map[*binlog.Table]*carry // by the table map they came with
	books  map[string]*booked       // space → the book in use

	pack     pack
	position binlog.Position // after all that was taken from the queue
	beat     time.Time       // of the last heartbeat taken
	stored   string          // position in the marker row
	storedAt time.Time
}

// carry is what the applier knows of a source table in one shape.
type carry struct {
	t      *table
	key    int            // column of the sharding key, -1: none
	column keytext.Column // the same, as the source describes it
}

// booked is a book and what it was made from.
type booked struct {
	*book
	version int64
}

// pack is what becomes the next target transaction.
type pack struct {
	changes []*binlog.Change
	parked  []parkedRow
	own     []string
	tokens  []*token
	groups  int
	bytes   int
}

func newApplier(l *lane, spec *laneSpec, target, source *sql.DB, of *found) *applier {
	a := &applier{lane: l, spec: spec, keys: of.keys, tables: map[[2]string]*table{}, known: map[*binlog.Table]*carry{}, books: map[string]*booked{}}
	for i := range spec.Tables {
		t := &spec.Tables[i]
		a.tables[[2]string{t.From, t.Name}] = t
	}
	names := func(t *binlog.Table) (string, string) {
		return a.tables[[2]string{t.Schema, t.Name}].To, t.Name
	}
	describe := func(ctx context.Context, schema, table string) (*apply.Description, error) {
		return apply.Describe(ctx, source, schema, table)
	}
	a.target = apply.NewTarget(target, l.name, names, describe, of.charsets)
	return a
}

// run applies until ctx ends, the queue brings a refusal, or the target fails
// for good.
func (a *applier) run(ctx context.Context, q *queue, from binlog.Position) error {
	a.position, a.stored, a.storedAt = from, from.String(), time.Now()
	timer := time.NewTimer(checkpointEvery)
	defer timer.Stop()
	for {
		g := q.try()
		if g == nil {
			// Nothing is queued: what is packed goes out at once.
			if err := a.flush(ctx); err != nil {
				return err
			}
			timer.Reset(checkpointEvery)
			var err error
			if g, err = q.take(ctx, timer); err != nil {
				return err
			}
		}
		if err := a.step(ctx, g); err != nil {
			return err
		}
	}
}

// step takes one group, or nil when the lane is idle.
func (a *applier) step(ctx context.Context, g *group) error {
	if g == nil {
		return a.checkpoint(ctx)
	}
	if g.fail != nil {
		if err := a.flush(ctx); err != nil {
			return err
		}
		return g.fail
	}
	if len(g.changes) > 0 {
		if err := a.add(ctx, g); err != nil {
			return err
		}
	}
	for _, t := range g.tokens {
		if err := a.token(ctx, t, g.Pos.String()); err != nil {
			return err
		}
	}
	a.position = g.Pos
	if !g.beat.IsZero() {
		a.beat = g.beat
	}
	if len(g.tokens) > 0 || a.full() {
		return a.flush(ctx)
	}
	if a.pack.groups == 0 {
		a.show(0, 0)
		return a.checkpoint(ctx)
	}
	return nil
}

func (a *applier) full() bool {
	p := &a.pack
	return p.groups >= packGroups || p.bytes >= packBytes || len(p.changes)+len(p.parked) >= packRows
}

// checkpoint stores the position of an idle lane now and then, so that a
// restart does not read everything again.
func (a *applier) checkpoint(ctx context.Context) error {
	if time.Since(a.storedAt) < checkpointEvery {
		return nil
	}
	if a.position.String() == a.stored {
		a.storedAt = time.Now()
		return nil
	}
	return a.commit(ctx)
}

// add judges a group's rows and packs them.
func (a *applier) add(ctx context.Context, g *group) error {
	p := &a.pack
	if p.groups > 0 && (len(p.changes)+len(g.changes) > packRows || p.bytes+g.Bytes > packBytes) {
		if err := a.flush(ctx); err != nil {
			return err
		}
	}
	var parked []parkedRow
	good := g.changes[:0]
	for _, ch := range g.changes {
		c, err := a.carry(ch.Table)
		if err != nil {
			return err
		}
		if c.t.Kind == space.TableUnit {
			j, key, err := a.judge(ctx, c, ch)
			if err != nil {
				return err
			}
			if j.verdict != owned {
				parked = append(parked, newParked(c.t, ch, key, j))
				continue
			}
		}
		good = append(good, ch)
	}
	if err := a.room(len(parked)); err != nil {
		return err
	}
	p.changes, p.parked = append(p.changes, good...), append(p.parked, parked...)
	for _, row := range parked {
		p.own = append(p.own, row.sql(a.lane.name, g.Pos.String()))
	}
	p.groups++
	p.bytes += g.Bytes
	return nil
}

func (a *applier) carry(t *binlog.Table) (*carry, error) {
	if c := a.known[t]; c != nil {
		return c, nil
	}
	if len(a.known) > 4096 {
		clear(a.known)
	}
	c := &carry{t: a.tables[[2]string{t.Schema, t.Name}], key: -1}
	c.column = a.keys[c.t]
	if c.t.Kind == space.TableUnit {
		if c.key = t.Index(c.t.Key); c.key < 0 {
			return nil, fmt.Errorf("%w: table %s.%s: it has no column %s, which the Database names as its key (add it, or mend the Database)",
				binlog.ErrRefused, t.Schema, t.Name, c.t.Key)
		}
		if n := t.Columns[c.key].Fixed(); n > 0 && c.column.Type == keytext.Binary {
			c.column.Length = n // here; the server may have changed it since
		}
	}
	a.known[t] = c
	return c, nil
}

// judge answers for one change. When it changes the key itself, both keys must
// be the origin's.
func (a *applier) judge(ctx context.Context, c *carry, ch *binlog.Change) (judgement, string, error) {
	var j judgement
	var key string
	for _, row := range []binlog.Row{ch.Before, ch.After} {
		if row == nil {
			continue
		}
		next := ""
		if row[c.key] != nil {
			var ok bool
			if next, ok = apply.KeyText(&ch.Table.Columns[c.key], &c.column, row[c.key]); !ok && next != "" {
				return judgement{verdict: foreign, odd: true}, next, nil
			}
		}
		if next == key && next != "" {
			continue
		}
		key = next
		var err error
		if j, err = a.decide(ctx, c.t, key); err != nil || j.verdict != owned {
			return j, key, err
		}
	}
	return j, key, nil
}

func (a *applier) decide(ctx context.Context, t *table, key string) (judgement, error) {
	b, err := a.book(t.Space)
	if err != nil {
		return judgement{}, err
	}
	j := b.judge(t.Rule, key)
	if j.verdict != wait && !a.early(j) {
		return j, nil
	}
	// Only whole groups are packed: of this one nothing is yet.
	if err := a.flush(ctx); err != nil {
		return j, err
	}
	var reason string
	if j.verdict == wait {
		reason = fmt.Sprintf("rows behind the CLOSE of move %s wait for its outcome", j.move.ID)
	} else {
		reason = fmt.Sprintf("rows behind the OPEN of move %s wait until lane %s has passed its CLOSE", j.move.ID, laneName(j.move.From, a.lane.s.cfg.Unit))
	}
	err = a.lane.waiting(ctx, applySide, reason, func() bool {
		if b, err = a.book(t.Space); err != nil {
			return true
		}
		j = b.judge(t.Rule, key)
		return j.verdict != wait && !a.early(j)
	})
	return j, err
}

// early tells whether rows of the new owner must still wait for the former
// owner's lane into this third unit: the new owner's rows were written with
// what that lane has yet to bring.
func (a *applier) early(j judgement) bool {
	if j.verdict != owned || j.by == nil || j.by.kind != sitedb.TokenOpen {
		return false
	}
	return a.lane.s.behind(j.move, j.by)
}

func (a *applier) book(name string) (*book, error) {
	v := a.lane.s.version()
	b := a.books[name]
	if b == nil || b.version != v {
		made, err := a.lane.s.book(a.lane, name)
		if err != nil {
			return nil, err
		}
		b = &booked{made, v}
		a.books[name] = b
	}
	return b.book, nil
}

// token takes one token of the origin: from the transaction that holds it on,
// rows are judged by it too.
func (a *applier) token(ctx context.Context, id tokenID, position string) error {
	if err := a.flushBefore(ctx); err != nil {
		return err
	}
	reason := fmt.Sprintf("the %s of move %s, epoch %d, waits for the snapshot of space %s", id.kind, id.move, id.epoch, id.space)
	if err := a.lane.waiting(ctx, applySide, reason, func() bool { return a.lane.s.epoch(id.space) >= id.epoch }); err != nil {
		return err
	}
	if open, waits := a.lane.s.closing(a.lane, id); waits {
		reason = fmt.Sprintf("the CLOSE of move %s waits until what came before the OPEN of move %s is here by its own lane", id.move, open.move)
		err := a.lane.waiting(ctx, applySide, reason, func() bool { _, waits := a.lane.s.closing(a.lane, id); return !waits })
		if err != nil {
			return err
		}
	}
	t := &token{tokenID: id, seq: a.target.Seq() + 1, position: position, transfer: a.lane.s.transfer(a.lane, id)}
	a.pack.own = append(a.pack.own, tokenSQL(a.lane.name, id, t.seq, t.transfer, position))
	a.pack.tokens = append(a.pack.tokens, t)
	return nil
}

// flushBefore commits what is packed of earlier groups before a wait.
func (a *applier) flushBefore(ctx context.Context) error {
	if len(a.pack.tokens) > 0 || a.pack.groups == 0 {
		return nil
	}
	return a.flush(ctx)
}

func (a *applier) flush(ctx context.Context) error {
	if a.pack.groups == 0 && len(a.pack.tokens) == 0 {
		return nil
	}
	return a.commit(ctx)
}

// commit writes the pack with the position after it.
func (a *applier) commit(ctx context.Context) error {
	p := a.pack
	tx := &apply.Tx{Position: a.position.String(), OriginAt: a.beat, Changes: p.changes, Own: p.own}
	before := a.target.Retries
	if err := a.target.Apply(ctx, tx); err != nil {
		return err
	}
	a.pack = pack{}
	a.stored, a.storedAt = tx.Position, time.Now()
	a.lane.count(func(n *counts) { n.packs++; n.retries += a.target.Retries - before })
	a.lane.park(p.parked)
	if len(p.tokens) > 0 {
		a.lane.s.tokensPassed(a.lane, p.tokens)
	}
	a.show(p.groups, len(p.changes))
	return nil
}

// show lets people see how far the lane is.
func (a *applier) show(groups, rows int) {
	l := a.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = a.position
	if !a.beat.IsZero() {
		l.beat = a.beat
	}
	l.counts.groups += int64(groups)
	l.counts.rows += int64(rows)
}

func (a *applier) room(more int) error {
	limit := a.lane.s.cfg.ParkLimit
	if more == 0 || a.lane.parkedRows()+len(a.pack.parked)+more <= limit {
		return nil
	}
	return fmt.Errorf("%w: more than %d rows are parked (find out who writes keys that unit %s does not own, then settle and delete the rows of %s.parked)",
		binlog.ErrRefused, limit, a.spec.Origin, sitedb.Schema)
}
