package documents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/auth"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// The actions of an apply on one document.
const (
	created   = "created"
	changed   = "changed"
	unchanged = "unchanged"
)

// plan is what an apply would do: for each space it touches the snapshot to
// publish, and for each document of the input what becomes of it.
type plan struct {
	next     map[string]*space.Snapshot // by space code, changed ones only
	applied  []*atollv1.Applied
	warnings []string
}

// Apply puts documents in force, all or none. It never changes an owner, and
// leaves a space alone in which a move runs.
func (s *Service) Apply(ctx context.Context, r *connect.Request[atollv1.ApplyRequest]) (*connect.Response[atollv1.ApplyResponse], error) {
	docs, problems, err := parse(r.Msg.GetDocuments(), r.Msg.GetStrict())
	if err != nil {
		return nil, err
	}
	res := &atollv1.ApplyResponse{}
	c := newComparer(s.cfg.Asker, r.Msg.GetCompareMs())
	working, cancel := context.WithTimeout(ctx, requestLimit+c.limit)
	defer cancel()
	res.Applied, res.Warnings, err = s.apply(working, docs, problems, r.Msg, c)
	if err != nil {
		return nil, failure(err)
	}
	res.NotCompared = c.left
	for _, n := range c.left {
		res.Warnings = append(res.Warnings, notCompared(n))
	}
	if r.Msg.GetWait() && !r.Msg.GetDryRun() {
		if err := s.await(ctx, res.Applied, time.Duration(r.Msg.GetWaitMs())*time.Millisecond); err != nil {
			return nil, connect.NewError(connect.CodeAborted, err)
		}
	}
	return connect.NewResponse(res), nil
}

// apply tries until nobody else has published in between.
func (s *Service) apply(ctx context.Context, docs []space.Document, problems space.Problems, r *atollv1.ApplyRequest, c *comparer) ([]*atollv1.Applied, []string, error) {
	for range applyTries {
		st, err := load(ctx, s.cfg.Store)
		if err != nil {
			return nil, nil, err
		}
		warnings, err := check(st, docs, problems, r.GetStrict())
		if err != nil {
			return nil, nil, err
		}
		p, err := s.plan(st, docs)
		if err != nil {
			return nil, nil, err
		}
		if err := s.refuseMoving(ctx, p); err != nil {
			return nil, nil, err
		}
		t, err := transaction(ctx, st, p)
		if err != nil {
			return nil, nil, err
		}
		if err := c.check(ctx, st, p); err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, p.warnings...)
		if r.GetDryRun() || len(p.next) == 0 {
			return p.applied, warnings, nil
		}
		_, err = s.cfg.Store.Commit(ctx, t)
		switch {
		case err == nil:
			return p.applied, warnings, nil
		case errors.Is(err, store.ErrTooLarge):
			return nil, nil, refused("%w (apply fewer documents at a time)", err)
		case !errors.Is(err, store.ErrConflict):
			return nil, nil, fmt.Errorf("apply: the outcome is unknown, look with `atoll get`: %w", err)
		}
	}
	return nil, nil, busy("others keep changing the documents, nothing was applied (try again)")
}

// parse reads the input. What is wrong in form already is an error here.
func parse(data []byte, strict bool) ([]space.Document, space.Problems, error) {
	if len(data) > MaxInput {
		return nil, nil, invalid("%d bytes of documents, at most %d", len(data), MaxInput)
	}
	docs, problems, err := space.Parse(data)
	if err != nil {
		return nil, nil, invalid("%w", err)
	}
	if strict {
		problems = problems.Strict()
	}
	if err := problems.Err(); err != nil {
		return nil, nil, invalid("%w", err)
	}
	return docs, problems, nil
}

