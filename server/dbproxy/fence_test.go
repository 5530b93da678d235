package dbproxy_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/space"
)

const insert = "INSERT INTO orders (buyer_id, id) VALUES (?, ?)"

func TestParkedStatementGoesOnAfterAbort(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	m := move("m1", own)
	w.fence(p, m)
	p.awaitDrained(m)
	done := make(chan error, 1)
	db := p.open()
	go func() { _, err := db.Exec(insert, own, 1); done <- err }()
	await(t, "parked", func() bool { return p.Figures()["parked_now"] == 1 })
	_, err := p.open().Exec(insert, other, 1) // a key that does not move is not held up
	must(t, err)
	if n := w.orders("unit-a", own); n != 0 {
		t.Errorf("%d rows behind the fence", n)
	}
	w.abort(p, m)
	p.Renew("shop", w.epoch, guard.Forever)
	must(t, <-done)
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows after the abort", n)
	}
	if f := p.Figures(); f["parked_now"] != 0 || f["parked_total"] != 1 {
		t.Errorf("figures %v", f)
	}
}

func TestParkedStatementHearsOfTheNewOwner(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	m := move("m1", own)
	w.fence(p, m)
	done := make(chan error, 1)
	db := p.open()
	go func() { _, err := db.Exec(insert, own, 1); done <- err }()
	await(t, "parked", func() bool { return p.Figures()["parked_now"] == 1 })
	w.switchOver(p, m)
	refused(t, <-done, 9601)
	if n := w.orders("unit-a", own); n != 0 {
		t.Errorf("%d rows at the old owner", n)
	}
}

func TestParkingIsBounded(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.limits.FenceWait = 300 * time.Millisecond
	w.limits.ParkedMax = 2
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	m := move("m1", own)
	w.fence(p, m)
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	began := time.Now()
	for i := range 3 {
		db := p.open()
		wg.Go(func() { _, err := db.Exec(insert, own, i); errs <- err })
	}
	wg.Wait()
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("nobody waited: %v", took)
	}
	for range 3 {
		refused(t, <-errs, 9602)
	}
	if f := p.Figures(); f["parked_total"] != 2 || f["parked_now"] != 0 {
		t.Errorf("figures %v", f)
	}
}

// TestParkedStatementHoldsNothing: of a statement with several keys, those
// that were admitted before another one was fenced are let go.
func TestParkedStatementHoldsNothing(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.limits.FenceWait = 50 * time.Millisecond
	w.set.FenceDeadline = time.Hour
	p := w.serve("unit-a")
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	m := move("m1", other)
	w.fence(p, m)
	c := p.conn()
	_, err := c.ExecContext(ctx(t), "INSERT INTO orders (buyer_id, id) VALUES (?, 1), (?, 1)", own, other)
	refused(t, err, 9602)
	w.abort(p, m)
	m = move("m2", own)
	w.fence(p, m)
	p.awaitDrained(m)
}

func TestStatementInTransactionMeetsFence(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	c := p.conn()
	tx, err := c.BeginTx(ctx(t), nil)
	must(t, err)
	_, err = tx.Exec(insert, other, 1)
	must(t, err)
	m := move("m1", own)
	w.fence(p, m)
	_, err = tx.Exec(insert, own, 1)
	refused(t, err, 9602)
	must(t, tx.Rollback())
	if n := w.orders("unit-a", other); n != 0 {
		t.Errorf("%d rows of a transaction that was rolled back", n)
	}
	_, err = c.ExecContext(ctx(t), insert, other, 2) // the connection is usable
	must(t, err)
	p.awaitDrained(m)
}

