package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atoll-live/atoll/server/pause"
)

// Site is one unit as clients see it.
type Site struct {
	Unit    string
	Gateway string // "http://127.0.0.1:7080"
	DSN     string // of the dbproxy, for go-sql-driver/mysql
}

// Config says what traffic to make. All loops end with Seconds.
type Config struct {
	Sites    []Site
	Host     string // of the live domain
	Duration time.Duration
	Rate     float64 // orders a second, of both ways together
	SQLShare float64 // of Rate, written straight to the proxies; 0.3 when zero
	Holders  int     // writers whose transactions stay open 50–1,500 ms; 12 when zero, none when negative
	Canaries int     // canaries while Pause measures
	Products []string
	Buyers   int
	Bucket   func(key string) int // of the space's rule
	Moving   func(key string) bool
	NextID   func(bucket int) (int64, error) // ids of orders written by SQL
	Seed     uint64
	Log      *slog.Logger
}

// Limits of the load.
const (
	inFlightMax    = 2000             // orders on their way; more are shed and counted
	orderPatience  = 20 * time.Second // until an order is given up
	unknownRepeats = 40
	requestTimeout = 7 * time.Second // longer than a gateway's hold
	canaryInterval = 100 * time.Millisecond
)

func (c *Config) defaults() error {
	if len(c.Sites) == 0 || c.Host == "" || len(c.Products) == 0 {
		return errors.New("load: sites, host and products are needed")
	}
	if c.Rate <= 0 || c.Duration <= 0 {
		return fmt.Errorf("load: rate %v and duration %v must be positive", c.Rate, c.Duration)
	}
	if c.SQLShare == 0 {
		c.SQLShare = 0.3
	}
	if c.Buyers == 0 {
		c.Buyers = 2000
	}
	if c.Holders == 0 {
		c.Holders = 12
	}
	if c.Canaries == 0 {
		c.Canaries = 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Load is one run of traffic.
type Load struct {
	cfg    Config
	ledger *Ledger
	buyers []string // all
	moving []string // those whose keys a move shall carry
	http   *httpClient
	sql    *sqlClient
	serial atomic.Int64
	recent recent

	canaries atomic.Bool // canaries write while set
	ended    chan struct{}
	end      func()
}

// New prepares a load; nothing is sent before Run.
func New(cfg Config) (*Load, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	l := &Load{cfg: cfg, ledger: NewLedger(), ended: make(chan struct{})}
	l.end = sync.OnceFunc(func() { close(l.ended) })
	rng := rand.New(rand.NewPCG(cfg.Seed, 1))
	for range cfg.Buyers {
		key := fmt.Sprintf("b%s", randomText(rng, 9))
		l.buyers = append(l.buyers, key)
		if cfg.Moving != nil && cfg.Moving(key) {
			l.moving = append(l.moving, key)
		}
	}
	if cfg.Moving != nil && len(l.moving) == 0 {
		return nil, fmt.Errorf("load: none of %d buyers is in the moving set", cfg.Buyers)
	}
	l.http = newHTTPClient(cfg)
	var err error
	l.sql, err = newSQLClient(cfg)
	return l, err
}

func randomText(rng *rand.Rand, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return string(b)
}

// Ledger is what clients were told so far.
func (l *Load) Ledger() *Ledger { return l.ledger }

// Canary switches the canaries on or off: they write while a move is measured.
func (l *Load) Canary(on bool) { l.canaries.Store(on) }

// End stops the offering of orders before the duration is over.
func (l *Load) End() { l.end() }

// Run makes the traffic until the duration is over, End is called or ctx ends,
// then waits until each order on its way is known or given up.
func (l *Load) Run(ctx context.Context) error {
	defer l.http.close()
	defer l.sql.close()
	offered, cancel := context.WithTimeout(ctx, l.cfg.Duration)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-l.ended:
			cancel()
		case <-offered.Done():
		}
	})
	wg.Go(func() { l.offer(offered, ctx) })
	for i := range max(l.cfg.Holders, 0) {
		wg.Go(func() { l.hold(offered, ctx, i) })
	}
	if l.cfg.Moving != nil {
		for i := range l.cfg.Canaries {
			wg.Go(func() { l.canary(offered, ctx, i) })
		}
	}
	wg.Wait()
	return ctx.Err()
}