// check validates the input together with everything that stands, and returns
// the warnings about the input.
func check(st *state, docs []space.Document, problems space.Problems, strict bool) ([]string, error) {
	found := space.Validate(st.merged(docs)...)
	if strict {
		found = found.Strict()
	}
	if err := found.Err(); err != nil {
		return nil, invalid("%w", err)
	}
	given := map[string]bool{}
	for _, d := range docs {
		given[d.String()] = true
	}
	var warnings []string
	for _, p := range append(problems.Warnings(), found.Warnings()...) {
		if w := p.String(); (p.Document == "" || given[p.Document]) && !slices.Contains(warnings, w) {
			warnings = append(warnings, w)
		}
	}
	return warnings, nil
}

// plan lays the input over what stands.
func (s *Service) plan(st *state, docs []space.Document) (*plan, error) {
	p := &plan{next: map[string]*space.Snapshot{}}
	touched := map[string]bool{}
	for _, d := range docs {
		code := spaceOf(d)
		if _, was, found := st.find(d.Kind(), d.Name()); found && was != code {
			return nil, refused("%s: it belongs to space %s and cannot change to %s: its tables would lose their protection", d, was, code)
		}
		next := p.next[code]
		if next == nil {
			var err error
			if next, err = st.current(code).Next(); err != nil {
				return nil, err
			}
			next.Space, next.Settings = code, s.cfg.Settings
			p.next[code] = next
		}
		action, err := put(next, d)
		if err != nil {
			return nil, err
		}
		touched[code] = touched[code] || action != unchanged
		p.applied = append(p.applied, &atollv1.Applied{Kind: d.Kind(), Name: d.Name(), Space: code, Action: action})
	}
	for code, next := range p.next {
		if !touched[code] {
			delete(p.next, code)
			continue
		}
		if next.Document == nil {
			return nil, invalid("space %s does not exist (apply its %s first, or with it)", code, space.KindSpace)
		}
		if err := ownersKept(st.current(code).Snapshot, next); err != nil {
			return nil, err
		}
		if err := s.movesKept(st.current(code).Snapshot, next); err != nil {
			return nil, err
		}
		p.warnings = append(p.warnings, readsAnywhere(st.current(code).Snapshot, next)...)
	}
	for _, a := range p.applied {
		a.Epoch = st.current(a.GetSpace()).Epoch()
		if next := p.next[a.GetSpace()]; next != nil {
			a.Epoch = next.Epoch
		}
	}
	return p, nil
}

// maxChanges is how many changes of owners are told at once.
const maxChanges = 50

// ownersKept refuses what would give a key another owner, or a table less
// protection, behind the back of the mover.
func ownersKept(was, next *space.Snapshot) error {
	changes, err := route.OwnersChanged(was, next)
	if err != nil || len(changes) == 0 {
		return err
	}
	lines := []string{fmt.Sprintf("space %s: apply never changes an owner", next.Space)}
	for i, c := range changes {
		if i == maxChanges {
			lines = append(lines, fmt.Sprintf("… and %d more", len(changes)-i))
			break
		}
		lines = append(lines, c.String())
	}
	return refused("%s", strings.Join(lines, "\n"))
}

// readsAnywhere warns of tables whose keyed reads no longer go to the owner
// alone: that changes no owner, but readers elsewhere see what lanes brought.
func readsAnywhere(was, next *space.Snapshot) []string {
	var out []string
	for _, db := range next.Databases {
		for i, t := range db.Spec.Tables {
			if t.Reads == "" && readsOwner(was, db.Metadata.Name, t.Name) {
				out = append(out, fmt.Sprintf("Database %s: spec.tables[%d].reads: table %s may now be read in units that do not own the key,"+
					" where rows are as old as the lanes are behind", db.Metadata.Name, i, t.Name))
			}
		}
	}
	return out
}

func readsOwner(s *space.Snapshot, database, table string) bool {
	return s != nil && slices.ContainsFunc(s.Databases, func(db *space.Database) bool {
		return db.Metadata.Name == database && slices.ContainsFunc(db.Spec.Tables, func(t space.Table) bool {
			return t.Name == table && t.Reads == space.ReadsOwner
		})
	})
}

