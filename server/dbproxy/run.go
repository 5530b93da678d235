package dbproxy

import (
	"context"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/wire/mysql"
	"github.com/atoll-live/atoll/space"
)

// request is one statement on its way: a text, or an execution of a prepared
// one.
type request struct {
	text   []byte
	packet []byte        // as the client sent it
	stmt   *statement    // nil for a text
	exec   mysql.Execute // with stmt
	params []prove.Param // with stmt
}

// course is what shall become of a request by the snapshot of the moment.
type course struct {
	refusal *prove.Refusal
	fenced  bool     // wait, or roll back
	gone    bool     // the client has left while the statement was parked: nothing of it is done
	center  bool     // it goes to the center's server
	recheck []string // keys to ask for again before the answer is passed on
	rule    string
}

// run serves a statement.
func (s *session) run(ctx context.Context, r *request) error {
	s.p.figures.statements.Add(1)
	plan, c, notice := s.await(r)
	switch {
	case notice != nil:
		return s.refuseRequest(r, notice)
	case c.gone:
		return errGone
	case c.refusal != nil:
		s.dropStatement()
		return s.refuseRequest(r, c.refusal)
	case c.fenced && s.inTransaction():
		return s.rollBackFenced(r)
	case c.fenced:
		return s.refuseRequest(r, parkedTooLong())
	case plan.Class == prove.Kill:
		return s.fail(errKill)
	case plan.Class == prove.Use:
		return s.changeDatabase(plan.Name)
	case c.center:
		return s.atCenter(ctx, r)
	}
	return s.send(r, plan, &c)
}

// await decides by the snapshot of the moment, and again from the start after
// each wait for a fence to go. A notice stands in place of everything.
func (s *session) await(r *request) (plan *prove.Plan, c course, notice *prove.Refusal) {
	park := parking{p: s.p, size: len(r.packet)}
	defer park.end()
	for {
		changed := s.p.changes()
		st := s.p.state.Load()
		plan = s.plan(st, r)
		if notice = s.pending(); notice != nil && plan.Class != prove.Rollback {
			return plan, c, notice
		}
		c = s.decide(st, plan, r)
		if !c.fenced || s.inTransaction() {
			return plan, c, nil
		}
		s.dropStatement()
		if !park.wait(changed, s.cutoff, s.client) {
			c.gone = s.client.Gone()
			return plan, c, nil
		}
	}
}

// plan asks the prover, unless a prepared statement has asked before in the
// same circumstances.
func (s *session) plan(st *state, r *request) *prove.Plan {
	if r.stmt == nil {
		return s.p.prover.Plan(st.schema, s.view, r.text)
	}
	m := r.stmt
	// The server read the text when it was prepared, and keeps the database of
	// that time; the values are read as texts are now.
	view := prove.Session{Database: m.prepared.Database, Narrow: m.prepared.Narrow || s.view.Narrow}
	if m.plan == nil || m.schema != st.schema || m.view != view {
		m.plan, m.schema, m.view = s.p.prover.Plan(st.schema, view, r.text), st.schema, view
	}
	return m.plan
}

// decide gives the course of a request. Whatever it admits for writing is
// counted from here on.
func (s *session) decide(st *state, plan *prove.Plan, r *request) course {
	if plan.Refusal != nil {
		return course{refusal: plan.Refusal}
	}
	v := s.p.guard.View()
	s.deciding = v.Snapshot.Epoch
	if plan.Reads|plan.Writes == 0 {
		return course{}
	}
	c := course{rule: st.database.Spec.Rule}
	if c.refusal = s.kinds(v, plan, &c); c.refusal != nil || c.center {
		return c
	}
	unit := (plan.Reads | plan.Writes).Has(prove.UnitTables)
	writes := plan.Writes.Has(prove.UnitTables) || unit && plan.Class == prove.LockingRead
	if !unit || !writes && !plan.Keyed {
		return c // no unit data, or a read of what is here
	}
	asWrite := writes || plan.Class != prove.Read || s.wrote()
	if !asWrite && !plan.ReadsOwner {
		return c
	}
	keys, refusal := plan.Resolve(r.params)
	if refusal == nil && writes && len(keys) == 0 {
		refusal = &prove.Refusal{Code: codeUnprovable, Rule: "no key", What: "the statement names no key", Mend: "name the key of each row"}
	}
	if refusal != nil {
		c.refusal = refusal
		return c
	}
	if s.inTransaction() && s.p.gainedSince(s.began, v, c.rule, keys) {
		c.fenced = true // what it read of them before is old
		return c
	}
	if !asWrite {
		c.recheck, c.refusal = keys, s.read(c.rule, keys)
		return c
	}
	s.admit(v, keys, &c)
	return c
}

