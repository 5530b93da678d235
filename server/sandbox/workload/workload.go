package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/server/sandbox/history"
)

// Site is one unit as clients see it.
type Site struct {
	Unit    string
	Gateway string // "http://127.0.0.1:7080"; "" for none
	DSN     string // of the dbproxy, for go-sql-driver/mysql
}

// Config says what the clients do. What is zero has a default.
type Config struct {
	Sites    []Site
	Host     string // of the live domain
	Duration time.Duration
	Seed     uint64
	Clients  int           // 8
	Rate     float64       // operations a second of all clients together; 60, and less in a run of a day
	Keys     int           // in use at a time; 6
	KeyLife  time.Duration // 15 s
	Moving   func(key string) bool
	Log      *slog.Logger
}

// Limits of the workload.
const (
	requestTimeout = 7 * time.Second // longer than a gateway's hold
	patience       = 10 * time.Second
	makePatience   = 20 * time.Second // for the rows of a key, which a process that is down may delay
	endPatience    = 30 * time.Second // for the last reads of all keys
	holdMax        = 300 * time.Millisecond
	opsMax         = 4_000_000
)

func (c *Config) defaults() error {
	c.Clients, c.Keys = cmp.Or(c.Clients, 8), cmp.Or(c.Keys, 6)
	c.Rate = cmp.Or(c.Rate, min(60, opsMax/max(c.Duration.Seconds(), 1)))
	c.KeyLife = cmp.Or(c.KeyLife, 15*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.Sites) == 0:
		return errors.New("workload: sites are needed")
	case c.Duration <= 0 || c.Rate < 0 || c.Clients < 0 || c.Keys < 0 || c.KeyLife < 0:
		return errors.New("workload: duration, rate, clients and keys must be positive")
	case c.Duration.Seconds()*c.Rate > opsMax:
		return fmt.Errorf("workload: %v at %v operations a second: want %d operations at most: lower the rate", c.Duration, c.Rate, opsMax)
	}
	return nil
}

// Describe tells the workload to people.
func (c *Config) Describe() string {
	return fmt.Sprintf("seed %d: %d clients, %.0f operations/s for %v, %d keys at a time for %v each", c.Seed, c.Clients, c.Rate, c.Duration, c.Keys, c.KeyLife)
}

// Workload is one run of the clients.
type Workload struct {
	cfg   Config
	rec   *history.Recorder
	began time.Time
	sql   *sqlWay
	http  *httpWay
	keys  []*key

	mu      sync.Mutex
	known   map[string]int64 // key → the value that anybody saw last
	err     error            // what ends the run
	unread  atomic.Int64
	skipped atomic.Int64
}

// key may be used once ready is closed and there is true: it has its rows.
type key struct {
	name  string
	ready chan struct{}
	there bool
}

// usable tells whether a key may be used now.
func (k *key) usable() bool {
	select {
	case <-k.ready:
		return k.there
	default:
		return false
	}
}

// New prepares a workload; nothing is sent before Run.
func New(cfg Config) (*Workload, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	w := &Workload{cfg: cfg, known: map[string]int64{}, began: time.Now()}
	w.rec = history.NewRecorder(func() int64 { return int64(time.Since(w.began)) })
	for n := range cfg.Keys * (cfg.round(cfg.Duration) + 1) {
		name, err := cfg.keyName(n)
		if err != nil {
			return nil, err
		}
		w.keys = append(w.keys, &key{name: name, ready: make(chan struct{})})
	}
	w.http = newHTTPWay(cfg)
	var err error
	w.sql, err = newSQLWay(cfg)
	return w, err
}

// Describe tells the workload to people.
func (w *Workload) Describe() string { return w.cfg.Describe() }

// Ops are the operations so far.
func (w *Workload) Ops() []history.Op { return w.rec.Ops() }

// Store writes what was recorded so that it can be checked again.
func (w *Workload) Store(to io.Writer) error {
	return history.Store(to, history.Header{Seed: w.cfg.Seed, Workload: w.Describe()}, w.Ops())
}

// Unread is how many objects could not be read at the end: what was lost there
// would not be seen.
func (w *Workload) Unread() int64 { return w.unread.Load() }

// Skipped is how many operations were left out, since their key had no rows by
// their time.
func (w *Workload) Skipped() int64 { return w.skipped.Load() }

// Run lets the clients work until the duration is over or ctx ends, then reads
// each object once more.
func (w *Workload) Run(ctx context.Context) error {
	w.sql.open()
	defer w.sql.close()
	defer w.http.close()
	w.began = time.Now()
	working, cancel := context.WithTimeout(ctx, w.cfg.Duration)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { w.makeKeys(working, cancel) })
	for c := range w.cfg.Clients {
		wg.Go(func() { w.client(working, ctx, c) })
	}
	wg.Wait()
	if err := w.failure(); err != nil {
		return err
	}
	w.readAll(ctx)
	return ctx.Err()
}

