package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/wire/mysql"
	"github.com/atoll-live/atoll/space"
)

// commands serves requests until the client leaves or the session must end.
func (s *session) commands(ctx context.Context) error {
	for {
		p, err := s.client.ReadRequest()
		if err != nil {
			switch {
			case errors.Is(err, mysql.ErrTooLarge):
				_ = s.client.Send(mysql.AppendError(nil, errTooLarge))
				s.client.Drain(drainLimit, int64(s.p.cfg.Limits.Packet))
			case errors.Is(err, io.EOF):
				return errQuit
			}
			return err
		}
		if len(p) == 0 {
			return errMalformed
		}
		if err := s.command(ctx, p); err != nil {
			return err
		}
		if cap(s.packet) > keepPacket {
			s.packet = nil
		}
	}
}

// drainLimit is how long the rest of a packet that is too large may come.
const drainLimit = time.Second

// keepPacket is how much memory for packets a session keeps between commands.
const keepPacket = 16 << 10

// command serves one request. An error ends the session; a refusal does not.
func (s *session) command(ctx context.Context, p []byte) error {
	switch mysql.Command(p[0]) {
	case mysql.ComQuery:
		return s.run(ctx, &request{text: p[1:], packet: p})
	case mysql.ComStmtExecute:
		return s.execute(ctx, p)
	case mysql.ComStmtPrepare:
		return s.prepare(ctx, p)
	case mysql.ComStmtLongData:
		return s.longData(p)
	case mysql.ComStmtClose:
		return s.closeStatement(p)
	case mysql.ComStmtReset:
		return s.resetStatement(p)
	case mysql.ComQuit:
		return errQuit
	case mysql.ComPing:
		return s.pass(p, answer)
	case mysql.ComInitDB:
		return s.changeDatabase(string(p[1:]))
	case mysql.ComFieldList:
		return s.pass(p, mysql.RelayFieldList)
	case mysql.ComStatistics:
		return s.statistics(p)
	case mysql.ComSetOption:
		if len(p) < 3 || p[1] != 1 {
			return s.fail(errMultiple)
		}
		return s.pass(p, mysql.RelayFieldList)
	case mysql.ComResetConnection:
		return s.reset(p)
	case mysql.ComChangeUser:
		return s.changeUser(ctx, p)
	case mysql.ComProcessKill:
		return s.fail(errKill)
	}
	return s.fail(errCommand)
}

// fail answers with an error and goes on.
func (s *session) fail(e *mysql.ServerError) error {
	s.packet = mysql.AppendError(s.packet[:0], e)
	return s.client.Send(s.packet)
}

// refuse answers with a refusal and goes on.
func (s *session) refuse(r *prove.Refusal) error {
	s.p.figures.refuse(r.Code)
	return s.fail(serverError(r))
}

func (s *session) ok() error {
	s.packet = mysql.AppendOK(s.packet[:0], mysql.OK{Status: s.status})
	return s.client.Send(s.packet)
}

// answer passes on an answer of one packet, or of rows.
func answer(dst, src *mysql.Conn, caps mysql.Capabilities) (mysql.Terminal, error) {
	r, err := mysql.ReadResponse(src, caps)
	if err != nil {
		return mysql.Terminal{}, err
	}
	return r.Stream(dst)
}

// relay reads the answer to a command and passes on all but its end.
type relay func(dst, src *mysql.Conn, caps mysql.Capabilities) (mysql.Terminal, error)

// pass hands a command that touches no table to the home server.
func (s *session) pass(p []byte, how relay) error {
	return s.atHome(&exchange{packet: p, how: how})
}

// exchange is a request to the home server and what to do with its answer.
type exchange struct {
	packet  []byte      // of a command
	request *request    // of a statement, in place of packet
	plan    *prove.Plan // of a statement
	how     relay
	// then, if given, sees the end of the complete answer before anything is
	// done by it. A refusal that it gives stands in its place.
	then func(*mysql.Terminal) *prove.Refusal
}

// phase is what the enforcer must know of the exchange.
func (x *exchange) phase() phase {
	if x.plan != nil && (x.plan.Class == prove.Rollback || commits(x.plan)) {
		return ending
	}
	return running
}

// atHome runs an exchange.
func (s *session) atHome(x *exchange) error {
	notice, err := s.enter(x.phase(), x.request != nil)
	if err != nil {
		return err
	}
	if notice != nil {
		return s.refuseRequest(x.request, notice)
	}
	if x.request != nil {
		if err := s.ready(x.request, s.home); err != nil {
			return s.lost(err)
		}
		x.packet = s.packetFor(x.request, s.home)
	}
	if err := s.home.Request(x.packet); err != nil {
		return s.lost(err)
	}
	end, err := x.how(s.client, s.home.Conn, s.home.Capabilities)
	if err != nil {
		return s.lost(err)
	}
	var instead *prove.Refusal
	if x.then != nil {
		instead = x.then(&end)
	}
	refusal, err := s.settle(x.plan, &end)
	if err != nil {
		return err
	}
	if refusal == nil {
		refusal = instead
	}
	if refusal != nil {
		return s.refuse(refusal)
	}
	return s.client.Send(end.Payload)
}

