package mover

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/auth"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// storeError is a failure on the way to the store: the caller may try again.
func storeError(err error) error {
	if errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, err)
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

// newID names a move: its time, so that names sort by it, and chance.
func newID(at time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return "m" + at.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(b[:])
}

// draft turns a request into a move that nobody has begun, against what stands
// in the store. Whatever is wrong with the request is InvalidArgument.
func (m *Mover) draft(ctx context.Context, r *atollv1.MoveRequest) (move.State, publish.Current, error) {
	if r.GetForce() {
		return move.State{}, publish.Current{}, invalid("--force is not built yet")
	}
	for _, name := range r.GetOverride() {
		if !slices.Contains(CheckNames, name) {
			return move.State{}, publish.Current{}, invalid("there is no check %q (there are %q)", name, CheckNames)
		}
	}
	current, err := publish.Load(ctx, m.cfg.Store, r.GetSpace())
	if err != nil {
		return move.State{}, current, storeError(err)
	}
	if current.Snapshot == nil {
		return move.State{}, current, invalid("there is no space %q", r.GetSpace())
	}
	rule, keys, err := wanted(current.Snapshot, r)
	if err != nil {
		return move.State{}, current, invalid("%w", err)
	}
	at := m.now()
	s, err := move.New(move.Plan{
		ID: m.newID(at), Space: r.GetSpace(), Rule: rule, From: r.GetFrom(), To: r.GetTo(), By: auth.By(ctx), Keys: keys,
		Center: beside(current.Snapshot, r.GetFrom(), r.GetTo()),
		Epoch:  current.Epoch(), Participants: move.Participants(dataUnits(current.Snapshot, rule)),
		Overrides: r.GetOverride(), Limits: m.cfg.limits(current.Snapshot.Settings),
	}, at)
	if err != nil {
		return move.State{}, current, invalid("%w", err)
	}
	return s, current, nil
}

// wanted finds the rule and the keys of a request.
func wanted(s *space.Snapshot, r *atollv1.MoveRequest) (rule string, keys space.KeySet, err error) {
	from, to := r.GetFrom(), r.GetTo()
	for _, unit := range []string{from, to} {
		if unit == "" {
			return "", keys, errors.New("say the unit to move from and the one to move to")
		}
		if !slices.ContainsFunc(s.Document.Spec.Units, func(u space.Unit) bool { return u.Code == unit }) {
			return "", keys, fmt.Errorf("space %q has no unit %q", s.Space, unit)
		}
	}
	if from == to {
		return "", keys, fmt.Errorf("from and to are both %q", from)
	}
	rule = r.GetRule()
	if rule == "" {
		if rule, err = route.OnlyRule(s.Document, from, to); err != nil {
			return "", keys, err
		}
	}
	want := route.Want{Percent: int(r.GetPercent()), Keys: r.GetKeys(), All: r.GetAll()}
	if text := r.GetBuckets(); text != "" {
		if want.Buckets, err = route.ParseBuckets(text); err != nil {
			return "", keys, err
		}
	}
	keys, err = route.Plan(s.Document, rule, from, to, want)
	return rule, keys, err
}

// Plan answers what a move would carry, with the checks as they are now. It
// changes nothing.
func (m *Mover) Plan(ctx context.Context, r *connect.Request[atollv1.MoveRequest]) (*connect.Response[atollv1.MoveResponse], error) {
	s, current, err := m.draft(ctx, r.Msg)
	if err != nil {
		return nil, err
	}
	records, _, err := store.Planes(ctx, m.cfg.Store)
	if err != nil {
		return nil, storeError(err)
	}
	s.Planes = registered(records)
	s.Checks = m.checks(s, current.Snapshot)
	for i, c := range s.Checks {
		s.Checks[i].Overridden = !c.OK && slices.Contains(s.Overrides, c.Name)
	}
	answer := m.render(s)
	answer.Id, answer.State, answer.DurationMs, answer.Phases = "", "planned", 0, planned(s.Limits)
	moving, all := share(current.Snapshot.Document, s)
	answer.Figures = map[string]int64{"buckets_moving": moving, "buckets_all": all}
	return connect.NewResponse(&atollv1.MoveResponse{Move: answer}), nil
}

