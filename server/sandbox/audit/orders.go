package audit

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/atoll-live/atoll/server/sandbox/load"
)

// Side is one unit's database, reached directly.
type Side struct {
	Unit string
	DB   *sql.DB
	Addr string // host:port, for the binlog
	User string
	Pass string
}

// Findings are what the orders of clients and the rows of the databases say
// about each other. Each of the four is 0 in a good run.
type Findings struct {
	Acked   int      // orders that clients were told are done
	Lost    int      // acknowledged orders, or payments, absent on a side
	Doubled int      // client ids with more than one order
	Ghosts  int      // orders that clients were told are not done, but which stand somewhere
	Samples []string // the first of each, for people
}

const samplesMax = 10

func (f *Findings) sample(format string, args ...any) {
	if len(f.Samples) < samplesMax {
		f.Samples = append(f.Samples, fmt.Sprintf(format, args...))
	}
}

// orderRow is what the audit reads of an order.
type orderRow struct {
	id     int64
	key    string
	status string
	paid   bool
}

// book is one side's orders by client id.
type book map[string][]orderRow

func readBook(ctx context.Context, s Side) (book, error) {
	rows, err := s.DB.QueryContext(ctx, `SELECT o.order_id, o.buyer_id, o.client_id, o.status, p.order_id IS NOT NULL
		FROM orders o LEFT JOIN payments p ON p.order_id = o.order_id`)
	if err != nil {
		return nil, fmt.Errorf("read orders of %s: %w", s.Unit, err)
	}
	defer func() { _ = rows.Close() }()
	b := book{}
	for rows.Next() {
		var r orderRow
		var clientID string
		if err := rows.Scan(&r.id, &r.key, &clientID, &r.status, &r.paid); err != nil {
			return nil, fmt.Errorf("read orders of %s: %w", s.Unit, err)
		}
		b[clientID] = append(b[clientID], r)
	}
	return b, rows.Err()
}

// Orders compares the ledger of a load with the orders on every side.
func Orders(ctx context.Context, writes []load.Write, sides []Side) (Findings, error) {
	books := make([]book, len(sides))
	for i, s := range sides {
		b, err := readBook(ctx, s)
		if err != nil {
			return Findings{}, err
		}
		books[i] = b
	}
	return judge(writes, sides, books), nil
}

func judge(writes []load.Write, sides []Side, books []book) Findings {
	var f Findings
	for _, w := range writes {
		switch w.Outcome {
		case load.Acked:
			f.Acked++
			f.acked(w, sides, books)
		case load.NotDone:
			for i, b := range books {
				if len(b[w.ClientID]) > 0 {
					f.Ghosts++
					f.sample("ghost: %s of %s was answered not done, but stands in %s", w.ClientID, w.Key, sides[i].Unit)
					break
				}
			}
		}
	}
	for clientID := range merged(books) {
		ids := map[int64]bool{}
		for _, b := range books {
			for _, r := range b[clientID] {
				ids[r.id] = true
			}
		}
		if len(ids) > 1 {
			f.Doubled++
			f.sample("doubled: %s has %d orders", clientID, len(ids))
		}
	}
	return f
}

func (f *Findings) acked(w load.Write, sides []Side, books []book) {
	for i, b := range books {
		found, paid := false, false
		for _, r := range b[w.ClientID] {
			if r.key == w.Key && strconv.FormatInt(r.id, 10) == w.OrderID {
				found, paid = true, r.paid && r.status == "paid"
			}
		}
		if !found {
			f.Lost++
			f.sample("lost: order %s (%s) of %s, acknowledged by %s, is not in %s", w.OrderID, w.ClientID, w.Key, w.Via, sides[i].Unit)
			return
		}
		if w.Paid && !paid {
			f.Lost++
			f.sample("lost: the payment of order %s of %s is not in %s", w.OrderID, w.Key, sides[i].Unit)
			return
		}
	}
}

func merged(books []book) map[string]struct{} {
	all := map[string]struct{}{}
	for _, b := range books {
		for clientID := range b {
			all[clientID] = struct{}{}
		}
	}
	return all
}
