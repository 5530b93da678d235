package e2e

import (
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver
)

// server opens a unit's database itself.
func server(t *testing.T, in info, unit int) *sql.DB {
	t.Helper()
	d := in.Units[unit].Database
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s:%d)/%s", d.User, d.Password, d.Host, d.Port, d.Database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestForgottenProxy kills the only proxy of a unit for good while a payment of
// it waits for a row. Forgotten, it can do nothing any more: the unit's users
// move away without it, and the payment is never made behind their backs.
func TestForgottenProxy(t *testing.T) {
	path := program(t, "atoll")
	dir, in := sandbox(t, path, "--no-restart")
	user := buyerOf(t, path, dir, "unit-a")
	gateway := in.Units[0].Gateway
	status, answer, _ := call(t, in, gateway, http.MethodPost, "/order?user="+user, map[string]any{"client_id": "one", "product": "p01", "qty": 1})
	if status != http.StatusCreated {
		t.Fatalf("order: %d %v", status, answer)
	}
	id, _ := answer["order_id"].(string)

	db := server(t, in, 0)
	holder, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback() }()
	var n int
	if err := holder.QueryRow("SELECT COUNT(*) FROM (SELECT order_id FROM orders WHERE order_id = ? FOR UPDATE) o", id).Scan(&n); err != nil || n != 1 {
		t.Fatalf("hold the order's row: %d rows, %v", n, err)
	}
	waiting := func() int {
		t.Helper()
		var n int
		// INNODB_TRX would show an old picture to whoever asks often.
		if err := db.QueryRow("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	go func() { // nobody will answer
		c := http.Client{Timeout: time.Minute}
		if req, err := http.NewRequest(http.MethodPost, gateway+"/order/pay?user="+user, strings.NewReader(`{"order_id":"`+id+`"}`)); err == nil {
			req.Host = in.Host
			if res, err := c.Do(req.WithContext(t.Context())); err == nil {
				_ = res.Body.Close()
			}
		}
	}()
	eventually(t, "the payment to wait for the row", func() (bool, string) { n := waiting(); return n == 1, fmt.Sprint(n) })
	for _, p := range in.Processes {
		if p.Name == "dbproxy@unit-a" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	var r result
	eventually(t, "the dead proxy to be forgotten", func() (bool, string) {
		before := waiting()
		r = run(t, time.Minute, path, "planes", "forget", "dbproxy@unit-a", "--dir", dir)
		if before != 1 && r.status == statusDone {
			t.Errorf("%d statements of the dead proxy waited before it was forgotten, want 1: this shows nothing", before)
		}
		return r.status == statusDone, r.stderr
	})
	if !strings.Contains(r.stdout, "server threads that it left are ended") {
		t.Errorf("forget says %q", r.stdout)
	}
	if n := waiting(); n != 0 {
		t.Errorf("%d statements of a forgotten proxy still wait for a row", n)
	}
	run(t, 2*time.Minute, path, "move", "start", "--space", "shop", "--from", "unit-a", "--to", "unit-b", "--buckets", "0-5999",
		"--override", "planes-declared", "--wait", "--dir", dir).want(t, statusDone, "a move without the forgotten proxy")
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	gateway = in.Units[1].Gateway
	if status, answer, _ := call(t, in, gateway, http.MethodGet, "/order?user="+user+"&id="+id, nil); status != http.StatusOK || answer["status"] == "paid" {
		t.Errorf("the order at its new owner: %d %v", status, answer)
	}
	if status, answer, _ := call(t, in, gateway, http.MethodPost, "/order/pay?user="+user, map[string]any{"order_id": id}); status != http.StatusOK {
		t.Errorf("pay at the new owner: %d %v", status, answer)
	}
}
