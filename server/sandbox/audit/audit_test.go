package audit

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/server/sandbox/load"
	"github.com/atoll-live/atoll/server/sitedb"
)

func newSide(t *testing.T, unit string, id int) Side {
	t.Helper()
	s := mariadbtest.Start(t, mariadbtest.Options{ServerID: id})
	addr := fmt.Sprintf("%s:%d", s.Host, s.Port)
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s?interpolateParams=true", s.User, s.Password, addr, s.Database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	side := Side{Unit: unit, DB: db, Addr: addr, User: s.User, Pass: s.Password}
	for _, statement := range append(sitedb.Statements,
		"CREATE TABLE orders (order_id BIGINT PRIMARY KEY, buyer_id VARCHAR(64) NOT NULL, client_id VARCHAR(64) NOT NULL, status VARCHAR(16) NOT NULL)",
		"CREATE TABLE payments (order_id BIGINT PRIMARY KEY, buyer_id VARCHAR(64) NOT NULL)",
	) {
		side.exec(t, statement)
	}
	return side
}

func (s Side) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := s.DB.Exec(statement, args...); err != nil {
		t.Fatalf("%s at %s: %v", statement, s.Unit, err)
	}
}

func (s Side) order(t *testing.T, id int, key, clientID string) {
	t.Helper()
	s.exec(t, "INSERT INTO orders VALUES (?, ?, ?, 'placed')", id, key, clientID)
}

func (s Side) token(t *testing.T, move, kind string) {
	t.Helper()
	s.exec(t, "INSERT INTO atoll.token VALUES ('shop', ?, 1, ?, ?, NOW(6))", move, kind, s.Unit)
}

func TestAudit_OnRealServers(t *testing.T) {
	a, b := newSide(t, "unit-a", 1), newSide(t, "unit-b", 2)
	sides := []Side{a, b}
	t.Run("rows", func(t *testing.T) { testRows(t, sides) })
	t.Run("orders", func(t *testing.T) { testOrders(t, sides) })
	t.Run("ownership", func(t *testing.T) { testOwnership(t, sides) })
	t.Run("idle", func(t *testing.T) { testIdle(t, sides) })
}

