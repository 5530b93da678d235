package dbsync_test

import (
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/mariadbtest"
)

// BenchmarkIdleLatency measures from the answer to a commit at the source until
// the row shows at the target, with nothing else going on.
func BenchmarkIdleLatency(b *testing.B) {
	w := newWorld(b, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	src, dst := w.sites["unit-a"].db, w.sites["unit-b"].db
	k := w.keys("unit-a", 1)[0]
	insert, err := src.Prepare("INSERT INTO orders VALUES (?,?,1,NULL)")
	if err != nil {
		b.Fatal(err)
	}
	defer insert.Close()
	look, err := dst.Prepare("SELECT COUNT(*) FROM orders WHERE id=?")
	if err != nil {
		b.Fatal(err)
	}
	defer look.Close()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		if _, err := insert.Exec(i, k); err != nil {
			b.Fatal(err)
		}
		at := time.Now()
		for n := 0; n == 0; {
			if err := look.QueryRow(i).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkBacklog measures how fast a lane works off durable single-row
// transactions, beside MariaDB's own replication, serial, of the same log into
// a third server. One iteration is one backlog.
func BenchmarkBacklog(b *testing.B) {
	const rows, updates = 40_000, 40_000 // each row once: merging rows within a pack gains nothing
	w := newWorld(b, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	src := w.sites["unit-a"]
	k := w.keys("unit-a", 1)[0]
	native := mariadbtest.Start(b, mariadbtest.Options{Port: port(), ServerID: 9})
	native.Exec(b, fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD='%s', MASTER_USE_GTID=slave_pos", src.server.Port, src.server.User, src.server.Password),
		"START SLAVE")
	run(b, src.db, fmt.Sprintf("INSERT INTO orders SELECT seq, '%s', 0, REPEAT('x',120) FROM seq_1_to_%d", k, rows))
	w.same("SELECT COUNT(*) FROM orders", "unit-a", "unit-b")
	ndb := native.Open(b)
	var ours, theirs time.Duration
	n := 0
	for b.Loop() {
		w.sites["unit-b"].stop()
		waitNative(b, w, ndb)
		run(b, ndb, "STOP SLAVE SQL_THREAD")
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Go(func() {
				for i := c; i < updates; i += 8 {
					if _, err := src.db.Exec("UPDATE orders SET amount=amount+1 WHERE id=?", i*7919%rows+1); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		n += updates
		at := time.Now()
		w.start("unit-b")
		sum := query(b, src.db, "SELECT SUM(amount) FROM orders")
		eventually(b, "the lane is through", func() (bool, string) {
			got := query(b, w.sites["unit-b"].db, "SELECT SUM(amount) FROM orders")
			return got == sum, got
		})
		ours += time.Since(at)
		w.sites["unit-b"].stop()
		at = time.Now()
		run(b, ndb, "START SLAVE SQL_THREAD")
		waitNative(b, w, ndb)
		theirs += time.Since(at)
		w.start("unit-b")
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "rows/s")
	b.ReportMetric(float64(n)/theirs.Seconds(), "native-rows/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-native")
}

// waitNative waits until the native replica has all that the source has now.
func waitNative(b *testing.B, w *world, replica *sql.DB) {
	b.Helper()
	sum := query(b, w.sites["unit-a"].db, "SELECT SUM(amount), COUNT(*) FROM orders")
	eventually(b, "native replication is through", func() (bool, string) {
		got, err := tryQuery(replica, "SELECT SUM(amount), COUNT(*) FROM shop.orders")
		return err == nil && got == sum, fmt.Sprint(got, err)
	})
}