func (w *Workload) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// makeKeys makes the rows of each key, a round ahead of their use.
func (w *Workload) makeKeys(ctx context.Context, cancel context.CancelFunc) {
	for n, k := range w.keys {
		round := n / w.cfg.Keys
		pause.For(ctx, time.Until(w.began.Add(time.Duration(round-1)*w.cfg.KeyLife)))
		if ctx.Err() != nil {
			return
		}
		err := w.sql.makeRows(ctx, k.name)
		if errors.Is(err, errUsed) {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			cancel()
			return
		}
		if err != nil { // something is down for long: the key is left out
			w.cfg.Log.Info("no rows for a key", "err", err)
		}
		k.there = err == nil
		close(k.ready)
	}
}

// client does what its plan says. An operation that has begun is ended.
func (w *Workload) client(working, ctx context.Context, number int) {
	p := newPlan(w.cfg, number)
	for serial := int64(1); ; serial++ {
		a := p.next()
		if a.at > w.cfg.Duration {
			return
		}
		pause.For(working, time.Until(w.began.Add(a.at)))
		k := w.keys[a.key]
		if working.Err() == nil && a.key < w.cfg.Keys { // nothing is ahead of the first round
			select {
			case <-k.ready:
			case <-working.Done():
			}
		}
		if working.Err() != nil {
			return
		}
		if k.usable() {
			w.operate(ctx, number, serial, k.name, a)
		} else {
			w.skipped.Add(1)
		}
	}
}

// answer is what a client was told by one attempt.
type answer struct {
	outcome history.Outcome
	err     string
	seen    func(*history.Op)  // notes what was observed
	where   func(int, int) int // next site to try, from this one of so many
}

// operate does one operation: what is certainly not done is tried again,
// within the operation's own time.
func (w *Workload) operate(ctx context.Context, client int, serial int64, key string, a action) {
	o := history.Op{Client: client, Kind: a.kind, Key: key}
	switch a.kind {
	case history.Write, history.CAS, history.Append:
		o.Value = int64(client+1)*10_000_000 + serial
	}
	if a.kind == history.CAS {
		o.Was = w.latest(key)
	}
	once := w.sql.once
	o.Via = "sql"
	if a.http && w.cfg.Sites[a.site].Gateway != "" {
		once, o.Via = w.http.once, "http"
	}
	id := w.rec.Begin(o)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last answer
	site := a.site
	for {
		last = once(ctx, site, o, a)
		if reads := a.kind == history.Read || a.kind == history.List; last.outcome == history.Unknown && reads {
			last.outcome = history.Fail
		}
		if last.outcome != history.Fail || ctx.Err() != nil {
			break
		}
		wait := 20 * time.Millisecond
		if last.where != nil {
			site, wait = last.where(site, len(w.cfg.Sites)), 5*time.Millisecond
		}
		pause.For(ctx, wait)
	}
	w.rec.End(id, func(o *history.Op) {
		o.Outcome, o.Error = last.outcome, last.err
		if last.outcome == history.OK {
			o.Error = ""
			if last.seen != nil {
				last.seen(o)
			}
		}
		o.Via += " " + w.cfg.Sites[site].Unit
		w.learn(o)
	})
}

// latest is the value of a key that anybody saw last: where swaps start.
func (w *Workload) latest(key string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[key]
}

func (w *Workload) learn(o *history.Op) {
	if o.Outcome != history.OK || o.Kind != history.Read && o.Kind != history.Write && !o.Swapped {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[o.Key] = o.Value
}

// readAll reads each object once more, straight at the proxies.
func (w *Workload) readAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	usable := make(chan *key)
	var wg sync.WaitGroup
	for n := range w.cfg.Clients {
		wg.Go(func() {
			for k := range usable {
				for _, kind := range []history.Kind{history.Read, history.List} {
					w.operate(ctx, w.cfg.Clients+n, 0, k.name, action{kind: kind})
				}
			}
		})
	}
	for _, k := range w.keys {
		if k.usable() {
			usable <- k
		}
	}
	close(usable)
	wg.Wait()
	last := map[string]history.Op{}
	for _, o := range w.rec.Ops() {
		if o.Client >= w.cfg.Clients {
			last[o.Key+string(o.Kind)] = o
		}
	}
	for _, o := range last {
		if o.Outcome != history.OK {
			w.unread.Add(1)
		}
	}
}
