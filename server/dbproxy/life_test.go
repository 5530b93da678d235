package dbproxy_test

import (
	"database/sql"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/space"

	wire "github.com/atoll-live/atoll/server/wire/mysql"
)

// TestRestartEndsFormerLife: a statement of a dead proxy that waits on a row
// lock would commit later. The next life ends it before it acks anything.
func TestRestartEndsFormerLife(t *testing.T) {
	w := newWorld(t, "unit-a")
	own := w.key("unit-a", 1)
	s := w.servers["unit-a"]
	w.serve("unit-a").stop() // makes the schema
	s.Exec(t, "INSERT INTO orders (buyer_id, id, amount) VALUES ('"+own+"', 1, 0)")
	locker := w.direct("unit-a")
	locker("BEGIN")
	locker("SELECT * FROM orders WHERE buyer_id = '" + own + "' FOR UPDATE")

	// The former life: a marked thread whose client is gone without a word.
	former, err := s.Open(t).Conn(ctx(t))
	must(t, err)
	defer func() { _ = former.Close() }()
	var id int64
	var host string
	must(t, former.QueryRowContext(ctx(t), "SELECT ID, HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()").Scan(&id, &host))
	row := func(id int64, host string) string {
		return "('dbproxy@unit-a', 'former', " + strconv.FormatInt(id, 10) + ", '" + host + "')"
	}
	s.Exec(t, "INSERT INTO atoll.session VALUES "+row(id, host))
	done := make(chan error, 1)
	go func() {
		_, err := former.ExecContext(ctx(t), "UPDATE orders SET amount = 1 WHERE buyer_id = '"+own+"'")
		done <- err
	}()
	await(t, "blocked", func() bool { return w.lockWaits() == 1 })
	// A thread id that was given out again belongs to somebody else: it lives.
	bystander, err := s.Open(t).Conn(ctx(t))
	must(t, err)
	defer func() { _ = bystander.Close() }()
	must(t, bystander.QueryRowContext(ctx(t), "SELECT CONNECTION_ID()").Scan(&id))
	s.Exec(t, "INSERT INTO atoll.session VALUES "+row(id, "10.9.8.7:65"))

	p := w.start("unit-a", "next")
	m := move("m1", own)
	w.fence(p, m)
	p.awaitDrained(m)
	select {
	case err := <-done:
		if err == nil {
			t.Error("the statement of the former life was done")
		}
	default:
		if n := w.lockWaits(); n != 0 {
			t.Error("acked while a statement of the former life waits")
		}
		if err := <-done; err == nil {
			t.Error("the statement of the former life was done")
		}
	}
	locker("ROLLBACK")
	if n := w.count("unit-a", "SELECT amount FROM orders WHERE buyer_id = ?", own); n != 0 {
		t.Error("the former life wrote behind the ack")
	}
	must(t, bystander.PingContext(ctx(t)))
	if n := w.count("unit-a", "SELECT COUNT(*) FROM atoll.session WHERE incarnation = 'former'"); n != 0 {
		t.Errorf("%d marks of the former life stay", n)
	}
	// It reads by its snapshot at once, and writes only after it heard a console.
	w.abort(p, m)
	_, err = p.open().Exec("SELECT * FROM carts WHERE buyer_id = ?", own)
	must(t, err)
	_, err = p.open().Exec(insert, own, 5)
	refused(t, err, 9607)
	p.Renew("shop", w.epoch, guard.Forever)
	_, err = p.open().Exec(insert, own, 5)
	must(t, err)
}

// TestNoAckWhileServerIsUnknown: without its server a proxy cannot know what a
// former life left.
func TestNoAckWhileServerIsUnknown(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.servers["unit-a"].Kill()
	p := w.start("unit-a", "")
	m := move("m1", "1")
	w.fence(p, m)
	await(t, "trouble to be reported", func() bool {
		var r atollv1.ReportRequest
		p.Report(&r)
		return r.GetTrouble() != "" && len(r.GetAcks()) == 0 && r.GetSpaces()[0].GetUndrained()
	})
	w.servers["unit-a"].Restart(t)
	p.awaitDrained(m)
}

func TestMarksComeAndGo(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	db := p.open()
	c, err := db.Conn(ctx(t))
	must(t, err)
	var id int
	must(t, c.QueryRowContext(ctx(t), "SELECT CONNECTION_ID()").Scan(&id))
	if n := w.count("unit-a", "SELECT COUNT(*) FROM atoll.session s JOIN information_schema.PROCESSLIST p ON p.ID = s.thread AND p.HOST = s.host WHERE thread = ?", id); n != 1 {
		t.Error("a session's thread is not marked")
	}
	must(t, c.Close())
	must(t, db.Close())
	await(t, "the mark to go", func() bool { return w.count("unit-a", "SELECT COUNT(*) FROM atoll.session") == 0 })
	p.stop()
}

