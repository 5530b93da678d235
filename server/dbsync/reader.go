package dbsync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/server/sitedb"
)

// group is a group on its way through a lane.
type group struct {
	*binlog.Group
	changes []*binlog.Change // of synced tables
	tokens  []tokenID        // written by the origin itself
	beat    time.Time        // of the origin's heartbeat, when the group holds one
	fail    error            // instead of a group: the stream ends here
}

// empty tells whether the group only moves the position.
func (g *group) empty() bool {
	return len(g.changes) == 0 && len(g.tokens) == 0 && g.beat.IsZero() && g.fail == nil
}

// reader pulls the origin's binary log into a lane's queue. It implements
// binlog.Handler and is used by one goroutine.
type reader struct {
	lane   *lane
	spec   *laneSpec
	wanted map[[2]string]bool
	queue  *queue
}

const (
	tokenTable = "token"
	beatTable  = "heartbeat"
)

func newReader(l *lane, spec *laneSpec, q *queue) *reader {
	r := &reader{lane: l, spec: spec, queue: q, wanted: map[[2]string]bool{{sitedb.Schema, tokenTable}: true, {sitedb.Schema, beatTable}: true}}
	for _, t := range spec.Tables {
		r.wanted[[2]string{t.From, t.Name}] = true
	}
	return r
}

// Wants implements binlog.Handler.
func (r *reader) Wants(schema, table string) bool { return r.wanted[[2]string{schema, table}] }

// Marker implements binlog.Handler.
func (r *reader) Marker(schema, table string) bool {
	return schema == sitedb.Schema && table == apply.MarkerTable
}

// Group implements binlog.Handler. It holds the stream at a JOIN until the
// snapshot of the token is in force here: what follows is read by its tables.
func (r *reader) Group(ctx context.Context, b *binlog.Group) error {
	g := &group{Group: b}
	for i := range b.Changes {
		ch := &b.Changes[i]
		if ch.Table.Schema != sitedb.Schema {
			g.changes = append(g.changes, ch)
			continue
		}
		if ch.After == nil {
			continue
		}
		if ch.Table.Name == beatTable && text(ch, "unit") == r.spec.Origin {
			g.beat, _ = time.Parse("2006-01-02 15:04:05.999999", text(ch, "at"))
		}
		if ch.Table.Name == tokenTable && ch.Op == binlog.Insert && text(ch, "unit") == r.spec.Origin {
			t, err := readToken(ch)
			if err != nil {
				return fmt.Errorf("group %s: %w", b.GTID, err)
			}
			if t.kind == sitedb.TokenJoin {
				if err := r.join(ctx, t); err != nil {
					return err
				}
				continue
			}
			g.tokens = append(g.tokens, t)
		}
	}
	b.Changes = nil
	return r.queue.put(ctx, g)
}

func (r *reader) join(ctx context.Context, t tokenID) error {
	reason := fmt.Sprintf("the origin has joined space %s at epoch %d, whose snapshot is not here yet", t.space, t.epoch)
	return r.lane.waiting(ctx, linkSide, reason, func() bool { return r.lane.s.epoch(t.space) >= t.epoch })
}

func text(ch *binlog.Change, column string) string {
	i := ch.Table.Index(column)
	if i < 0 || ch.After[i] == nil {
		return ""
	}
	return string(ch.Table.Columns[i].AppendText(nil, ch.After[i]))
}

func readToken(ch *binlog.Change) (tokenID, error) {
	epoch, err := strconv.ParseInt(text(ch, "epoch"), 10, 64)
	if err != nil {
		return tokenID{}, fmt.Errorf("%w: a row of %s.%s holds no epoch: %w", binlog.ErrRefused, sitedb.Schema, tokenTable, err)
	}
	return tokenID{space: text(ch, "space"), move: text(ch, "move"), epoch: epoch, kind: text(ch, "kind")}, nil
}

// run reads until ctx ends or the stream is refused; then the refusal takes its
// place in the queue, behind all that was read before it. A link that ends is
// dialled again, from the last whole group.
func (r *reader) run(ctx context.Context, src binlog.Source, from binlog.Position) error {
	delay := retryFirst
	for {
		r.lane.say(linkSide, "")
		begun := from.String()
		next, err := binlog.Stream(ctx, src, from, r)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, binlog.ErrRefused) {
			return r.queue.put(ctx, &group{Group: &binlog.Group{}, fail: err})
		}
		if lost := positionLost(err, next); lost != nil {
			return r.queue.put(ctx, &group{Group: &binlog.Group{}, fail: lost})
		}
		from = next
		if from.String() != begun {
			delay = retryFirst
		}
		r.lane.say(linkSide, fmt.Sprintf("reading from %s: %v", r.spec.Origin, err))
		r.lane.count(func(n *counts) { n.redials++ })
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(delay/2 + rand.N(delay)):
		}
		delay = min(2*delay, retryMost)
	}
}

// positionLost recognises a server that cannot go on from where the lane is.
func positionLost(err error, at binlog.Position) error {
	var e *mysql.MyError
	if !errors.As(err, &e) || e.Code != mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG {
		return nil
	}
	return fmt.Errorf("%w: the source's binary log does not reach back to %q (it was purged or lost; seed the target again): %s", binlog.ErrRefused, at, e.Message)
}

var _ binlog.Handler = (*reader)(nil)