// statistics passes on the one answer that is a bare text.
func (s *session) statistics(p []byte) error {
	if _, err := s.enter(running, false); err != nil {
		return err
	}
	if err := s.home.Request(p); err != nil {
		return s.lost(err)
	}
	text, err := s.home.ReadPacket()
	if err != nil {
		return s.lost(err)
	}
	text = append([]byte(nil), text...) // once idle, the enforcer may read the connection
	s.leave()
	return s.client.Send(text)
}

// use changes the database that names without one stand for. There is one
// that is served; others only when what is not listed is local.
func (s *session) use(st *state, name string) *mysql.ServerError {
	switch {
	case name == s.p.cfg.Database || name == st.home.Database:
		s.view.Database = ""
	case st.schema.Another(name) != nil:
		return serverError(st.schema.Another(name))
	case st.database.Spec.DefaultKind == space.TableLocal:
		s.view.Database = name
	default:
		return serverError(&prove.Refusal{
			Code: codeUnlisted, Rule: "database not served", What: fmt.Sprintf("this proxy serves %s, not %.64q", s.p.cfg.Database, name),
			Mend: "connect to " + s.p.cfg.Database,
		})
	}
	return nil
}

// changeDatabase serves USE and its command. The server is told by its own
// name.
func (s *session) changeDatabase(name string) error {
	st := s.p.state.Load()
	before := s.view
	if e := s.use(st, name); e != nil {
		s.p.figures.refuse(int(e.Code))
		return s.fail(e)
	}
	if s.view.Database == "" {
		name = st.home.Database
	}
	return s.atHome(&exchange{
		packet: append([]byte{byte(mysql.ComInitDB)}, name...), how: answer,
		then: func(end *mysql.Terminal) *prove.Refusal {
			if end.Kind == mysql.EndERR {
				s.view = before
			}
			return nil
		},
	})
}

// reset brings the session back to its beginning, at the server too.
func (s *session) reset(p []byte) error {
	if err := s.endTransaction(); err != nil {
		return err
	}
	s.forgetState()
	if _, err := s.enter(running, false); err != nil {
		return err
	}
	end, err := s.ask(s.home, p)
	if err != nil {
		return s.lost(err)
	}
	if end.Kind == mysql.EndERR {
		s.leave()
		return s.fail(end.Err)
	}
	s.status = end.OK.Status
	// The session has the server's settings again, which may have changed
	// since it began.
	view, _, err := s.home.reading(", ''")
	if err != nil {
		return s.lost(err)
	}
	s.reads(view)
	s.leave()
	return s.ok()
}

// endTransaction rolls back what is open, and sees it ended, before the
// session's state is thrown away.
func (s *session) endTransaction() error {
	_ = s.pending() // what a fence did before needs no telling any more
	if _, err := s.enter(ending, false); err != nil {
		return err
	}
	if s.inTransaction() {
		if err := s.rollback(); err != nil {
			return s.lost(err)
		}
		s.status &^= mysql.StatusInTransaction
	}
	s.mu.Lock()
	t := s.tx
	s.mu.Unlock()
	if t != nil {
		s.over(t)
		return nil
	}
	s.leave()
	return nil
}

func (s *session) forgetState() {
	clear(s.statements)
	s.textSize, s.latest = 0, 0
	s.settings = settings{}
	s.setCenter(nil)
}

// changeUser authenticates anew and begins with fresh connections.
func (s *session) changeUser(ctx context.Context, p []byte) error {
	if len(p) > mysql.MaxBeforeAuth {
		return errMalformed
	}
	if err := s.endTransaction(); err != nil {
		return err
	}
	limits := &s.p.cfg.Limits
	if err := s.client.SetDeadline(time.Now().Add(limits.Handshake)); err != nil {
		return err
	}
	hello, err := mysql.AcceptChange(s.client, p, s.hello.Capabilities, mysql.Account{User: s.p.cfg.User, Password: s.p.cfg.Password})
	if err != nil {
		return err
	}
	if err := s.client.SetDeadline(time.Time{}); err != nil {
		return err
	}
	s.forgetState()
	s.closeLinks()
	s.hello = hello
	if err := s.open(ctx, hello); err != nil {
		if e, ok := errors.AsType[*mysql.ServerError](err); ok {
			_ = s.fail(e)
		}
		return err
	}
	return s.ok()
}