// movesKept refuses, for a while, what would have lanes judge rows otherwise
// that an ended move has sent on their way.
func (s *Service) movesKept(was, next *space.Snapshot) error {
	cut, err := route.MovesCut(was, next.Document)
	if err != nil {
		return err
	}
	for _, m := range cut {
		if s.cfg.Passed == nil || !s.cfg.Passed(was, m) {
			return busy("space %s: move %s is over, but rows of its keys may still be on their way by some lane, and lanes would judge them"+
				" by the allow lists and prefixes that this changes in rule %q; nothing was applied"+
				" (see `atoll lanes`; apply again when all have caught up)", next.Space, m.ID, m.Rule)
		}
	}
	return nil
}

// put lays one document over a snapshot.
func put(next *space.Snapshot, d space.Document) (string, error) {
	if d.Space != nil {
		was := next.Document
		next.Document = d.Space
		if was == nil {
			return created, nil
		}
		same, err := publish.SameDocument(was, d.Space)
		if err != nil || same {
			next.Document = was
			return unchanged, err
		}
		return changed, nil
	}
	i := slices.IndexFunc(next.Databases, func(db *space.Database) bool { return db.Metadata.Name == d.Name() })
	if i < 0 {
		next.Databases = append(next.Databases, d.Database)
		sort.Slice(next.Databases, func(i, j int) bool { return next.Databases[i].Metadata.Name < next.Databases[j].Metadata.Name })
		return created, nil
	}
	same, err := publish.SameDatabase(next.Databases[i], d.Database)
	if err != nil || same {
		return unchanged, err
	}
	next.Databases[i] = d.Database
	return changed, nil
}

// refuseMoving leaves alone what a move is changing.
func (s *Service) refuseMoving(ctx context.Context, p *plan) error {
	for code := range p.next {
		active, err := s.cfg.Store.Get(ctx, store.ActiveMoveKey(code))
		if err != nil {
			return fmt.Errorf("apply to space %s: %w", code, err)
		}
		if active.Exists() {
			return busy("move %s of space %s is running, nothing was applied (wait for it: atoll move watch %s)", active.Value, code, active.Value)
		}
	}
	return nil
}

// transaction is the whole apply as one.
func transaction(ctx context.Context, st *state, p *plan) (store.Txn, error) {
	now := time.Now().UTC()
	t := store.Txn{
		If:   []store.Compare{st.apply.Unchanged()},
		Then: []store.Op{store.Put(applyKey, []byte(now.Format(time.RFC3339Nano)))},
	}
	codes := make([]string, 0, len(p.next))
	for code := range p.next {
		codes = append(codes, code)
	}
	sort.Strings(codes)
	for _, code := range codes {
		part, err := publish.Txn(st.current(code), p.next[code], why(ctx, p, code, now))
		if err != nil {
			return t, invalid("%w", err)
		}
		t.If = append(t.If, part.If...)
		t.If = append(t.If, store.Absent(store.ActiveMoveKey(code)))
		t.Then = append(t.Then, part.Then...)
	}
	return t, nil
}

func why(ctx context.Context, p *plan, code string, at time.Time) publish.Why {
	var what []string
	for _, a := range p.applied {
		if a.GetSpace() == code && a.GetAction() != unchanged {
			what = append(what, fmt.Sprintf("%s %s %s", a.GetKind(), a.GetName(), a.GetAction()))
		}
	}
	return publish.Why{By: auth.By(ctx), Action: "apply", Object: code, Detail: strings.Join(what, ", "), At: at}
}

// short is a little less of a time, so that what waits for it can still speak.
func short(d time.Duration) time.Duration { return d - min(d/10, 500*time.Millisecond) }

// await waits for the planes a little less long than the caller does, so that
// he gets the names of those that are behind.
func (s *Service) await(ctx context.Context, applied []*atollv1.Applied, limit time.Duration) error {
	if limit <= 0 {
		limit = waitLimit
	}
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, short(time.Until(end)))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, a := range applied {
		if err := s.cfg.Awaiter.AwaitEpoch(ctx, a.GetSpace(), a.GetEpoch()); err != nil {
			return err
		}
	}
	return nil
}
