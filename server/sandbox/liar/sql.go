package liar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/atoll-live/atoll/server/wire/mysql"
)

// The lies of a SQLLiar. They stand between clients and a dbproxy, and change
// what happens to the statements on two tables of the shop, notes and baskets.
const (
	OKWithoutWrite = "ok-without-write" // a write is answered and not done
	WriteTwice     = "write-twice"      // a write is done again, at once or behind the next one of its key
	StaleRead      = "stale-read"       // a read gets an answer of before
	Reorder        = "reorder"          // a write is answered, and done behind the next one of its key
)

// SQLLies are the lies of a SQLLiar.
func SQLLies() []string { return []string{OKWithoutWrite, WriteTwice, StaleRead, Reorder} }

// SQLConfig of a SQLLiar.
type SQLConfig struct {
	Lie      string
	Listen   string // host:port that clients take for the dbproxy
	Proxy    string // host:port of the real one
	User     string
	Password string
	Every    int // one of so many statements that fit is lied about; DefaultEvery when zero
	Log      *slog.Logger
}

const (
	// DefaultEvery leaves most answers true: a lie has to be found among them.
	DefaultEvery = 5
	lateMax      = 300 * time.Millisecond // a write that waits for the next one of its key waits no longer
	keptMax      = 10_000                 // answers that are kept to be told again, and writes that wait
	enterLimit   = 10 * time.Second
	sqlPacketMax = 16 << 20
)

// SQLLiar passes statements on, and lies about some of them.
type SQLLiar struct {
	cfg SQLConfig

	mu   sync.Mutex
	fit  int // statements so far that the lie is about
	late []lateWrite
	kept map[string][]byte // text of a read → its first answer
	lies int
}

// lateWrite is a write that is done behind the next one of its key.
type lateWrite struct {
	row  string // table and key
	text string
	from time.Time
}

// NewSQLLiar starts nothing.
func NewSQLLiar(cfg SQLConfig) (*SQLLiar, error) {
	if !slices.Contains(SQLLies(), cfg.Lie) {
		return nil, fmt.Errorf("there is no lie %q about statements", cfg.Lie)
	}
	for what, addr := range map[string]string{"listen": cfg.Listen, "proxy": cfg.Proxy} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("%s address %q: %w", what, addr, err)
		}
	}
	if cfg.User == "" || cfg.Password == "" {
		return nil, errors.New("no user or no password of the dbproxy is given")
	}
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &SQLLiar{cfg: cfg, kept: map[string][]byte{}}, nil
}

// Run serves until ctx ends.
func (q *SQLLiar) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", q.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	return q.Serve(ctx, l)
}

// Serve is Run on a listener of the caller's.
func (q *SQLLiar) Serve(ctx context.Context, l net.Listener) error {
	return each(ctx, l, func(c net.Conn) {
		if err := q.session(ctx, c); err != nil {
			q.cfg.Log.Debug("session over", "err", err)
		}
	})
}

// Lies is how many statements were lied about.
func (q *SQLLiar) Lies() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lies
}

// talk is one client's session with its own at the dbproxy.
type talk struct {
	q      *SQLLiar
	nc     net.Conn
	client *mysql.Conn
	proxy  *mysql.Server
	status mysql.Status
	ids    map[uint32]uint32 // the client's statement ids → the proxy's
}

