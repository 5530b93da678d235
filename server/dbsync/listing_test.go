package dbsync_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/space"
)

// comparison is what a console asks about tables of two units.
func (w *world) comparison(tables ...*atollv1.ComparedTable) *atollv1.Comparison {
	side := func(unit string) *atollv1.DataSource {
		for _, s := range w.snap.Databases[0].Spec.Sources {
			if s.Unit == unit {
				return &atollv1.DataSource{Unit: unit, Host: s.Host, Port: int32(s.Port), Database: s.Database, User: s.User, PasswordFile: s.PasswordFile}
			}
		}
		w.t.Fatalf("no source in %s", unit)
		return nil
	}
	return &atollv1.Comparison{Space: "shop", Database: "shop", From: side("unit-a"), To: side("unit-b"), Tables: tables}
}

func unitTable(name string) *atollv1.ComparedTable {
	return &atollv1.ComparedTable{Name: name, Kind: string(space.TableUnit), Key: "buyer"}
}

// ask has unit-b answer one call.
func (w *world) ask(call string, limit time.Duration, c ...*atollv1.Comparison) *atollv1.Ack {
	w.t.Helper()
	st := w.sites["unit-b"]
	st.sync.Ask([]*atollv1.Ask{{Move: call, Step: "compare", LimitMs: limit.Milliseconds(), Comparisons: c}})
	defer st.sync.Ask(nil)
	var ack *atollv1.Ack
	eventually(w.t, "answer to "+call, func() (bool, string) {
		r := w.report("unit-b")
		i := slices.IndexFunc(r.Acks, func(a *atollv1.Ack) bool { return a.Move == call && a.Step == "compared" })
		if i >= 0 {
			ack = r.Acks[i]
		}
		return i >= 0, r.String()
	})
	return ack
}

// texts are the differences of an answer by table.
func texts(a *atollv1.Ack) map[string]string {
	m := map[string]string{}
	for _, d := range a.Differences {
		m[d.Table] = d.Trouble
		if d.Trouble == "" {
			m[d.Table] = fmt.Sprintf("%d %v %s", d.Different, d.More, strings.Join(d.First, " "))
		}
	}
	return m
}

// TestListing_SaysWhichTablesMayNotBeListed asks planes that have no snapshot,
// as at the first apply.
func TestListing_SaysWhichTablesMayNotBeListed(t *testing.T) {
	const table = " (buyer VARCHAR(20) COLLATE utf8mb4_bin NOT NULL, n INT NOT NULL, v TEXT, PRIMARY KEY (buyer, n))"
	var ddl []string
	for _, name := range []string{"equal", "emptied", "differing", "many", "onlyhere", "untyped", "narrow", "rekeyed", "nokey"} {
		ddl = append(ddl, "CREATE TABLE "+name+table, "INSERT INTO "+name+" SELECT 'bö', seq, REPEAT('x', seq%50) FROM seq_1_to_2500")
	}
	w := newWorld(t, 2, nil, ddl...)
	snapshot := w.snap
	w.snap = &space.Snapshot{Space: "other", Epoch: 1, Document: snapshot.Document}
	w.start("unit-b")
	w.snap = snapshot
	a, b := w.sites["unit-a"].db, w.sites["unit-b"].db
	run(t, a, "DELETE FROM emptied", "DROP TABLE onlyhere", "ALTER TABLE untyped MODIFY n BIGINT NOT NULL", "ALTER TABLE nokey DROP COLUMN n, DROP PRIMARY KEY, ADD n INT PRIMARY KEY AUTO_INCREMENT",
		"DELETE FROM many WHERE n>10", "CREATE TABLE center (id INT PRIMARY KEY)")
	run(t, b, "DELETE FROM emptied", "UPDATE differing SET v='y' WHERE n=2", "DELETE FROM differing WHERE n=2400", "INSERT INTO differing VALUES (\"o'x\", 1, NULL)",
		"ALTER TABLE narrow DROP COLUMN v", "ALTER TABLE rekeyed DROP PRIMARY KEY, ADD PRIMARY KEY (n)", "CREATE TABLE center (id INT PRIMARY KEY)",
		"CREATE TRIGGER fires BEFORE INSERT ON center FOR EACH ROW SET NEW.id=1", "INSERT INTO many SELECT 'bö', seq, '' FROM seq_3000_to_9000",
		"ALTER TABLE nokey DROP COLUMN n, DROP PRIMARY KEY, ADD n INT PRIMARY KEY AUTO_INCREMENT", "ALTER TABLE nokey DROP COLUMN buyer")
	want := map[string]string{
		"differing": "3 false 'bö','2' 'bö','2400' 'o\\'x','1'",
		// Of 8,491 rows the first 4,000 are read.
		"many":     "3990 true 'bö','11' 'bö','12' 'bö','13' 'bö','14' 'bö','15' 'bö','16' 'bö','17' 'bö','18' 'bö','19' 'bö','20'",
		"onlyhere": "table onlyhere is not in unit-a (create it there as in unit-b, then apply again)",
		"gone":     "table gone is neither in unit-a nor in unit-b (create it in each unit, then apply again)",
		"untyped":  "table untyped: its columns differ: n is bigint(20) in unit-a and int(11) in unit-b (make them equal, then apply again)",
		"narrow":   "table narrow: its columns differ: v is not in unit-b (make them equal, then apply again)",
		"rekeyed":  "table rekeyed: its primary key is (buyer,n) in unit-a and (n) in unit-b (make them equal, then apply again)",
		"nokey":    "in unit-b: table shop.nokey: it has no column buyer, which the Database names as its key (add it, or mend the Database)",
		"center":   "in unit-b: table shop.center: trigger fires would fire again on rows that already hold its effect (drop it here, or do its work in the application)",
	}
	var tables []*atollv1.ComparedTable
	for _, name := range []string{"equal", "emptied", "differing", "many", "onlyhere", "gone", "untyped", "narrow", "rekeyed", "nokey"} {
		tables = append(tables, unitTable(name))
	}
	tables = append(tables, &atollv1.ComparedTable{Name: "center", Kind: string(space.TableCenterUnit)})
	ack := w.ask("one", 0, w.comparison(tables...))
	got := texts(ack)
	if len(got) != len(want) || ack.Error != "" || ack.Figures["rows_compared"] < 2500+2501 {
		t.Errorf("answer: %v", ack)
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s:\n%s\nwant\n%s", name, got[name], text)
		}
	}
	// What was mended is found equal: the answer before was about the rows.
	run(t, b, "DELETE FROM differing", "INSERT INTO differing SELECT 'bö', seq, REPEAT('x', seq%50) FROM seq_1_to_2500")
	if ack := w.ask("two", 0, w.comparison(unitTable("differing"), unitTable("equal"))); len(ack.Differences) != 0 || ack.Error != "" || ack.Figures["rows_compared"] != 5000 {
		t.Errorf("after the mend: %v", ack)
	}
}

