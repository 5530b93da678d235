package dbsync_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

var ordersTable = []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "buyer"}, {Name: "products", Kind: space.TableCenterUnit}, {Name: "stock", Kind: space.TableCenter}}

const (
	ddlProducts = "CREATE TABLE products (id INT PRIMARY KEY, price INT NOT NULL)"
	ddlStock    = "CREATE TABLE stock (id INT PRIMARY KEY, n INT NOT NULL)"
)

func (w *world) owner(key string) string {
	v, err := route.NewView(w.snap)
	if err != nil {
		w.t.Fatal(err)
	}
	return v.DecideKey("r", key).Unit
}

// order writes one row of a buyer at a unit.
func (w *world) order(unit, buyer string, id int) {
	w.t.Helper()
	run(w.t, w.sites[unit].db, fmt.Sprintf("INSERT INTO orders (id,buyer,amount) VALUES (%d,'%s',%d)", id, buyer, id))
}

const allOrders = "SELECT * FROM orders ORDER BY id"

func TestLanesCarryEachTransactionOnceAndNotBack(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	a, b := w.sites["unit-a"], w.sites["unit-b"]
	ka, kb := w.keys("unit-a", 1)[0], w.keys("unit-b", 1)[0]
	for i := range 20 {
		w.order("unit-a", ka, 2*i)
		w.order("unit-b", kb, 2*i+1)
	}
	run(t, a.db, "UPDATE orders SET amount=-1, note='x' WHERE id<10 AND buyer='"+ka+"'", "DELETE FROM orders WHERE id=12",
		"INSERT INTO products VALUES (1,10),(2,20)", "INSERT INTO stock VALUES (1,1)")
	run(t, b.db, "INSERT INTO products VALUES (7,70)", "UPDATE orders SET id=1001 WHERE id=1")
	eventually(t, "prices in the unit", func() (bool, string) {
		got := query(t, b.db, "SELECT * FROM products ORDER BY id")
		return got == "1|10\n2|20\n7|70", got
	})
	w.same(allOrders, "unit-a", "unit-b")
	if got := query(t, b.db, "SELECT COUNT(*) FROM stock"); got != "0" {
		t.Errorf("the center table was carried: %s rows", got)
	}
	// A loop would go on for ever; a beat of each side that has come through
	// after all that shows that nothing is under way any more.
	w.idle()
	if got := query(t, a.db, "SELECT * FROM products ORDER BY id"); got != "1|10\n2|20" {
		t.Errorf("a center-unit row of the unit came to the center: %s", got)
	}
	if ab, ba := w.lane("unit-a", "unit-b").Rows, w.lane("unit-b", "unit-a").Rows; ab != 20+5+1+2 || ba != 20+1 {
		t.Errorf("rows carried: %d and %d, want 28 and 21", ab, ba)
	}
}

// idle waits until each lane has applied a heartbeat written after now.
func (w *world) idle() {
	w.t.Helper()
	for from, st := range w.sites {
		seq := query(w.t, st.db, "SELECT IFNULL(MAX(seq),0)+1 FROM atoll.heartbeat")
		eventually(w.t, "a further heartbeat of "+from, func() (bool, string) {
			got := query(w.t, st.db, "SELECT MAX(seq)>"+seq+" FROM atoll.heartbeat")
			return got == "1", got
		})
		at := time.Now()
		for to := range w.sites {
			if to == from || w.sites[to].sync == nil {
				continue
			}
			eventually(w.t, from+">"+to+" is idle", func() (bool, string) {
				l := w.lane(from, to)
				return l.State == "running" && l.LagMs < time.Since(at).Milliseconds() && w.report(to).Figures["lane_behind{"+l.Name+"}"] == 0, l.String()
			})
		}
	}
}

