package shop

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/idgen"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/space"
)

// Shop is one application process.
type Shop struct {
	cfg        Config
	driver     *mysql.Config
	agent      *console.Agent // nil without consoles
	db         *sql.DB        // Run opens it
	statements statements
	figures    figures
	slots      chan struct{} // one for each request in flight
	book       atomic.Pointer[book]

	installing sync.Mutex // one Install at a time
	bound      chan struct{}
	addr       string
}

// book is what the application knows of spaces. It is immutable.
type book struct {
	views map[string]*route.View
	mine  *route.View // of the shop's space, nil while it is not known
	rule  string      // of the buyers
}

var _ console.Plane = (*Shop)(nil)

// New makes an application. It starts nothing; Run does.
func New(cfg Config) (*Shop, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	cfg = cfg.withDefaults()
	driver, err := cfg.driver()
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	driver.Logger = slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)
	s := &Shop{cfg: cfg, driver: driver, slots: make(chan struct{}, cfg.InFlightLimit), bound: make(chan struct{})}
	s.book.Store(&book{})
	if len(cfg.Consoles) == 0 {
		return s, nil
	}
	s.agent, err = console.NewAgent(console.Config{
		URLs: cfg.Consoles, Token: cfg.Token, Dir: cfg.Dir, Log: cfg.Log,
		Identity: &atollv1.Plane{Name: cfg.Name, Kind: "app", Unit: cfg.Unit, Cell: cfg.Cell, Address: "http://" + cfg.Listen},
	}, s)
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	return s, nil
}

// Install takes a snapshot. The application reads from it which bucket a buyer
// has; whether a write may go ahead is the proxy's to say.
func (s *Shop) Install(_ context.Context, snapshot *space.Snapshot) error {
	v, err := route.NewView(snapshot)
	if err != nil {
		return err
	}
	s.installing.Lock()
	defer s.installing.Unlock()
	former := s.book.Load()
	if known := former.views[snapshot.Space]; known != nil && known.Snapshot.Epoch >= snapshot.Epoch {
		return nil
	}
	next := &book{views: map[string]*route.View{snapshot.Space: v}}
	for code, other := range former.views {
		if code != snapshot.Space {
			next.views[code] = other
		}
	}
	next.find(s.cfg.Space, s.cfg.Rule, s.driver.DBName)
	s.book.Store(next)
	return nil
}

// find picks the shop's space and rule: those that are named, else the space
// that has a Database of our name, else the only space.
func (b *book) find(code, rule, database string) {
	b.rule = rule
	for name, v := range b.views {
		if code != "" && name != code {
			continue
		}
		if code != "" || len(b.views) == 1 {
			b.mine = v
		}
		for _, d := range v.Snapshot.Databases {
			if d.Metadata.Name == database {
				b.mine = v
				if rule == "" {
					b.rule = d.Spec.Rule
				}
			}
		}
	}
	if b.mine != nil && b.rule == "" {
		if rules := b.mine.Snapshot.Document.Spec.UnitRules; len(rules) == 1 {
			b.rule = rules[0].ID
		}
	}
}

// decide tells bucket and owner of a buyer, with Reason ByNone when the space
// is not known yet.
func (s *Shop) decide(user string) route.Decision {
	b := s.book.Load()
	if b.mine == nil {
		return route.Decision{Bucket: -1, Reason: route.ByNone}
	}
	return b.mine.DecideKey(b.rule, user)
}

// owner is the other unit that owns a buyer, "" when it is not known or ours:
// a refusal by the proxy then comes from a later snapshot than the one here.
func (s *Shop) owner(user string) string {
	if d := s.decide(user); d.Unit != s.cfg.Unit {
		return d.Unit
	}
	return ""
}

// central tells whether the workers of the center run in this unit.
func (s *Shop) central() bool {
	if s.cfg.Center != nil {
		return *s.cfg.Center
	}
	b := s.book.Load()
	return b.mine != nil && b.mine.Center() == s.cfg.Unit
}

func (s *Shop) newID(ctx context.Context, user string) (int64, error) {
	d := s.decide(user)
	if d.Bucket < 0 {
		return 0, &failure{status: http.StatusServiceUnavailable, retry: true, text: "the application does not know the rule of its users yet; nothing was done"}
	}
	id, err := s.cfg.IDs.Next(d.Bucket)
	for try := 0; errors.Is(err, idgen.ErrBusy) && try < 20 && pause(ctx, idgen.TickLength); try++ { // one buyer in a hurry
		id, err = s.cfg.IDs.Next(d.Bucket)
	}
	if err != nil {
		return 0, &failure{status: http.StatusServiceUnavailable, retry: true, text: fmt.Sprintf("no order id: %v; nothing was done", err)}
	}
	return id, nil
}