// TestListing_EndsAtItsLimit: a server that does not answer costs the ask its
// time, and the answer says so.
func TestListing_EndsAtItsLimit(t *testing.T) {
	w := newWorld(t, 2, nil, "CREATE TABLE orders (id INT PRIMARY KEY, buyer VARCHAR(20))")
	w.start("unit-b")
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	c := w.comparison(unitTable("orders"))
	c.From.Port = int32(dead.Addr().(*net.TCPAddr).Port)
	if ack := w.ask("hangs", 300*time.Millisecond, c); !strings.Contains(ack.Error, "compare unit-a with unit-b: not done within 300ms, after 0 rows (give it more time: atoll apply --compare-time 10m)") {
		t.Errorf("a server that hangs: %v", ack)
	}
	// An ask that is dropped ends at once, and the next one is answered.
	w.sites["unit-b"].sync.Ask([]*atollv1.Ask{{Move: "dropped", Step: "compare", Comparisons: []*atollv1.Comparison{c}}})
	if ack := w.ask("next", 0, w.comparison(unitTable("orders"))); ack.Error != "" || len(ack.Differences) != 0 {
		t.Errorf("after a dropped ask: %v", ack)
	}
	c.From.PasswordFile = "/no/such/file"
	if ack := w.ask("no password", 0, c); !strings.Contains(ack.Error, "/no/such/file") || strings.Contains(ack.Error, mariadbtest.Password) {
		t.Errorf("without its password: %v", ack)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	c = w.comparison(unitTable("orders"))
	c.From.Port = int32(dead.Addr().(*net.TCPAddr).Port)
	if ack := w.ask("refused", 0, c); !strings.Contains(ack.Error, "connection refused") {
		t.Errorf("without a server: %v", ack)
	}
}

// TestListing_WaitsForRowsOnTheirWay: a table that a lane carries already is
// compared with patience, when one of its sources is another place on paper.
func TestListing_WaitsForRowsOnTheirWay(t *testing.T) {
	w := newWorld(t, 2, []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "buyer"}}, ddlOrders)
	w.sites["unit-b"].cfg.Settle = 3 * time.Second
	w.startAll()
	a, b, key := w.sites["unit-a"].db, w.sites["unit-b"].db, w.keys("unit-a", 1)[0]
	lock, err := b.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	// The row that the lane is to write here is locked until the ask runs.
	if _, err := lock.Exec("SELECT * FROM orders WHERE id>=0 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	run(t, a, "SET GLOBAL log_output='TABLE'", "SET GLOBAL general_log=ON", "INSERT INTO orders VALUES (1, '"+key+"', 5, '')")
	w.sites["unit-b"].sync.Ask([]*atollv1.Ask{{Move: "early", Step: "compare", Comparisons: []*atollv1.Comparison{w.comparison(unitTable("orders"))}}})
	eventually(t, "the comparison reads the row again", func() (bool, string) {
		got, err := tryQuery(a, "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE 'SELECT MD5%orders%'")
		return err == nil && got != "0" && got != "1", fmt.Sprintf("%s times, %v", got, err)
	})
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if ack := w.ask("early", 0, w.comparison(unitTable("orders"))); len(ack.Differences) != 0 || ack.Error != "" {
		t.Errorf("a row on its way: %v", ack)
	}
	// One that never comes is a difference.
	unlogged(t, b, "DELETE FROM orders WHERE id=1")
	if ack := w.ask("late", 0, w.comparison(unitTable("orders"))); texts(ack)["orders"] != "1 false '1'" {
		t.Errorf("a row that is lost: %v", ack)
	}
}