func testRows(t *testing.T, sides []Side) {
	a, b := sides[0], sides[1]
	for i := range 700 {
		a.exec(t, "INSERT INTO payments VALUES (?, ?)", i, "k")
		b.exec(t, "INSERT INTO payments VALUES (?, ?)", i, "k")
	}
	tables := []string{"payments", "orders"}
	if n, d, err := Rows(t.Context(), sides, tables, 0); err != nil || n != 700 || len(d) != 0 {
		t.Fatalf("equal sides: %d compared, %v, %v", n, d, err)
	}
	a.exec(t, "UPDATE payments SET buyer_id = 'K' WHERE order_id = 5") // differs in case only
	b.exec(t, "DELETE FROM payments WHERE order_id = 690")
	_, d, err := Rows(t.Context(), sides, tables, 0)
	if err != nil || len(d) != 2 {
		t.Fatalf("two differences made, found %v, %v", d, err)
	}
	want := map[string]string{"5": "columns differ", "690": "absent in unit-b"}
	for _, one := range d {
		if want[one.Row] != one.What || one.Table != "payments" {
			t.Errorf("difference %+v, want %v", one, want)
		}
	}
	done := make(chan error, 1)
	go func() { // a lane that is a little late is no difference
		_, err := b.DB.Exec("INSERT INTO payments VALUES (690, 'k')")
		if err == nil {
			_, err = a.DB.Exec("UPDATE payments SET buyer_id = 'k' WHERE order_id = 5")
		}
		done <- err
	}()
	if _, d, err := Rows(t.Context(), sides, tables, 10*time.Second); err != nil || len(d) != 0 {
		t.Errorf("after they met: %v, %v", d, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func testOrders(t *testing.T, sides []Side) {
	for _, s := range sides {
		s.order(t, 1000, "k1", "c-good")
		s.exec(t, "INSERT INTO payments VALUES (1000, 'k1')")
		s.exec(t, "UPDATE orders SET status = 'paid' WHERE order_id = 1000")
		s.order(t, 1001, "k1", "c-unpaid")
	}
	sides[0].order(t, 1002, "k1", "c-half")
	sides[1].order(t, 1003, "k1", "c-ghost")
	sides[0].order(t, 1004, "k1", "c-double")
	sides[1].order(t, 1005, "k1", "c-double")
	write := func(clientID, id string, o load.Outcome, paid bool) load.Write {
		return load.Write{Key: "k1", ClientID: clientID, OrderID: id, Outcome: o, Paid: paid}
	}
	f, err := Orders(t.Context(), []load.Write{
		write("c-good", "1000", load.Acked, true),
		write("c-unpaid", "1001", load.Acked, true), // its payment is lost
		write("c-half", "1002", load.Acked, false),  // not in unit-b
		write("c-none", "9", load.Acked, false),     // nowhere
		write("c-ghost", "", load.NotDone, false),
		write("c-clean", "", load.NotDone, false),
		write("c-open", "", load.Unknown, false),
	}, sides)
	if err != nil {
		t.Fatal(err)
	}
	if f.Acked != 4 || f.Lost != 3 || f.Ghosts != 1 || f.Doubled != 1 {
		t.Errorf("findings %+v, want 4 acked, 3 lost, 1 ghost, 1 doubled", f)
	}
	if len(f.Samples) != 5 {
		t.Errorf("samples %q, want one for each of 5", f.Samples)
	}
}

func testOwnership(t *testing.T, sides []Side) {
	a, b := sides[0], sides[1]
	moved := func(key string) bool { return strings.HasPrefix(key, "m") }
	moves := []Move{
		{ID: "1", From: "unit-a", To: "unit-b", Switched: true, Moved: moved},
		{ID: "2", From: "unit-b", To: "unit-a", Switched: false, Moved: moved}, // aborted: counts for nothing
		{ID: "3", From: "unit-b", To: "unit-a", Switched: true, Moved: moved},
	}
	keys := map[string]string{"orders": "buyer_id"}
	check := func(groups, violations int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		o, err := Ownerships(ctx, sides, moves, keys)
		if err != nil || o.Groups != groups || o.Violations != violations {
			t.Errorf("%+v, %v; want %d groups, %d violations", o, err, groups, violations)
		}
	}
	a.order(t, 2000, "m1", "o1") // owned
	a.order(t, 2001, "x1", "o2") // no moved key
	check(1, 0)
	a.token(t, "1", "CLOSE")
	b.token(t, "1", "OPEN")
	b.order(t, 2002, "m1", "o3") // owned
	b.token(t, "2", "CLOSE")
	b.order(t, 2003, "m1", "o4") // owned: move 2 was aborted
	check(3, 0)
	a.order(t, 2004, "m2", "o5") // after CLOSE
	check(4, 1)
	tx, err := a.DB.Begin() // a lane's group is nobody's first write
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"INSERT INTO atoll.lane VALUES ('unit-b>unit-a', 1, '2-2-9', 1, NULL, NOW(6))",
		"INSERT INTO orders VALUES (2002, 'm1', 'o3', 'placed')",
	} {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	check(4, 1)
	b.token(t, "3", "CLOSE")
	a.order(t, 2005, "m3", "o6") // before OPEN of the way back
	check(5, 2)
	a.token(t, "3", "OPEN")
	a.exec(t, "UPDATE orders SET status = 'paid' WHERE order_id = 2005") // owned again
	b.exec(t, "DELETE FROM orders WHERE order_id = 2003")                // after CLOSE
	check(7, 3)
}

func testIdle(t *testing.T, sides []Side) {
	for i, s := range sides {
		var position string
		other := sides[1-i]
		if err := other.DB.QueryRow("SELECT @@gtid_binlog_pos").Scan(&position); err != nil {
			t.Fatal(err)
		}
		s.exec(t, "REPLACE INTO atoll.lane VALUES (?, 1, ?, 1, NULL, NOW(6))", other.Unit+">"+s.Unit, position)
	}
	// Writing the second checkpoint moved the first source on.
	err := Idle(t.Context(), sides, 0)
	if err == nil || !strings.Contains(err.Error(), "lane unit-") {
		t.Errorf("a lane that is behind counts as idle: %v", err)
	}
	before, err := Behind(t.Context(), sides[0], sides[1])
	if err != nil {
		t.Fatal(err)
	}
	sides[0].order(t, 3000, "x2", "o7")
	sides[0].order(t, 3001, "x2", "o8")
	if after, err := Behind(t.Context(), sides[0], sides[1]); err != nil || after != before+2 {
		t.Errorf("%d groups behind, and %d after two more: %v", before, after, err)
	}
}

func TestPassed(t *testing.T) {
	for _, c := range []struct {
		at, want string
		ok       bool
	}{
		{"1-1-5", "1-1-5", true}, {"1-1-4", "1-1-5", false}, {"1-2-6,2-2-1", "1-1-5", true},
		{"2-1-9", "1-1-1", false}, {"", "1-1-1", false}, {"1-1-1", "", true},
	} {
		if passed(c.at, c.want) != c.ok {
			t.Errorf("passed(%q, %q) = %v", c.at, c.want, !c.ok)
		}
	}
}

func TestReturned_TellsRowsThatCameBackFromStrayOnes(t *testing.T) {
	o := Ownership{carried: map[string]map[sequence]bool{"unit-b": {{"2", 7}: true}, "unit-a": {}}}
	parked := []ParkedRow{
		{Lane: "unit-b>unit-a", Position: "2-2-7", Key: "came back"},
		{Lane: "unit-b>unit-a", Position: "2-2-8", Key: "written there"},
		{Lane: "unit-a>unit-b", Position: "2-2-7", Key: "of another binlog"},
	}
	if got := Returned(parked, o); len(got) != 1 || got[0].Key != "came back" {
		t.Errorf("came back: %v", got)
	}
	if len(parked) != 3 || parked[1].Key != "written there" {
		t.Errorf("the list was changed: %v", parked)
	}
}
