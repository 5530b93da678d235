package documents

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/planes"
)

// comparer has the rows of tables compared that one apply is about to list. The
// console has no way to the databases, so it asks the dbsync planes.
type comparer struct {
	asker Asker
	limit time.Duration

	asked []*atollv1.Comparison // what the last check was about
	left  []*atollv1.NotCompared
}

func newComparer(a Asker, ms int64) *comparer {
	c := &comparer{asker: a, limit: compareLimit}
	if ms > 0 {
		c.limit = min(time.Duration(min(ms, compareMost.Milliseconds()))*time.Millisecond, compareMost)
	}
	return c
}

// check refuses a plan under which a table would be synced whose rows are not
// the same in all units. Tried again after others have published, it asks
// only when there is something else to ask.
func (c *comparer) check(ctx context.Context, st *state, p *plan) error {
	all := []*atollv1.Comparison{}
	var left []*atollv1.NotCompared
	byUnit := map[string][]*listing{}
	for _, l := range listings(st, p) {
		all = append(all, l.comparison())
		if l.apart != "" {
			left = append(left, l.notCompared(l.apart))
			continue
		}
		byUnit[l.to.Unit] = append(byUnit[l.to.Unit], l)
	}
	if c.asked != nil && slices.EqualFunc(all, c.asked, func(a, b *atollv1.Comparison) bool { return proto.Equal(a, b) }) {
		return nil
	}
	answers := c.ask(ctx, byUnit)
	var found []refusal
	for _, unit := range slices.Sorted(maps.Keys(byUnit)) {
		a := answers[unit]
		if errors.Is(a.err, planes.ErrNobody) {
			for _, l := range byUnit[unit] {
				left = append(left, l.notCompared(a.err.Error()))
			}
			continue
		}
		found = append(found, a.refusals(byUnit[unit])...)
	}
	c.asked, c.left = all, left
	return refuse(found)
}

// answer is what came of asking one unit's plane.
type answer struct {
	ack *atollv1.Ack
	err error
}

// ask asks a plane of each unit at the same time. A plane's own limit is a
// little shorter, so that it can say how far it came.
func (c *comparer) ask(ctx context.Context, byUnit map[string][]*listing) map[string]answer {
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("%v are over", c.limit))
	defer cancel()
	answers := map[string]answer{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for unit, list := range byUnit {
		ask := &atollv1.Ask{Move: "apply-" + rand.Text(), Step: "compare", LimitMs: max(1, (c.limit - min(c.limit/5, 2*time.Second)).Milliseconds())}
		for _, l := range list {
			ask.Comparisons = append(ask.Comparisons, l.comparison())
		}
		wg.Go(func() {
			ack, err := c.asker.Ask(ctx, "dbsync", unit, ask)
			mu.Lock()
			defer mu.Unlock()
			answers[unit] = answer{ack, err}
		})
	}
	wg.Wait()
	return answers
}

// refusal is one line of a refused apply.
type refusal struct {
	path string
	text string
	busy bool // it may be asked again as it is
}

// refusals says what an answer leaves to mend.
func (a answer) refusals(list []*listing) []refusal {
	what := make([]string, len(list))
	for i, l := range list {
		what[i] = l.db.Metadata.Name
	}
	head := "Database " + strings.Join(slices.Compact(what), ", ")
	if a.err != nil {
		return []refusal{{text: fmt.Sprintf("%s: the rows of tables in %s and %s were not compared: %v", head, list[0].from.Unit, list[0].to.Unit, a.err), busy: true}}
	}
	var out []refusal
	for _, d := range a.ack.GetDifferences() {
		i := slices.IndexFunc(list, func(l *listing) bool { return l.space == d.GetSpace() && l.db.Metadata.Name == d.GetDatabase() })
		if i < 0 {
			continue // of no table that it was asked about
		}
		out = append(out, list[i].refusal(d))
	}
	if text := a.ack.GetError(); text != "" {
		out = append(out, refusal{text: text, busy: true})
	} else if text := a.ack.GetDetail(); text != "" {
		out = append(out, refusal{text: head + ": " + text})
	}
	return out
}

// refusal says in words why a table may not be listed.
func (l *listing) refusal(d *atollv1.TableDifference) refusal {
	path := l.path[d.GetTable()]
	r := refusal{path: path, text: fmt.Sprintf("Database %s: %s: %s", l.db.Metadata.Name, path, d.GetTrouble())}
	if d.GetTrouble() == "" {
		count := fmt.Sprint(d.GetDifferent())
		if d.GetMore() {
			count = "at least " + count
		}
		r.text = fmt.Sprintf("Database %s: %s: table %s holds rows that differ between %s and %s: %s, among them those with primary key %s (make them equal, or empty the table in both, then apply again)",
			l.db.Metadata.Name, path, d.GetTable(), l.from.Unit, l.to.Unit, count, strings.Join(d.GetFirst(), " "))
	}
	return r
}

// refuse makes one error of all refusals. Differences are wrong input; what
// was not compared may be asked again.
func refuse(found []refusal) error {
	if len(found) == 0 {
		return nil
	}
	slices.SortStableFunc(found, func(a, b refusal) int {
		return cmp.Or(cmp.Compare(len(a.path), len(b.path)), cmp.Compare(a.path, b.path))
	})
	code := connect.CodeAborted
	var lines []string
	for i, f := range found {
		if !f.busy {
			code = connect.CodeFailedPrecondition
		}
		if i < maxChanges {
			lines = append(lines, f.text)
		}
	}
	if n := len(found) - maxChanges; n > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", n))
	}
	return connect.NewError(code, errors.New(strings.Join(lines, "\n")))
}

// notCompared is the warning for tables in force that nobody has looked at.
func notCompared(n *atollv1.NotCompared) string {
	return fmt.Sprintf("Database %s: the rows of %s in %s were not compared: %s (see that they are equal before they are written)",
		n.GetDatabase(), strings.Join(n.GetTables(), ", "), strings.Join(n.GetUnits(), " and "), n.GetReason())
}