// kinds refuses by access modes and kinds of tables, and finds what goes to
// the center.
func (s *session) kinds(v *route.View, plan *prove.Plan, c *course) *prove.Refusal {
	p := s.p
	touched := plan.Reads | plan.Writes
	mode := v.UnitAccess(p.cfg.Unit)
	if mode == space.NoAccess || mode == space.ReadOnly && (plan.Writes != 0 || plan.Class == prove.LockingRead) {
		return accessMode(p.cfg.Unit, mode)
	}
	if p.isCenter(v) {
		return nil
	}
	if touched.Has(prove.CenterTables) {
		return centerOnly(p.cfg.Unit)
	}
	if !plan.Writes.Has(prove.CenterUnitTables) && !(plan.Class == prove.LockingRead && touched.Has(prove.CenterUnitTables)) {
		return nil
	}
	if touched.Has(prove.UnitTables | prove.LocalTables) {
		return twoSources("one statement uses tables of this unit and writes tables of the center", "write center-unit tables alone")
	}
	if s.inTransaction() || !s.status.Has(mysql.StatusAutocommit) {
		return twoSources("a center-unit table is written at the center, and this transaction is here", "write center-unit tables with autocommit on")
	}
	if plan.Pins&(prove.PinUserVariable|prove.PinInsertID|prove.PinFoundRows) != 0 {
		return twoSources("a center-unit table is written at the center, and the variable or function that the statement uses has its value here", "send the value itself")
	}
	if mode := v.UnitAccess(v.Center()); mode != space.ReadWrite {
		return accessMode(v.Center(), mode)
	}
	c.center = true
	return p.hazardAtCenter(plan.Tables)
}

// read asks for the owner's read of each key.
func (s *session) read(rule string, keys []string) *prove.Refusal {
	v := s.p.guard.View()
	for _, key := range keys {
		d := v.DecideKey(rule, key)
		if verdict := s.p.guard.Read(d); verdict != guard.Admitted {
			return s.p.refusalOf(verdict, d)
		}
	}
	return nil
}

// admit asks to write each key. What was admitted before another key was
// refused stays counted as long as the transaction is open.
func (s *session) admit(v *route.View, keys []string, c *course) {
	if len(keys) > 1 {
		first := v.DecideKey(c.rule, keys[0])
		for _, key := range keys[1:] {
			if d := v.DecideKey(c.rule, key); d.Unit != first.Unit {
				c.refusal = twoOwners(first, d)
				return
			}
		}
	}
	wrote := s.wrote()
	t := s.begin()
	for _, key := range keys {
		verdict, d, _ := t.Admit(func(v *route.View) route.Decision { return v.DecideKey(c.rule, key) })
		switch verdict {
		case guard.Admitted:
		case guard.Fenced:
			c.fenced = true
			return
		case guard.Doomed:
			return // enter tells the client, or cuts it off
		case guard.NotOwner:
			if c.refusal = notOwner(d); wrote {
				c.refusal = anotherOwner(d)
			}
			return
		default:
			c.refusal = s.p.refusalOf(verdict, d)
			return
		}
	}
}

// dropStatement forgets what was admitted for a statement that is not sent.
// Within a transaction it stays: the transaction goes on.
func (s *session) dropStatement() {
	if s.inTransaction() {
		return
	}
	s.mu.Lock()
	t := s.tx
	s.mu.Unlock()
	if t != nil {
		s.over(t)
	}
}

// rollBackFenced ends the transaction of a statement that met a fence.
func (s *session) rollBackFenced(r *request) error {
	notice, err := s.enter(ending, true)
	if err != nil {
		return err
	}
	if notice != nil {
		return s.refuseRequest(r, notice)
	}
	if err := s.rollback(); err != nil {
		return s.lost(err)
	}
	s.status &^= mysql.StatusInTransaction
	s.mu.Lock()
	t := s.tx
	s.mu.Unlock()
	if t != nil {
		s.over(t)
	}
	return s.refuseRequest(r, rolledBack())
}

// send runs a request at the home server.
func (s *session) send(r *request, plan *prove.Plan, c *course) error {
	x := &exchange{request: r, plan: plan, how: answer}
	var stale *prove.Refusal
	if c.recheck != nil {
		x.how = func(dst, src *mysql.Conn, caps mysql.Capabilities) (mysql.Terminal, error) {
			a, err := mysql.ReadResponse(src, caps)
			if err != nil {
				return mysql.Terminal{}, err
			}
			// The data is here; it is old if the owner changed meanwhile.
			if stale = s.read(c.rule, c.recheck); stale != nil {
				dst = nil
			}
			return a.Stream(dst)
		}
	}
	x.then = func(end *mysql.Terminal) *prove.Refusal {
		if end.Kind != mysql.EndERR {
			s.note(r, plan)
		}
		return stale
	}
	return s.atHome(x)
}

// note follows what a statement that succeeded changed in the session.
func (s *session) note(r *request, plan *prove.Plan) {
	if plan.Class != prove.Set {
		return
	}
	for _, set := range plan.Settings {
		switch set.Name {
		case "names", "charset":
			s.narrowClient, s.narrowConnection = set.Narrow, set.Narrow
		case "character_set_client":
			s.narrowClient = set.Narrow
		case "character_set_connection", "collation_connection":
			s.narrowConnection = set.Narrow
		}
	}
	s.view.Narrow = s.narrowClient || s.narrowConnection
	s.settings.add(r.text, plan)
}