func TestSourceTransactionStaysWhole(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	a, b := w.sites["unit-a"], w.sites["unit-b"]
	ka := w.keys("unit-a", 1)[0]
	run(t, a.db, "INSERT INTO products VALUES (1,0)", "INSERT INTO orders VALUES (1,'"+ka+"',0,NULL)")
	w.same("SELECT id, price FROM products", "unit-a", "unit-b")
	const last = 300
	go func() {
		for i := 1; i <= last; i++ {
			tx, err := a.db.Begin()
			if err != nil {
				t.Error(err)
				return
			}
			_, err1 := tx.Exec("UPDATE orders SET amount=? WHERE id=1", i)
			_, err2 := tx.Exec("UPDATE products SET price=? WHERE id=1", i)
			if err := tx.Commit(); err != nil || err1 != nil || err2 != nil {
				t.Error(err, err1, err2)
				return
			}
		}
	}()
	// One statement reads both tables from one snapshot.
	eventually(t, "the last transaction", func() (bool, string) {
		got := query(t, b.db, "SELECT amount, price FROM orders, products WHERE orders.id=1 AND products.id=1")
		amount, price, _ := strings.Cut(got, "|")
		if got != "" && amount != price {
			t.Errorf("half a transaction shows: %s", got)
		}
		return amount == fmt.Sprint(last), got
	})
}

func TestTablesWithOtherUniqueKeys(t *testing.T) {
	ddl := "CREATE TABLE uniq (id INT PRIMARY KEY, buyer VARCHAR(20) NOT NULL, code VARCHAR(20) UNIQUE, v INT)"
	w := newWorld(t, 2, []space.Table{{Name: "uniq", Kind: space.TableUnit, Key: "buyer"}}, ddl)
	w.startAll()
	a, b := w.sites["unit-a"], w.sites["unit-b"]
	k := w.keys("unit-a", 1)[0]
	run(t, a.db, "INSERT INTO uniq VALUES (1,'"+k+"','x',1),(2,'"+k+"','y',2)")
	w.same("SELECT * FROM uniq ORDER BY id", "unit-a", "unit-b")
	// The values swap; an upsert would hit the other row.
	tx, err := a.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"UPDATE uniq SET code='z' WHERE id=1", "UPDATE uniq SET code='x' WHERE id=2", "UPDATE uniq SET code='y' WHERE id=1"} {
		if _, err := tx.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	w.same("SELECT * FROM uniq ORDER BY id", "unit-a", "unit-b")
	// A row that is there before its insert, and one that is not there before
	// its update, end as the owner has them.
	unlogged(t, b.db, "INSERT INTO uniq VALUES (3,'"+k+"','other',9)", "DELETE FROM uniq WHERE id=2")
	run(t, a.db, "INSERT INTO uniq VALUES (3,'"+k+"','w',3)", "UPDATE uniq SET v=22 WHERE id=2")
	w.same("SELECT * FROM uniq ORDER BY id", "unit-a", "unit-b")
	// A unique value that another row holds here is no row of ours to push away.
	unlogged(t, b.db, "INSERT INTO uniq VALUES (100,'"+k+"','taken',0)")
	run(t, a.db, "INSERT INTO uniq VALUES (4,'"+k+"','taken',4)")
	w.stopped("unit-a", "unit-b", "another row here holds a unique value")
	unlogged(t, b.db, "DELETE FROM uniq WHERE id=100")
	w.same("SELECT * FROM uniq ORDER BY id", "unit-a", "unit-b")
}

func (w *world) stopped(from, to, text string) {
	w.t.Helper()
	eventually(w.t, from+">"+to+" stops", func() (bool, string) {
		l, r := w.lane(from, to), w.report(to)
		return l.State == "stopped" && strings.Contains(l.Reason, text) && strings.Contains(r.Trouble, text), l.String()
	})
}

