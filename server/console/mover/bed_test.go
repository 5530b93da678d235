package mover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/server/console/planes"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
	os.Exit(0)
}

// gate lets a console's requests through to the store, or none: then the
// console is as good as killed, or cut off, and can be let in again later.
type gate struct {
	store.Store
	mu     sync.Mutex
	closed bool
	before func(store.Txn) // called before each Commit, without locks
	after  func(store.Txn) error
}

func (g *gate) shut(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

// hook sets what is called before and after each Commit; nil: nothing.
func (g *gate) hook(before func(store.Txn), after func(store.Txn) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before, g.after = before, after
}

func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return store.ErrUnavailable
	}
	return nil
}

func (g *gate) Get(ctx context.Context, key string) (store.Item, error) {
	if err := g.open(); err != nil {
		return store.Item{}, err
	}
	return g.Store.Get(ctx, key)
}

func (g *gate) List(ctx context.Context, prefix string, revision int64) (store.Listing, error) {
	if err := g.open(); err != nil {
		return store.Listing{}, err
	}
	return g.Store.List(ctx, prefix, revision)
}

func (g *gate) Keys(ctx context.Context, prefix string) (store.Listing, error) {
	if err := g.open(); err != nil {
		return store.Listing{}, err
	}
	return g.Store.Keys(ctx, prefix)
}

func (g *gate) Commit(ctx context.Context, t store.Txn) (int64, error) {
	g.mu.Lock()
	before, after := g.before, g.after
	g.mu.Unlock()
	if before != nil {
		before(t)
	}
	if err := g.open(); err != nil {
		return 0, err
	}
	revision, err := g.Store.Commit(ctx, t)
	if err == nil && after != nil {
		err = after(t)
	}
	return revision, err
}

// bed is a space with two units, its planes, and one console or two.
type bed struct {
	t      *testing.T
	ctx    context.Context
	store  store.Store
	memory *store.Memory // the same, where it is one
	oneWay time.Duration // from a plane to a console
	wg     sync.WaitGroup

	mu       sync.Mutex
	console  *fakeConsole // the one that planes reach
	consoles []*fakeConsole
	planes   map[string]*fakePlane
	tokens   map[string]bool             // "lane/move/epoch" that came out
	deaf     map[string]bool             // joints that planes do not answer
	laneTime time.Duration               // of a token through a lane
	broken   string                      // first violation seen
	lag      map[string]int64            // lane → lag in its reports
	late     map[string]bool             // planes that do not install what comes once they are fenced
	figures  map[string]map[string]int64 // joint → figures
	laneIs   func(*atollv1.LaneReport)   // changes what lanes report
	touched  chan struct{}               // closed and replaced when planes shall look again
}

// fakeConsole is planes service and mover over one gate, behind in-process
// connections.
type fakeConsole struct {
	mover    *Mover
	planes   *planes.Service
	gate     *gate
	client   *http.Client
	listener *pipes
	stop     func()
}

func testDocument() *space.Space {
	doc := &space.Space{APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"}}
	doc.Spec.Code, doc.Spec.Version = "shop", "1"
	doc.Spec.Units = []space.Unit{{Code: "unit-a", Type: space.Center}, {Code: "unit-b", Type: space.Regular}}
	doc.Spec.Variables = []space.Variable{{Name: "user", Sources: []space.Source{{Name: "user", Scope: space.ScopeQuery, Key: "user"}}}}
	doc.Spec.UnitRules = []space.UnitRule{{
		ID: "1003", LiveType: space.CrossRegion, Variable: "user", VariableSource: "user", VariableFunction: "BKDRHash", Modulo: 10000,
		Units: []space.UnitRoute{
			{Code: "unit-a", Ranges: []space.Range{{From: 0, To: 6000}}, Allows: []string{"vip"}},
			{Code: "unit-b", Ranges: []space.Range{{From: 6000, To: 10000}}},
		},
	}}
	return doc
}

func testDatabase() *space.Database {
	db := &space.Database{APIVersion: space.APIVersionAtoll, Kind: space.KindDatabase, Metadata: space.Metadata{Name: "shop"}}
	db.Spec = space.DatabaseSpec{Space: "shop", Rule: "1003", Tables: []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "buyer_id"}}}
	for i, unit := range []string{"unit-a", "unit-b"} {
		db.Spec.Sources = append(db.Spec.Sources, space.DataSource{Unit: unit, Host: "127.0.0.1", Port: 3311 + i, Database: "shop", User: "atoll"})
	}
	return db
}

// inBed runs a test in a bubble of its own time, with a space published, one
// console and all planes.
func inBed(t *testing.T, settings space.Settings, test func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := store.NewMemory()
		onStore(t, memory, settings, func(b *bed) {
			b.memory = memory
			test(b)
		})
	})
}

// onStore does so on any store and in the time of its caller.
func onStore(t *testing.T, s store.Store, settings space.Settings, test func(b *bed)) {
	ctx, cancel := context.WithCancel(context.Background())
	if settings.FenceDeadline == 0 {
		settings.FenceDeadline = 400 * time.Millisecond
	}
	b := &bed{
		t: t, ctx: ctx, store: s, oneWay: 15 * time.Millisecond, laneTime: 20 * time.Millisecond,
		planes: map[string]*fakePlane{}, tokens: map[string]bool{}, deaf: map[string]bool{}, lag: map[string]int64{}, late: map[string]bool{},
		figures: map[string]map[string]int64{}, touched: make(chan struct{}),
	}
	b.publish(func(s *space.Snapshot) {
		s.Space, s.Document, s.Databases, s.Settings = "shop", testDocument(), []*space.Database{testDatabase()}, settings
	})
	b.use(b.newConsole("c1"))
	for _, name := range []string{"gateway@unit-a", "gateway@unit-b", "dbproxy@unit-a", "dbproxy@unit-b", "dbsync@unit-a", "dbsync@unit-b"} {
		b.startPlane(name)
	}
	defer func() {
		cancel()
		for _, c := range b.consoles {
			c.stop()
		}
		b.wg.Wait()
		if b.broken != "" {
			t.Error(b.broken)
		}
	}()
	test(b)
}

