package dbproxy_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/route"
	wire "github.com/atoll-live/atoll/server/wire/mysql"
	"github.com/atoll-live/atoll/space"
)

// everywhere installs the next snapshot at all proxies.
func (w *world) everywhere(ps ...*proxy) {
	w.t.Helper()
	s := w.snapshot()
	for _, p := range ps {
		p.install(s)
	}
}

// fenceAt and switchAt are a move's two steps at the proxies of both units.
func (w *world) fenceAt(m *space.Transfer, ps ...*proxy) {
	w.t.Helper()
	m.Hold, m.Fenced, m.FenceEpoch = true, true, w.epoch+1
	w.moves = []*space.Transfer{m}
	w.everywhere(ps...)
}

func (w *world) switchAt(m *space.Transfer, ps ...*proxy) {
	w.t.Helper()
	doc, err := route.Switch(w.doc, m)
	must(w.t, err)
	w.doc = doc
	m.Hold, m.Fenced, m.Outcome = false, false, space.OutcomeSwitched
	w.everywhere(ps...)
}

// run runs texts one after another.
func run(t *testing.T, c *sql.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := c.ExecContext(ctx(t), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

func failure(t *testing.T, c *sql.Conn, text string) error {
	t.Helper()
	_, err := c.ExecContext(ctx(t), text)
	return err
}

func insertOf(key, id string) string {
	return "INSERT INTO orders (buyer_id, id) VALUES ('" + key + "', " + id + ")"
}

// TestClients_OpenTransactionOverAMove leaves transactions open while their
// keys, or others, move to another unit.
func TestClients_OpenTransactionOverAMove(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	a, b := w.serve("unit-a"), w.serve("unit-b")
	moving, stays, there := w.key("unit-a", 1), w.key("unit-a", 2), w.key("unit-b", 1)
	lane := w.direct("unit-b")

	wrote, off, reader, other, target := a.textConn(), a.textConn(), a.textConn(), a.textConn(), b.textConn()
	run(t, wrote, "BEGIN", insertOf(moving, "1"))
	run(t, off, "SET autocommit = 0", insertOf(moving, "2"))
	run(t, reader, "BEGIN", "SELECT * FROM orders WHERE buyer_id = '"+moving+"'")
	run(t, other, "BEGIN", insertOf(stays, "3"))
	run(t, target, "START TRANSACTION WITH CONSISTENT SNAPSHOT", insertOf(there, "4"))

	m := move("m1", moving)
	w.fenceAt(m, a, b)
	if killed := a.awaitDrained(m); killed != 2 {
		t.Errorf("%d transactions ended, want those two that wrote the key", killed)
	}
	b.awaitDrained(m)
	lane(insertOf(moving, "9")) // the last row comes over
	w.switchAt(m, a, b)

	t.Run("it wrote the key", func(t *testing.T) {
		refused(t, failure(t, wrote, "COMMIT"), 9602)
		refused(t, failure(t, wrote, insertOf(moving, "1")), 9601)
		run(t, wrote, insertOf(stays, "5"))
	})
	t.Run("it wrote the key, autocommit off", func(t *testing.T) {
		refused(t, failure(t, off, "SET autocommit = 1"), 9602)
		var on int
		must(t, off.QueryRowContext(ctx(t), "SELECT @@autocommit").Scan(&on))
		if on != 0 {
			t.Error("the refused SET was done")
		}
		run(t, off, "SET autocommit = 1", insertOf(stays, "6"))
	})
	t.Run("it read the key", func(t *testing.T) {
		refused(t, failure(t, reader, "SELECT * FROM orders WHERE buyer_id = '"+moving+"'"), 9601)
		run(t, reader, insertOf(stays, "7"), "COMMIT")
	})
	t.Run("it wrote another key", func(t *testing.T) { run(t, other, insertOf(stays, "8"), "COMMIT") })
	t.Run("it is at the new owner", func(t *testing.T) {
		refused(t, failure(t, target, insertOf(moving, "10")), 9602) // its picture has not the row that came over
		run(t, target, "BEGIN", insertOf(moving, "10"), "COMMIT")
	})
	if n := w.orders("unit-a", moving); n != 0 {
		t.Errorf("%d rows of the moved key at the old owner", n)
	}
	if n := w.orders("unit-a", stays); n != 5 {
		t.Errorf("%d rows of the other key, want 5", n)
	}
	if n, lost := w.orders("unit-b", moving), w.orders("unit-b", there); n != 2 || lost != 0 {
		t.Errorf("%d rows at the new owner, want 2; %d of a transaction that was rolled back", n, lost)
	}
}

// TestClients_SavepointsOverAFence goes back to a savepoint while a fence is
// in force, before and behind its deadline.
func TestClients_SavepointsOverAFence(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.set.FenceDeadline = time.Hour
	p := w.serve("unit-a")
	own, stays := w.key("unit-a", 1), w.key("unit-a", 2)
	c := p.textConn()
	run(t, c, "BEGIN", insertOf(own, "1"), "SAVEPOINT s", insertOf(own, "2"))
	m := move("m1", own)
	w.fence(p, m)
	run(t, c, "ROLLBACK TO s", "RELEASE SAVEPOINT s", insertOf(stays, "3"))
	if ok, _ := p.drained(m); ok {
		t.Fatal("drained: what was written before the savepoint is open")
	}
	run(t, c, "COMMIT")
	p.awaitDrained(m)
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows, want the one before the savepoint", n)
	}
	w.abort(p, m)

	// A transaction that has gone back to before its write counts as open too:
	// its locks are.
	run(t, c, "BEGIN", "SAVEPOINT s", insertOf(own, "4"), "ROLLBACK TO s")
	w.set.FenceDeadline = 100 * time.Millisecond
	m = move("m2", own)
	w.fence(p, m)
	p.awaitDrained(m)
	refused(t, failure(t, c, "ROLLBACK TO s"), 9602)
	run(t, c, "ROLLBACK", insertOf(stays, "5"))
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// TestClients_PreparedOverAMove executes statements that were prepared before
// a move, during it and after it, at both units.
func TestClients_PreparedOverAMove(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	a, b := w.serve("unit-a"), w.serve("unit-b")
	moving, stays := w.key("unit-a", 1), w.key("unit-a", 2)
	atA, err := a.conn().PrepareContext(ctx(t), insert)
	must(t, err)
	defer func() { _ = atA.Close() }()
	atB, err := b.conn().PrepareContext(ctx(t), insert)
	must(t, err)
	defer func() { _ = atB.Close() }()
	_, err = atA.Exec(moving, 1)
	must(t, err)
	_, err = atB.Exec(moving, 1)
	refused(t, err, 9601)

	m := move("m1", moving)
	w.fenceAt(m, a, b)
	a.awaitDrained(m)
	atOld, atNew := make(chan error, 1), make(chan error, 1)
	go func() { _, err := atA.Exec(moving, 2); atOld <- err }()
	go func() { _, err := atB.Exec(moving, 2); atNew <- err }()
	await(t, "both to be parked", func() bool { return a.Figures()["parked_now"] == 1 && b.Figures()["parked_now"] == 1 })
	w.switchAt(m, a, b)
	refused(t, <-atOld, 9601)
	must(t, <-atNew)

	_, err = atA.Exec(moving, 3)
	refused(t, err, 9601)
	_, err = atA.Exec(stays, 3)
	must(t, err)
	_, err = atB.Exec(moving, 3)
	must(t, err)
	if old, now := w.orders("unit-a", moving), w.orders("unit-b", moving); old != 1 || now != 2 {
		t.Errorf("%d rows at the old owner, want 1; %d at the new, want 2", old, now)
	}
}

// TestClients_StopsReading: a client that takes nothing of a long answer holds
// up neither a fence nor the proxy.
func TestClients_StopsReading(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.limits.Client = 8 * time.Second
	p := w.serve("unit-a")
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	w.servers["unit-a"].Exec(t,
		"INSERT INTO orders (buyer_id, id, note) SELECT '"+own+"', 100 + seq, REPEAT('x', 500000) FROM seq_1_to_100")
	stuck := func() *client {
		c := p.dial(0)
		c.ok(c.query("BEGIN"))
		c.ok(c.query(insertOf(own, "1")))
		must(t, c.Request(append([]byte{byte(wire.ComQuery)}, "SELECT * FROM orders WHERE buyer_id = '"+own+"'"...)))
		seen := 0 // one look alone could hit a moment of an answer that flows
		await(t, "the answer to be stuck", func() bool {
			if seen++; w.count("unit-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE '%riting to net%' AND DB = 'shop'") == 0 {
				seen = 0
			}
			return seen >= 50
		})
		return c
	}
	ended := func(c *client) {
		t.Helper()
		must(t, c.SetDeadline(time.Now().Add(waitMost)))
		for {
			if _, err := c.ReadPacket(); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection is open")
			} else if err != nil {
				return
			}
		}
	}
	t.Run("under a fence", func(t *testing.T) {
		c := stuck()
		m := move("m1", own)
		w.fence(p, m)
		if killed := p.awaitDrained(m); killed != 1 {
			t.Errorf("%d killed", killed)
		}
		db := p.open()
		_, err := db.Exec(insert, other, 1)
		must(t, err)
		must(t, db.Close())
		ended(c)
		w.abort(p, m)
	})
	t.Run("for longer than the limit", func(t *testing.T) {
		c := stuck()
		awaitEvery(t, 50*time.Millisecond, "the server's thread to be gone", func() bool {
			return w.count("unit-a", "SELECT COUNT(*) FROM atoll.session") == 0
		})
		ended(c)
		m := move("m2", own)
		w.fence(p, m)
		p.awaitDrained(m)
	})
	if n := w.count("unit-a", "SELECT COUNT(*) FROM orders WHERE buyer_id = ? AND id = 1", own); n != 0 {
		t.Errorf("%d rows of transactions that were not committed", n)
	}
}

// losing is a relay in front of a server. It can lose the request that holds a
// word, or the answer to it, and both ends of the connection with it.
type losing struct {
	listener net.Listener
	server   string
	work     sync.WaitGroup

	mu    sync.Mutex
	word  string
	reach bool // the server gets the request
}

func lose(t *testing.T, server string) *losing {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &losing{listener: l, server: server}
	r.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.work.Go(func() { r.carry(c) })
		}
	})
	return r
}

