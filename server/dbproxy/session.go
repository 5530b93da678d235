package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/dbproxy/source"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/server/wire/mysql"
)

// session is one client connection and its connection to the unit's server.
// One goroutine serves it. The enforcer may step in between two statements,
// or while one runs; what they share is under mu.
type session struct {
	p      *Proxy
	client *mysql.Conn
	cutoff chan struct{} // closed when the session is cut

	hello    mysql.Hello
	view     prove.Session // what changes the meaning of texts
	home     *link
	center   *link // nil until a statement goes there
	status   mysql.Status
	deciding int64 // epoch by which the statement was decided
	began    int64 // epoch by which the first statement of the open transaction was
	settings settings

	narrowClient, narrowConnection bool // the parts of view.Narrow

	statements map[uint32]*statement
	textSize   int // of the statements, together
	lastID     uint32
	latest     uint32 // the one prepared last, 0 when that failed
	values     []mysql.Value
	params     []prove.Param
	packet     []byte
	end        []byte // the last packet of the answer that is settled

	mu        sync.Mutex
	free      sync.Cond // pressed has become false
	phase     phase
	pressed   bool      // the enforcer is at the home connection, or kills its statement
	pressedAt time.Time // the first press of this phase
	killedAt  time.Time // the last KILL QUERY of this phase
	tx        *guard.Tx // what has been admitted and is not over
	notice    *prove.Refusal
	cut       bool // the client is cut off, and a reaper has the rest
}

// phase is what the home connection does, as the enforcer must know.
type phase byte

const (
	idle    phase = iota // between statements: the enforcer may roll back
	running              // a statement runs: the enforcer may kill it
	ending               // a commit or rollback runs: the enforcer gives it a moment, then kills the thread
)

// link is a connection to a server.
type link struct {
	*mysql.Server
	source *source.Source
	thread sitedb.Thread
	narrow bool      // its character set is, see prove.Charset
	used   time.Time // the last statement
}

func newSession(p *Proxy, nc net.Conn) *session {
	s := &session{p: p, client: mysql.NewConn(nc), cutoff: make(chan struct{}), statements: map[uint32]*statement{}}
	s.free.L = &s.mu
	return s
}

// errCut ends a session without an answer: its outcome is unknown, or must
// not be an OK.
var errCut = errors.New("session cut off")

// errQuit ends a session that its client ended.
var errQuit = errors.New("client quits")

// errGone ends a session whose client left while its statement was parked.
var errGone = errors.New("client left while its statement was parked")

func (s *session) serve(ctx context.Context) {
	defer func() { _ = s.client.Close() }()
	err := s.welcome(ctx)
	if err == nil {
		err = s.commands(ctx)
	}
	if s.home != nil {
		s.bye()
	}
	if !errors.Is(err, errQuit) {
		s.p.log.Debug("session ended", "client", s.client.RemoteAddr().String(), "err", err)
	}
}

// errFull is the number of "Too many connections", the server's or ours.
const errFull = 1040

// turnAway answers a client for whom there is no place.
func (s *session) turnAway() {
	defer func() { _ = s.client.Close() }()
	_ = s.client.SetDeadline(time.Now().Add(time.Second))
	_ = s.client.Send(mysql.AppendError(nil, &mysql.ServerError{Code: errFull, State: "08004", Message: "Too many connections"}))
}

// Defaults of the greeting while the server was never heard.
const (
	defaultVersion   = "5.5.5-10.11.0-MariaDB"
	defaultCollation = 45 // utf8mb4_general_ci
)

// welcome authenticates the client and opens its connection to the unit's
// server.
func (s *session) welcome(ctx context.Context) error {
	limits := &s.p.cfg.Limits
	// Twice the limit: the server's part has one of its own, and the client
	// shall hear when that is over.
	if err := s.client.SetDeadline(time.Now().Add(2 * limits.Handshake)); err != nil {
		return fmt.Errorf("bound the handshake: %w", err)
	}
	st := s.p.state.Load()
	g := mysql.Greeting{Version: defaultVersion, Thread: s.p.next.Add(1), Collation: defaultCollation}
	if st != nil {
		g.Version = st.version
	}
	var err error
	if s.hello, err = mysql.Accept(s.client, g, mysql.Account{User: s.p.cfg.User, Password: s.p.cfg.Password}); err != nil {
		return err
	}
	if err := s.open(ctx, s.hello); err != nil {
		if e, ok := errors.AsType[*mysql.ServerError](err); ok {
			_ = s.client.Send(mysql.AppendError(nil, e))
		}
		return err
	}
	s.client.SetMax(limits.Packet)
	s.client.SetLimit(limits.Client)
	if err := s.client.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("unbound the connection: %w", err)
	}
	return s.client.Send(mysql.AppendOK(nil, mysql.OK{Status: s.status}))
}

