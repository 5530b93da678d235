package dbproxy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/space"
)

func TestRefusals(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	a, b := w.serve("unit-a"), w.serve("unit-b")
	own, own2, foreign := w.key("unit-a", 1), w.key("unit-a", 2), w.key("unit-b", 1)
	for name, tt := range map[string]struct {
		p    *proxy
		code uint16
		text string // part of the error's text
		sql  string
		args []any
	}{
		"write of another's key":       {a, 9601, "unit-b", "INSERT INTO orders (buyer_id, id) VALUES (?, 1)", []any{foreign}},
		"update of another's key":      {a, 9601, "unit-b", "UPDATE carts SET qty = 1 WHERE buyer_id = ?", []any{foreign}},
		"owner's read":                 {a, 9601, "unit-b", "SELECT * FROM orders WHERE buyer_id = ?", []any{foreign}},
		"locking read":                 {a, 9601, "unit-b", "SELECT * FROM carts WHERE buyer_id = ? FOR UPDATE", []any{foreign}},
		"no key":                       {a, 9603, "atoll: ", "UPDATE orders SET amount = 1 WHERE id = ?", []any{1}},
		"key in other text":            {a, 9603, "atoll: ", "UPDATE carts SET qty = 1 WHERE buyer_id = ?", []any{"007"}},
		"key is NULL":                  {a, 9603, "atoll: ", "INSERT INTO orders (buyer_id, id) VALUES (?, 1)", []any{nil}},
		"table not listed":             {a, 9604, "secret", "SELECT * FROM secret", nil},
		"center table in a unit":       {b, 9605, "center", "SELECT * FROM stock", nil},
		"center table written":         {b, 9605, "center", "UPDATE stock SET n = ? WHERE id = 1", []any{1}},
		"two owners, one statement":    {a, 9606, "unit-b", "INSERT INTO orders (buyer_id, id) VALUES (?, 1), (?, 1)", []any{own, foreign}},
		"two owners, the other first":  {a, 9606, "unit-b", "INSERT INTO orders (buyer_id, id) VALUES (?, 1), (?, 1)", []any{foreign, own}},
		"two keys of one other owner":  {b, 9601, "unit-a", "INSERT INTO orders (buyer_id, id) VALUES (?, 1), (?, 1)", []any{own, own2}},
		"kill":                         {a, 1095, "kill", "KILL 1", nil},
		"another database":             {a, 9604, "atoll: ", "USE mysql", nil},
		"changes the writer's binlog":  {a, 9603, "atoll: ", "SET sql_log_bin = 0", nil},
		"several statements in a text": {a, 9603, "atoll: ", "SELECT 1; SELECT 2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, interpolate := range []bool{false, true} {
				c := tt.p.config()
				c.InterpolateParams = interpolate
				db := openConfig(t, c)
				_, err := db.Exec(tt.sql, tt.args...)
				refused(t, err, tt.code)
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("text %q does not hold %q", err, tt.text)
				}
			}
		})
	}
	if n := w.count("unit-a", "SELECT COUNT(*) FROM orders"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
	if f := a.Figures(); f["refused_9601"] < 8 || f["refused_9606"] < 4 {
		t.Errorf("figures %v", f)
	}
}

func TestTwoOwnersInATransaction(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, foreign := w.key("unit-a", 1), w.key("unit-b", 1)
	tx, err := p.open().Begin()
	must(t, err)
	_, err = tx.Exec("INSERT INTO orders (buyer_id, id) VALUES (?, 1)", own)
	must(t, err)
	_, err = tx.Exec("INSERT INTO orders (buyer_id, id) VALUES (?, 1)", foreign)
	refused(t, err, 9606)
	// A plain read counts as a write once the transaction has written.
	_, err = tx.Exec("SELECT * FROM carts WHERE buyer_id = ?", foreign)
	refused(t, err, 9606)
	must(t, tx.Commit())
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows after the commit", n)
	}
	_, err = p.open().Exec("SELECT * FROM carts WHERE buyer_id = ?", foreign)
	must(t, err)
}