// TestFenceLetsCommit: before the deadline an open transaction may commit.
func TestFenceLetsCommit(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.set.FenceDeadline = time.Minute
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	tx, err := p.open().Begin()
	must(t, err)
	_, err = tx.Exec(insert, own, 1)
	must(t, err)
	m := move("m1", own)
	w.fence(p, m)
	if ok, _ := p.drained(m); ok {
		t.Fatal("drained with a transaction open")
	}
	must(t, tx.Commit())
	if killed := p.awaitDrained(m); killed != 0 {
		t.Errorf("%d killed", killed)
	}
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows after the commit", n)
	}
}

func TestFenceRollsBackIdleTransaction(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	for name, next := range map[string]func(*sql.Conn) error{
		"a COMMIT never gets OK": func(c *sql.Conn) error { _, err := c.ExecContext(ctx(t), "COMMIT"); return err },
		"a statement hears it":   func(c *sql.Conn) error { _, err := c.ExecContext(ctx(t), insert, other, 1); return err },
		"a read hears it": func(c *sql.Conn) error {
			return c.QueryRowContext(ctx(t), "SELECT 1 FROM carts").Scan(new(int))
		},
		"a BEGIN hears it": func(c *sql.Conn) error { _, err := c.ExecContext(ctx(t), "BEGIN"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			c := p.conn()
			exec := func(q string, args ...any) error { _, err := c.ExecContext(ctx(t), q, args...); return err }
			must(t, exec("BEGIN"))
			must(t, exec(insert, own, 1))
			m := move("m-"+name, own)
			w.fence(p, m)
			if killed := p.awaitDrained(m); killed != 1 {
				t.Errorf("%d killed", killed)
			}
			refused(t, next(c), 9602)
			must(t, exec("COMMIT")) // told once; this one commits nothing
			if n := w.orders("unit-a", own); n != 0 {
				t.Errorf("%d rows of a transaction that was rolled back", n)
			}
			must(t, exec("REPLACE INTO orders (buyer_id, id) VALUES (?, 9)", other))
			w.abort(p, m)
		})
	}
	t.Run("a ROLLBACK is done", func(t *testing.T) {
		tx, err := p.open().Begin()
		must(t, err)
		_, err = tx.Exec(insert, own, 1)
		must(t, err)
		m := move("m9", own)
		w.fence(p, m)
		p.awaitDrained(m)
		must(t, tx.Rollback())
	})
}

func TestFenceKillsBlockedStatement(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	w.servers["unit-a"].Exec(t, "INSERT INTO orders (buyer_id, id, amount) VALUES ('"+own+"', 1, 0)")
	locker := w.direct("unit-a")
	locker("BEGIN")
	locker("SELECT * FROM orders WHERE buyer_id = '" + own + "' FOR UPDATE")
	const update = "UPDATE orders SET amount = amount + 1 WHERE buyer_id = ?"
	for name, in := range map[string]bool{"alone": false, "in a transaction": true} {
		t.Run(name, func(t *testing.T) {
			c := p.textConn()
			if in {
				_, err := c.ExecContext(ctx(t), "BEGIN")
				must(t, err)
			}
			done := make(chan error, 1)
			go func() { _, err := c.ExecContext(context.Background(), update, own); done <- err }()
			await(t, "blocked", func() bool { return w.lockWaits() == 1 })
			m := move("m-"+name, own)
			w.fence(p, m)
			if killed := p.awaitDrained(m); killed != 1 {
				t.Errorf("%d killed", killed)
			}
			refused(t, <-done, 9602)
			_, err := c.ExecContext(ctx(t), "SELECT 1") // usable, and no kill strikes late
			must(t, err)
			w.abort(p, m)
		})
	}
	locker("ROLLBACK")
	if n := w.count("unit-a", "SELECT amount FROM orders WHERE buyer_id = ?", own); n != 0 {
		t.Errorf("amount %d: a killed statement was done", n)
	}
}