// open opens the home connection. What the client shall hear of a failure is
// a *mysql.ServerError.
func (s *session) open(ctx context.Context, hello mysql.Hello) error {
	st := s.p.state.Load()
	if st == nil {
		return serverError(noSnapshot())
	}
	s.view = prove.Session{}
	if hello.Database != "" {
		if e := s.use(st, hello.Database); e != nil {
			return e
		}
	}
	home, err := s.dial(ctx, st.home, hello)
	if err != nil {
		return s.notOpened(err)
	}
	if s.view.Database != "" { // a local one: the connection is in the one that is served
		err = s.follows(home)
	}
	s.status = home.Status
	s.reads(prove.Session{Database: s.view.Database, Narrow: home.narrow})
	s.mu.Lock()
	s.home = home // from here on others look at it
	s.mu.Unlock()
	return err
}

// follows brings a connection into the database that the client chose.
func (s *session) follows(l *link) error {
	end, err := s.ask(l, append([]byte{byte(mysql.ComInitDB)}, s.view.Database...))
	switch {
	case err != nil:
		return s.notOpened(err)
	case end.Kind == mysql.EndERR:
		return end.Err
	}
	return nil
}

// notOpened is what a client hears when its connection to the unit's server
// could not be made.
func (s *session) notOpened(err error) error {
	if r, ok := errors.AsType[*prove.Refusal](err); ok {
		s.p.figures.refuse(r.Code)
		return serverError(r)
	}
	if e, ok := errors.AsType[*mysql.ServerError](err); ok && e.Code == errFull {
		return e
	}
	return &mysql.ServerError{Code: 1105, Message: "atoll: unit database: it cannot be reached (try again): " + err.Error()}
}

// reads takes up how the home server reads the session's texts from now on.
func (s *session) reads(v prove.Session) {
	s.view = v
	s.narrowClient, s.narrowConnection = v.Narrow, v.Narrow
}

// dial opens a connection for a session. Home connections are marked.
func (s *session) dial(ctx context.Context, src *source.Source, hello mysql.Hello) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.p.cfg.Limits.Handshake)
	defer cancel()
	c, err := src.Connect(ctx, hello.Capabilities, hello.Collation)
	if err != nil {
		return nil, err
	}
	l := &link{Server: c, source: src, thread: sitedb.Thread{ID: c.Thread}, used: time.Now()}
	if err := s.inspect(ctx, l); err != nil {
		_ = c.Close()
		return nil, err
	}
	c.SetLimit(s.p.cfg.Limits.Backend)
	return l, nil
}

// inspect asks the server how it will read this connection's texts, and marks
// the thread before it carries a statement of the client.
func (s *session) inspect(ctx context.Context, l *link) error {
	if until, ok := ctx.Deadline(); ok {
		if err := l.SetDeadline(until); err != nil {
			return err
		}
	}
	marked := l.source.Taken()
	more := ", ''"
	if !marked {
		more = ", HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()"
	}
	view, host, err := l.reading(more)
	if err != nil {
		return err
	}
	l.narrow, l.thread.Host = view.Narrow, host
	if marked {
		if l.thread, err = l.source.Mark(s.p.owner(), l.thread.ID); err != nil {
			return err
		}
	}
	return l.SetDeadline(time.Time{})
}

// reading asks the server how it reads the texts of a connection now, and one
// thing more. It is a refusal when no proof of such texts can be made.
func (l *link) reading(more string) (prove.Session, string, error) {
	row, err := l.QueryRow("SELECT @@character_set_client, @@character_set_connection, @@sql_mode, DATABASE()" + more)
	if err != nil {
		return prove.Session{}, "", fmt.Errorf("inspect the connection: %w", err)
	}
	if len(row) != 5 {
		return prove.Session{}, "", errors.New("inspect the connection: not five columns")
	}
	view := prove.Session{Database: row[3]}
	if view.Database == l.source.Database {
		view.Database = "" // the one that is served
	}
	for _, name := range row[:2] {
		narrow, ok := prove.Charset(name)
		if !ok {
			return view, "", unsafeCharset(name)
		}
		view.Narrow = view.Narrow || narrow
	}
	if r := prove.SQLMode(row[2]); r != nil {
		return view, "", r
	}
	return view, row[4], nil
}