func TestNothingBeforeSnapshotAndLease(t *testing.T) {
	w := newWorld(t, "unit-a")
	own := w.key("unit-a", 1)
	p := w.start("unit-a", "")
	refused(t, p.open().Ping(), 9607)

	p.install(w.snapshot())
	await(t, "ready", p.Ready)
	db := p.open()
	_, err := db.Exec("INSERT INTO orders (buyer_id, id) VALUES (?, 1)", own)
	refused(t, err, 9607)
	_, err = db.Exec("SELECT * FROM orders WHERE buyer_id = ?", own)
	refused(t, err, 9607) // reads: owner needs the lease too
	_, err = db.Exec("SELECT * FROM carts WHERE buyer_id = ?", own)
	must(t, err)
	_, err = db.Exec("INSERT INTO products VALUES (1, 'x')") // the center's own table is no unit data
	must(t, err)

	p.Renew("shop", w.epoch-1, guard.Forever) // a lease for another epoch is none
	_, err = db.Exec("INSERT INTO orders (buyer_id, id) VALUES (?, 1)", own)
	refused(t, err, 9607)
	p.Renew("shop", w.epoch, guard.Forever)
	_, err = db.Exec("INSERT INTO orders (buyer_id, id) VALUES (?, 1)", own)
	must(t, err)
}

func TestAccessModes(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	db := p.open()
	try := func(q string, args ...any) error { _, err := db.Exec(q, args...); return err }
	w.doc.Spec.Units[0].AccessMode = space.ReadOnly
	p.install(w.snapshot())
	refused(t, try("INSERT INTO orders (buyer_id, id) VALUES (?, 1)", own), 9601)
	refused(t, try("INSERT INTO products VALUES (1, 'x')"), 9601)
	must(t, try("SELECT * FROM orders WHERE buyer_id = ?", own))
	w.doc.Spec.Units[0].AccessMode = space.NoAccess
	p.install(w.snapshot())
	refused(t, try("SELECT * FROM orders WHERE buyer_id = ?", own), 9601)
	refused(t, try("SELECT * FROM products"), 9601)
	must(t, try("SELECT 1"))
}

func TestLogin(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	c := p.config()
	c.Passwd = "wrong"
	refused(t, openConfig(t, c).Ping(), 1045)
	c = p.config()
	c.DBName = "mysql"
	refused(t, openConfig(t, c).Ping(), 9604)
	c = p.config()
	c.DBName = ""
	var db, version string
	must(t, openConfig(t, c).QueryRow("SELECT DATABASE(), VERSION()").Scan(&db, &version))
	if db != "shop" || !strings.Contains(version, "MariaDB") {
		t.Errorf("database %q, version %q", db, version)
	}
}

func TestServerDown(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	c := p.textConn()
	w.servers["unit-a"].Kill()
	_, err := c.ExecContext(ctx(t), "INSERT INTO orders (buyer_id, id) VALUES (?, 1)", own)
	if err == nil {
		t.Fatal("a write into a dead server was answered with OK")
	}
	refused(t, p.open().Ping(), 1105)
	// The write's outcome is unknown until the thread was seen gone.
	m := move("m1", own)
	w.fence(p, m)
	if ok, _ := p.drained(m); ok {
		t.Error("drained while the outcome of a write is unknown")
	}
	w.servers["unit-a"].Restart(t)
	p.awaitDrained(m)
	if f := p.Figures(); f["unknown_outcomes"] != 1 {
		t.Errorf("figures %v", f)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.limits.Connections = 1
	w.limits.Statements = 2
	p := w.serve("unit-a")
	db := p.open()
	c, err := db.Conn(ctx(t))
	must(t, err)
	refused(t, p.open().Ping(), 1040)
	for i := range 3 {
		s, err := c.PrepareContext(ctx(t), "SELECT 1")
		if i == 2 {
			refused(t, err, 1461)
			break
		}
		must(t, err)
		defer func() { _ = s.Close() }() //nolint:gocritic // two of them, open until the test ends
	}
	must(t, c.Close())
	must(t, db.Close())
	await(t, "the place to be free", func() bool {
		c, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		db := p.open()
		defer func() { _ = db.Close() }()
		return db.PingContext(c) == nil
	})
}