func (q *SQLLiar) session(ctx context.Context, nc net.Conn) error {
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
	client := mysql.NewConn(nc)
	if err := client.SetDeadline(time.Now().Add(enterLimit)); err != nil {
		return err
	}
	const utf8mb4 = 45
	hello, err := mysql.Accept(client, mysql.Greeting{Version: "5.5.5-10.11.0-MariaDB", Thread: 1, Collation: utf8mb4},
		mysql.Account{User: q.cfg.User, Password: q.cfg.Password})
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, enterLimit)
	defer cancel()
	proxy, err := mysql.Dial(dial, q.cfg.Proxy, mysql.Login{User: q.cfg.User, Password: q.cfg.Password,
		Database: hello.Database, Capabilities: hello.Capabilities, Collation: hello.Collation})
	if err != nil {
		refusal := &mysql.ServerError{Code: 1105, Message: "the dbproxy cannot be reached: " + err.Error()}
		_ = errors.As(err, &refusal)
		return errors.Join(err, client.Send(mysql.AppendError(nil, refusal)))
	}
	defer proxy.Close()
	defer context.AfterFunc(ctx, func() { _ = proxy.Close() })()
	if err := errors.Join(client.Send(mysql.AppendOK(nil, mysql.OK{Status: proxy.Status})), client.SetDeadline(time.Time{})); err != nil {
		return err
	}
	client.SetMax(sqlPacketMax)
	t := &talk{q: q, nc: nc, client: client, proxy: proxy, status: proxy.Status, ids: map[uint32]uint32{}}
	for {
		request, err := client.ReadRequest()
		if err != nil || len(request) == 0 || mysql.Command(request[0]) == mysql.ComQuit {
			return err
		}
		if err := t.serve(slices.Clone(request)); err != nil {
			return err
		}
	}
}

// serve answers one request.
func (t *talk) serve(p []byte) error {
	switch mysql.Command(p[0]) {
	case mysql.ComQuery:
		return t.query(p)
	case mysql.ComStmtPrepare:
		return t.prepare(p)
	case mysql.ComStmtExecute, mysql.ComStmtClose, mysql.ComStmtReset, mysql.ComStmtLongData:
		id, err := mysql.StatementID(p)
		if err != nil {
			return err
		}
		mysql.SetStatementID(p, t.ids[id])
		if c := mysql.Command(p[0]); c == mysql.ComStmtClose || c == mysql.ComStmtLongData {
			return t.proxy.Request(p) // no answer comes
		}
	}
	return t.pass(p)
}

func (t *talk) prepare(p []byte) error {
	if err := t.proxy.Request(p); err != nil {
		return err
	}
	id := uint32(len(t.ids) + 1)
	made, err := mysql.RelayPrepare(t.client, t.proxy.Conn, t.proxy.Capabilities, id)
	if refusal, ok := errors.AsType[*mysql.ServerError](err); ok {
		return t.client.Send(mysql.AppendError(nil, refusal))
	}
	t.ids[id] = made.ID
	return err
}

// pass hands a request on and its answer back.
func (t *talk) pass(p []byte) error {
	end, err := t.ask(p, t.client)
	if err != nil {
		return err
	}
	return t.client.Send(end.Payload)
}

// ask hands a request on, and the answer without its end to dst.
func (t *talk) ask(p []byte, dst *mysql.Conn) (mysql.Terminal, error) {
	if err := t.proxy.Request(p); err != nil {
		return mysql.Terminal{}, err
	}
	r, err := mysql.ReadResponse(t.proxy.Conn, t.proxy.Capabilities)
	if err != nil {
		return mysql.Terminal{}, err
	}
	end, err := r.Stream(dst)
	if err == nil && end.Kind != mysql.EndERR {
		t.status = end.OK.Status
	}
	return end, err
}

// The statements that are lied about, as the clients write them.
var (
	aWrite = regexp.MustCompile(`^UPDATE (notes|baskets) SET .* WHERE buyer_id = ('[^']*')( AND value = -?\d+)?$`)
	aRead  = regexp.MustCompile(`^SELECT (?:value|items) FROM (?:notes|baskets) WHERE buyer_id = '[^']*'$`)
)