// Ask has nothing for an application.
func (s *Shop) Ask([]*atollv1.Ask) {}

// Report tells the epochs in force and the figures.
func (s *Shop) Report(r *atollv1.ReportRequest) {
	for code, v := range s.book.Load().views {
		r.Spaces = append(r.Spaces, &atollv1.SpaceReport{Space: code, Epoch: v.Snapshot.Epoch})
	}
	r.Figures = s.figures.read()
}

// Renew has nothing for an application: the proxy holds the lease.
func (s *Shop) Renew(string, int64, time.Duration) {}

// Addr is the address that the application serves on; it waits for Run.
func (s *Shop) Addr(ctx context.Context) (string, error) {
	select {
	case <-s.bound:
		return s.addr, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Run serves until ctx ends and waits for what it began.
func (s *Shop) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("app: %w (choose another --listen, or end what has the port)", err)
	}
	side, err := s.listenStatus()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	if err := s.open(); err != nil {
		return errors.Join(err, l.Close(), closeAll(side))
	}
	defer func() {
		s.statements.close()
		_ = s.db.Close()
	}()
	s.addr = l.Addr().String()
	close(s.bound)
	s.cfg.Log.Info("app serves", "address", s.addr)

	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errorLog := slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)
	front, status := newServer(s.handler(), errorLog), newServer(s.statusHandler(), errorLog)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(serve(front, l)) })
	if side != nil {
		wg.Go(func() { cancel(serve(status, side)) })
	}
	if s.agent != nil {
		wg.Go(func() { cancel(s.agent.Run(ctx)) })
	}
	wg.Go(func() { s.warm(ctx) })
	if s.cfg.Center == nil || *s.cfg.Center {
		wg.Go(func() { s.changePrices(ctx) })
		wg.Go(func() { s.adjustStock(ctx) })
	}
	<-ctx.Done()
	stop(s.cfg.Patience, front, status)
	wg.Wait()
	if outer.Err() != nil {
		return nil
	}
	return fmt.Errorf("app: %w", context.Cause(ctx))
}

// open makes the pool. Each connection is looked at by the driver before it is
// used again, so that a restarted proxy costs no request more than those it
// had in hand.
func (s *Shop) open() error {
	connector, err := mysql.NewConnector(s.driver)
	if err != nil {
		return fmt.Errorf("app: data source name: %w", err)
	}
	s.db = sql.OpenDB(connector)
	s.db.SetMaxOpenConns(s.cfg.PoolLimit)
	s.db.SetMaxIdleConns(s.cfg.PoolLimit)
	s.db.SetConnMaxLifetime(10 * time.Minute)
	return nil
}

// warmEvery is how often the pool is filled up again.
const warmEvery = 5 * time.Second

// warm keeps three quarters of the pool open, as pools of applications do. A
// crowd that comes when a hold ends would else wait for connections first, each
// with its handshakes and a new thread of the database.
func (s *Shop) warm(ctx context.Context) {
	want := s.cfg.PoolLimit * 3 / 4
	for {
		if s.db.Stats().OpenConnections < want {
			s.fill(ctx, want)
		}
		if !pause(ctx, warmEvery) {
			return
		}
	}
}

// fill takes so many connections at once, and gives them back.
func (s *Shop) fill(ctx context.Context, want int) {
	taken := make([]*sql.Conn, 0, want)
	defer func() {
		for _, c := range taken {
			_ = c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	for len(taken) < want {
		c, err := s.db.Conn(ctx)
		if err != nil {
			s.cfg.Log.Debug("pool not filled", "err", err)
			return
		}
		taken = append(taken, c)
	}
}

func newServer(h http.Handler, errorLog *log.Logger) *http.Server {
	return &http.Server{
		Handler: h, ErrorLog: errorLog, MaxHeaderBytes: 32 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 40 * time.Second,
		IdleTimeout: 2 * time.Minute, // longer than a gateway keeps a connection, so that the gateway ends it
	}
}

func serve(s *http.Server, l net.Listener) error {
	err := s.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return context.Canceled
	}
	return err
}

// stop lets requests in flight end, for as long as one may take.
func stop(limit time.Duration, servers ...*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	}
}

func closeAll(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}