func (r *losing) close() { _ = r.listener.Close(); r.work.Wait() }

// on says what to lose from now on.
func (r *losing) on(word string, reach bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.word, r.reach = word, reach
}

// strikes says whether these bytes are to be lost, once.
func (r *losing) strikes(b []byte) (struck, reach bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.word == "" || !bytes.Contains(b, []byte(r.word)) {
		return false, false
	}
	r.word = ""
	return true, r.reach
}

func (r *losing) carry(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	lost := make(chan struct{})
	back := make(chan struct{})
	go func() { // to the client
		defer close(back)
		defer func() { _ = client.Close() }()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			select {
			case <-lost:
				return // the answer is here: the server has done it, and nobody hears
			default:
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			break
		}
		struck, reach := r.strikes(b[:n])
		if struck && !reach {
			break
		}
		if struck {
			close(lost)
		}
		if _, err := server.Write(b[:n]); err != nil || struck {
			if struck {
				<-back
			}
			break
		}
	}
	_ = server.Close()
	<-back
}

// TestClients_AnswerLost: when the connection to the server ends in a COMMIT,
// or in a write that is alone, nobody knows whether it was done. The client is
// closed without OK and without ERR, and a fence waits until the server's
// thread is gone.
func TestClients_AnswerLost(t *testing.T) {
	w := newWorld(t, "unit-a")
	r := lose(t, w.servers["unit-a"].Addr())
	t.Cleanup(r.close)
	w.reach = map[string]string{"unit-a": r.listener.Addr().String()}
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	for _, part := range []struct {
		name, word string
		texts      []string
		done       bool
	}{
		{"commit done", "COMMIT", []string{"BEGIN", insertOf(own, "1"), "COMMIT"}, true},
		{"commit not done", "COMMIT", []string{"BEGIN", insertOf(own, "2"), "COMMIT"}, false},
		{"alone and done", "INSERT INTO orders", []string{insertOf(own, "3")}, true},
		{"alone and not done", "INSERT INTO orders", []string{insertOf(own, "4")}, false},
		{"autocommit on again", "SET autocommit = 1", []string{"SET autocommit = 0", insertOf(own, "5"), "SET autocommit = 1"}, true},
	} {
		t.Run(part.name, func(t *testing.T) {
			before, unknown := w.orders("unit-a", own), p.Figures()["unknown_outcomes"]
			c := p.textConn()
			last := len(part.texts) - 1
			run(t, c, part.texts[:last]...)
			r.on(part.word, part.done)
			err := failure(t, c, part.texts[last])
			if _, answered := errors.AsType[*mysql.MySQLError](err); err == nil || answered {
				t.Fatalf("answered with %v", err)
			}
			m := move("m-"+part.name, own)
			w.fence(p, m)
			p.awaitDrained(m)
			want := before
			if part.done {
				want++
			}
			if n := w.orders("unit-a", own); n != want {
				t.Errorf("%d rows behind the ack, want %d", n, want)
			}
			if f := p.Figures()["unknown_outcomes"]; f != unknown+1 {
				t.Errorf("%d unknown outcomes, want %d", f, unknown+1)
			}
			w.abort(p, m)
		})
	}
}

