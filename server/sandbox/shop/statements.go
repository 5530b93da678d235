package shop

import (
	"context"
	"database/sql"
	"sync"
)

// What the shop asks all the time. It is prepared once and then executed over
// and over, before a move, during it and after it.
const (
	textPrice       = "SELECT price_cents FROM products WHERE product_id = ?"
	textInsert      = "INSERT INTO orders (" + orderColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	textLock        = "SELECT " + orderColumns + " FROM orders WHERE buyer_id = ? AND order_id = ? FOR UPDATE"
	textMarkPaid    = "UPDATE orders SET status = ? WHERE buyer_id = ? AND order_id = ?"
	textPayment     = "INSERT INTO payments (order_id, buyer_id, amount_cents, paid_at) VALUES (?, ?, ?, ?)"
	textByID        = "SELECT " + orderColumns + " FROM orders WHERE buyer_id = ? AND order_id = ?"
	textByClient    = "SELECT " + orderColumns + " FROM orders WHERE buyer_id = ? AND client_id = ?"
	textChangePrice = "UPDATE products SET price_cents = ?, updated_at = ? WHERE product_id = ?"
)

var standing = []string{textPrice, textInsert, textLock, textMarkPaid, textPayment, textByID, textByClient, textChangePrice}

// statements are the standing texts, prepared. Each connection of the pool
// prepares one when it first executes it.
type statements struct {
	mu    sync.Mutex
	ready map[string]*sql.Stmt // nil before all are prepared
}

// on gives the prepared statements. The first callers prepare them all, before
// they hold a connection themselves: a transaction that waited for a second
// connection could wait for ever.
func (st *statements) on(ctx context.Context, db *sql.DB) (map[string]*sql.Stmt, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ready != nil {
		return st.ready, nil
	}
	all := map[string]*sql.Stmt{}
	for _, text := range standing {
		s, err := db.PrepareContext(ctx, text) //nolint:sqlclosecheck // close does, when the shop ends
		if err != nil {
			for _, s := range all {
				_ = s.Close()
			}
			return nil, err
		}
		all[text] = s
	}
	st.ready = all
	return all, nil
}

// close lets the statements go, before the pool is closed.
func (st *statements) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, s := range st.ready {
		_ = s.Close()
	}
	st.ready = nil
}

// work is a transaction with the standing statements.
type work struct {
	tx  *sql.Tx
	all map[string]*sql.Stmt
}

func (w work) row(ctx context.Context, text string, args ...any) *sql.Row {
	return w.tx.StmtContext(ctx, w.all[text]).QueryRowContext(ctx, args...)
}

func (w work) exec(ctx context.Context, text string, args ...any) error {
	_, err := w.tx.StmtContext(ctx, w.all[text]).ExecContext(ctx, args...)
	return err
}

// transactStanding is transact for work with the standing statements.
func (s *Shop) transactStanding(ctx context.Context, do func(context.Context, work) error) error {
	all, err := s.statements.on(ctx, s.db)
	if err != nil {
		return err
	}
	return s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return do(ctx, work{tx, all}) })
}