func TestManyMarksAtOnce(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	db := p.open()
	const n = 60
	var conns []*sql.Conn
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := db.Conn(ctx(t))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		})
	}
	wg.Wait()
	if got := w.count("unit-a", "SELECT COUNT(*) FROM atoll.session s JOIN information_schema.PROCESSLIST p ON p.ID = s.thread AND p.HOST = s.host"); got != n {
		t.Errorf("%d marks, want %d", got, n)
	}
	for _, c := range conns {
		must(t, c.Close())
	}
	must(t, db.Close())
	await(t, "the marks to go", func() bool { return w.count("unit-a", "SELECT COUNT(*) FROM atoll.session") == 0 })
}

// TestServerEndsIdleConnection: the client sees its connection end when the
// server's part of it does.
func TestServerEndsIdleConnection(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	c := p.dial(0)
	c.ok(c.query("SET SESSION wait_timeout = 1"))
	await(t, "the connection to end", func() bool { return !c.Idle() })
	await(t, "the mark to go", func() bool { return w.count("unit-a", "SELECT COUNT(*) FROM atoll.session") == 0 })
}

func TestStopRollsBack(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	tx, err := p.open().Begin()
	must(t, err)
	_, err = tx.Exec(insert, own, 1)
	must(t, err)
	blocker := w.direct("unit-a")
	blocker("LOCK TABLES carts WRITE")
	c := p.textConn()
	done := make(chan error, 1)
	go func() {
		_, err := c.ExecContext(ctx(t), "UPDATE carts SET qty = 1 WHERE buyer_id = "+own)
		done <- err
	}()
	await(t, "blocked", func() bool {
		return w.count("unit-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock%'") > 0
	})
	p.stop()
	if err := <-done; err == nil {
		t.Error("a cut statement was answered with OK")
	}
	if err := tx.Commit(); err == nil {
		t.Error("a commit after the end was answered with OK")
	}
	if n := w.openTransactions() + w.count("unit-a", "SELECT COUNT(*) FROM atoll.session"); n != 0 {
		t.Errorf("%d transactions and marks stay", n)
	}
}

func TestNewTableIsJoinedFirst(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	tokens := func() int {
		return w.count("unit-a", "SELECT COUNT(*) FROM atoll.token WHERE kind = 'JOIN' AND epoch = ?", w.epoch)
	}
	if tokens() != 1 {
		t.Error("no JOIN token at the start")
	}
	w.servers["unit-a"].Exec(t, "CREATE TABLE notes (buyer_id BIGINT NOT NULL PRIMARY KEY)")
	db := p.open()
	_, err := db.Exec("INSERT INTO notes (buyer_id) VALUES (?)", own)
	refused(t, err, 9604)
	w.db.Spec.Tables = append(w.db.Spec.Tables[:4:4], space.Table{Name: "notes", Kind: space.TableUnit, Key: "buyer_id"})
	locker := w.direct("unit-a")
	locker("LOCK TABLES atoll.token READ") // the token cannot be written
	next, installed := w.snapshot(), make(chan struct{})
	go func() { p.install(next); close(installed) }()
	await(t, "the token to wait", func() bool {
		return w.count("unit-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT IGNORE INTO atoll.token%' AND STATE LIKE 'Waiting%'") > 0
	})
	_, err = db.Exec("INSERT INTO notes (buyer_id) VALUES (?)", own)
	refused(t, err, 9604)
	var early atollv1.ReportRequest
	p.Report(&early)
	if got := early.GetSpaces()[0].GetEpoch(); got != next.Epoch-1 {
		t.Errorf("epoch %d is reported before its table is served", got)
	}
	locker("UNLOCK TABLES")
	<-installed
	if tokens() != 1 {
		t.Error("no JOIN token for the new table")
	}
	_, err = db.Exec("INSERT INTO notes (buyer_id) VALUES (?)", own)
	must(t, err)
	// A table that the server does not have is trouble, and nothing of it is proven.
	w.db.Spec.Tables = append(w.db.Spec.Tables[:5:5], space.Table{Name: "later", Kind: space.TableUnit, Key: "buyer_id"})
	p.install(w.snapshot())
	var r atollv1.ReportRequest
	await(t, "trouble", func() bool { r.Reset(); p.Report(&r); return strings.Contains(r.GetTrouble(), "later") })
	_, err = p.textConn().ExecContext(ctx(t), "INSERT INTO later (buyer_id) VALUES (?)", own)
	refused(t, err, 9603)
	// So is one whose key column cannot hold keys.
	w.servers["unit-a"].Exec(t, "CREATE TABLE later (id INT PRIMARY KEY, buyer_id VARCHAR(20) COLLATE utf8mb4_roman_ci)")
	p.install(w.snapshot())
	await(t, "trouble", func() bool {
		r.Reset()
		p.Report(&r)
		return strings.Contains(r.GetTrouble(), "column buyer_id of table later has collation utf8mb4_roman_ci, under which different keys may be equal (use a binary collation")
	})
	_, err = p.textConn().ExecContext(ctx(t), "INSERT INTO later (id, buyer_id) VALUES (1, ?)", own)
	refused(t, err, 9603)
}