func TestTargetDeadlocksAndLockWaitsAreTriedAgain(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	a, b := w.sites["unit-a"], w.sites["unit-b"]
	k := w.keys("unit-a", 1)[0]
	run(t, a.db, "INSERT INTO orders VALUES (1,'"+k+"',1,NULL)")
	w.same(allOrders, "unit-a", "unit-b")
	tx, err := b.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SELECT * FROM orders WHERE id=1 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	run(t, a.db, "UPDATE orders SET amount=2 WHERE id=1")
	eventually(t, "a lock wait that runs out", func() (bool, string) {
		r := w.report("unit-b").Figures["lane_retries{unit-a>unit-b}"]
		// INNODB_TRX would show an old picture to whoever asks often.
		n := query(t, b.db, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='INNODB_ROW_LOCK_CURRENT_WAITS'")
		return n == "1" || r > 0, n
	})
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	w.same(allOrders, "unit-a", "unit-b")
}

func TestOnlyTheNewestWorkerWrites(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	k := w.keys("unit-a", 1)[0]
	w.order("unit-a", k, 1)
	w.same(allOrders, "unit-a", "unit-b")
	old := *w.sites["unit-b"]
	w.start("unit-b") // a second process for the same unit
	w.running("unit-a", "unit-b")
	id := 1
	eventually(t, "the older worker gives up", func() (bool, string) {
		id++
		w.order("unit-a", k, id)
		r := w.reportOf(old.sync)
		return r.Lanes[0].State == "stopped" && strings.Contains(r.Lanes[0].Reason, "another worker"), r.String()
	})
	w.same(allOrders, "unit-a", "unit-b")
}

func TestRestartGoesOnWhereItStood(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	k, kb := w.keys("unit-a", 1)[0], w.keys("unit-b", 1)[0]
	w.order("unit-a", k, 1)
	w.order("unit-a", kb, 2) // not the owner: parked
	w.same("SELECT * FROM orders WHERE id=1", "unit-a", "unit-b")
	w.idle()
	w.sites["unit-b"].stop()
	w.order("unit-a", k, 3)
	w.order("unit-a", kb, 4)
	w.start("unit-b")
	w.same("SELECT * FROM orders WHERE buyer='"+k+"' ORDER BY id", "unit-a", "unit-b")
	w.parked("unit-b", "unit-a>unit-b", 2)
	if got := query(t, w.sites["unit-b"].db, "SELECT keytext, owner, JSON_VALUE(change_json,'$.after.id') FROM atoll.parked ORDER BY id"); got != kb+"|unit-b|2\n"+kb+"|unit-b|4" {
		t.Errorf("parked: %s", got)
	}
	listed := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d parked rows in the report", n), func() (bool, string) {
			r := w.lane("unit-a", "unit-b")
			return r.Parked == int64(n) && len(r.ParkedRows) == n, r.String()
		})
	}
	listed(2)
	row := w.lane("unit-a", "unit-b").ParkedRows[1]
	if row.Key != kb || row.Owner != "unit-b" || !strings.HasSuffix(row.Table, ".orders") || row.Position == "" || row.Reason == "" {
		t.Errorf("listed: %v", row)
	}
	if at, err := time.Parse(time.RFC3339, row.At); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("parked at %q: %v", row.At, err)
	}
	run(t, w.sites["unit-b"].db, "DELETE FROM atoll.parked ORDER BY id LIMIT 1") // an operator settled it
	listed(1)
}

// parked waits for a number of parked rows and checks that it stays.
func (w *world) parked(unit, lane string, n int) {
	w.t.Helper()
	count := func() string {
		return query(w.t, w.sites[unit].db, "SELECT COUNT(*) FROM atoll.parked WHERE lane='"+lane+"'")
	}
	eventually(w.t, fmt.Sprintf("%d parked rows", n), func() (bool, string) { got := count(); return got == fmt.Sprint(n), got })
	w.idle()
	if got := count(); got != fmt.Sprint(n) {
		w.t.Errorf("%s rows parked, want %d", got, n)
	}
}

func TestLargeTransactions(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.sites["unit-b"].cfg.GroupBytes = 2 << 20
	w.sites["unit-b"].cfg.QueueBytes = 64 << 10
	w.startAll()
	a := w.sites["unit-a"]
	k := w.keys("unit-a", 1)[0]
	run(t, a.db, "INSERT INTO orders SELECT seq, '"+k+"', seq, 'note' FROM seq_1_to_5000", "DELETE FROM orders WHERE id%2=0",
		"INSERT INTO orders VALUES (9001,'"+k+"',1,REPEAT('x',1000000))")
	w.same(allOrders, "unit-a", "unit-b")
	run(t, a.db, "INSERT INTO orders SELECT seq, '"+k+"', seq, REPEAT('y',100) FROM seq_10001_to_40000")
	w.stopped("unit-a", "unit-b", "more than 2097152 bytes")
	w.sites["unit-b"].stop()
	w.sites["unit-b"].cfg.GroupBytes = 0
	w.start("unit-b")
	w.same("SELECT COUNT(*), SUM(id), SUM(LENGTH(note)) FROM orders", "unit-a", "unit-b")
}

