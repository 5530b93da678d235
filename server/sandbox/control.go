package sandbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Cut stalls all links of a site to the other sites.
func Cut(ctx context.Context, info *Info, site string) error { return relay(ctx, info, "cut", site) }

// Heal lets the links of a site go on.
func Heal(ctx context.Context, info *Info, site string) error { return relay(ctx, info, "heal", site) }

// relay orders the WAN relay. A site it does not know is an InvalidError.
func relay(ctx context.Context, info *Info, order, site string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, info.WAN.Status+"/"+order+"?unit="+url.QueryEscape(site), nil)
	if err != nil {
		return fmt.Errorf("%s %s: %w", order, site, err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: the relay does not answer: %w", order, site, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
	if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusBadRequest {
		return invalid("%s %s: %s", order, site, strings.TrimSpace(string(text)))
	}
	return fmt.Errorf("%s %s: the relay answers %s: %s", order, site, res.Status, text)
}

// DropRow is the negative control drop-row: it deletes one row that a lane
// brought into unit-b's database, behind everybody's back. It takes the oldest
// payment, since nothing touches one again; with no payment, the oldest order.
func DropRow(ctx context.Context, info *Info) error {
	unit := info.Unit(UnitB)
	if unit == nil {
		return errors.New("drop a row: the sandbox has no unit-b")
	}
	db := open(unit.Database)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("drop a row: %w", err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_log_bin = 0"); err != nil {
		return fmt.Errorf("drop a row: %w", err)
	}
	for _, table := range []string{"payments", "orders"} {
		var id int64
		err := conn.QueryRowContext(ctx, "SELECT order_id FROM "+table+" ORDER BY order_id LIMIT 1").Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, "DELETE FROM "+table+" WHERE order_id = ?", id)
		}
		if err != nil {
			return fmt.Errorf("drop a row: %w", err)
		}
		return nil
	}
	return errors.New("drop a row: unit-b has no orders yet")
}