func TestCenterUnitWritesGoToTheCenter(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	b := w.serve("unit-b")
	config := b.config()
	config.ClientFoundRows = true
	foreign := w.key("unit-b", 1)
	for name, interpolate := range map[string]bool{"prepared": false, "text": true} {
		t.Run(name, func(t *testing.T) {
			config.InterpolateParams = interpolate
			c := b.connOf(config)
			exec := func(q string, args ...any) (int64, error) {
				r, err := c.ExecContext(ctx(t), q, args...)
				if err != nil {
					return 0, err
				}
				return r.RowsAffected()
			}
			_, err := exec("SET time_zone = '+05:00'")
			must(t, err)
			_, err = exec("REPLACE INTO products VALUES (?, TIME_FORMAT(TIMEDIFF(NOW(), UTC_TIMESTAMP()), '%H'))", 7)
			must(t, err)
			if n := w.count("unit-a", "SELECT name FROM products WHERE id = 7"); n != 5 {
				t.Errorf("the session's time zone did not come along: %d", n)
			}
			if n, err := exec("UPDATE products SET name = '5' WHERE id = ?", 7); err != nil || n != 1 {
				t.Errorf("found rows %d, %v", n, err)
			}
			if n := w.count("unit-b", "SELECT COUNT(*) FROM products"); n != 0 {
				t.Errorf("%d rows were written in the unit", n)
			}
			_, err = exec("SELECT * FROM products WHERE id = ?", 7)
			must(t, err)
			// Alone in its transaction.
			_, err = exec("BEGIN")
			must(t, err)
			_, err = exec("INSERT INTO orders (buyer_id, id) VALUES (?, ?)", foreign, time.Now().UnixNano())
			must(t, err)
			_, err = exec("UPDATE products SET name = 'x' WHERE id = ?", 7)
			refused(t, err, 9606)
			_, err = exec("COMMIT")
			must(t, err)
			_, err = exec("INSERT INTO products SELECT 9, note FROM orders WHERE buyer_id = ?", foreign)
			refused(t, err, 9606)
		})
	}
	t.Run("the status is the one at home", func(t *testing.T) {
		c := b.dial(wire.CapDeprecateEOF)
		c.ok(c.query("SET sql_mode = ''"))
		end := c.query("REPLACE INTO products VALUES (8, 'x')")
		c.ok(end)
		if end.OK.Status != wire.StatusAutocommit || end.OK.AffectedRows != 1 {
			t.Errorf("%+v", end.OK)
		}
	})
	t.Run("the center's error", func(t *testing.T) {
		_, err := b.textConn().ExecContext(ctx(t), "INSERT INTO products VALUES (7, 'again')")
		refused(t, err, 1062)
	})
	t.Run("the center ended the connection", func(t *testing.T) {
		c := b.textConn()
		exec := func(name string) {
			t.Helper()
			_, err := c.ExecContext(ctx(t), "UPDATE products SET name = '"+name+"' WHERE id = 7")
			must(t, err)
		}
		exec("p")
		a := w.servers["unit-a"].Open(t)
		rows, err := a.Query("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Sleep' AND DB = 'shop' AND ID <> CONNECTION_ID()")
		must(t, err)
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id string
			must(t, rows.Scan(&id))
			w.servers["unit-a"].Exec(t, "KILL "+id)
		}
		must(t, rows.Err())
		exec("q") // by a new one
	})
	t.Run("the center is lost", func(t *testing.T) {
		c := b.textConn()
		w.servers["unit-a"].Kill()
		_, err := c.ExecContext(ctx(t), "UPDATE products SET name = 'y' WHERE id = 7")
		refused(t, err, 1105)
		_, err = c.ExecContext(ctx(t), insert, foreign, 77) // its own keys go on
		must(t, err)
	})
}

