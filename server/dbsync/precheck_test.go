package dbsync_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/atoll-live/atoll/space"
)

func TestPrecheckNamesWhatToMend(t *testing.T) {
	ddl := map[string]string{
		"nokey":   "CREATE TABLE nokey (buyer VARCHAR(20))",
		"nocol":   "CREATE TABLE nocol (id INT PRIMARY KEY)",
		"parent":  "CREATE TABLE parent (id INT PRIMARY KEY, buyer VARCHAR(20))",
		"child":   "CREATE TABLE child (id INT PRIMARY KEY, buyer VARCHAR(20), p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
		"odd-one": "CREATE TABLE `odd-one` (id INT PRIMARY KEY, buyer VARCHAR(20), p INT, FOREIGN KEY (p) REFERENCES parent (id) ON UPDATE SET NULL)",
		"aria":    "CREATE TABLE aria (id INT PRIMARY KEY, buyer VARCHAR(20)) ENGINE=Aria",
		"vers":    "CREATE TABLE vers (id INT PRIMARY KEY, buyer VARCHAR(20)) WITH SYSTEM VERSIONING",
		"packed":  "CREATE TABLE packed (id INT PRIMARY KEY, buyer VARCHAR(20), v TEXT COMPRESSED)",
		"part":    "CREATE TABLE part (id VARCHAR(100), buyer VARCHAR(20), PRIMARY KEY (id(10)))",
		"money":   "CREATE TABLE money (id INT PRIMARY KEY, buyer DECIMAL(10,2))",
		"latin":   "CREATE TABLE latin (id INT PRIMARY KEY, buyer VARCHAR(20) CHARACTER SET latin2)",
		"trig":    "CREATE TABLE trig (id INT PRIMARY KEY, buyer VARCHAR(20))",
	}
	var tables []space.Table
	var statements []string
	for _, name := range []string{"nokey", "nocol", "parent", "child", "odd-one", "aria", "vers", "packed", "part", "money", "latin", "trig", "gone"} {
		tables = append(tables, space.Table{Name: name, Kind: space.TableUnit, Key: "buyer"})
		if ddl[name] != "" {
			statements = append(statements, ddl[name])
		}
	}
	w := newWorld(t, 2, tables, statements...)
	run(t, w.sites["unit-b"].db, "CREATE TRIGGER twice BEFORE INSERT ON trig FOR EACH ROW SET NEW.buyer='x'")
	run(t, w.sites["unit-a"].db, "CREATE TRIGGER once BEFORE INSERT ON trig FOR EACH ROW SET NEW.buyer='x'",
		"SET GLOBAL binlog_row_metadata=MINIMAL", "SET GLOBAL binlog_format=MIXED", "SET GLOBAL binlog_row_image=NOBLOB")
	w.start("unit-b")
	w.stopped("unit-a", "unit-b", "no primary key")
	reason := w.lane("unit-a", "unit-b").Reason
	for _, want := range []string{
		"binlog_format is MIXED at the source (set it to ROW there",
		"binlog_row_image is NOBLOB at the source (set it to FULL there",
		"binlog_row_metadata is MINIMAL at the source (set it to FULL there",
		"table shop.nokey: it has no primary key (ALTER TABLE",
		"table shop.nocol: it has no column buyer, which the Database names as its key",
		"table shop.child: foreign key shop/child_ibfk_1 changes rows of another table",
		"table shop.parent: foreign key shop/child_ibfk_1",
		"table shop.odd-one: foreign key",
		"table shop.aria: its engine is Aria",
		"table shop.vers: it is a system versioned",
		"table shop.packed: column v is COMPRESSED",
		"table shop.part: its primary key holds only the start of column id",
		"table shop.money: its key buyer is a decimal(10,2)", "table shop.latin: its key buyer is a varchar(20)",
		"table shop.trig: trigger twice would fire again",
		"table shop.gone is not at the source", "table shop.gone is not at the target",
	} {
		if !strings.Contains(reason, want) {
			t.Errorf("no word of %q", want)
		}
	}
	if strings.Contains(reason, "trigger once") {
		t.Error("a trigger at the source does no harm")
	}
	if t.Failed() {
		t.Log(strings.ReplaceAll(reason, "; ", "\n"))
	}
	// Mended, it runs without a restart.
	run(t, w.sites["unit-a"].db, "SET GLOBAL binlog_row_metadata=FULL", "SET GLOBAL binlog_format=ROW", "SET GLOBAL binlog_row_image=FULL")
	w.publish(func(s *space.Snapshot) {
		d := *s.Databases[0]
		d.Spec.Tables = slices.DeleteFunc(slices.Clone(tables), func(x space.Table) bool { return x.Name != "trig" })
		s.Databases = []*space.Database{&d}
	})
	run(t, w.sites["unit-b"].db, "DROP TRIGGER twice")
	w.running("unit-a", "unit-b")
}