// TestClients_GoneInCommit: a COMMIT goes on when its client is gone.
func TestClients_GoneInCommit(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.set.FenceDeadline = time.Hour
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	c := p.dial(0)
	c.ok(c.query("BEGIN"))
	c.ok(c.query(insertOf(own, "1")))
	blocker := w.direct("unit-a")
	blocker("FLUSH TABLES WITH READ LOCK")
	must(t, c.Request([]byte("\x03COMMIT")))
	await(t, "the commit to wait", func() bool {
		return w.count("unit-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for backup lock%' OR INFO = 'COMMIT'") > 0
	})
	must(t, c.Close())
	m := move("m1", own)
	w.fence(p, m)
	if ok, _ := p.drained(m); ok {
		t.Error("drained while a commit is open")
	}
	blocker("UNLOCK TABLES")
	if killed := p.awaitDrained(m); killed != 0 {
		t.Errorf("%d killed", killed)
	}
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows behind the ack", n)
	}
	await(t, "the mark to go", func() bool { return w.count("unit-a", "SELECT COUNT(*) FROM atoll.session") == 0 })
}

// TestClients_GoneInTransaction: what a client leaves open is rolled back at
// once, however it leaves.
func TestClients_GoneInTransaction(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.set.FenceDeadline = time.Hour
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	for name, leave := range map[string]func(*client){
		"with a word":    func(c *client) { must(t, c.Request([]byte{byte(wire.ComQuit)})) },
		"without a word": func(c *client) { must(t, c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			c := p.dial(0)
			c.ok(c.query("BEGIN"))
			c.ok(c.query(insertOf(own, "1")))
			leave(c)
			m := move("m-"+name, own)
			w.fence(p, m)
			p.awaitDrained(m)
			if n := w.orders("unit-a", own); n != 0 {
				t.Errorf("%d rows", n)
			}
			w.abort(p, m)
		})
	}
}

