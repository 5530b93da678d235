package shop

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// basket is what a buyer has put aside, in the order in which it was put.
type basket struct {
	Items []string `json:"items"`
	User  string   `json:"user"`
	Unit  string   `json:"unit"`
}

const (
	itemsMax = 1000 // in one basket

	selectBasket = "SELECT items FROM baskets WHERE buyer_id = ?"
	lockBasket   = selectBasket + " FOR UPDATE"
	insertBasket = "INSERT INTO baskets (buyer_id, items) VALUES (?, ?)"
	appendBasket = "UPDATE baskets SET items = CONCAT(items, ',', ?) WHERE buyer_id = ?"
)

// items takes a basket's column apart. An empty text is a basket that was made
// and got nothing yet.
func items(text string) []string {
	all := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item != "" {
			all = append(all, item)
		}
	}
	return all
}

func (s *Shop) getBasket(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	var text string
	err = s.db.QueryRowContext(ctx, selectBasket, u).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return http.StatusOK, basket{Items: items(text), User: u, Unit: s.cfg.Unit}, err
}

func (s *Shop) postBasket(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	var body struct {
		Item string `json:"item"`
	}
	if err := decode(r, &body); err != nil {
		return 0, nil, err
	}
	if body.Item == "" || len(body.Item) > textMax || strings.ContainsAny(body.Item, ",\x00") {
		return 0, nil, badRequest("item: want 1 to %d characters without a comma", textMax)
	}
	b := basket{User: u, Unit: s.cfg.Unit}
	b.Items, err = s.putAside(ctx, u, body.Item)
	return http.StatusOK, b, err
}

// putAside adds an item at the end, and gives the basket as it then was.
func (s *Shop) putAside(ctx context.Context, user, item string) (all []string, err error) {
	for range 3 { // another request may make the basket at the same time
		err = s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			all, err = addItem(ctx, tx, user, item)
			return err
		})
		var refusal *mysql.MySQLError
		if !errors.As(err, &refusal) || refusal.Number != numberDuplicate {
			break
		}
	}
	return all, err
}

func addItem(ctx context.Context, tx *sql.Tx, user, item string) ([]string, error) {
	var text string
	err := tx.QueryRowContext(ctx, lockBasket, user).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = tx.ExecContext(ctx, insertBasket, user, item)
	case err == nil && len(items(text)) >= itemsMax:
		return nil, badRequest("item: the basket holds %d already", itemsMax)
	case err == nil:
		_, err = tx.ExecContext(ctx, appendBasket, item, user)
	}
	if err != nil {
		return nil, err
	}
	err = tx.QueryRowContext(ctx, selectBasket, user).Scan(&text)
	return items(text), err
}