func TestDDLIsSurvived(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	a, b := w.sites["unit-a"], w.sites["unit-b"]
	k := w.keys("unit-a", 1)[0]
	row := func(id, rest string) string {
		return "INSERT INTO orders VALUES (" + id + ",'" + k + "',1,NULL" + rest + ")"
	}
	const core = "SELECT id, buyer, amount, note FROM orders ORDER BY id"
	run(t, a.db, row("1", ""), "ALTER TABLE orders ADD COLUMN extra VARCHAR(20) NOT NULL DEFAULT 'it''s', ADD COLUMN n INT NULL, ADD COLUMN at DATETIME DEFAULT '2020-01-01'",
		row("2", ",'it''s',NULL,'2020-01-01'"), "UPDATE orders SET amount=2 WHERE id=1")
	w.same(core, "unit-a", "unit-b")
	run(t, a.db, row("3", ",'other',NULL,'2020-01-01'"))
	w.stopped("unit-a", "unit-b", "has no column extra, and the source wrote something else than its default there")
	run(t, b.db, "ALTER TABLE orders ADD COLUMN n INT NULL, ADD COLUMN here INT NOT NULL DEFAULT 7, ADD COLUMN extra VARCHAR(20) NOT NULL DEFAULT 'it''s', ADD COLUMN at DATETIME DEFAULT '2020-01-01'")
	w.same("SELECT id, buyer, amount, note, extra, n, at FROM orders ORDER BY id", "unit-a", "unit-b")
	// Columns may stand in another order, and go.
	run(t, a.db, "ALTER TABLE orders DROP COLUMN extra, MODIFY note LONGTEXT FIRST", "INSERT INTO orders (id,buyer,amount,note,n) VALUES (4,'"+k+"',1,'x',5)", "DELETE FROM orders WHERE id=3")
	w.same("SELECT id, buyer, amount, note, n FROM orders ORDER BY id", "unit-a", "unit-b")
	if got := query(t, b.db, "SELECT extra, here FROM orders WHERE id=4"); got != "it's|7" {
		t.Errorf("columns that only the target has: %s", got)
	}
	// A column that goes at the target while rows come.
	run(t, b.db, "ALTER TABLE orders DROP COLUMN n")
	run(t, a.db, "UPDATE orders SET amount=9, n=NULL WHERE id=4")
	w.same("SELECT id, buyer, amount, note FROM orders ORDER BY id", "unit-a", "unit-b")
	// The key column under another name stops the lane; nothing is guessed.
	run(t, a.db, "ALTER TABLE orders CHANGE buyer who VARCHAR(40) COLLATE utf8mb4_bin NOT NULL", "UPDATE orders SET amount=10 WHERE id=4")
	w.stopped("unit-a", "unit-b", "it has no column buyer, which the Database names as its key")
	run(t, a.db, "ALTER TABLE orders CHANGE who buyer VARCHAR(40) COLLATE utf8mb4_bin NOT NULL")
	w.stopped("unit-a", "unit-b", "it has no column buyer") // the row in between is still in the log
	position := query(t, a.db, "SELECT @@gtid_binlog_pos")
	unlogged(t, b.db, "UPDATE orders SET amount=10 WHERE id=4")
	run(t, b.db, "UPDATE atoll.lane SET gtid='"+position+"' WHERE lane='unit-a>unit-b'")
	run(t, a.db, "UPDATE orders SET amount=11 WHERE id=4")
	w.same("SELECT id, buyer, amount, note FROM orders ORDER BY id", "unit-a", "unit-b")
	// Types that have grown at one side only: what fits passes, what does not
	// stops the lane and is never cut.
	run(t, a.db, "ALTER TABLE orders MODIFY amount BIGINT NOT NULL", "UPDATE orders SET amount=12 WHERE id=4")
	w.same("SELECT id, buyer, amount, note FROM orders ORDER BY id", "unit-a", "unit-b")
	run(t, a.db, "UPDATE orders SET amount=5000000000 WHERE id=4")
	w.stopped("unit-a", "unit-b", "Out of range value for column 'amount'")
	run(t, b.db, "ALTER TABLE orders MODIFY amount BIGINT NOT NULL")
	w.same("SELECT id, buyer, amount, note FROM orders ORDER BY id", "unit-a", "unit-b")
}

func TestEnumMembersMustAgree(t *testing.T) {
	w := newWorld(t, 2, []space.Table{{Name: "e", Kind: space.TableUnit, Key: "k"}}, "CREATE TABLE e (k VARCHAR(20) PRIMARY KEY, v ENUM('a','b'), s SET('x','y'))")
	w.startAll()
	a, b := w.sites["unit-a"], w.sites["unit-b"]
	k := w.keys("unit-a", 3)
	run(t, b.db, "ALTER TABLE e MODIFY v ENUM('a','b','c')")
	run(t, a.db, "INSERT INTO e VALUES ('"+k[0]+"','b','x,y')")
	w.same("SELECT * FROM e ORDER BY k", "unit-a", "unit-b")
	run(t, a.db, "ALTER TABLE e MODIFY v ENUM('b','a')", "INSERT INTO e VALUES ('"+k[1]+"','a','x')")
	w.stopped("unit-a", "unit-b", "column v: its members are not those of the source, in the same order")
	run(t, b.db, "ALTER TABLE e MODIFY v ENUM('b','a')")
	w.same("SELECT * FROM e ORDER BY k", "unit-a", "unit-b")
}