// publish changes the snapshot as apply would.
func (b *bed) publish(change func(*space.Snapshot)) {
	b.t.Helper()
	current, err := publish.Load(b.ctx, b.store, "shop")
	if err != nil {
		b.t.Fatal(err)
	}
	next, err := current.Next()
	if err != nil {
		b.t.Fatal(err)
	}
	change(next)
	txn, err := publish.Txn(current, next, publish.Why{By: "ann", Action: "apply", Object: "shop", At: time.Now()})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.store.Commit(b.ctx, txn); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) snapshot() *space.Snapshot {
	b.t.Helper()
	current, err := publish.Load(b.ctx, b.store, "shop")
	if err != nil {
		b.t.Fatal(err)
	}
	return current.Snapshot
}

// newConsole starts a console under a member name.
func (b *bed) newConsole(member string) *fakeConsole {
	b.t.Helper()
	c := &fakeConsole{gate: &gate{Store: b.store}, listener: newPipes()}
	var err error
	c.mover, err = New(Config{Store: c.gate, Member: member, LeaseEnd: func(p *atollv1.Plane, code string, ttl time.Duration) (time.Time, bool) {
		return c.planes.LeaseEnd(p, code, ttl)
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	if c.planes, err = planes.New(planes.Config{Store: c.gate, Asker: c.mover, Hearer: c.mover}); err != nil {
		b.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewPlanesHandler(c.planes))
	mux.Handle(atollv1connect.NewMovesHandler(c.mover))
	server := &http.Server{Handler: mux}
	transport := &http.Transport{DialContext: c.listener.dial, DisableCompression: true}
	c.client = &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.planes.Run(ctx) })
	wg.Go(func() { _ = c.mover.Run(ctx) })
	wg.Go(func() { _ = server.Serve(c.listener) })
	c.stop = sync.OnceFunc(func() {
		cancel()
		_ = server.Close()
		transport.CloseIdleConnections()
		wg.Wait()
	})
	b.consoles = append(b.consoles, c)
	<-c.mover.Ready()
	<-c.planes.Ready()
	return c
}

// use makes a console the one that planes and people reach.
func (b *bed) use(c *fakeConsole) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.console = c
}

func (b *bed) reached() *fakeConsole {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.console
}

// kill cuts the present console off from the store and starts another in its
// place. The killed one lives on as a zombie until the bed ends.
func (b *bed) kill() (zombie *fakeConsole) {
	zombie = b.reached()
	zombie.gate.shut(true)
	b.use(b.newConsole("c1"))
	b.mu.Lock()
	for _, p := range b.planes {
		p.reconnect()
	}
	b.mu.Unlock()
	return zombie
}

func (b *bed) moves() atollv1connect.MovesClient {
	return atollv1connect.NewMovesClient(b.reached().client, "http://console")
}

func request(change func(*atollv1.MoveRequest)) *connect.Request[atollv1.MoveRequest] {
	r := &atollv1.MoveRequest{Space: "shop", From: "unit-a", To: "unit-b", Percent: 30}
	if change != nil {
		change(r)
	}
	return connect.NewRequest(r)
}

func (b *bed) start(change func(*atollv1.MoveRequest)) *atollv1.Move {
	b.t.Helper()
	answer, err := b.moves().Start(b.ctx, request(change))
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.Msg.GetMove()
}

// await polls the persisted move until a condition holds.
func (b *bed) await(id, what string, holds func(move.State) bool) move.State {
	b.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		it, err := b.store.Get(b.ctx, store.MoveKey("shop", id))
		if err != nil {
			b.t.Fatal(err)
		}
		s, err := decode(it)
		if err == nil && holds(s) {
			return s
		}
		pause.For(b.ctx, time.Millisecond)
	}
	it, _ := b.store.Get(b.ctx, store.MoveKey("shop", id))
	s, _ := decode(it)
	b.t.Fatalf("%s: the move stays in %s, waits for %v, checks %v", what, s.Phase, s.Waiting(), s.Checks)
	return s
}

func (b *bed) awaitPhase(id string, p move.Phase) move.State {
	b.t.Helper()
	return b.await(id, "await "+string(p), func(s move.State) bool { return s.Phase == p })
}

func (b *bed) awaitEnd(id string) move.State {
	b.t.Helper()
	return b.await(id, "await the end", func(s move.State) bool { return s.Phase.Over() })
}

// set changes how planes behave, and lets them look again.
func (b *bed) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.touched)
	b.touched = make(chan struct{})
}

func (b *bed) touch() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.touched
}

// pipes is a listener of in-process connections.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *bed) mustFail(err error, code connect.Code, words string) {
	b.t.Helper()
	var e *connect.Error
	if !errors.As(err, &e) || e.Code() != code || !strings.Contains(e.Message(), words) {
		b.t.Errorf("want %v with %q, got %v", code, words, err)
	}
}

func owned(doc *space.Space, unit string) string {
	for _, u := range doc.Spec.UnitRules[0].Units {
		if u.Code == unit {
			return fmt.Sprint(u.Ranges, slices.Sorted(slices.Values(u.Allows)))
		}
	}
	return ""
}
