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

// Cut stalls all links of a site to the other sites, or the one by which a lane,
// such as "unit-a>unit-c", comes.
func Cut(ctx context.Context, info *Info, what string) error { return relay(ctx, info, "cut", what) }

// Heal lets the links of a site, or of a lane, go on.
func Heal(ctx context.Context, info *Info, what string) error { return relay(ctx, info, "heal", what) }

// linksOf says it as the relay wants to hear it.
func linksOf(info *Info, what string) (url.Values, error) {
	from, to, lane := strings.Cut(what, ">")
	if !lane {
		return url.Values{"unit": {what}}, nil
	}
	if from == to || info.Unit(from) == nil || info.Unit(to) == nil {
		return nil, invalid("there is no lane %s: want two units of %s, as `atoll lanes` shows them", what,
			names(info.Units, func(u UnitInfo) string { return u.Code }))
	}
	return url.Values{"link": {laneLink(to, from)}}, nil
}

// relay orders the WAN relay. A site or lane it does not know is an InvalidError.
func relay(ctx context.Context, info *Info, order, what string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	links, err := linksOf(info, what)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, info.WAN.Status+"/"+order+"?"+links.Encode(), nil)
	if err != nil {
		return fmt.Errorf("%s %s: %w", order, what, err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: the relay does not answer: %w", order, what, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
	if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusBadRequest {
		return invalid("%s %s: %s", order, what, strings.TrimSpace(string(text)))
	}
	return fmt.Errorf("%s %s: the relay answers %s: %s", order, what, res.Status, text)
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