func TestCenterWritesItsOwn(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	tx, err := p.open().Begin()
	must(t, err)
	for _, q := range []string{"INSERT INTO products VALUES (1, 'x')", "INSERT INTO stock VALUES (1, 5)", "SELECT * FROM stock WHERE id = 1 FOR UPDATE"} {
		_, err := tx.Exec(q)
		must(t, err)
	}
	_, err = tx.Exec(insert, own, 1)
	must(t, err)
	must(t, tx.Commit())
}

func TestTransactionShapes(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.set.FenceDeadline = time.Minute
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	one := "INSERT INTO orders (buyer_id, id) VALUES ('" + own + "', %d)"
	n := 0
	next := func() string { n++; return strings.Replace(one, "%d", strconv.Itoa(n), 1) }
	for name, tt := range map[string]struct {
		texts []string
		open  bool // something of the key is open behind them
	}{
		"autocommit":                 {[]string{next()}, false},
		"begin":                      {[]string{"BEGIN", next()}, true},
		"commit":                     {[]string{"BEGIN", next(), "COMMIT"}, false},
		"rollback":                   {[]string{"BEGIN", next(), "ROLLBACK"}, false},
		"commit and chain":           {[]string{"BEGIN", next(), "COMMIT AND CHAIN"}, false},
		"begin in a transaction":     {[]string{"BEGIN", next(), "BEGIN"}, false},
		"autocommit off":             {[]string{"SET autocommit = 0", next()}, true},
		"autocommit off and on":      {[]string{"SET autocommit = 0", next(), "SET autocommit = 1"}, false},
		"savepoint":                  {[]string{"BEGIN", next(), "SAVEPOINT s", next(), "ROLLBACK TO SAVEPOINT s"}, true},
		"an error leaves it open":    {[]string{"BEGIN", next(), "INSERT INTO orders (buyer_id, id) VALUES ('" + own + "', 1), ('" + own + "', 1)"}, true},
		"an error ends it alone":     {[]string{"INSERT INTO orders (buyer_id, id) VALUES ('" + own + "', 900), ('" + own + "', 900)"}, false},
		"locking read":               {[]string{"BEGIN", "SELECT * FROM carts WHERE buyer_id = " + own + " FOR UPDATE"}, true},
		"plain read":                 {[]string{"BEGIN", "SELECT * FROM orders WHERE buyer_id = '" + own + "'"}, false},
		"read only is no write":      {[]string{"START TRANSACTION READ ONLY", "SELECT * FROM orders WHERE buyer_id = '" + own + "'"}, false},
		"commit, then another begin": {[]string{"BEGIN", next(), "COMMIT", "BEGIN"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.textConn()
			for i, text := range tt.texts {
				_, err := c.ExecContext(ctx(t), text)
				if last := i == len(tt.texts)-1; err != nil && !(last && strings.HasPrefix(name, "an error")) {
					t.Fatalf("%s: %v", text, err)
				}
			}
			m := move("m-"+name, own)
			w.fence(p, m)
			if ok, _ := p.drained(m); ok == tt.open {
				t.Errorf("drained %v", ok)
			}
			_, err := c.ExecContext(ctx(t), "ROLLBACK")
			must(t, err)
			p.awaitDrained(m)
			w.abort(p, m)
		})
	}
}

func TestDeadlockEndsTheTransaction(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.set.FenceDeadline = time.Minute
	p := w.serve("unit-a")
	k1, k2 := w.key("unit-a", 1), w.key("unit-a", 2)
	w.servers["unit-a"].Exec(t, "INSERT INTO carts VALUES ("+k1+", 1, 0), ("+k2+", 1, 0)")
	update := func(c *sql.Conn, k string) error {
		_, err := c.ExecContext(ctx(t), "UPDATE carts SET qty = qty + 1 WHERE buyer_id = "+k)
		return err
	}
	a, b := p.textConn(), p.textConn()
	for _, c := range []*sql.Conn{a, b} {
		_, err := c.ExecContext(ctx(t), "BEGIN")
		must(t, err)
	}
	must(t, update(a, k1))
	must(t, update(b, k2))
	done := make(chan error, 1)
	go func() { done <- update(a, k2) }()
	await(t, "blocked", func() bool { return w.lockWaits() == 1 })
	errB, errA := update(b, k1), <-done
	if (errA == nil) == (errB == nil) {
		t.Fatalf("no deadlock: %v, %v", errA, errB)
	}
	victim, winner := a, b
	if errB != nil {
		refused(t, errB, 1213)
		victim, winner = b, a
	}
	_, err := winner.ExecContext(ctx(t), "COMMIT")
	must(t, err)
	m := move("m1", k1, k2)
	w.fence(p, m)
	p.awaitDrained(m) // the victim's transaction is over without another word of its client
	_ = victim
}
