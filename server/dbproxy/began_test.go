package dbproxy_test

import (
	"testing"

	"github.com/atoll-live/atoll/guard"
)

// A transaction that took its snapshot at the target before a move brought
// the last rows must not show the keys without them: that would be a stale
// read of a write that was acknowledged at the former owner.
func TestTransactionFromBeforeAMoveDoesNotShowOldRows(t *testing.T) {
	w := newWorld(t, "unit-a", "unit-b")
	p := w.serve("unit-b")
	moving, own := w.key("unit-a", 1), w.key("unit-b", 1)
	lane := w.direct("unit-b")
	old := p.conn()
	_, err := old.ExecContext(ctx(t), "START TRANSACTION")
	must(t, err)
	var n int
	must(t, old.QueryRowContext(ctx(t), "SELECT COUNT(*) FROM products").Scan(&n)) // the server's snapshot is taken here

	m := move("m1", moving)
	w.fence(p, m)
	lane("INSERT INTO orders (buyer_id, id) VALUES ('" + moving + "', 7)") // the last row of the former owner
	w.switchOver(p, m)
	p.Renew("shop", w.epoch, guard.Forever)

	must(t, old.QueryRowContext(ctx(t), "SELECT COUNT(*) FROM orders WHERE buyer_id = ?", own).Scan(&n)) // did not move
	err = old.QueryRowContext(ctx(t), "SELECT COUNT(*) FROM orders WHERE buyer_id = ?", moving).Scan(&n)
	if err == nil {
		t.Fatalf("the old transaction counts %d orders of a key that moved", n)
	}
	refused(t, err, 9602)

	_, err = old.ExecContext(ctx(t), "START TRANSACTION") // again from its start
	must(t, err)
	must(t, old.QueryRowContext(ctx(t), "SELECT COUNT(*) FROM orders WHERE buyer_id = ?", moving).Scan(&n))
	if n != 1 {
		t.Errorf("a new transaction counts %d orders, want 1", n)
	}
}
