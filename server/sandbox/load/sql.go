package load

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/pause"
)

// sqlClient writes orders straight to the proxies, as a service of the shop
// that is not behind the gateway would. It knows no owners: it begins anywhere
// and goes to the other site when a proxy says so.
type sqlClient struct {
	sites  []*site
	nextID func(bucket int) (int64, error)
	bucket func(key string) int
}

func newSQLClient(cfg Config) (*sqlClient, error) {
	c := &sqlClient{nextID: cfg.NextID, bucket: cfg.Bucket}
	if cfg.NextID == nil || cfg.Bucket == nil {
		return nil, errors.New("load: ids and buckets are needed for SQL writers")
	}
	for _, s := range cfg.Sites {
		d, err := mysql.ParseDSN(s.DSN)
		if err != nil {
			return nil, fmt.Errorf("data source name of %s: %w", s.Unit, err)
		}
		d.Logger = log.New(io.Discard, "", 0) // what fails comes back as an error, too
		connector, err := mysql.NewConnector(d)
		if err != nil {
			return nil, fmt.Errorf("open the proxy of %s: %w", s.Unit, err)
		}
		db := sql.OpenDB(connector)
		db.SetMaxOpenConns(64)
		db.SetMaxIdleConns(64)
		c.sites = append(c.sites, &site{DB: db})
	}
	return c, nil
}

func (c *sqlClient) close() {
	for _, s := range c.sites {
		s.close()
	}
}

// site is one proxy with the writers' statements, prepared once: those that
// were prepared before a move are executed after it.
type site struct {
	*sql.DB
	mu     sync.Mutex
	insert *sql.Stmt // nil before the first use
	update *sql.Stmt
}

// prepared gives both statements. A proxy that does not answer is asked again
// by the next caller.
func (s *site) prepared(ctx context.Context) (insert, update *sql.Stmt, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.insert == nil {
		if s.insert, err = s.PrepareContext(ctx, insertOrder); err != nil {
			s.insert = nil
			return nil, nil, err
		}
	}
	if s.update == nil {
		if s.update, err = s.PrepareContext(ctx, updateOrder); err != nil {
			s.update = nil
			return nil, nil, err
		}
	}
	return s.insert, s.update, nil
}

func (s *site) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range []*sql.Stmt{s.insert, s.update} {
		if stmt != nil {
			_ = stmt.Close()
		}
	}
	_ = s.DB.Close()
}

const (
	insertOrder = "INSERT INTO orders (order_id, buyer_id, client_id, product_id, qty, amount_cents, status, created_at) VALUES (?, ?, ?, ?, ?, ?, 'placed', ?)"
	updateOrder = "UPDATE orders SET qty = ? WHERE buyer_id = ? AND order_id = ?"
)

// Numbers that the writers act on.
const (
	numberDuplicate = 1062
	numberNotOwner  = 9601
	numberFenced    = 9602
)

// place writes an order once: in one statement, or in a transaction that is
// kept open for o.hold between its two writes.
func (c *sqlClient) place(ctx context.Context, l *Ledger, o order, clientID string, try int) attempt {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	id, err := c.nextID(c.bucket(o.key))
	if err != nil {
		return attempt{outcome: NotDone, again: 50 * time.Millisecond}
	}
	db := c.sites[(o.rng.IntN(len(c.sites))+try)%len(c.sites)]
	insert, update, err := db.prepared(ctx)
	if err != nil {
		return c.answered(ctx, l, db, o, clientID, id, err, false)
	}
	if o.via == ViaSQL {
		_, err = insert.ExecContext(ctx, id, o.key, clientID, o.product, o.qty, 0, time.Now().UTC())
		return c.answered(ctx, l, db, o, clientID, id, err, true)
	}
	held, err, unknown := c.transaction(ctx, db, insert, update, o, clientID, id)
	a := c.answered(ctx, l, db, o, clientID, id, err, unknown)
	a.held = held
	return a
}

