package shop

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// order is one order as clients see it. Ids are text, because a JSON number
// does not hold 63 bits everywhere; the amount is in cents.
type order struct {
	ID      string    `json:"order_id"`
	User    string    `json:"user"`
	Client  string    `json:"client_id"`
	Product string    `json:"product"`
	Qty     int       `json:"qty"`
	Amount  int64     `json:"amount"`
	Status  string    `json:"status"`
	Created time.Time `json:"created_at"`
	Unit    string    `json:"unit"` // that served the request
}

// Statuses of an order.
const (
	statusPlaced = "placed"
	statusPaid   = "paid"
)

const orderColumns = "order_id, buyer_id, client_id, product_id, qty, amount_cents, status, created_at"

// transact runs work in a transaction, and repeats it. COMMIT is sent once in
// each round.
func (s *Shop) transact(ctx context.Context, work func(context.Context, *sql.Tx) error) error {
	return s.repeat(ctx, func(ctx context.Context) error { return s.once(ctx, work) })
}

// repeat does something again for a while when the database did nothing of it:
// a fence during a move, a deadlock, a proxy that restarts. It never does so
// after an unknown end.
func (s *Shop) repeat(ctx context.Context, do func(context.Context) error) error {
	limit := time.Now().Add(s.cfg.RepeatFor)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := do(ctx)
		if err == nil || !rolledBack(err) || time.Now().Add(wait).After(limit) || !pause(ctx, wait) {
			return err
		}
		s.figures.repeated.Add(1)
	}
}

func (s *Shop) once(ctx context.Context, work func(context.Context, *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := work(ctx, tx); err != nil {
		_ = tx.Rollback() // what is not rolled back now is when its connection ends
		return err
	}
	if err := tx.Commit(); err != nil {
		return &commitError{err}
	}
	return nil
}

// pause waits about d and tells whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// placement is what a buyer asks for.
type placement struct {
	Client  string `json:"client_id"`
	Product string `json:"product"`
	Qty     int    `json:"qty"`
}

const (
	textMax   = 64 // characters of ids that clients send
	qtyMax    = 1000
	ordersMax = 100 // orders in one list
)

func (p placement) check() error {
	switch {
	case p.Client == "" || len(p.Client) > textMax:
		return badRequest("client_id: want 1 to %d characters", textMax)
	case p.Product == "" || len(p.Product) > textMax:
		return badRequest("product: want 1 to %d characters", textMax)
	case p.Qty < 1 || p.Qty > qtyMax:
		return badRequest("qty: want 1 to %d", qtyMax)
	}
	return nil
}

// place writes an order once: the unique key over buyer and client id finds an
// order that stands already. It tells whether the order is new.
func (s *Shop) place(ctx context.Context, user string, p placement) (order, bool, error) {
	if err := p.check(); err != nil {
		return order{}, false, err
	}
	for range 3 { // the order that was in the way may be gone when we look for it
		o, err := s.insert(ctx, user, p)
		var refusal *mysql.MySQLError
		if !errors.As(err, &refusal) || refusal.Number != numberDuplicate {
			return o, err == nil, err
		}
		o, err = s.query(ctx, textByClient, user, p.Client)
		if !errors.Is(err, sql.ErrNoRows) {
			return o, false, err
		}
	}
	return order{}, false, &failure{status: http.StatusServiceUnavailable, retry: true, text: "another request with this client_id is under way; nothing was done"}
}

// insert writes the order in one statement, which is its own transaction.
func (s *Shop) insert(ctx context.Context, user string, p placement) (order, error) {
	id, err := s.newID(ctx, user)
	if err != nil {
		return order{}, err
	}
	o := order{ID: strconv.FormatInt(id, 10), User: user, Client: p.Client, Product: p.Product, Qty: p.Qty,
		Status: statusPlaced, Created: time.Now().UTC().Truncate(time.Microsecond), Unit: s.cfg.Unit}
	all, err := s.statements.on(ctx, s.db)
	if err != nil {
		return order{}, err
	}
	err = s.repeat(ctx, func(ctx context.Context) error {
		var price int64
		err := all[textPrice].QueryRowContext(ctx, p.Product).Scan(&price)
		if errors.Is(err, sql.ErrNoRows) {
			return &failure{status: http.StatusNotFound, text: fmt.Sprintf("no product %q", p.Product)}
		}
		if err != nil {
			return err
		}
		o.Amount = price * int64(p.Qty)
		if _, err := all[textInsert].ExecContext(ctx, id, user, p.Client, p.Product, p.Qty, o.Amount, statusPlaced, o.Created); err != nil {
			return &writeError{err}
		}
		return nil
	})
	return o, err
}

// pay marks an order as paid and writes its payment, once.
func (s *Shop) pay(ctx context.Context, user, id string) (o order, err error) {
	number, err := orderID(id)
	if err != nil {
		return order{}, err
	}
	err = s.transactStanding(ctx, func(ctx context.Context, w work) error {
		o, err = s.scan(w.row(ctx, textLock, user, number))
		if errors.Is(err, sql.ErrNoRows) {
			return noOrder(id)
		}
		if err != nil || o.Status == statusPaid {
			return err
		}
		if err := w.exec(ctx, textMarkPaid, statusPaid, user, number); err != nil {
			return err
		}
		o.Status = statusPaid
		return w.exec(ctx, textPayment, number, user, o.Amount, time.Now().UTC())
	})
	return o, err
}

func (s *Shop) find(ctx context.Context, user, id string) (order, error) {
	number, err := orderID(id)
	if err != nil {
		return order{}, err
	}
	o, err := s.query(ctx, textByID, user, number)
	if errors.Is(err, sql.ErrNoRows) {
		return order{}, noOrder(id)
	}
	return o, err
}

func (s *Shop) query(ctx context.Context, text string, args ...any) (order, error) {
	all, err := s.statements.on(ctx, s.db)
	if err != nil {
		return order{}, err
	}
	return s.scan(all[text].QueryRowContext(ctx, args...))
}

// list has the newest orders of a buyer first.
func (s *Shop) list(ctx context.Context, user string) ([]order, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+orderColumns+" FROM orders WHERE buyer_id = ? ORDER BY order_id DESC LIMIT "+strconv.Itoa(ordersMax), user)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	all := []order{}
	for rows.Next() {
		o, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

func (s *Shop) scan(row interface{ Scan(...any) error }) (order, error) {
	o := order{Unit: s.cfg.Unit}
	var id int64
	err := row.Scan(&id, &o.User, &o.Client, &o.Product, &o.Qty, &o.Amount, &o.Status, &o.Created)
	o.ID = strconv.FormatInt(id, 10)
	return o, err
}

func orderID(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, badRequest("order id: want a positive number as text")
	}
	return n, nil
}

func noOrder(id string) *failure {
	return &failure{status: http.StatusNotFound, text: fmt.Sprintf("this user has no order %q", id)}
}
