package shop

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strconv"
)

// Bounds of the stock worker.
const (
	stockBatch = 400 // orders in one look, and in one transaction
	stockCount = 4   // rounds between two counts of all orders
	stockSweep = 20  // looks of one round, when the counts differ
)

// entry is an order as the stock sees it.
type entry struct {
	order   int64
	product string
	qty     int
}

// adjustStock takes orders from the center's stock as they arrive, from this
// unit's buyers and by the lanes. Each round looks at the newest orders. An
// order can also arrive late, with an id far behind the newest: so the orders
// and the entries are counted now and then, and while the counts differ all
// orders are swept through. What has been taken stands in stock_entries, in the
// same transaction as the stock, so that a round that failed or is repeated
// takes nothing twice.
func (s *Shop) adjustStock(ctx context.Context) {
	swept := int64(0) // the sweep has seen every order up to this id
	rounds := 0
	s.every(ctx, "stock", s.cfg.StockEvery, func(ctx context.Context) error {
		newest, err := s.orders(ctx, "ORDER BY order_id DESC")
		if err != nil {
			return err
		}
		if err := s.take(ctx, newest); err != nil {
			return err
		}
		if rounds++; rounds%stockCount != 0 {
			return nil
		}
		if missing, err := s.missing(ctx); err != nil || !missing {
			return err
		}
		swept, err = s.sweep(ctx, swept)
		return err
	})
}

// missing tells whether any order has no entry: orders are never deleted.
func (s *Shop) missing(ctx context.Context) (bool, error) {
	var orders, entries int64
	if err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders").Scan(&orders); err != nil {
		return false, err
	}
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM stock_entries").Scan(&entries)
	return orders != entries, err
}

// sweep looks at some more of all orders and returns up to which id; after the
// last one it begins at the first again.
func (s *Shop) sweep(ctx context.Context, swept int64) (int64, error) {
	for range stockSweep {
		piece, err := s.orders(ctx, "WHERE order_id > ? ORDER BY order_id", swept)
		if err != nil {
			return swept, err
		}
		if err := s.take(ctx, piece); err != nil {
			return swept, err
		}
		if len(piece) < stockBatch {
			return 0, nil
		}
		swept = piece[len(piece)-1].order
	}
	return swept, nil
}

func (s *Shop) orders(ctx context.Context, which string, args ...any) ([]entry, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT order_id, product_id, qty FROM orders "+which+" LIMIT "+strconv.Itoa(stockBatch), args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []entry
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.order, &e.product, &e.qty); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

// take adjusts the stock by those orders that have no entry yet.
func (s *Shop) take(ctx context.Context, orders []entry) error {
	if len(orders) == 0 {
		return nil
	}
	low, high := orders[0].order, orders[0].order
	for _, e := range orders {
		low, high = min(low, e.order), max(high, e.order)
	}
	taken, err := s.taken(ctx, low, high)
	if err != nil {
		return err
	}
	fresh := slices.DeleteFunc(slices.Clone(orders), func(e entry) bool { return taken[e.order] })
	if len(fresh) == 0 {
		return nil
	}
	err = s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return takeTogether(ctx, tx, fresh) })
	if !errors.Is(err, errSomeTaken) {
		s.count(len(fresh), err)
		return err
	}
	for _, e := range fresh { // another process was faster with some of them
		err := s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return takeOne(ctx, tx, e) })
		s.count(1, err)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Shop) count(n int, err error) {
	if err == nil {
		s.figures.adjusted.Add(int64(n))
	}
}

// taken are the orders between two ids that have an entry.
func (s *Shop) taken(ctx context.Context, low, high int64) (map[int64]bool, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT order_id FROM stock_entries WHERE order_id BETWEEN ? AND ?", low, high)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	taken := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		taken[id] = true
	}
	return taken, rows.Err()
}

// errSomeTaken rolls a batch back in which an entry was there already.
var errSomeTaken = errors.New("some orders of the batch have an entry already")

// takeTogether writes all entries and one change for each product.
func takeTogether(ctx context.Context, tx *sql.Tx, fresh []entry) error {
	var args []any
	sums := map[string]int{}
	for _, e := range fresh {
		args = append(args, e.order, e.product, e.qty)
		sums[e.product] += e.qty
	}
	res, err := tx.ExecContext(ctx, "INSERT IGNORE INTO stock_entries (order_id, product_id, qty) VALUES "+tuples(len(fresh), 3), args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n != int64(len(fresh)) {
		return errSomeTaken
	}
	for _, product := range slices.Sorted(maps.Keys(sums)) { // in one order, so that two processes cannot lock each other out
		if _, err := tx.ExecContext(ctx, "UPDATE stock SET qty = qty - ? WHERE product_id = ?", sums[product], product); err != nil {
			return err
		}
	}
	return nil
}

func takeOne(ctx context.Context, tx *sql.Tx, e entry) error {
	res, err := tx.ExecContext(ctx, "INSERT IGNORE INTO stock_entries (order_id, product_id, qty) VALUES (?, ?, ?)", e.order, e.product, e.qty)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE stock SET qty = qty - ? WHERE product_id = ?", e.qty, e.product)
	return err
}
