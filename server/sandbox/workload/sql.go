package workload

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/server/sandbox/history"
)

// The statements. A liar of the negative controls knows them by these texts.
const (
	selectNote   = "SELECT value FROM notes WHERE buyer_id = ?"
	writeNote    = "UPDATE notes SET value = ? WHERE buyer_id = ?"
	swapNote     = "UPDATE notes SET value = ? WHERE buyer_id = ? AND value = ?"
	selectBasket = "SELECT items FROM baskets WHERE buyer_id = ?"
	lockBasket   = selectBasket + " FOR UPDATE"
	appendBasket = "UPDATE baskets SET items = CONCAT(items, ',', ?) WHERE buyer_id = ?"
	makeNote     = "INSERT INTO notes (buyer_id, value) VALUES (?, 0)"
	makeBasket   = "INSERT INTO baskets (buyer_id, items) VALUES (?, '')"
)

// Numbers that the clients act on.
const (
	numberDuplicate = 1062
	numberNotOwner  = 9601
	numberFenced    = 9602
)

// sqlWay goes straight to the proxies, each statement as one text.
type sqlWay struct {
	connectors []driver.Connector
	sites      []*sql.DB // from open on
	pool       int
}

func newSQLWay(cfg Config) (*sqlWay, error) {
	s := &sqlWay{pool: 2 * cfg.Clients}
	for _, site := range cfg.Sites {
		d, err := mysql.ParseDSN(site.DSN)
		if err != nil {
			return nil, fmt.Errorf("workload: data source name of %s: %w", site.Unit, err)
		}
		d.InterpolateParams, d.ClientFoundRows = true, false
		d.Timeout = 2 * time.Second
		d.Logger = log.New(io.Discard, "", 0) // what fails comes back as an error, too
		connector, err := mysql.NewConnector(d)
		if err != nil {
			return nil, fmt.Errorf("workload: open the proxy of %s: %w", site.Unit, err)
		}
		s.connectors = append(s.connectors, connector)
	}
	return s, nil
}

func (s *sqlWay) open() {
	for _, connector := range s.connectors {
		db := sql.OpenDB(connector)
		db.SetMaxOpenConns(s.pool)
		db.SetMaxIdleConns(s.pool)
		s.sites = append(s.sites, db)
	}
}

func (s *sqlWay) close() {
	for _, db := range s.sites {
		_ = db.Close()
	}
}

// told turns an error into what the client knows. An error packet always means
// that nothing was done. So does a connection that was never used. Else the
// statement may have been done, if it was one that can be by itself.
func told(err error, alone bool) answer {
	if err == nil {
		return answer{outcome: history.OK}
	}
	a := answer{outcome: history.Fail, err: err.Error(), where: other}
	refusal, refused := errors.AsType[*mysql.MySQLError](err)
	switch {
	case refused && refusal.Number == numberFenced:
		a.where = nil
	case refused:
	case alone && !errors.Is(err, driver.ErrBadConn):
		a.outcome = history.Unknown
	}
	return a
}

func other(site, of int) int { return (site + 1) % of }

// once makes one attempt at one site.
func (s *sqlWay) once(ctx context.Context, site int, o history.Op, a action) answer {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := s.sites[site].Conn(ctx)
	if err != nil {
		return told(err, false)
	}
	defer func() { _ = conn.Close() }()
	switch {
	case o.Kind == history.Read:
		var value int64
		err := conn.QueryRowContext(ctx, selectNote, o.Key).Scan(&value)
		if errors.Is(err, sql.ErrNoRows) {
			err = nil // a note that is gone reads as none
		}
		return told(err, false).with(func(o *history.Op) { o.Value = value })
	case o.Kind == history.List:
		list, err := readItems(ctx, conn, selectBasket, o.Key)
		return told(err, false).with(func(o *history.Op) { o.After = list })
	case o.Kind == history.Append && a.tx:
		return appendReading(ctx, conn, o, a.hold)
	}
	return change(ctx, conn, o)
}

func (a answer) with(seen func(*history.Op)) answer {
	a.seen = seen
	return a
}

// change is one statement that is its own transaction.
func change(ctx context.Context, conn *sql.Conn, o history.Op) answer {
	text, args := writeNote, []any{o.Value, o.Key}
	switch o.Kind {
	case history.CAS:
		text, args = swapNote, []any{o.Value, o.Key, o.Was}
	case history.Append:
		text = appendBasket
	}
	res, err := conn.ExecContext(ctx, text, args...)
	if err != nil {
		return told(err, true)
	}
	n, err := res.RowsAffected()
	switch {
	case err != nil:
		return told(err, true)
	case o.Kind == history.CAS:
		return answer{outcome: history.OK, seen: func(o *history.Op) { o.Swapped = n > 0 }}
	case n == 0:
		return answer{outcome: history.Fail, err: "there is no row"}
	}
	return answer{outcome: history.OK}
}

// appendReading reads, appends and reads in one transaction.
func appendReading(ctx context.Context, conn *sql.Conn, o history.Op, hold time.Duration) answer {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return told(err, false)
	}
	defer func() { _ = tx.Rollback() }()
	before, err := readItems(ctx, tx, lockBasket, o.Key)
	if err != nil {
		return told(err, false)
	}
	if _, err := tx.ExecContext(ctx, appendBasket, o.Value, o.Key); err != nil {
		return told(err, false)
	}
	if hold > 0 {
		pause.For(ctx, hold)
	}
	after, err := readItems(ctx, tx, selectBasket, o.Key)
	if err != nil {
		return told(err, false)
	}
	return told(tx.Commit(), true).with(func(o *history.Op) { o.Before, o.After = before, after })
}

type rower interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readItems reads a basket; one that is gone reads as empty.
func readItems(ctx context.Context, from rower, text, key string) ([]int64, error) {
	var raw string
	err := from.QueryRowContext(ctx, text, key).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return numbers(strings.FieldsFunc(raw, func(r rune) bool { return r == ',' })), err
}

// numbers are the items as elements. What no client wrote reads as 0, which
// nobody appends.
func numbers(items []string) []int64 {
	all := make([]int64, len(items))
	for i, item := range items {
		all[i], _ = strconv.ParseInt(item, 10, 64)
	}
	return all
}

var errUsed = errors.New("choose another seed, or a fresh sandbox")

// makeRows gives a key its rows, before its first operation, so that every
// write is a change of what stands there.
func (s *sqlWay) makeRows(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, makePatience)
	defer cancel()
	for _, text := range []string{makeNote, makeBasket} {
		unknown, site := false, 0
		for {
			err := s.insert(ctx, site, text, key)
			refusal, refused := errors.AsType[*mysql.MySQLError](err)
			if refused && refusal.Number == numberDuplicate && !unknown {
				return fmt.Errorf("workload: the rows of key %s stand there already: %w", key, errUsed)
			}
			if err == nil || refused && refusal.Number == numberDuplicate {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("workload: make the rows of key %s: %w", key, err)
			}
			unknown = unknown || !refused
			if !refused || refusal.Number != numberFenced {
				site = other(site, len(s.sites))
			}
			pause.For(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

func (s *sqlWay) insert(ctx context.Context, site int, text, key string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := s.sites[site].ExecContext(ctx, text, key)
	return err
}