// planned are the phases with the longest time that each may take before it
// ends the move, or shows it as stuck.
func planned(l move.Limits) []*atollv1.Phase {
	limits := map[move.Phase]time.Duration{
		move.Check: l.Check, move.Hold: l.Quiesce, move.Fence: l.Fence, move.Barrier: l.Barrier,
		move.Switch: l.Stuck, move.Release: l.Stuck, move.Settle: l.Settle,
	}
	phases := make([]*atollv1.Phase, len(move.Order))
	for i, p := range move.Order {
		phases[i] = &atollv1.Phase{Name: string(p), Ms: limits[p].Milliseconds()}
	}
	return phases
}

func share(doc *space.Space, s move.State) (moving, all int64) {
	for _, r := range s.Keys.Buckets {
		moving += int64(r.To - r.From)
	}
	for _, r := range doc.Spec.UnitRules {
		if r.ID == s.Rule {
			all = int64(r.Modulo)
		}
	}
	return moving, all
}

// startTries is how often Start plans anew when the space was published
// meanwhile.
const startTries = 5

// Start begins a move. It answers as soon as the move is written down; the
// console that leads drives it. One move at a time is active in a space.
func (m *Mover) Start(ctx context.Context, r *connect.Request[atollv1.MoveRequest]) (*connect.Response[atollv1.MoveResponse], error) {
	for try := 1; ; try++ {
		s, current, err := m.draft(ctx, r.Msg)
		if err != nil {
			return nil, err
		}
		err = m.begin(ctx, s, current)
		var conflict *store.ConflictError
		switch {
		case err == nil:
			return connect.NewResponse(&atollv1.MoveResponse{Move: m.render(s)}), nil
		case !errors.As(err, &conflict):
			return nil, storeError(err)
		case conflict.Key == store.ActiveMoveKey(s.Space):
			return nil, m.refuseSecond(ctx, s.Space)
		case try == startTries:
			return nil, storeError(err)
		}
	}
}

func (m *Mover) begin(ctx context.Context, s move.State, current publish.Current) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	note, err := audit.Op(audit.Entry{
		At: s.Created, By: s.By, Action: "move.start", Object: s.ID,
		Detail: fmt.Sprintf("space %s, rule %s, %s to %s, %s", s.Space, s.Rule, s.From, s.To, describe(s.Keys)),
	})
	if err != nil {
		return err
	}
	key := store.MoveKey(s.Space, s.ID)
	revision, err := m.cfg.Store.Commit(ctx, store.Txn{
		If:   []store.Compare{store.Absent(store.ActiveMoveKey(s.Space)), store.Absent(key), current.Item.Unchanged()},
		Then: []store.Op{store.Put(store.ActiveMoveKey(s.Space), []byte(s.ID)), store.Put(key, raw), note},
	})
	if err != nil {
		return err
	}
	m.keep(s, revision)
	return nil
}

func (m *Mover) refuseSecond(ctx context.Context, code string) error {
	text := fmt.Sprintf("a move of space %q is under way already", code)
	if it, err := m.cfg.Store.Get(ctx, store.ActiveMoveKey(code)); err == nil && it.Exists() {
		text = fmt.Sprintf("move %s of space %q is under way already (wait for it, or `atoll move abort %s`)", it.Value, code, it.Value)
	}
	return connect.NewError(connect.CodeAborted, errors.New(text))
}

// describe says in words what moves, without naming more than a few keys.
func describe(k space.KeySet) string {
	text := ""
	if len(k.Buckets) > 0 {
		text += " buckets " + route.FormatBuckets(k.Buckets)
	}
	if n := len(k.Keys); n > 0 {
		text += fmt.Sprintf(" %d keys", n)
	}
	if n := len(k.Prefixes); n > 0 {
		text += fmt.Sprintf(" %d prefixes", n)
	}
	return text[1:]
}

// registered are the planes of a registry as the machine takes them.
func registered(records []store.PlaneRecord) map[string]move.Plane {
	planes := make(map[string]move.Plane, len(records))
	for _, r := range records {
		planes[r.Plane.GetName()] = move.Plane{Kind: r.Plane.GetKind(), Unit: r.Plane.GetUnit(), Incarnation: r.Plane.GetIncarnation()}
	}
	return planes
}
