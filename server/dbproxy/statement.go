package dbproxy

import (
	"context"
	"errors"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/wire/mysql"
)

// statement is one prepared statement of a session. Its id towards the client
// is the proxy's own; each server it runs at has another.
type statement struct {
	id     uint32
	text   []byte
	params int
	types  []byte // of the parameters, as the client sent them last
	long   []bool // parameters that were sent ahead; nil for none

	prepared prove.Session // how its text was read

	plan   *prove.Plan // for schema and view
	schema *prove.Schema
	view   prove.Session

	home, center handle
}

// handle is a statement at one server.
type handle struct {
	id    uint32
	on    *link // nil when it is not prepared there
	typed bool  // the server has the types that the client sent last
}

func (m *statement) at(s *session, l *link) *handle {
	if l == s.center {
		return &m.center
	}
	return &m.home
}

// direct is the id by which some clients mean the statement prepared last.
const direct = 1<<32 - 1

func (s *session) find(p []byte) (*statement, error) {
	id, err := mysql.StatementID(p)
	if err != nil {
		return nil, errMalformed
	}
	if id == direct {
		id = s.latest
	}
	return s.statements[id], nil
}

// prepare prepares a statement where it will run. What can be refused by the
// text alone is refused here.
func (s *session) prepare(ctx context.Context, p []byte) error {
	s.latest = 0
	if len(s.statements) >= s.p.cfg.Limits.Statements || s.textSize+len(p) > s.p.cfg.Limits.Packet {
		return s.fail(errStatements)
	}
	m := &statement{id: s.lastID + 1, text: append([]byte(nil), p[1:]...), prepared: s.view}
	r := &request{text: m.text, packet: p, stmt: m}
	st := s.p.state.Load()
	plan := s.plan(st, r)
	if plan.Refusal != nil {
		return s.refuse(plan.Refusal)
	}
	if plan.Class == prove.Kill {
		return s.fail(errKill)
	}
	var c course
	if v := s.p.guard.View(); plan.Reads|plan.Writes != 0 {
		if refusal := s.kinds(v, plan, &c); refusal != nil {
			return s.refuse(refusal)
		}
	}
	if !c.center {
		return s.prepareHome(m)
	}
	if err := s.reachCenter(ctx, st); err != nil {
		return s.fail(err)
	}
	head, err := s.prepareAt(s.client, s.center, m)
	var refused *mysql.ServerError
	switch {
	case errors.As(err, &refused):
		return s.fail(refused)
	case err != nil:
		return s.lost(err)
	}
	s.keep(m, head)
	return nil
}

// prepareHome prepares at the home server. The answer reaches the client
// before the session is settled, so a fence that came meanwhile is told at the
// next statement.
func (s *session) prepareHome(m *statement) error {
	notice, err := s.enter(running, true)
	if err != nil {
		return err
	}
	if notice != nil {
		return s.refuse(notice)
	}
	head, err := s.prepareAt(s.client, s.home, m)
	end := mysql.Terminal{Kind: mysql.EndOK, OK: mysql.OK{Status: s.status}}
	var refused *mysql.ServerError
	if errors.As(err, &refused) {
		end = mysql.Terminal{Kind: mysql.EndERR, Err: refused}
	} else if err != nil {
		return s.lost(err)
	}
	refusal, err := s.settle(nil, &end)
	switch {
	case err != nil:
		return err
	case refused != nil && refusal != nil:
		return s.refuse(refusal)
	case refused != nil:
		return s.fail(refused)
	case refusal != nil:
		s.mu.Lock()
		s.notice = refusal
		s.mu.Unlock()
	}
	s.keep(m, head)
	return nil
}

func (s *session) keep(m *statement, head mysql.Prepared) {
	m.params = head.Params
	s.statements[m.id] = m
	s.textSize += len(m.text)
	s.lastID, s.latest = m.id, m.id
}

// prepareAt prepares a statement at a server and passes the answer on to dst,
// which may be nil.
func (s *session) prepareAt(dst *mysql.Conn, l *link, m *statement) (mysql.Prepared, error) {
	if err := l.Request(append([]byte{byte(mysql.ComStmtPrepare)}, m.text...)); err != nil {
		return mysql.Prepared{}, err
	}
	head, err := mysql.RelayPrepare(dst, l.Conn, l.Capabilities, m.id)
	if err == nil {
		*m.at(s, l) = handle{id: head.ID, on: l}
	}
	return head, err
}

// execute runs a prepared statement. The keys are those of the values bound
// this time.
func (s *session) execute(ctx context.Context, p []byte) error {
	m, err := s.find(p)
	if err != nil {
		return err
	}
	if m == nil {
		return s.fail(errUnknown)
	}
	exec, err := mysql.ParseExecute(p, m.params, m.types)
	if err != nil {
		return s.fail(errArguments)
	}
	if exec.Sent() {
		m.types = append(m.types[:0], exec.Types()...)
		m.home.typed, m.center.typed = false, false
	}
	if s.values, err = exec.Values(s.values[:0], m.long); err != nil {
		return s.fail(errArguments)
	}
	s.params = s.params[:0]
	for i := range s.values {
		s.params = append(s.params, param(&s.values[i]))
	}
	r := &request{text: m.text, packet: p, stmt: m, exec: exec, params: s.params}
	return s.run(ctx, r)
}

