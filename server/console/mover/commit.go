package mover

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// carryOut does what the machine commands, in order, each write together with
// the audit notes behind it. It stops at the first write that does not
// succeed; its outcome may be unknown.
func (d *driver) carryOut(ctx context.Context, commands []move.Command) error {
	for len(commands) > 0 {
		c := commands[0]
		notes := notesOf(commands[1:])
		switch {
		case c.Kind == move.Audit:
			notes = notesOf(commands)
			if err := d.commit(ctx, store.Txn{If: []store.Compare{d.leader.Compare()}}, notes); err != nil {
				return err
			}
			commands = commands[len(notes):]
			continue
		case c.Kind.Publishes():
			more, err := d.publish(ctx, c.Kind, notes)
			if err != nil {
				return err
			}
			commands = slices.Concat(more, commands[1+len(notes):])
			continue
		}
		if err := d.persist(ctx, notes); err != nil {
			return err
		}
		commands = commands[1+len(notes):]
	}
	return nil
}

// notesOf are the texts of the audit commands at the front.
func notesOf(commands []move.Command) []string {
	var notes []string
	for _, c := range commands {
		if c.Kind != move.Audit {
			break
		}
		notes = append(notes, c.Text)
	}
	return notes
}

// persist writes the state.
func (d *driver) persist(ctx context.Context, notes []string) error {
	t, err := d.write(d.state)
	if err != nil {
		return err
	}
	if err := d.commit(ctx, t, notes); err != nil {
		return fmt.Errorf("persist move %s: %w", d.id, err)
	}
	return nil
}

// write is the part of a transaction that writes a state of the move, and
// compares that nobody else leads or wrote it.
func (d *driver) write(s move.State) (store.Txn, error) {
	key := store.MoveKey(d.space, d.id)
	raw, err := json.Marshal(s)
	if err != nil {
		return store.Txn{}, fmt.Errorf("write move %s: %w", d.id, err)
	}
	t := store.Txn{
		If:   []store.Compare{d.leader.Compare(), {Key: key, Revision: d.revision}},
		Then: []store.Op{store.Put(key, raw)},
	}
	if s.Phase.Over() {
		t.Then = append(t.Then, store.Delete(store.ActiveMoveKey(d.space)), store.Delete(wishKey(d.space, d.id)))
	}
	return t, nil
}

// commit adds the notes and commits. When the transaction wrote the state, its
// revision is that of the transaction.
func (d *driver) commit(ctx context.Context, t store.Txn, notes []string) error {
	at := d.m.now()
	for i, text := range notes {
		// Entries of the same nanosecond, action and object would be one.
		op, err := audit.Op(audit.Entry{At: at.Add(time.Duration(i)), By: d.m.cfg.Member, Action: "move", Object: d.id, Detail: text})
		if err != nil {
			return err
		}
		t.Then = append(t.Then, op)
	}
	revision, err := d.m.cfg.Store.Commit(ctx, t)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(t.Then, func(op store.Op) bool { return op.Key == store.MoveKey(d.space, d.id) }) {
		d.revision = revision
		d.m.keep(d.state, revision)
	}
	return nil
}

// publish writes, in one transaction, the snapshot that a command wants and
// the state that follows from it. It returns what the machine commands next.
func (d *driver) publish(ctx context.Context, what move.Kind, notes []string) ([]move.Command, error) {
	current, err := publish.Load(ctx, d.m.cfg.Store, d.space)
	if err != nil {
		return nil, err
	}
	next, err := current.Next()
	if err != nil {
		return nil, err
	}
	at := d.m.now()
	follows, more := move.Step(d.state, move.Published{At: at, What: what, Epoch: next.Epoch})
	if follows.Epoch != next.Epoch {
		return nil, fmt.Errorf("publish the %s of move %s: epoch %d is not above %d", what, d.id, next.Epoch, d.state.Epoch)
	}
	if err := edit(next, follows, what, d.m.Passed); err != nil {
		return nil, fmt.Errorf("publish the %s of move %s: %w", what, d.id, err)
	}
	t, err := publish.Txn(current, next, publish.Why{
		By: d.state.By, At: at, Action: "move." + string(what), Object: d.id,
		Detail: fmt.Sprintf("space %s, %s to %s, epoch %d", d.space, d.state.From, d.state.To, next.Epoch),
	})
	if err != nil {
		return nil, err
	}
	w, err := d.write(follows)
	if err != nil {
		return nil, err
	}
	t.If, t.Then = append(w.If, t.If...), append(t.Then, w.Then...)
	behind := notesOf(more) // they tell of this very write
	former := d.state
	d.state = follows
	if err := d.commit(ctx, t, slices.Concat(notes, behind)); err != nil {
		d.state = former
		return nil, fmt.Errorf("publish the %s of move %s: %w", what, d.id, err)
	}
	d.m.cfg.Log.Info("move published", "move", d.id, "space", d.space, "what", what, "epoch", next.Epoch)
	return more[len(behind):], nil
}

