package dbproxy_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	wire "github.com/atoll-live/atoll/server/wire/mysql"
	"github.com/atoll-live/atoll/space"
)

// TestClients_ManySettings: pools and drivers set the same variables with each
// use of a connection. That does not use the connection up.
func TestClients_ManySettings(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	b := w.serve("unit-b")
	own := w.key("unit-b", 1)
	c := b.textConn()
	for i := range 100 {
		run(t, c, "SET SESSION TRANSACTION READ ONLY", "SET SESSION TRANSACTION READ WRITE", "SET time_zone = '+0"+strconv.Itoa(i%6)+":00'", "SET NAMES utf8mb4",
			"SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
	}
	run(t, c, "SET time_zone = '+05:00'", "INSERT INTO products VALUES (1, TIME_FORMAT(TIMEDIFF(NOW(), UTC_TIMESTAMP()), '%H'))")
	if n := w.count("unit-a", "SELECT name FROM products WHERE id = 1"); n != 5 {
		t.Errorf("the last setting did not reach the center: %d", n)
	}
	// What cannot be brought along is said at the center's door, nowhere else.
	for i := range 100 {
		run(t, c, "SET @v"+strconv.Itoa(i)+" = "+strconv.Itoa(i))
	}
	run(t, c, insertOf(own, "1"), "SET time_zone = '+04:00'")
	refused(t, failure(t, c, "INSERT INTO products VALUES (2, 'x')"), documented(t, "TestClients_ManySettings"))
	run(t, c, insertOf(own, "2"))
	if n := w.orders("unit-b", own); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// TestClients_SessionAtTheCenter: a center-unit write in a unit goes to the
// center by another connection. What the session is at home must be so there,
// or the write is refused; and an OK is a row.
func TestClients_SessionAtTheCenter(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	b := w.serve("unit-b")
	own := w.key("unit-b", 1)
	hours := "TIME_FORMAT(TIMEDIFF(NOW(), UTC_TIMESTAMP()), '%H')"
	center := func(id int) int {
		t.Helper()
		return w.count("unit-a", "SELECT COUNT(*) FROM products WHERE id = ?", id)
	}
	t.Run("autocommit off among other settings", func(t *testing.T) {
		c := b.textConn()
		run(t, c, "SET autocommit = 0, time_zone = '+05:00'", "SET autocommit = 1", "INSERT INTO products VALUES (1, 'x')")
		if center(1) != 1 {
			t.Error("an OK, and no row that others see")
		}
	})
	t.Run("autocommit off", func(t *testing.T) {
		c := b.textConn()
		run(t, c, "SET autocommit = 0")
		refused(t, failure(t, c, "INSERT INTO products VALUES (2, 'x')"), 9606)
		run(t, c, "SET autocommit = 1", "INSERT INTO products VALUES (2, 'x')")
		if center(2) != 1 {
			t.Error("no row")
		}
	})
	t.Run("a prepared SET", func(t *testing.T) {
		c := b.conn()
		must(t, tell(t, c, "SET time_zone = '+05:00'", true))
		run(t, c, "INSERT INTO products VALUES (3, "+hours+")")
		if n := w.count("unit-a", "SELECT name FROM products WHERE id = 3"); n != 5 {
			t.Errorf("the session's time zone did not come along: %d", n)
		}
	})
	t.Run("a variable that a query set", func(t *testing.T) {
		c := b.textConn()
		run(t, c, "SELECT @id := 4")
		refused(t, failure(t, c, "INSERT INTO products VALUES (@id, 'x')"), 9606)
		run(t, c, insertOf(own, "1"))
	})
	t.Run("in a transaction", func(t *testing.T) {
		c := b.textConn()
		run(t, c, "BEGIN", insertOf(own, "2"))
		refused(t, failure(t, c, "INSERT INTO products VALUES (5, 'x')"), 9606)
		run(t, c, "COMMIT")
	})
	if n := center(4) + center(5) + center(0); n != 0 {
		t.Errorf("%d rows of refused writes", n)
	}
}

// local is a world whose tables that are not listed are local, with a second
// database that has tables of the same names.
func local(t *testing.T) (w *world, p *proxy, own, foreign string) {
	t.Helper()
	w = newWorld(t, "unit-a")
	w.db.Spec.DefaultKind = space.TableLocal
	own, foreign = w.key("unit-a", 1), w.key("unit-b", 1)
	s := w.servers["unit-a"]
	s.Exec(t, "CREATE DATABASE other", "CREATE TABLE other.orders LIKE shop.orders", "CREATE TABLE other.notes (id INT PRIMARY KEY, n INT)",
		"INSERT INTO other.orders (buyer_id, id) VALUES ('"+own+"', 1)",
		"INSERT INTO shop.orders (buyer_id, id) VALUES ('"+own+"', 1), ('"+own+"', 2), ('"+foreign+"', 1)",
		"CREATE VIEW shop.paid AS SELECT * FROM shop.orders", "CREATE VIEW other.paid AS SELECT * FROM shop.orders",
		"CREATE FUNCTION shop.pay_all(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN DELETE FROM shop.orders; RETURN n; END",
		"CREATE VIEW shop.charge AS SELECT shop.pay_all(1) AS n",
		"CREATE TRIGGER other.t AFTER INSERT ON other.notes FOR EACH ROW DELETE FROM shop.orders")
	p = w.serve("unit-a")
	return w, p, own, foreign
}

// TestClients_AnotherSpacesDatabase: a database becomes another space's while
// clients use it as one that nobody guards.
func TestClients_AnotherSpacesDatabase(t *testing.T) {
	_, p, own, _ := local(t)
	inside, outside := p.conn(), p.conn()
	run(t, inside, "USE other")
	run(t, inside, "UPDATE orders SET id = 1")
	run(t, outside, "REPLACE INTO other.orders (buyer_id, id) VALUES ('"+own+"', 3)")
	p.install(&space.Snapshot{Space: "other", Epoch: 1, Databases: []*space.Database{{
		Metadata: space.Metadata{Name: "other"},
		Spec:     space.DatabaseSpec{Space: "other", Sources: []space.DataSource{{Unit: "unit-a", Host: "db", Port: 3306, Database: "other"}}},
	}}})
	const write = "UPDATE other.orders SET id = 4 WHERE id = 3"
	await(t, "the other space's database is left alone", func() bool {
		_, err := outside.ExecContext(ctx(t), write)
		return err != nil
	})
	for _, c := range []struct {
		conn *sql.Conn
		text string
	}{
		{outside, write}, {outside, "SELECT * FROM other.orders"}, {outside, "USE other"}, {inside, "UPDATE orders SET id = 5"}, {inside, "SELECT * FROM orders"},
	} {
		refused(t, failure(t, c.conn, c.text), 9604)
	}
	login := p.config()
	login.DBName = "other"
	refused(t, openConfig(t, login).Ping(), 9604)
	run(t, inside, "USE shop")
	run(t, inside, "DELETE FROM orders WHERE buyer_id = '"+own+"' AND id = 2")
}

// TestClients_CurrentDatabase: the database that a name without one means is
// the same for the proof and for the server, whichever way it was chosen.
func TestClients_CurrentDatabase(t *testing.T) {
	w, p, own, foreign := local(t)
	orders := func(database string) int {
		t.Helper()
		return w.count("unit-a", "SELECT COUNT(*) FROM "+database+".orders")
	}
	t.Run("chosen at the login", func(t *testing.T) {
		c := p.config()
		c.DBName = "other"
		other := p.connOf(c)
		var name string
		must(t, other.QueryRowContext(ctx(t), "SELECT DATABASE()").Scan(&name))
		run(t, other, "DELETE FROM orders WHERE id = 1")
		if a, b := orders("shop"), orders("other"); name != "other" || a != 3 || b != 0 {
			t.Errorf("in %s: %d rows in shop, want 3; %d in other, want 0", name, a, b)
		}
		refused(t, failure(t, other, "DELETE FROM shop.orders WHERE id = 1"), 9603)
	})
	t.Run("one that is not there", func(t *testing.T) {
		c := p.config()
		c.DBName = "nowhere"
		refused(t, openConfig(t, c).Ping(), 1049)
	})
	t.Run("behind a reset", func(t *testing.T) {
		c := p.dial(0)
		c.ok(c.query("USE other"))
		c.ok(c.do(wire.ComResetConnection))
		row, err := c.QueryRow("SELECT DATABASE()")
		must(t, err)
		end := c.query("DELETE FROM orders WHERE id = 2")
		if row[0] == "other" {
			c.ok(end)
		} else {
			c.refused(end, 9603)
		}
		if n := orders("shop"); n != 3 {
			t.Errorf("%d rows in shop, want 3", n)
		}
	})
	t.Run("when a statement was prepared", func(t *testing.T) {
		c := p.dial(0)
		here := c.prepare("REPLACE INTO orders (buyer_id, id) VALUES (?, 7)")
		c.ok(c.query("USE other"))
		there := c.prepare("REPLACE INTO orders (buyer_id, id) VALUES (?, 7)")
		c.refused(c.execute(here, true, foreign), 9601)
		c.ok(c.execute(here, true, own))
		c.ok(c.execute(there, true, foreign))
		c.ok(c.query("USE shop"))
		c.ok(c.execute(there, true, own))
		if a, b := orders("shop"), orders("other"); a != 4 || b != 2 {
			t.Errorf("%d rows in shop, want 4; %d in other, want 2", a, b)
		}
	})
}

// TestClients_LocalViews: where tables that are not listed are local, views
// and triggers over listed ones do not write behind the proof.
func TestClients_LocalViews(t *testing.T) {
	w, p, own, _ := local(t)
	c := p.textConn()
	code := documented(t, "TestClients_LocalViews")
	for _, text := range []string{
		"UPDATE paid SET amount = 9", "DELETE FROM paid", "DELETE FROM other.paid WHERE buyer_id = '" + own + "'", "INSERT INTO shop.paid (buyer_id, id) VALUES ('x', 1)",
		"SELECT * FROM charge", "INSERT INTO other.notes SELECT n, n FROM charge", "INSERT INTO other.notes VALUES (1, 1)", "INSERT INTO other.notes (id) VALUES (1) RETURNING id",
	} {
		err := failure(t, c, text)
		t.Log(text, "→", err)
		refused(t, err, code)
	}
	run(t, c, "SELECT * FROM paid", "INSERT INTO other.orders (buyer_id, id) VALUES ('x', 1)", "CREATE TABLE other.more (id INT)", "INSERT INTO other.more VALUES (1)")
	if n := w.count("unit-a", "SELECT COUNT(*) FROM shop.orders WHERE amount IS NULL"); n != 3 {
		t.Errorf("%d rows are as they were, want 3", n)
	}
}

// TestClients_ServerEffects: what the server would do by itself when a table is
// written is refused, and told to the operator.
func TestClients_ServerEffects(t *testing.T) {
	w := newWorld(t, "unit-a")
	own := w.key("unit-a", 1)
	key := "buyer_id VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, "
	w.servers["unit-a"].Exec(t,
		"CREATE TABLE marked ("+key+"id INT, PRIMARY KEY (buyer_id, id))",
		"CREATE TRIGGER m BEFORE INSERT ON marked FOR EACH ROW SET NEW.buyer_id = 'eve'",
		"CREATE TRIGGER p AFTER INSERT ON products FOR EACH ROW INSERT INTO orders (buyer_id, id) VALUES ('eve', NEW.id)",
		"CREATE TRIGGER s BEFORE UPDATE ON stock FOR EACH ROW SET NEW.n = IF(NEW.n < 0, 0, NEW.n)",
		"CREATE TABLE parents ("+key+"id INT, PRIMARY KEY (buyer_id, id), UNIQUE (id))",
		"CREATE TABLE middle (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parents (id) ON UPDATE CASCADE ON DELETE CASCADE)",
		"CREATE TABLE `children-1` ("+key+"id INT, middle INT, PRIMARY KEY (buyer_id, id), FOREIGN KEY (middle) REFERENCES middle (id) ON DELETE CASCADE)",
		"CREATE TABLE strict ("+key+"id INT, product INT, PRIMARY KEY (buyer_id, id), FOREIGN KEY (product) REFERENCES products (id))",
		"CREATE VIEW seen AS SELECT note AS buyer_id, id FROM orders",
		"CREATE TABLE loose ("+key+"id INT, PRIMARY KEY (buyer_id, id)) ENGINE = Aria",
		"INSERT INTO stock VALUES (1, 1)",
	)
	for _, name := range []string{"marked", "parents", "children-1", "strict", "seen", "loose"} {
		w.db.Spec.Tables = append(w.db.Spec.Tables, space.Table{Name: name, Kind: space.TableUnit, Key: "buyer_id"})
	}
	p := w.serve("unit-a")
	c := p.textConn()
	for _, part := range []struct{ name, text, trouble string }{
		{"trigger", "INSERT INTO marked (buyer_id, id) VALUES ('{own}', 1)", "trigger m of table marked"},
		{"trigger-of-another-table", "INSERT INTO products VALUES (7, 'x')", "trigger p of table products"},
		{"cascade", "DELETE FROM parents WHERE buyer_id = '{own}'", "shop.middle changes rows of it"},
		{"view", "INSERT INTO seen (buyer_id, id) VALUES ('{own}', 1)", "seen is a view"},
		{"engine", "INSERT INTO loose (buyer_id, id) VALUES ('{own}', 1)", "Aria"},
	} {
		t.Run(part.name, func(t *testing.T) {
			err := failure(t, c, strings.ReplaceAll(part.text, "{own}", own))
			refused(t, err, documented(t, "TestClients_ServerEffects/"+part.name))
			if !strings.Contains(err.Error(), part.trouble) {
				t.Errorf("%v does not say %q", err, part.trouble)
			}
			var r atollv1.ReportRequest
			if p.Report(&r); !strings.Contains(r.GetTrouble(), part.trouble) {
				t.Errorf("the report's trouble %q does not say %q", r.GetTrouble(), part.trouble)
			}
		})
	}
	t.Run("harmless", func(t *testing.T) {
		run(t, c, "UPDATE stock SET n = -5 WHERE id = 1", "SELECT * FROM seen", "INSERT INTO `children-1` (buyer_id, id) VALUES ('"+own+"', 1)",
			"INSERT INTO strict (buyer_id, id) VALUES ('"+own+"', 1)")
		if n := w.count("unit-a", "SELECT n FROM stock"); n != 0 {
			t.Errorf("the trigger of a center table gave %d", n)
		}
	})
	if n := w.count("unit-a", "SELECT COUNT(*) FROM orders") + w.count("unit-a", "SELECT COUNT(*) FROM products"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
	t.Run("made-later", func(t *testing.T) {
		s := w.servers["unit-a"]
		write := "REPLACE INTO carts (buyer_id, item) VALUES (" + own + ", 1)"
		run(t, c, write)
		s.Exec(t, "CREATE TRIGGER late BEFORE INSERT ON carts FOR EACH ROW SET NEW.buyer_id = 1")
		w.db.Spec.Tables = w.db.Spec.Tables[:len(w.db.Spec.Tables)-1]
		p.install(w.snapshot())
		var err error
		await(t, "the trigger to be seen", func() bool { err = failure(t, c, write); return err != nil })
		refused(t, err, documented(t, "TestClients_ServerEffects/made-later"))
		s.Exec(t, "DROP TRIGGER late")
		w.db.Spec.Tables = w.db.Spec.Tables[:len(w.db.Spec.Tables)-1]
		p.install(w.snapshot())
		await(t, "its end to be seen", func() bool { return failure(t, c, write) == nil })
	})
}

// TestClients_TriggerAtTheCenter: a center-unit write in a unit fires the
// triggers of the center's server.
func TestClients_TriggerAtTheCenter(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	w.servers["unit-a"].Exec(t, "CREATE TRIGGER p AFTER INSERT ON products FOR EACH ROW INSERT INTO orders (buyer_id, id) VALUES ('eve', NEW.id)")
	b := w.serve("unit-b")
	c := b.textConn()
	var err error
	id := 0
	await(t, "the center's tables to be read", func() bool {
		id++
		err = failure(t, c, "INSERT INTO products VALUES ("+strconv.Itoa(id)+", 'x')")
		return err != nil
	})
	refused(t, err, documented(t, "TestClients_TriggerAtTheCenter"))
	w.servers["unit-a"].Exec(t, "DROP TRIGGER p")
	w.db.Spec.Tables = w.db.Spec.Tables[:3]
	b.install(w.snapshot())
	await(t, "the trigger's end to be seen", func() bool { return failure(t, c, "REPLACE INTO products VALUES (1, 'y')") == nil })
	run(t, c, insertOf(w.key("unit-b", 1), "1"))
}

// TestClients_CharacterSetAtLogin: a client whose texts could hide a quote
// hears so, and not that the database is down.
func TestClients_CharacterSetAtLogin(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	code := documented(t, "TestClients_CharacterSetAtLogin")
	for name, collation := range map[string]byte{"gbk": 28, "sjis": 13, "big5": 1} {
		_, err := wire.Dial(ctx(t), p.Addr().String(), wire.Login{User: "app", Password: "app-secret", Database: "shop", Collation: collation})
		var e *wire.ServerError
		if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, "utf8mb4") {
			t.Errorf("%s: %v, want error %d", name, err, code)
		}
	}
	await(t, "no session and no mark to stay", func() bool {
		return p.Figures()["sessions"] == 0 && w.count("unit-a", "SELECT COUNT(*) FROM atoll.session") == 0
	})
}

// TestClients_ServerModeChanged: a server whose sql_mode was changed for new
// sessions is not believed to be what it was.
func TestClients_ServerModeChanged(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	s := w.servers["unit-a"]
	s.Exec(t, insertOf(own, "1"))
	old, reset := p.dial(0), p.dial(0)
	s.Exec(t, "SET GLOBAL sql_mode = 'ANSI_QUOTES'")
	hidden := "DELETE FROM orders WHERE buyer_id = \"buyer_id\"" // a text for the proof, a column for such a server
	old.refused(old.query("SET sql_mode = DEFAULT"), 9603)
	old.query(hidden) // of a key that has no rows, if this unit owns it
	if err := reset.Request([]byte{byte(wire.ComResetConnection)}); err == nil {
		if answer, err := reset.ReadPacket(); err == nil {
			t.Errorf("the connection goes on in the server's new mode: %x", answer)
		}
	}
	refused(t, p.open().Ping(), 9603)
	s.Exec(t, "SET GLOBAL sql_mode = 'STRICT_TRANS_TABLES'")
	run(t, p.textConn(), insertOf(own, "2"))
	if n := w.orders("unit-a", own); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// TestClients_OddCommands: a command that the proxy does not pass on is refused
// by the number of an unknown one, and hurts nothing.
func TestClients_OddCommands(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	c := p.dial(0)
	c.ok(c.query("BEGIN"))
	c.ok(c.query(insertOf(own, "1")))
	code := documented(t, "TestClients_OddCommands")
	for name, command := range map[string]wire.Command{
		"sleep": 0x00, "create database": 0x05, "drop database": 0x06, "refresh": 0x07, "shutdown": 0x08, "process list": wire.ComProcessInfo, "connect": 0x0b,
		"debug": 0x0d, "time": 0x0f, "delayed insert": 0x10, "binlog dump": 0x12, "table dump": 0x13, "register replica": 0x15, "fetch": wire.ComStmtFetch,
		"daemon": 0x1d, "several": 0xfe, "bulk execute": 0xfa, "nobody's": 0xee,
	} {
		t.Run(name, func(t *testing.T) {
			c.refused(c.do(command, []byte("shop\x00")...), code)
		})
	}
	c.ok(c.query("COMMIT"))
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// TestClients_Cursor: an execution that asks for a cursor gets all rows at
// once, as from a server that made none.
func TestClients_Cursor(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	w.servers["unit-a"].Exec(t, insertOf(own, "1"), insertOf(own, "2"))
	c := p.dial(wire.CapDeprecateEOF)
	id := c.prepare("SELECT id FROM orders WHERE buyer_id = '" + own + "'")
	const readOnly = 1
	end := c.do(wire.ComStmtExecute, append(binary.LittleEndian.AppendUint32(nil, id), readOnly, 1, 0, 0, 0)...)
	c.ok(end)
	if !end.Rows || end.OK.Status.Has(wire.StatusCursorExists) {
		t.Errorf("end %+v", end)
	}
}

// TestClients_Release: COMMIT RELEASE ends the connection, as it does without
// a proxy.
func TestClients_Release(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	c := p.dial(0)
	c.ok(c.query("BEGIN"))
	c.ok(c.query(insertOf(own, "1")))
	c.ok(c.query("COMMIT RELEASE"))
	await(t, "the connection to end", func() bool { return !c.Idle() })
	if n := w.orders("unit-a", own); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// TestClients_KilledByOthers: a connection that an operator kills at the server
// ends, without a word that could be taken for an outcome.
func TestClients_KilledByOthers(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	c := p.textConn()
	var id string
	must(t, c.QueryRowContext(ctx(t), "SELECT CONNECTION_ID()").Scan(&id))
	run(t, c, "BEGIN", insertOf(own, "1"))
	w.servers["unit-a"].Exec(t, "KILL "+id)
	_, err := c.ExecContext(context.Background(), "COMMIT")
	if _, answered := errors.AsType[*mysql.MySQLError](err); err == nil || answered {
		t.Errorf("answered with %v", err)
	}
	m := move("m1", own)
	w.fence(p, m)
	p.awaitDrained(m)
	if n := w.orders("unit-a", own); n != 0 {
		t.Errorf("%d rows", n)
	}
}