// TestClients_GoneWhileParked: a statement whose client has gone is not run
// when the fence goes, and gives its place free at once.
func TestClients_GoneWhileParked(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.limits.FenceWait = time.Hour
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	m := move("m1", own)
	w.fence(p, m)
	for name, leave := range map[string]func(*client){
		"with a word":    func(c *client) { must(t, c.Request([]byte{byte(wire.ComQuit)})); must(t, c.Close()) },
		"without a word": func(c *client) { must(t, c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			c := p.dial(0)
			must(t, c.Request(append([]byte{byte(wire.ComQuery)}, insertOf(own, "1")...)))
			await(t, "parked", func() bool { return p.Figures()["parked_now"] == 1 })
			leave(c)
			await(t, "the place to be free", func() bool { return p.Figures()["parked_now"] == 0 })
		})
	}
	// Nobody looks between the end of the client and that of the fence.
	c := p.dial(0)
	must(t, c.Request(append([]byte{byte(wire.ComQuery)}, insertOf(own, "2")...)))
	await(t, "parked", func() bool { return p.Figures()["parked_now"] == 1 })
	must(t, c.Close())
	w.abort(p, m)
	await(t, "all sessions to be over", func() bool { return p.Figures()["sessions"] == 0 })
	if n := w.orders("unit-a", own); n != 0 {
		t.Errorf("%d rows of clients that were gone", n)
	}
}

// TestClients_ManyParked: clients that leave make room for others.
func TestClients_ManyParked(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.limits.FenceWait, w.limits.ParkedMax = time.Hour, 2
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	m := move("m1", own)
	w.fence(p, m)
	park := func() *client {
		c := p.dial(0)
		must(t, c.Request(append([]byte{byte(wire.ComQuery)}, insertOf(own, "1")...)))
		return c
	}
	first, second := park(), park()
	await(t, "both parked", func() bool { return p.Figures()["parked_now"] == 2 })
	refused(t, failure(t, p.textConn(), insertOf(own, "1")), 9602) // no place
	must(t, first.Close())
	must(t, second.Close())
	await(t, "room", func() bool { return p.Figures()["parked_now"] == 0 })
	done := make(chan error, 1)
	third := p.textConn()
	go func() { _, err := third.ExecContext(context.Background(), insertOf(own, "1")); done <- err }()
	await(t, "another parked", func() bool { return p.Figures()["parked_now"] == 1 })
	w.abort(p, m)
	must(t, <-done)
}

