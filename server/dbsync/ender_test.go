package dbsync_test

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
)

// marked is a server thread that a proxy's life has marked.
type marked struct {
	conn *sql.Conn
	id   string
}

// mark begins a session as a proxy's life does.
func (w *world) mark(unit, plane, incarnation string) marked {
	w.t.Helper()
	db := w.sites[unit].db
	c, err := db.Conn(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	var id, host string
	if err := c.QueryRowContext(w.t.Context(), "SELECT ID, HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()").Scan(&id, &host); err != nil {
		w.t.Fatal(err)
	}
	run(w.t, db, "INSERT INTO atoll.session VALUES ('"+plane+"', '"+incarnation+"', "+id+", '"+host+"')")
	return marked{c, id}
}

func (w *world) end(unit, call, plane string) *atollv1.Ack {
	w.t.Helper()
	st := w.sites[unit]
	st.sync.Ask([]*atollv1.Ask{{Move: call, Step: "end", Plane: plane}})
	defer st.sync.Ask(nil)
	var ack *atollv1.Ack
	eventually(w.t, "answer to "+call, func() (bool, string) {
		r := w.report(unit)
		i := slices.IndexFunc(r.Acks, func(a *atollv1.Ack) bool { return a.Move == call && a.Step == "ended" })
		if i >= 0 {
			ack = r.Acks[i]
		}
		return i >= 0, r.String()
	})
	return ack
}

// TestEnd_StatementOfADeadProxy: a write that a dead proxy left waiting for a
// row never happens once its threads are ended, and other proxies go on.
func TestEnd_StatementOfADeadProxy(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	db := w.sites["unit-a"].db
	w.order("unit-a", w.keys("unit-a", 1)[0], 1)
	dead := w.mark("unit-a", "dbproxy@unit-a", "one")
	holder := w.mark("unit-a", "dbproxy2@unit-a", "one")
	tx, err := holder.conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("UPDATE orders SET amount=5 WHERE id=1"); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := dead.conn.ExecContext(t.Context(), "UPDATE orders SET amount=99 WHERE id=1")
		waited <- err
	}()
	eventually(t, "the statement waits for the row", func() (bool, string) {
		// INNODB_TRX would show an old picture to whoever asks often.
		n := query(t, db, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='INNODB_ROW_LOCK_CURRENT_WAITS'")
		return n == "1", n
	})
	a := w.end("unit-a", "forget-1", "dbproxy@unit-a")
	if a.Error != "" || a.Figures["threads_ended"] != 1 {
		t.Fatalf("answer: %v", a)
	}
	if err := <-waited; err == nil {
		t.Error("the statement of the dead proxy was done")
	}
	if err := tx.Commit(); err != nil {
		t.Errorf("another proxy's transaction: %v", err)
	}
	if got := query(t, db, "SELECT amount FROM orders WHERE id=1"); got != "5" {
		t.Errorf("amount %s, want 5", got)
	}
	if got := query(t, db, "SELECT GROUP_CONCAT(thread) FROM atoll.session"); got != holder.id {
		t.Errorf("marks of threads %s, want %s", got, holder.id)
	}
	// One that nobody hears, and that lives: its clients come again.
	ctx, cancel := context.WithCancel(t.Context())
	come := make(chan struct{})
	go func() {
		defer close(come)
		for n := 1; ctx.Err() == nil; n++ {
			_, _ = db.ExecContext(ctx, "INSERT IGNORE INTO atoll.session VALUES ('dbproxy3@unit-a', 'one', ?, 'gone:1')", n)
		}
	}()
	if a := w.end("unit-a", "forget-3", "dbproxy3@unit-a"); !strings.Contains(a.Error, "dbproxy3@unit-a lives") {
		t.Errorf("a proxy that lives: %v", a)
	}
	cancel()
	<-come
	w.sites["unit-b"].server.Kill()
	if a := w.end("unit-b", "forget-2", "dbproxy@unit-b"); a.Error == "" {
		t.Error("a server that is down has nothing left of a proxy, it says")
	}
}