// edit changes a snapshot to what a publishing command wants.
func edit(next *space.Snapshot, s move.State, what move.Kind, passed func(*space.Snapshot, *space.Transfer) bool) error {
	t := s.Transfer()
	if what == move.PublishSwitch {
		switched, err := route.Switch(next.Document, t)
		if err != nil {
			return err
		}
		next.Document = switched
	}
	i := slices.IndexFunc(next.Moves, func(m *space.Transfer) bool { return m.ID == t.ID })
	if i < 0 {
		next.Moves = append(next.Moves, t)
	} else {
		next.Moves[i] = t
	}
	next.Moves = prune(next, t.ID, passed)
	return nil
}

// prune drops ended moves that no plane needs any more: those that never
// fenced, and of the others the older ones whose tokens every lane has passed.
func prune(s *space.Snapshot, current string, passed func(*space.Snapshot, *space.Transfer) bool) []*space.Transfer {
	ended := 0
	for _, m := range s.Moves {
		if m.Outcome != space.OutcomeNone && m.FenceEpoch != 0 {
			ended++
		}
	}
	return slices.DeleteFunc(s.Moves, func(m *space.Transfer) bool {
		switch {
		case m.ID == current || m.Outcome == space.OutcomeNone:
			return false
		case m.FenceEpoch == 0:
			return true
		}
		if ended > transfersKept && passed(s, m) {
			ended--
			return true
		}
		return false
	})
}

// Passed tells whether every lane out of the two units of an ended move has
// acked its token. A lane that nobody reports has not.
func (m *Mover) Passed(s *space.Snapshot, t *space.Transfer) bool {
	units := dataUnits(s, t.Rule)
	acked := map[string]bool{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.heard {
		for _, a := range h.report.GetAcks() {
			if isPassed(a, s.Space, t) {
				acked[a.GetLane()] = true
			}
		}
	}
	for _, source := range []string{t.From, t.To} {
		for _, target := range units {
			if target != source && !acked[move.Lane(source, target)] {
				return false
			}
		}
	}
	return true
}

func isPassed(a *atollv1.Ack, code string, t *space.Transfer) bool {
	return a.GetStep() == string(move.Passed) && a.GetSpace() == code && a.GetMove() == t.ID &&
		a.GetEpoch() == t.FenceEpoch && a.GetError() == ""
}

// dataUnits are the units whose databases hold data that a rule owns.
func dataUnits(s *space.Snapshot, rule string) []string {
	var units []string
	for _, db := range s.Databases {
		if db.Spec.Rule != rule {
			continue
		}
		for _, source := range db.Spec.Sources {
			if !slices.Contains(units, source.Unit) {
				units = append(units, source.Unit)
			}
		}
	}
	slices.Sort(units)
	return units
}

// pruneHistory drops the oldest ended moves of the space. That they are still
// there harms nobody, so a failure is only noted.
func (d *driver) pruneHistory(ctx context.Context) error {
	if err := audit.Prune(ctx, d.m.cfg.Store, idPrefix(d.space), historyKept); err != nil {
		d.m.cfg.Log.Warn("history of moves is not pruned", "space", d.space, "err", err)
	}
	return nil
}

// beside is the center, when it is neither end of a move and writes tables that
// To reads: what From's users have seen of them must be there before they come.
func beside(s *space.Snapshot, from, to string) string {
	i := slices.IndexFunc(s.Document.Spec.Units, func(u space.Unit) bool { return u.Type == space.Center })
	if i < 0 {
		return ""
	}
	center := s.Document.Spec.Units[i].Code
	if center == from || center == to {
		return ""
	}
	for _, db := range s.Databases {
		in := func(unit string) bool {
			return slices.ContainsFunc(db.Spec.Sources, func(d space.DataSource) bool { return d.Unit == unit })
		}
		if in(center) && in(to) && slices.ContainsFunc(db.Spec.Tables, func(t space.Table) bool { return t.Kind == space.TableCenterUnit }) {
			return center
		}
	}
	return ""
}