// TestFenceCutsBlockedCommit: a commit that does not end has no known outcome,
// so its thread is killed and the client hears nothing.
func TestFenceCutsBlockedCommit(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	c := p.conn()
	exec := func(q string, args ...any) error { _, err := c.ExecContext(ctx(t), q, args...); return err }
	must(t, exec("BEGIN"))
	must(t, exec(insert, own, 1))
	blocker := w.direct("unit-a")
	blocker("FLUSH TABLES WITH READ LOCK")
	done := make(chan error, 1)
	go func() { done <- exec("COMMIT") }()
	await(t, "the commit to wait", func() bool {
		return w.count("unit-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for backup lock%' OR INFO = 'COMMIT'") > 0
	})
	m := move("m1", own)
	w.fence(p, m)
	p.awaitDrained(m)
	if err := <-done; err == nil {
		t.Error("the commit was answered with OK")
	}
	if f := p.Figures(); f["unknown_outcomes"] != 1 {
		t.Errorf("figures %v", f)
	}
	blocker("UNLOCK TABLES")
	if n := w.orders("unit-a", own); n != 0 {
		t.Errorf("%d rows: the killed commit came through after the ack", n)
	}
}

// TestCommitsRaceFences: an OK is a row, and a row behind the ack is a fault.
func TestCommitsRaceFences(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.set.FenceDeadline = time.Millisecond
	w.limits.FenceWait = 50 * time.Millisecond
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	const clients, rounds = 6, 25
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	acked, refusals := map[int]bool{}, map[int]error{}
	for n := range clients {
		db := p.open()
		wg.Go(func() {
			for i := n; ; i += clients {
				select {
				case <-stop:
					return
				default:
				}
				err := write(db, n%2 == 0, own, i)
				mu.Lock()
				if err == nil {
					acked[i] = true
				} else if _, ok := errors.AsType[*mysql.MySQLError](err); ok {
					refusals[i] = err
				}
				mu.Unlock()
			}
		})
	}
	db := p.open()
	wg.Go(func() { // a locking read is alone, too, and its answer has rows before its end
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := readAll(db, "SELECT id FROM orders WHERE buyer_id = ? LIMIT 5 FOR UPDATE", own)
			if _, refused := errors.AsType[*mysql.MySQLError](err); err != nil && !refused {
				t.Errorf("locking read: %v", err)
				return
			}
		}
	})
	for i := range rounds {
		before := len(done(&mu, acked))
		await(t, "some writes", func() bool { return len(done(&mu, acked)) > before+3 })
		m := move("m"+strconv.Itoa(i), own)
		w.fence(p, m)
		p.awaitDrained(m)
		rows := w.orders("unit-a", own)
		after := w.orders("unit-a", own)
		if rows != after {
			t.Fatalf("round %d: %d rows at the ack, %d later", i, rows, after)
		}
		w.abort(p, m)
	}
	close(stop)
	wg.Wait()
	db = w.servers["unit-a"].Open(t)
	rows := func(i int) (n int) {
		must(t, db.QueryRow("SELECT COUNT(*) FROM orders WHERE buyer_id = ? AND id IN (?, ?)", own, 2*i, 2*i+1).Scan(&n))
		return n
	}
	for i := range acked {
		if n := rows(i); n != 2 {
			t.Errorf("write %d was acked and has %d rows", i, n)
		}
	}
	for i, err := range refusals {
		if n := rows(i); n != 0 {
			t.Errorf("write %d was answered with %v and has %d rows", i, err, n)
		}
	}
	t.Logf("%d acked, %d refused, figures %v", len(acked), len(refusals), p.Figures())
	if p.Figures()["tx_killed"] == 0 {
		t.Error("no fence ever met a transaction: the race was none")
	}
}

func done(mu *sync.Mutex, m map[int]bool) map[int]bool {
	mu.Lock()
	defer mu.Unlock()
	c := make(map[int]bool, len(m))
	for k := range m {
		c[k] = true
	}
	return c
}

// readAll reads an answer to its end.
func readAll(db *sql.DB, query string, args ...any) error {
	rows, err := db.Query(query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
	}
	return rows.Err()
}