// TestForeignTablesCannotStopALane writes what the library or the lane cannot
// read into tables that are not synced.
func TestForeignTablesCannotStopALane(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock,
		"CREATE TABLE packed (id INT PRIMARY KEY, v VARCHAR(100) COMPRESSED, b BLOB COMPRESSED)", "CREATE TABLE heap (v INT) ENGINE=MyISAM",
		"CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING", "CREATE SEQUENCE seq")
	w.startAll()
	a := w.sites["unit-a"]
	k := w.keys("unit-a", 1)[0]
	run(t, a.db, "INSERT INTO packed VALUES (1,REPEAT('x',100),REPEAT('y',1000))", "INSERT INTO heap VALUES (1)", "INSERT INTO versioned VALUES (1)",
		"DELETE FROM versioned", "SELECT NEXTVAL(seq)", "CREATE TABLE copied AS SELECT * FROM packed", "TRUNCATE heap", "DROP TABLE copied",
		"FLUSH BINARY LOGS", "ANALYZE TABLE packed", "CREATE USER x@y")
	w.order("unit-a", k, 1)
	w.same(allOrders, "unit-a", "unit-b")
}

// session runs statements in one session.
func session(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range statements {
		if _, err := conn.ExecContext(context.Background(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// unlogged writes behind everybody's back.
func unlogged(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	session(t, db, append(append([]string{"SET sql_log_bin=0"}, statements...), "SET sql_log_bin=1")...)
}

func TestWhatTheLogDoesNotShowStopsTheLane(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock, "CREATE TABLE local (id INT PRIMARY KEY)")
	w.startAll()
	a := w.sites["unit-a"]
	k := w.keys("unit-a", 1)[0]
	session(t, a.db, "XA START 'l'", "INSERT INTO local VALUES (1)", "XA END 'l'", "XA PREPARE 'l'", "XA COMMIT 'l'")
	w.order("unit-a", k, 1)
	w.same(allOrders, "unit-a", "unit-b")
	session(t, a.db, "XA START 'o'", "INSERT INTO orders VALUES (2,'"+k+"',1,NULL)", "XA END 'o'", "XA PREPARE 'o'", "XA COMMIT 'o'")
	w.stopped("unit-a", "unit-b", "an XA transaction wrote shop.orders")
	w.mendBySkipping("INSERT INTO orders VALUES (2,'" + k + "',1,NULL)")
	session(t, a.db, "SET SESSION binlog_format=STATEMENT", "UPDATE orders SET amount=5 WHERE id=2", "SET SESSION binlog_format=ROW")
	w.stopped("unit-a", "unit-b", "holds a UPDATE as a statement, not as rows")
	w.mendBySkipping("UPDATE orders SET amount=5 WHERE id=2")
	session(t, a.db, "SET SESSION binlog_row_image=MINIMAL", "UPDATE orders SET amount=6 WHERE id=2", "SET SESSION binlog_row_image=FULL")
	w.stopped("unit-a", "unit-b", "are not whole")
	w.mendBySkipping("UPDATE orders SET amount=6 WHERE id=2")
	w.order("unit-a", k, 3)
	w.same(allOrders, "unit-a", "unit-b")
}

// mendBySkipping does what DESIGN tells an operator: write the refused group by
// hand and move the checkpoint behind it.
func (w *world) mendBySkipping(statement string) {
	w.t.Helper()
	position := query(w.t, w.sites["unit-a"].db, "SELECT @@gtid_binlog_pos")
	unlogged(w.t, w.sites["unit-b"].db, statement)
	run(w.t, w.sites["unit-b"].db, "UPDATE atoll.lane SET gtid='"+position+"' WHERE lane='unit-a>unit-b'")
	w.same(allOrders, "unit-a", "unit-b")
	w.running("unit-a", "unit-b")
}

// TestTwoSpacesOnTheSameServers adds a second space, with schemas of other
// names, while the first one's lane runs; one lane carries both.
func TestTwoSpacesOnTheSameServers(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	a, b, k := w.sites["unit-a"], w.sites["unit-b"], w.keys("unit-a", 1)[0]
	w.order("unit-a", k, 1)
	run(t, a.db, "CREATE DATABASE pay_a", "CREATE TABLE pay_a.orders (id INT PRIMARY KEY, who BIGINT NOT NULL)")
	run(t, b.db, "CREATE DATABASE pay_b", "CREATE TABLE pay_b.orders (id INT PRIMARY KEY, who BIGINT NOT NULL)")
	doc := *w.snap.Document
	doc.Metadata.Name, doc.Spec.Code = "pay", "pay"
	db := *w.snap.Databases[0]
	db.Spec.Space, db.Spec.Tables = "pay", []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "who"}}
	db.Spec.Sources = []space.DataSource{db.Spec.Sources[0], db.Spec.Sources[1]}
	db.Spec.Sources[0].Database, db.Spec.Sources[1].Database = "pay_a", "pay_b"
	second := &space.Snapshot{Space: "pay", Epoch: 40, Document: &doc, Databases: []*space.Database{&db}}
	for _, st := range w.sites {
		if err := st.sync.Install(context.Background(), second); err != nil {
			t.Fatal(err)
		}
	}
	w.running("unit-a", "unit-b")
	id := 0
	for i := range 1000 {
		if w.owner(fmt.Sprint(i)) == "unit-a" {
			id++
			run(t, a.db, fmt.Sprintf("INSERT INTO pay_a.orders VALUES (%d,%d)", id, i))
		}
	}
	w.order("unit-a", k, 2)
	eventually(t, "rows of the second space", func() (bool, string) {
		got := query(t, b.db, "SELECT COUNT(*), MAX(id) FROM pay_b.orders")
		return got == fmt.Sprintf("%d|%d", id, id), got
	})
	w.same(allOrders, "unit-a", "unit-b")
	var spaces []string
	for _, l := range w.report("unit-b").Lanes {
		spaces = append(spaces, l.Space)
	}
	if fmt.Sprint(spaces) != "[pay shop]" {
		t.Errorf("lanes are reported for %v", spaces)
	}
}

// TestSettleCompares finds what differs, whatever the primary key is made of.
func TestSettleCompares(t *testing.T) {
	ddl := []string{
		"CREATE TABLE two (buyer VARCHAR(20) COLLATE utf8mb4_bin NOT NULL, n BIGINT UNSIGNED, v DECIMAL(10,3), PRIMARY KEY (n, buyer))",
		"CREATE TABLE odd (at DATETIME(6), b VARBINARY(10), s VARCHAR(10) CHARACTER SET latin1, e ENUM('x','y'), buyer VARCHAR(20) NOT NULL, v BLOB, f DOUBLE, PRIMARY KEY (e, at, s, b))",
	}
	tables := []space.Table{{Name: "two", Kind: space.TableUnit, Key: "buyer"}, {Name: "odd", Kind: space.TableUnit, Key: "buyer"}}
	w := newWorld(t, 2, tables, ddl...)
	w.sites["unit-b"].cfg.Settle = 300 * time.Millisecond
	w.startAll()
	a, b, k := w.sites["unit-a"], w.sites["unit-b"], w.keys("unit-a", 2)
	run(t, a.db, "INSERT INTO two SELECT '"+k[0]+"', seq, seq/7 FROM seq_1_to_5000", "INSERT INTO two SELECT '"+k[1]+"', seq, 1 FROM seq_1_to_3000",
		"INSERT INTO odd SELECT '2024-01-01'+INTERVAL seq SECOND, UNHEX(HEX(seq)), 'é', IF(seq%2,'x','y'), '"+k[0]+"', X'00ff', seq/3 FROM seq_1_to_3000")
	w.same("SELECT COUNT(*), SUM(v) FROM two", "unit-a", "unit-b")
	w.same("SELECT COUNT(*), SUM(f) FROM odd", "unit-a", "unit-b")
	m := w.whole("m1", "unit-a", "unit-b", k[:1])
	unlogged(t, b.db, "UPDATE two SET v=v+0.001 WHERE n=4321 AND buyer='"+k[0]+"'", "DELETE FROM two WHERE n=2000 AND buyer='"+k[0]+"'",
		"DELETE FROM two WHERE n=1 AND buyer='"+k[1]+"'", // not of the move
		"UPDATE odd SET v=X'00fe' WHERE f=100", "INSERT INTO odd VALUES ('2030-01-01',X'27',\"'\",'y','"+k[0]+"',NULL,NULL)")
	m.ask("settle")
	s := m.acked("unit-b", "settled", "")
	if s.Figures["rows_compared"] != 5000+3000+1 || s.Figures["rows_different"] != 4 {
		t.Errorf("settled: %v", s)
	}
}
