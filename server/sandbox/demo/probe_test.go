package demo

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/server/sandbox/shop"
)

// TestProber_OneUnitAccepts: a database that has the table stands for a proxy
// whose unit owns, one that lacks it for a proxy whose unit does not.
func TestProber_OneUnitAccepts(t *testing.T) {
	p := &prober{keys: []string{"ann", "bob"}, bucket: func(string) int { return 0 }}
	var last atomic.Int64
	p.nextID = func(int) (int64, error) { return last.Add(1), nil }
	for i, unit := range []string{"unit-a", "unit-b"} {
		s := mariadbtest.Start(t, mariadbtest.Options{ServerID: i + 1})
		db := s.Open(t)
		for _, statement := range shop.Statements(true) {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		p.sites = append(p.sites, probeSite{unit, db})
	}
	owns := func(unit int, yes bool) {
		t.Helper()
		from, to := "orders", "orders_not_here"
		if yes {
			from, to = to, from
		}
		if _, err := p.sites[unit].db.Exec(fmt.Sprintf("RENAME TABLE %s TO %s", from, to)); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() error {
		_, err := p.until(t.Context(), time.Now(), 2*time.Second)
		return err
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "2 units accept key ann") {
		t.Errorf("both units accept: %v", err)
	}
	owns(1, false)
	if err := ask(); err != nil {
		t.Errorf("one unit accepts: %v", err)
	}
	owns(0, false)
	if err := ask(); err == nil || !strings.Contains(err.Error(), "0 units accept key ann") {
		t.Errorf("no unit accepts: %v", err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := p.until(t.Context(), time.Now(), 20*time.Second)
		waited <- err
	}()
	owns(1, true)
	if err := <-waited; err != nil {
		t.Errorf("one unit accepts after a while: %v", err)
	}
	var rows int
	if err := p.sites[1].db.QueryRow("SELECT COUNT(*) FROM orders WHERE client_id LIKE 'probe-%'").Scan(&rows); err != nil || rows == 0 {
		t.Errorf("%d probe rows are there: %v", rows, err)
	}
}
