package dbproxy

import (
	"context"
	"errors"
	"time"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/wire/mysql"
)

// centerIdle is how long a center connection may rest before it is tried
// first: a write into one that the server has closed would have an unknown
// outcome.
const centerIdle = 5 * time.Second

// readCenter looks what the center's server does by itself when a table is
// written there. While it cannot be asked, what was seen last holds.
func (p *Proxy) readCenter(ctx context.Context, st *state) {
	found, err := st.center.Hazards(ctx, st.database)
	if err != nil {
		p.log.Debug("tables of the center not read", "err", err)
		return
	}
	p.center.Store(&found)
}

// hazardAtCenter is the refusal of a statement that goes to the center and
// touches a table that must not be written there.
func (p *Proxy) hazardAtCenter(tables []string) *prove.Refusal {
	st, found := p.state.Load(), p.center.Load()
	if found == nil || st.center == nil {
		return nil
	}
	for _, name := range tables {
		if z, ok := (*found)[prove.Qualified(st.center.Database, name)]; ok {
			return &prove.Refusal{Code: codeUnprovable, Rule: z.Rule, What: "at the center " + z.What, Mend: z.Mend}
		}
	}
	return nil
}

// reachCenter opens the connection to the center's server and brings the
// session's settings there. What fails here has done nothing.
func (s *session) reachCenter(ctx context.Context, st *state) *mysql.ServerError {
	if st.center == nil {
		return unreachable(errors.New("the center has no source"))
	}
	if s.center != nil && (s.center.source != st.center || !s.awake(s.center)) {
		s.setCenter(nil)
	}
	if s.settings.lost {
		return errSettings
	}
	if s.center == nil {
		l, err := s.dial(ctx, st.center, s.hello)
		if err != nil {
			return unreachable(err)
		}
		l.SetLimit(s.p.cfg.Limits.Center)
		s.setCenter(l)
		s.settings.sent = 0
	}
	if err := s.sendSettings(); err != nil {
		s.setCenter(nil)
		return unreachable(err)
	}
	return nil
}

// sendSettings brings the center's connection up to date. Autocommit is on
// there, whatever the server begins with or a SET among others says: what is
// written at the center is alone in its transaction.
func (s *session) sendSettings() error {
	say := func(text string) (mysql.Status, error) {
		end, err := s.ask(s.center, append([]byte{byte(mysql.ComQuery)}, text...))
		if err == nil && end.Kind == mysql.EndERR {
			err = end.Err
		}
		return end.OK.Status, err
	}
	for t := &s.settings; t.sent < len(t.list); t.sent++ {
		var err error
		if s.center.Status, err = say(t.list[t.sent].text); err != nil {
			return err
		}
	}
	if s.center.Status.Has(mysql.StatusAutocommit) {
		return nil
	}
	status, err := say("SET autocommit = 1")
	s.center.Status = status
	return err
}

func unreachable(err error) *mysql.ServerError {
	return &mysql.ServerError{Code: 1105, Message: "atoll: center: it cannot be reached, nothing was done (try again later): " + err.Error()}
}

func (s *session) setCenter(l *link) {
	old := s.center
	s.mu.Lock()
	s.center = l
	s.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
}

// awake says whether the server still has the connection.
func (s *session) awake(l *link) bool {
	if !l.Idle() {
		return false
	}
	if time.Since(l.used) < centerIdle {
		return true
	}
	end, err := s.ask(l, []byte{byte(mysql.ComPing)})
	return err == nil && end.Kind == mysql.EndOK
}

// ask runs a request whose answer nobody gets.
func (s *session) ask(l *link, p []byte) (mysql.Terminal, error) {
	if err := l.Request(p); err != nil {
		return mysql.Terminal{}, err
	}
	l.used = time.Now()
	return s.drop(l)
}

// atCenter runs a write of a center-unit table at the center's server, alone
// in its transaction.
func (s *session) atCenter(ctx context.Context, r *request) error {
	if e := s.reachCenter(ctx, s.p.state.Load()); e != nil {
		return s.fail(e)
	}
	if err := s.ready(r, s.center); err != nil {
		s.setCenter(nil)
		return s.fail(unreachable(err))
	}
	// From here on an answer that does not come leaves the outcome unknown.
	if err := s.center.Request(s.packetFor(r, s.center)); err != nil {
		return s.lostCenter(err)
	}
	s.center.used = time.Now()
	end, err := answer(s.client, s.center.Conn, s.center.Capabilities)
	if err != nil {
		return s.lostCenter(err)
	}
	s.center.used = time.Now()
	// The state that the client hears of is the one at home.
	end.SetStatus(s.status)
	return s.client.Send(end.Payload)
}

func (s *session) lostCenter(err error) error {
	s.p.figures.unknownOutcomes.Add(1)
	s.setCenter(nil)
	return s.lost(err)
}