func param(v *mysql.Value) prove.Param {
	switch v.Kind {
	case mysql.Null:
		return prove.Param{Kind: prove.ParamNull}
	case mysql.Int:
		return prove.Param{Kind: prove.ParamInt, Int: v.Int}
	case mysql.Uint:
		return prove.Param{Kind: prove.ParamUint, Uint: v.Uint}
	case mysql.Text:
		return prove.Param{Kind: prove.ParamString, Bytes: v.Bytes}
	case mysql.Blob:
		return prove.Param{Kind: prove.ParamBytes, Bytes: v.Bytes}
	case mysql.Float:
		return prove.Param{Kind: prove.ParamFloat}
	case mysql.LongData:
		return prove.Param{Kind: prove.ParamLongData}
	default:
		return prove.Param{Kind: prove.ParamOther}
	}
}

// packetFor is the packet that a server gets for the request. The caller has
// prepared the statement there.
func (s *session) packetFor(r *request, l *link) []byte {
	if r.stmt == nil {
		return r.packet
	}
	h := r.stmt.at(s, l)
	s.packet = r.exec.For(s.packet[:0], h.id, !h.typed)
	h.typed = true // the packet carries them, or the server has them
	r.stmt.long = nil
	return s.packet
}

// ready prepares a statement at a server where it is not prepared yet: tables
// can change their kind, and so their place, while a statement lives.
func (s *session) ready(r *request, l *link) error {
	if r.stmt == nil || r.stmt.at(s, l).on == l {
		return nil
	}
	if l == s.home && r.stmt.prepared.Database != s.view.Database {
		return errors.New("a statement cannot be prepared anew in another database")
	}
	head, err := s.prepareAt(nil, l, r.stmt)
	if err == nil && head.Params != r.stmt.params {
		err = errors.New("the servers do not agree on the parameters of a statement")
	}
	return err
}

// refuseRequest answers a request with a refusal. Values that were sent ahead
// are for this execution only: the server forgets them too.
func (s *session) refuseRequest(r *request, refusal *prove.Refusal) error {
	if r.stmt != nil && r.stmt.long != nil {
		if err := s.forgetLong(r.stmt); err != nil {
			return err
		}
	}
	return s.refuse(refusal)
}

func (s *session) forgetLong(m *statement) error {
	m.long = nil
	h, l := s.placeOf(m)
	if l == nil {
		return nil
	}
	if _, err := s.enter(running, false); err != nil {
		return err
	}
	p := []byte{byte(mysql.ComStmtReset), 0, 0, 0, 0}
	mysql.SetStatementID(p, h.id)
	if err := l.Request(p); err != nil {
		return s.lost(err)
	}
	end, err := s.drop(l)
	if err != nil {
		return s.lost(err)
	}
	if l == s.home {
		_, err := s.settle(nil, &end)
		return err
	}
	s.leave()
	return nil
}

// placeOf is where a statement is prepared now, home first.
func (s *session) placeOf(m *statement) (*handle, *link) {
	switch {
	case m.home.on != nil && m.home.on == s.home:
		return &m.home, s.home
	case m.center.on != nil && m.center.on == s.center:
		return &m.center, s.center
	}
	return nil, nil
}

// longData passes on a piece of a value. It has no answer.
func (s *session) longData(p []byte) error {
	m, err := s.find(p)
	if err != nil {
		return err
	}
	i, err := mysql.LongDataParameter(p)
	if err != nil {
		return errMalformed
	}
	if m == nil || i >= m.params {
		return nil // the execution will say so
	}
	h, l := s.placeOf(m)
	if l == nil {
		return nil
	}
	if m.long == nil {
		m.long = make([]bool, m.params)
	}
	m.long[i] = true
	if _, err := s.enter(running, false); err != nil {
		return err
	}
	mysql.SetStatementID(p, h.id)
	if err := l.Request(p); err != nil {
		return s.lost(err)
	}
	s.leave()
	return nil
}

// closeStatement forgets a statement, at the servers too. It has no answer.
func (s *session) closeStatement(p []byte) error {
	m, err := s.find(p)
	if err != nil || m == nil {
		return err
	}
	delete(s.statements, m.id)
	s.textSize -= len(m.text)
	for _, h := range []*handle{&m.home, &m.center} {
		if h.on == nil || h.on != s.home && h.on != s.center {
			continue
		}
		if _, err := s.enter(running, false); err != nil {
			return err
		}
		mysql.SetStatementID(p, h.id)
		if err := h.on.Request(p); err != nil {
			return s.lost(err)
		}
		s.leave()
	}
	return nil
}

// resetStatement drops values that were sent ahead.
func (s *session) resetStatement(p []byte) error {
	m, err := s.find(p)
	if err != nil {
		return err
	}
	if m == nil {
		return s.fail(errUnknown)
	}
	m.long = nil
	h, l := s.placeOf(m)
	if l != s.home || l == nil {
		if l != nil {
			if err := s.forgetLong(m); err != nil {
				return err
			}
		}
		return s.ok()
	}
	mysql.SetStatementID(p, h.id)
	return s.pass(p, answer)
}