// offer starts orders on an open-loop schedule: a slow system does not slow
// it down. More than inFlightMax on their way are shed, counted and so fail
// the share of acknowledged orders.
func (l *Load) offer(offered, ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, inFlightMax)
	interval := time.Duration(float64(time.Second) / l.cfg.Rate)
	next := time.Now()
	rng := rand.New(rand.NewPCG(l.cfg.Seed, 2))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-offered.Done():
			return
		case <-timer.C:
		}
		for ; !next.After(time.Now()); next = next.Add(interval) {
			scheduled, bySQL := next, rng.Float64() < l.cfg.SQLShare
			key, choice := l.buyers[rng.IntN(len(l.buyers))], rng.Uint64()
			l.ledger.Count(func(c *Counts) { c.Offered++ })
			select {
			case slots <- struct{}{}:
			default:
				l.ledger.Count(func(c *Counts) { c.Shed++; c.GivenUp++ })
				continue
			}
			wg.Go(func() {
				defer func() { <-slots }()
				l.flow(ctx, scheduled, key, bySQL, rand.New(rand.NewPCG(choice, 3)))
			})
		}
		timer.Reset(time.Until(next))
	}
}

// flow is one buyer's visit: browse, order, often pay, often look.
func (l *Load) flow(ctx context.Context, scheduled time.Time, key string, bySQL bool, rng *rand.Rand) {
	o := order{key: key, product: l.cfg.Products[rng.IntN(len(l.cfg.Products))], qty: 1 + rng.IntN(3), scheduled: scheduled, rng: rng}
	var id string
	var ok bool
	if bySQL {
		o.via = ViaSQL
		if rng.IntN(4) == 0 {
			o.via = ViaSQLTx
		}
		id, ok = l.place(ctx, o, l.sql.place)
	} else {
		o.via = ViaHTTP
		if rng.IntN(5) == 0 {
			l.http.browse(ctx, key, rng)
		}
		id, ok = l.place(ctx, o, l.http.place)
	}
	l.ledger.Count(func(c *Counts) {
		if ok {
			c.Acked++
		} else {
			c.GivenUp++
		}
	})
	if !ok {
		return
	}
	paid := !bySQL && rng.IntN(2) == 0 && l.http.pay(ctx, l.ledger, key, id, rng)
	if rng.IntN(2) == 0 {
		l.http.check(ctx, l.ledger, key, id, paid, rng)
	}
	if bySQL && rng.IntN(2) == 0 {
		l.sql.check(ctx, l.ledger, key, id, rng)
	}
	if o, ok := l.recent.pick(rng); ok && rng.IntN(3) == 0 {
		l.http.check(ctx, l.ledger, o.key, o.id, false, rng)
	}
}

// order is one wish of one buyer.
type order struct {
	key       string
	product   string
	qty       int
	scheduled time.Time
	via       Via
	hold      time.Duration // how long the transaction is kept open
	rng       *rand.Rand
}

// attempt is the answer to one try of an order.
type attempt struct {
	outcome Outcome
	orderID string
	held    time.Duration // by the client itself, its transaction open
	again   time.Duration // when to try again
}

// placer tries an order once at some site; try counts from 0.
type placer func(ctx context.Context, l *Ledger, o order, clientID string, try int) attempt