// write writes two rows, in one transaction or in one statement.
func write(db *sql.DB, alone bool, key string, i int) error {
	if alone {
		res, err := db.Exec("INSERT INTO orders (buyer_id, id) VALUES (?, ?), (?, ?)", key, 2*i, key, 2*i+1)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n != 2 || err != nil {
			return &mysql.MySQLError{Message: fmt.Sprintf("answered with OK, and %d rows affected (%v)", n, err)}
		}
		return nil
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	for _, id := range []int{2 * i, 2*i + 1} {
		if _, err := tx.Exec(insert, key, id); err != nil {
			_ = tx.Rollback()
			return err
		}
	}
	return tx.Commit()
}

// leased is a world of one proxy with a lease of an hour, by a clock that the
// test puts forward.
func leased(t *testing.T) (*world, *proxy, *atomic.Int64) {
	t.Helper()
	w, skew := newWorld(t, "unit-a"), new(atomic.Int64)
	w.clock = func() time.Duration { return console.Boottime() + time.Duration(skew.Load()) }
	p := w.start("unit-a", "")
	p.install(w.snapshot())
	p.Renew("shop", w.epoch, w.clock()+time.Hour)
	await(t, "ready", p.Ready)
	return w, p, skew
}

func TestLapsedLeaseNeverGivesOK(t *testing.T) {
	w, p, skew := leased(t)
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	w.servers["unit-a"].Exec(t, "INSERT INTO orders (buyer_id, id, amount) VALUES ('"+other+"', 1, 0)")
	reader, open := p.conn(), p.conn()
	_, err := open.ExecContext(ctx(t), "BEGIN")
	must(t, err)
	_, err = open.ExecContext(ctx(t), insert, own, 1)
	must(t, err)
	locker := w.direct("unit-a")
	locker("BEGIN")
	locker("SELECT * FROM orders WHERE buyer_id = '" + other + "' FOR UPDATE")
	blocked := p.textConn()
	done := make(chan error, 1)
	go func() {
		_, err := blocked.ExecContext(context.Background(), "UPDATE orders SET amount = 1 WHERE buyer_id = ?", other)
		done <- err
	}()
	await(t, "blocked", func() bool { return w.lockWaits() == 1 })
	skew.Store(int64(2 * time.Hour))
	p.install(w.snapshot()) // makes the enforcer look at the clock
	if err := <-done; err == nil {
		t.Error("a statement was answered with OK after the lease")
	}
	await(t, "the blocked thread to be killed", func() bool { return w.lockWaits() == 0 })
	locker("ROLLBACK")
	p.Renew("shop", w.epoch, guard.Forever) // revives nothing
	if _, err := open.ExecContext(ctx(t), "COMMIT"); err == nil {
		t.Error("a commit was answered with OK after the lease")
	}
	awaitEvery(t, 150*time.Millisecond, "all gone", func() bool { return w.openTransactions() == 0 })
	if a, b := w.orders("unit-a", own), w.count("unit-a", "SELECT MAX(amount) FROM orders"); a != 0 || b != 0 {
		t.Errorf("%d rows, amount %d: something was done after the lease", a, b)
	}
	_, err = reader.ExecContext(ctx(t), "SELECT 1 FROM carts") // who wrote nothing goes on
	must(t, err)
	_, err = reader.ExecContext(ctx(t), insert, own, 2)
	must(t, err)
}

// TestLapseNoticedByAStatement: what the lease had admitted is ended also when
// another session's statement is the first to find that it is over, and nothing
// else wakes the enforcer; as behind a suspended machine, whose timers are late.
func TestLapseNoticedByAStatement(t *testing.T) {
	w, p, skew := leased(t)
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	w.servers["unit-a"].Exec(t, "INSERT INTO orders (buyer_id, id, amount) VALUES ('"+other+"', 1, 0)")
	locker := w.direct("unit-a")
	locker("BEGIN")
	locker("SELECT * FROM orders WHERE buyer_id = '" + other + "' FOR UPDATE")
	blocked, second := p.textConn(), p.conn()
	done := make(chan error, 1)
	go func() {
		_, err := blocked.ExecContext(context.Background(), "UPDATE orders SET amount = 1 WHERE buyer_id = ?", other)
		done <- err
	}()
	await(t, "blocked", func() bool { return w.lockWaits() == 1 })
	skew.Store(int64(2 * time.Hour))
	_, err := second.ExecContext(ctx(t), insert, own, 1)
	refused(t, err, 9607)
	await(t, "the blocked thread to be killed", func() bool { return w.lockWaits() == 0 })
	if err := <-done; err == nil {
		t.Error("a statement was answered with OK after the lease")
	}
	locker("ROLLBACK")
	if n := w.count("unit-a", "SELECT MAX(amount) FROM orders"); n != 0 {
		t.Error("a statement was done after the lease")
	}
}

// TestNoOKWhileNobodyLooked: the answer of a statement that comes after the
// lease is no OK either when the enforcer has not seen the lapse yet.
func TestNoOKWhileNobodyLooked(t *testing.T) {
	w := newWorld(t, "unit-a")
	var skew atomic.Int64
	w.clock = func() time.Duration { return console.Boottime() + time.Duration(skew.Load()) }
	p := w.start("unit-a", "")
	p.install(w.snapshot())
	await(t, "ready", p.Ready)
	own, other := w.key("unit-a", 1), w.key("unit-a", 2)
	w.servers["unit-a"].Exec(t, "INSERT INTO orders (buyer_id, id, amount) VALUES ('"+own+"', 1, 0)")
	for name, first := range map[string]string{"alone": "", "commit": "BEGIN"} {
		t.Run(name, func(t *testing.T) {
			skew.Store(0)
			p.Renew("shop", w.epoch, w.clock()+time.Hour)
			c, locker := p.textConn(), w.direct("unit-a")
			exec := func(q string) error { _, err := c.ExecContext(context.Background(), q); return err }
			update := "UPDATE orders SET amount = 1 WHERE buyer_id = '" + own + "'"
			locker("BEGIN")
			done := make(chan error, 1)
			if first != "" {
				must(t, exec(first))
				must(t, exec("INSERT INTO orders (buyer_id, id) VALUES ('"+other+"', 1)"))
				skew.Store(int64(2 * time.Hour))
				done <- exec("COMMIT")
			} else {
				locker("SELECT * FROM orders WHERE buyer_id = '" + own + "' FOR UPDATE")
				go func() { done <- exec(update) }()
				await(t, "blocked", func() bool { return w.lockWaits() == 1 })
				skew.Store(int64(2 * time.Hour))
			}
			locker("ROLLBACK")
			if err := <-done; err == nil {
				t.Error("OK after the lease")
			}
		})
	}
	if n := w.orders("unit-a", other); n != 0 {
		t.Error("committed after the lease")
	}
}

// TestLeaseLapsesByItself: the proxy's own timer ends what is open, also when
// a late renewal comes first.
func TestLeaseLapsesByItself(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.start("unit-a", "")
	p.install(w.snapshot())
	await(t, "ready", p.Ready)
	own := w.key("unit-a", 1)
	await(t, "a transaction within a lease", func() bool {
		p.Renew("shop", w.epoch, console.Boottime()+time.Second)
		tx, err := p.open().Begin()
		must(t, err)
		t.Cleanup(func() { _ = tx.Rollback() })
		_, err = tx.Exec(insert, own, 1)
		return err == nil
	})
	awaitEvery(t, 150*time.Millisecond, "the transaction to be gone", func() bool { return w.openTransactions() == 0 })
	if f := p.Figures(); f["tx_killed"] == 0 {
		t.Errorf("figures %v", f)
	}
}

// TestReadThatWaitedIsAskedAgain: the answer of a read that waited while the
// owner changed is old, and is not passed on.
func TestReadThatWaitedIsAskedAgain(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	w.servers["unit-a"].Exec(t, "INSERT INTO orders (buyer_id, id) VALUES ('"+own+"', 1)")
	locker := w.direct("unit-a")
	locker("LOCK TABLES orders WRITE")
	c := p.textConn()
	answered := make(chan error, 1)
	go func() {
		answered <- c.QueryRowContext(context.Background(), "SELECT id FROM orders WHERE buyer_id = ?", own).Scan(new(int))
	}()
	await(t, "the read to wait", func() bool {
		return w.count("unit-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock%'") > 0
	})
	m := move("m1", own)
	w.fence(p, m)
	w.switchOver(p, m)
	locker("UNLOCK TABLES")
	refused(t, <-answered, 9601)
	_, err := c.ExecContext(ctx(t), "SELECT 1")
	must(t, err)
}

// TestOldPictureIsNotRead: a transaction that was open before the unit became
// the owner would read what was there before the last writes came in.
func TestOldPictureIsNotRead(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	moved, stays := w.key("unit-b", 1), w.key("unit-a", 1)
	for name, begin := range map[string][]string{
		"read only":     {"BEGIN"},
		"has written":   {"BEGIN", "INSERT INTO carts (buyer_id, item) VALUES (" + stays + ", 1)"},
		"chained":       {"BEGIN", "COMMIT AND CHAIN"},
		"no autocommit": {"SET autocommit = 0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.textConn()
			exec := func(q string) error { _, err := c.ExecContext(ctx(t), q); return err }
			read := func(key string) error { return exec("SELECT * FROM orders WHERE buyer_id = '" + key + "'") }
			for _, q := range begin {
				must(t, exec(q))
			}
			must(t, read(stays)) // here the picture is made
			m := &space.Transfer{ID: "m-" + name, Rule: rule, From: "unit-b", To: "unit-a", Keys: space.KeySet{Keys: []string{moved}}}
			before := w.doc
			w.moves = []*space.Transfer{m}
			m.FenceEpoch = w.epoch + 1
			w.switchOver(p, m)
			must(t, read(stays))
			refused(t, read(moved), 9602)
			must(t, read(moved)) // in a transaction of its own time
			must(t, exec("ROLLBACK"))
			must(t, exec("BEGIN"))
			must(t, read(stays))
			m2 := &space.Transfer{ID: "m2-" + name, Rule: rule, From: "unit-b", To: "unit-a", Keys: space.KeySet{Keys: []string{moved}}}
			m2.FenceEpoch, w.doc, w.moves = w.epoch+1, before, []*space.Transfer{m2}
			w.switchOver(p, m2)
			must(t, exec("COMMIT AND CHAIN")) // its own time begins here
			must(t, read(moved))
			must(t, exec("ROLLBACK"))
			w.doc, w.moves = before, nil
			p.install(w.snapshot())
		})
	}
}

func TestFencedReadsGoOn(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	m := move("m1", own)
	w.fence(p, m)
	_, err := p.open().Exec("SELECT * FROM orders WHERE buyer_id = ?", own)
	must(t, err)
	w.switchOver(p, m)
	_, err = p.open().Exec("SELECT * FROM orders WHERE buyer_id = ?", own)
	refused(t, err, 9601)
}

// TestOtherSpacesAreAcked: a proxy that serves another space has nothing of it
// open, and must not hold its moves up.
func TestOtherSpacesAreAcked(t *testing.T) {
	w := newWorld(t)
	p := w.start("unit-a", "")
	m := move("m1", "1")
	m.Fenced, m.FenceEpoch = true, 7
	p.install(&space.Snapshot{Space: "other", Epoch: 7, Moves: []*space.Transfer{m}})
	if ok, _ := p.drained(m); !ok {
		t.Error("not acked")
	}
}