// transaction tells how long it was kept open by the client itself, and
// whether an error leaves the outcome unknown: only one of COMMIT can.
func (c *sqlClient) transaction(ctx context.Context, db *site, insert, update *sql.Stmt, o order, clientID string, id int64) (held time.Duration, err error, unknown bool) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err, false
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.StmtContext(ctx, insert).ExecContext(ctx, id, o.key, clientID, o.product, o.qty, 0, time.Now().UTC()); err != nil {
		return 0, err, false
	}
	if o.hold > 0 {
		began := time.Now()
		pause.For(ctx, o.hold)
		held = time.Since(began)
	}
	if _, err := tx.StmtContext(ctx, update).ExecContext(ctx, o.qty, o.key, id); err != nil {
		return held, err, false
	}
	return held, tx.Commit(), true
}

// answered turns the answer of a proxy into what the client knows. An error
// packet always means "not done"; a lost connection means "unknown" when the
// statement or the COMMIT may have been sent. A duplicate client id means that
// an earlier try of unknown outcome was done.
func (c *sqlClient) answered(ctx context.Context, l *Ledger, db *site, o order, clientID string, id int64, err error, unknown bool) attempt {
	if err == nil {
		return attempt{outcome: Acked, orderID: strconv.FormatInt(id, 10)}
	}
	var refusal *mysql.MySQLError
	if !errors.As(err, &refusal) {
		l.Sample(fmt.Sprintf("SQL %s: %v", o.via, err))
		if unknown {
			return attempt{outcome: Unknown, again: 50 * time.Millisecond}
		}
		return attempt{outcome: NotDone, again: 50 * time.Millisecond}
	}
	l.Refuse(strconv.Itoa(int(refusal.Number)))
	switch refusal.Number {
	case numberDuplicate:
		return c.found(ctx, db, o.key, clientID)
	case numberNotOwner:
		return attempt{outcome: NotDone, again: 10 * time.Millisecond}
	case numberFenced:
		return attempt{outcome: NotDone, again: 20*time.Millisecond + rand.N(40*time.Millisecond)}
	}
	l.Sample(fmt.Sprintf("SQL %s: %v", o.via, err))
	return attempt{outcome: NotDone, again: 50 * time.Millisecond}
}

// found looks up the order that an earlier try left.
func (c *sqlClient) found(ctx context.Context, db *site, key, clientID string) attempt {
	var id int64
	err := db.QueryRowContext(ctx, "SELECT order_id FROM orders WHERE buyer_id = ? AND client_id = ?", key, clientID).Scan(&id)
	if err != nil {
		return attempt{outcome: Unknown, again: 50 * time.Millisecond}
	}
	return attempt{outcome: Acked, orderID: strconv.FormatInt(id, 10)}
}

// check reads an acknowledged order at any proxy: one that is not the owner
// must refuse, not show an old state.
func (c *sqlClient) check(ctx context.Context, l *Ledger, key, id string, rng *rand.Rand) {
	at := rng.IntN(len(c.sites))
	for try := range 2 * len(c.sites) {
		var status string
		err := c.sites[(at+try)%len(c.sites)].QueryRowContext(ctx, "SELECT status FROM orders WHERE buyer_id = ? AND order_id = ?", key, id).Scan(&status)
		if err == nil || errors.Is(err, sql.ErrNoRows) {
			l.Count(func(n *Counts) {
				n.Reads++
				if err != nil {
					n.StaleReads++
				}
			})
			if err != nil {
				l.Sample("SELECT of an acknowledged order: no row")
			}
			return
		}
		var refusal *mysql.MySQLError
		if errors.As(err, &refusal) {
			l.Refuse(strconv.Itoa(int(refusal.Number)))
		}
		if !errors.As(err, &refusal) || refusal.Number != numberNotOwner {
			l.Count(func(n *Counts) { n.ReadErrors++ })
			l.Sample(fmt.Sprintf("SELECT: %v", err))
		}
	}
}