// TestClients_NamedLocks: a wait for a lock of GET_LOCK does not hold a fence
// up, and a fence that rolls a transaction back leaves the session its locks.
func TestClients_NamedLocks(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	holder, waiter := p.textConn(), p.textConn()
	run(t, holder, "SELECT GET_LOCK('l', 0)", "BEGIN", insertOf(own, "1"))
	run(t, waiter, "BEGIN", insertOf(own, "2"))
	done := make(chan error, 1)
	go func() {
		done <- waiter.QueryRowContext(context.Background(), "SELECT GET_LOCK('l', 100)").Scan(new(sql.NullInt64))
	}()
	await(t, "the lock to be waited for", func() bool {
		return w.count("unit-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'User lock%'") > 0
	})
	m := move("m1", own)
	w.fence(p, m)
	if killed := p.awaitDrained(m); killed != 2 {
		t.Errorf("%d killed", killed)
	}
	refused(t, <-done, 9602)
	refused(t, failure(t, holder, "COMMIT"), 9602)
	var released int
	must(t, holder.QueryRowContext(ctx(t), "SELECT RELEASE_LOCK('l')").Scan(&released))
	if released != 1 {
		t.Error("the lock was lost")
	}
	run(t, waiter, "SELECT GET_LOCK('l', 0)")
}

// TestClients_Pipelined: requests that come before the answers are served one
// after another.
func TestClients_Pipelined(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, foreign := w.key("unit-a", 1), w.key("unit-b", 1)
	t.Run("texts", func(t *testing.T) {
		nc, err := net.Dial("tcp", p.Addr().String())
		must(t, err)
		defer func() { _ = nc.Close() }()
		_, err = wire.Enter(ctx(t), nc, wire.Login{User: "app", Password: "app-secret", Database: "shop", Collation: 45})
		must(t, err)
		var all []byte
		for _, text := range []string{"BEGIN", insertOf(own, "1"), insertOf(foreign, "1"), "COMMIT"} {
			all = append(append(all, byte(1+len(text)), 0, 0, 0, byte(wire.ComQuery)), text...)
		}
		must(t, nc.SetDeadline(time.Now().Add(waitMost)))
		_, err = nc.Write(all)
		must(t, err)
		for i, code := range []uint16{0, 0, 9606, 0} {
			head := make([]byte, 4)
			_, err := io.ReadFull(nc, head)
			must(t, err)
			body := make([]byte, int(head[0])|int(head[1])<<8)
			_, err = io.ReadFull(nc, body)
			must(t, err)
			if got := binary.LittleEndian.Uint16(body[1:]); head[3] != 1 || (code == 0) != (body[0] == 0) || code != 0 && got != code {
				t.Errorf("answer %d: packet %d begins %x, want error %d", i, head[3], body[:3], code)
			}
		}
		if n := w.orders("unit-a", own); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
	t.Run("the statement prepared last", func(t *testing.T) {
		c := p.dial(0)
		c.prepare("REPLACE INTO orders (buyer_id, id) VALUES (?, 2)")
		const last = 1<<32 - 1
		c.ok(c.execute(last, true, own))
		// Some clients send an execution behind a prepare that is then refused.
		c.refused(c.do(wire.ComStmtPrepare, []byte("DELETE FROM orders WHERE note = ?")...), 9603)
		c.refused(c.execute(last, true, w.key("unit-a", 2)), 1243)
		c.refused(c.do(wire.ComStmtReset, binary.LittleEndian.AppendUint32(nil, last)...), 1243)
		if n := w.orders("unit-a", w.key("unit-a", 2)); n != 0 {
			t.Errorf("%d rows of a statement that was refused", n)
		}
	})
}

// TestClients_ErrorInTransaction: what the proxy asks the server behind an
// error does not take the error away from the client.
func TestClients_ErrorInTransaction(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	c := p.textConn()
	run(t, c, "BEGIN", insertOf(own, "1"))
	refused(t, failure(t, c, insertOf(own, "1")), 1062)
	var level, text string
	var code int
	must(t, c.QueryRowContext(ctx(t), "SHOW WARNINGS").Scan(&level, &code, &text))
	if code != 1062 || !strings.Contains(text, "Duplicate") {
		t.Errorf("SHOW WARNINGS gives %d %s", code, text)
	}
	run(t, c, "COMMIT")
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows: the transaction went on behind the error", n)
	}
}