// byeLimit bounds the rollback of a client that left in a transaction.
const byeLimit = 2 * time.Second

// lockWhenFree takes the lock when no enforcer is pressing the session.
func (s *session) lockWhenFree() {
	s.mu.Lock()
	for s.pressed {
		s.free.Wait()
	}
}

// bye ends the connections of a session in good order.
func (s *session) bye() {
	s.lockWhenFree()
	t, cut := s.tx, s.cut
	if !cut && t != nil {
		s.phase, s.pressedAt = ending, time.Time{}
	}
	s.mu.Unlock()
	if cut {
		return
	}
	if t != nil {
		_ = s.home.SetDeadline(time.Now().Add(byeLimit))
		if err := s.rollback(); err != nil {
			s.abandon(t)
			return
		}
		s.over(t)
	}
	s.closeLinks()
}

// closeLinks closes connections that have nothing of unit data open.
func (s *session) closeLinks() {
	s.mu.Lock()
	links := []*link{s.home, s.center}
	s.home, s.center = nil, nil
	s.mu.Unlock()
	for _, l := range links {
		if l == nil {
			continue
		}
		_ = l.SetDeadline(time.Now().Add(byeLimit))
		_ = l.Request([]byte{byte(mysql.ComQuit)})
		_ = l.Close()
		if !l.source.Taken() {
			continue
		}
		if err := l.source.Unmark(s.p.owner(), l.thread); err != nil {
			s.p.log.Debug("mark of a server thread stays", "unit", l.source.Unit, "thread", l.thread.ID, "err", err)
		}
	}
}

// begin gives the guard's transaction of the session, a new one when none is
// open.
func (s *session) begin() *guard.Tx {
	s.lockWhenFree()
	defer s.mu.Unlock()
	if s.tx == nil {
		s.tx = s.p.guard.Begin(s)
	}
	return s.tx
}

// over says that nothing of t is in flight any more.
func (s *session) over(t *guard.Tx) {
	s.lockWhenFree()
	if s.tx == t {
		s.tx = nil
	}
	s.phase = idle
	s.mu.Unlock()
	t.End()
}

// wrote says whether the open transaction has been admitted to write a key.
func (s *session) wrote() bool {
	s.mu.Lock()
	t := s.tx
	s.mu.Unlock()
	return t != nil && t.Wrote()
}

func (s *session) inTransaction() bool { return s.status.Has(mysql.StatusInTransaction) }

// enter begins the use of the home connection. When a fence has rolled the
// transaction back, a statement gets the notice in place; a command that is no
// statement leaves the notice for the next one.
func (s *session) enter(ph phase, statement bool) (*prove.Refusal, error) {
	s.lockWhenFree()
	if s.cut {
		s.mu.Unlock()
		return nil, errCut
	}
	if statement {
		if n := s.takeNotice(); n != nil {
			s.mu.Unlock()
			return n, nil
		}
	}
	if t := s.tx; t != nil && !t.MayCommit() {
		s.mu.Unlock()
		s.abandon(t) // the lease lapsed
		return nil, errCut
	}
	s.phase, s.pressedAt, s.killedAt = ph, time.Time{}, time.Time{}
	s.mu.Unlock()
	return nil, nil
}

// takeNotice gives what the client has not heard yet: that a fence rolled its
// transaction back. The caller holds mu.
func (s *session) takeNotice() *prove.Refusal {
	n := s.notice
	if n == nil {
		return nil
	}
	s.notice = nil
	s.status &^= mysql.StatusInTransaction
	if t := s.tx; t != nil { // begun after the rollback, for a statement that is not sent now
		s.tx = nil
		t.End()
	}
	return n
}

// pending takes the notice before a statement is looked at.
func (s *session) pending() *prove.Refusal {
	s.lockWhenFree()
	defer s.mu.Unlock()
	return s.takeNotice()
}

// leave ends the use of the home connection.
func (s *session) leave() {
	s.lockWhenFree()
	s.phase = idle
	s.mu.Unlock()
}
