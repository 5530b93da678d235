package shop

import "sync/atomic"

// figures count since the start.
type figures struct {
	requests atomic.Int64
	placed   atomic.Int64 // new orders
	again    atomic.Int64 // orders found by their client id
	paid     atomic.Int64
	repeated atomic.Int64 // transactions begun again after a roll-back
	failed   atomic.Int64 // answers that are no success
	unknown  atomic.Int64 // of those: COMMIT without an answer
	prices   atomic.Int64 // price changes
	adjusted atomic.Int64 // orders taken from stock
	troubles atomic.Int64 // rounds of a center worker that failed
}

func (f *figures) read() map[string]int64 {
	return map[string]int64{
		"requests": f.requests.Load(), "orders_placed": f.placed.Load(), "orders_again": f.again.Load(), "orders_paid": f.paid.Load(),
		"repeated": f.repeated.Load(), "failed": f.failed.Load(), "unknown": f.unknown.Load(),
		"price_changes": f.prices.Load(), "stock_adjusted": f.adjusted.Load(), "worker_troubles": f.troubles.Load(),
	}
}