// place repeats an order until it is acknowledged: with the same client id
// while the outcome is unknown, with a new one once it is certainly not done.
func (l *Load) place(ctx context.Context, o order, once placer) (string, bool) {
	limit := o.scheduled.Add(orderPatience)
	clientID, unknown, held := l.clientID(o), 0, time.Duration(0)
	for try := 0; ; try++ {
		a := once(ctx, l.ledger, o, clientID, try)
		held += a.held // also of transactions that a fence ended while the client kept them open
		if a.outcome == NotDone && unknown > 0 {
			// This try was not done, but one before with the same id may have been.
			a.outcome = Unknown
		} else if a.outcome == Unknown {
			unknown++
			l.ledger.Count(func(c *Counts) {
				if o.via == ViaHTTP || o.via == ViaCanary {
					c.HTTPUnknown++
				} else {
					c.SQLUnknown++
				}
			})
		}
		late := time.Now().After(limit) || ctx.Err() != nil
		if a.outcome != Unknown || unknown > unknownRepeats || late {
			l.ledger.Record(Write{
				Key: o.key, ClientID: clientID, OrderID: a.orderID, Via: o.via, Outcome: a.outcome,
				Scheduled: o.scheduled, Done: time.Now(), Held: held,
			})
		}
		switch {
		case a.outcome == Acked:
			l.recent.add(o.key, a.orderID)
			return a.orderID, true
		case a.outcome == Unknown && (unknown > unknownRepeats || late):
			l.ledger.Count(func(c *Counts) { c.Unresolved++ })
			return "", false
		case late:
			return "", false
		case a.outcome == NotDone:
			clientID = l.clientID(o)
		}
		pause.For(ctx, max(a.again, 5*time.Millisecond))
	}
}

func (l *Load) clientID(o order) string {
	return fmt.Sprintf("%s-%x-%d", o.via, l.cfg.Seed, l.serial.Add(1))
}

// hold is a writer of moving keys whose transactions stay open, so that a
// fence meets open ones.
func (l *Load) hold(offered, ctx context.Context, n int) {
	rng := rand.New(rand.NewPCG(l.cfg.Seed, uint64(100+n)))
	keys := l.buyers
	if len(l.moving) > 0 {
		keys = l.moving
	}
	for offered.Err() == nil {
		o := order{
			key: keys[rng.IntN(len(keys))], product: l.cfg.Products[rng.IntN(len(l.cfg.Products))], qty: 1,
			scheduled: time.Now(), via: ViaSQLTx, rng: rng,
			hold: 50*time.Millisecond + rand.N(1450*time.Millisecond),
		}
		l.ledger.Count(func(c *Counts) { c.Offered++ })
		_, ok := l.place(ctx, o, l.sql.place)
		l.ledger.Count(func(c *Counts) {
			if ok {
				c.Acked++
			} else {
				c.GivenUp++
			}
		})
	}
}

// canary writes one moving buyer's orders on schedule while it is switched on.
// A write that is due while the former is on its way is started all the same.
func (l *Load) canary(offered, ctx context.Context, n int) {
	rng := rand.New(rand.NewPCG(l.cfg.Seed, uint64(1000+n)))
	key := l.moving[n%len(l.moving)]
	stagger := canaryInterval * time.Duration(n) / time.Duration(l.cfg.Canaries)
	ticker := time.NewTicker(canaryInterval)
	defer ticker.Stop()
	pause.For(offered, stagger)
	ticker.Reset(canaryInterval)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		var due time.Time
		select {
		case <-offered.Done():
			return
		case due = <-ticker.C:
		}
		if !l.canaries.Load() {
			continue
		}
		o := order{
			key: key, product: l.cfg.Products[rng.IntN(len(l.cfg.Products))], qty: 1,
			scheduled: due, via: ViaCanary, rng: rand.New(rand.NewPCG(rng.Uint64(), 4)),
		}
		wg.Go(func() { l.place(ctx, o, l.http.place) })
	}
}

// Sentinel places and pays one order that is not in the ledger, before the
// load begins: a row that nothing touches later, for a control to break.
func (l *Load) Sentinel(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(l.cfg.Seed, 5))
	o := order{key: l.buyers[0], product: l.cfg.Products[0], qty: 1, scheduled: time.Now(), via: ViaHTTP, rng: rng}
	a := l.http.place(ctx, NewLedger(), o, l.clientID(o), 0)
	if a.outcome != Acked || !l.http.pay(ctx, NewLedger(), o.key, a.orderID, rng) {
		return errors.New("the sentinel order was not acknowledged")
	}
	return nil
}
