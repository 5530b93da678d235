package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/server/sandbox"
)

// prober asks after each fault whether exactly one unit accepts a write of each
// of some moving keys: it writes an order of each straight to every proxy, in
// rounds, until a round was answered so. A move between two writes of a round
// can make both accept, or none; the next round tells. (Whether two units ever
// owned a key at once is the auditor's to find, in the binlogs.)
type prober struct {
	sites  []probeSite
	keys   []string
	bucket func(key string) int
	nextID func(bucket int) (int64, error)
	rounds int
}

type probeSite struct {
	unit string
	db   *sql.DB
}

const (
	probeKeys  = 8
	probeEvery = 100 * time.Millisecond // between two rounds
	probeWrite = `INSERT INTO orders (order_id, buyer_id, client_id, product_id, qty, amount_cents, status, created_at) VALUES (?, ?, ?, ?, 1, 100, 'placed', ?)`
	probeLimit = 5 * time.Second // for one write; a fenced one is parked for 3 s
)

func newProber(info *sandbox.Info, r *rule, nextID func(int) (int64, error)) (*prober, error) {
	p := &prober{bucket: r.bucket, nextID: nextID}
	moving := r.moving(info)
	for n := 0; len(p.keys) < probeKeys; n++ {
		if key := fmt.Sprintf("probe%d", n); moving(key) {
			p.keys = append(p.keys, key)
		}
	}
	for _, u := range info.Units {
		c := dsn(u.DBProxy)
		c.Timeout = time.Second // a proxy that stands still takes no connection
		c.Logger = log.New(io.Discard, "", 0)
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, fmt.Errorf("open the proxy of %s: %w", u.Code, err)
		}
		p.sites = append(p.sites, probeSite{u.Code, sql.OpenDB(connector)})
	}
	return p, nil
}

func (p *prober) close() {
	for _, s := range p.sites {
		_ = s.db.Close()
	}
}

// until makes rounds until one is good, and returns how long it took since a
// time; or, after the limit, what was wrong with the last round.
func (p *prober) until(ctx context.Context, since time.Time, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithDeadline(ctx, since.Add(limit))
	defer cancel()
	last := errors.New("no round was answered")
	for {
		err := p.round(ctx)
		switch {
		case err == nil:
			return time.Since(since), nil
		case ctx.Err() == nil:
			last = err
		default:
			return 0, last
		}
		pause.For(ctx, probeEvery)
	}
}

// round writes each key once in each unit.
func (p *prober) round(ctx context.Context) error {
	p.rounds++
	answers := make([][]error, len(p.keys))
	var wg sync.WaitGroup
	for k, key := range p.keys {
		answers[k] = make([]error, len(p.sites))
		for s, site := range p.sites {
			wg.Go(func() { answers[k][s] = p.write(ctx, site, key) })
		}
	}
	wg.Wait()
	for k, key := range p.keys {
		accepted := 0
		var texts []string
		for s, site := range p.sites {
			text := "accepts"
			if err := answers[k][s]; err == nil {
				accepted++
			} else {
				text = err.Error()
			}
			texts = append(texts, site.unit+" "+text)
		}
		if accepted != 1 {
			return fmt.Errorf("%d units accept key %s: %s", accepted, key, strings.Join(texts, ", "))
		}
	}
	return nil
}

func (p *prober) write(ctx context.Context, s probeSite, key string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	id, err := p.nextID(p.bucket(key))
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, probeWrite, id, key, fmt.Sprintf("probe-%d", id), "p1", time.Now().UTC())
	return err
}