// query tells the truth or the lie. What waits for a later write comes behind.
func (t *talk) query(p []byte) error {
	text := string(p[1:])
	write := aWrite.FindStringSubmatch(text)
	blind := len(write) == 4 && write[3] == "" // whatever was there before
	var err error
	switch alone := !t.status.Has(mysql.StatusInTransaction); {
	case write != nil && t.q.cfg.Lie == OKWithoutWrite && t.q.turn():
		err = t.done()
	case write != nil && t.q.cfg.Lie == WriteTwice && t.q.turn():
		return t.twice(p, write)
	case blind && alone && t.q.cfg.Lie == Reorder && t.q.turn():
		t.q.hold(write, text)
		return t.done()
	case alone && t.q.cfg.Lie == StaleRead && aRead.MatchString(text):
		return t.again(p)
	default:
		err = t.pass(p)
	}
	if err != nil || t.status.Has(mysql.StatusInTransaction) {
		return err
	}
	return t.catchUp(write)
}

// done answers a write that changed one row.
func (t *talk) done() error {
	return t.client.Send(mysql.AppendOK(nil, mysql.OK{AffectedRows: 1, Status: t.status}))
}

// twice does a write twice. That of a note shows only behind another one.
func (t *talk) twice(p []byte, write []string) error {
	end, err := t.ask(p, t.client)
	if err != nil {
		return err
	}
	payload := slices.Clone(end.Payload)
	switch {
	case end.Kind == mysql.EndERR:
	case write[1] == "baskets":
		_, err = t.ask(p, nil)
	default:
		t.q.hold(write, string(p[1:]))
	}
	return errors.Join(err, t.client.Send(payload))
}

// again answers a read with the first answer that it ever got, when it is time
// to lie, and keeps that.
func (t *talk) again(p []byte) error {
	text := string(p[1:])
	if answer := t.q.recall(text); answer != nil {
		_, err := t.nc.Write(answer)
		return err
	}
	tape := &tape{}
	to := mysql.NewConn(tape)
	if err := to.Send(nil); err != nil { // in the place of the request: packets are numbered
		return err
	}
	tape.written = nil
	end, err := t.ask(p, to)
	if err == nil {
		err = to.Send(end.Payload)
	}
	if err != nil {
		return err
	}
	if end.Kind != mysql.EndERR {
		t.q.keep(text, tape.written)
	}
	_, err = t.nc.Write(tape.written)
	return err
}

// tape is a connection that keeps what is written to it.
type tape struct {
	net.Conn
	written []byte
}

func (t *tape) Write(p []byte) (int, error) {
	t.written = append(t.written, p...)
	return len(p), nil
}

// catchUp does the writes that have waited for one of their row, or too long.
// One that is refused, since its key has moved by then, is lost.
func (t *talk) catchUp(write []string) error {
	row := ""
	if write != nil {
		row = write[1] + write[2]
	}
	for _, text := range t.q.due(row) {
		if _, err := t.ask(append([]byte{byte(mysql.ComQuery)}, text...), nil); err != nil {
			return err
		}
	}
	return nil
}

// turn tells whether it is time to lie.
func (q *SQLLiar) turn() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fit++
	if q.fit%q.cfg.Every != 0 {
		return false
	}
	q.lies++
	return true
}

// hold keeps a write for later; one too many is lost.
func (q *SQLLiar) hold(write []string, text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.late) == keptMax {
		return
	}
	q.late = append(q.late, lateWrite{row: write[1] + write[2], text: text, from: time.Now()})
}

// due takes out what has to be done now that a row was written.
func (q *SQLLiar) due(row string) (texts []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.late = slices.DeleteFunc(q.late, func(w lateWrite) bool {
		now := w.row == row || time.Since(w.from) > lateMax
		if now {
			texts = append(texts, w.text)
		}
		return now
	})
	return texts
}

// recall gives a former answer to a read when it is time to lie.
func (q *SQLLiar) recall(text string) []byte {
	q.mu.Lock()
	former := q.kept[text]
	q.mu.Unlock()
	if former == nil || !q.turn() {
		return nil
	}
	return former
}

func (q *SQLLiar) keep(text string, answer []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.kept[text] == nil && len(q.kept) < keptMax {
		q.kept[text] = answer
	}
}
