package shop

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	troubleWait = time.Second     // the longest pause of a center worker after a failure
	catchUp     = 2 * time.Second // of work that is made up for
)

// every calls work at a steady rate until ctx ends, in the center. A round that
// took long is made up for, up to catchUp. A failure is logged once, and after
// it the worker waits longer before each next try.
func (s *Shop) every(ctx context.Context, name string, interval time.Duration, work func(context.Context) error) {
	next, wait, failing := time.Now(), interval, false
	for {
		err := s.round(ctx, work)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if failing {
				s.cfg.Log.Info("center worker goes on", "worker", name)
				next, failing = time.Now(), false
			}
			if next = next.Add(interval); time.Since(next) > catchUp {
				next = time.Now().Add(-catchUp)
			}
			wait = max(time.Until(next), interval/4)
		default:
			s.figures.troubles.Add(1)
			if !failing {
				s.cfg.Log.Warn("center worker failed, trying again", "worker", name, "err", err)
			}
			failing = true
			wait = min(2*max(wait, 50*time.Millisecond), max(troubleWait, interval))
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (s *Shop) round(ctx context.Context, work func(context.Context) error) error {
	if !s.central() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	return work(ctx)
}

// changePrices puts the assortment into the tables and then changes one price
// after the other, at most 20 % away from where it began.
func (s *Shop) changePrices(ctx context.Context) {
	stocked, next := false, 0
	s.every(ctx, "prices", s.cfg.PriceEvery, func(ctx context.Context) error {
		if !stocked {
			if err := s.stockUp(ctx); err != nil {
				return err
			}
			stocked = true
		}
		p := Products[next%len(Products)]
		next++
		price := p.PriceCents*4/5 + rand.N(p.PriceCents*2/5)
		all, err := s.statements.on(ctx, s.db)
		if err != nil {
			return err
		}
		_, err = all[textChangePrice].ExecContext(ctx, price, time.Now().UTC(), p.ID)
		if err == nil {
			s.figures.prices.Add(1)
		}
		return err
	})
}

// stockUp writes what is not there yet of the assortment.
func (s *Shop) stockUp(ctx context.Context) error {
	var products, stock []any
	now := time.Now().UTC()
	for _, p := range Products {
		products = append(products, p.ID, p.Name, p.PriceCents, now)
		stock = append(stock, p.ID, InitialStock)
	}
	_, err := s.db.ExecContext(ctx, "INSERT IGNORE INTO products (product_id, name, price_cents, updated_at) VALUES "+tuples(len(Products), 4), products...)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, "INSERT IGNORE INTO stock (product_id, qty) VALUES "+tuples(len(Products), 2), stock...)
	return err
}

// tuples is n times (?, …, ?) with width markers each.
func tuples(n, width int) string {
	one := "(" + strings.TrimSuffix(strings.Repeat("?,", width), ",") + ")"
	return strings.TrimSuffix(strings.Repeat(one+",", n), ",")
}
