package dbproxy_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbproxy"
	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rule     = "1003"
	waitMost = 20 * time.Second
)

// world is the servers of two units and what the console publishes for them.
type world struct {
	t       testing.TB
	servers map[string]*mariadbtest.Server
	doc     *space.Space
	db      *space.Database
	set     space.Settings
	moves   []*space.Transfer
	epoch   int64
	limits  dbproxy.Limits
	clock   func() time.Duration // nil: the real one
	reach   map[string]string    // unit → relay in front of its server
}

var tables = []string{
	`CREATE TABLE orders (buyer_id VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, id BIGINT NOT NULL, amount INT, note LONGTEXT,
		PRIMARY KEY (buyer_id, id))`,
	`CREATE TABLE carts (buyer_id BIGINT NOT NULL, item INT NOT NULL, qty INT, PRIMARY KEY (buyer_id, item))`,
	`CREATE TABLE products (id INT PRIMARY KEY, name VARCHAR(64))`,
	`CREATE TABLE stock (id INT PRIMARY KEY, n INT)`,
	`CREATE TABLE secret (id INT PRIMARY KEY)`,
}

// newWorld starts a server for each of the units.
func newWorld(t testing.TB, units ...string) *world {
	t.Helper()
	w := &world{
		t: t, servers: map[string]*mariadbtest.Server{},
		set: space.Settings{FenceDeadline: 200 * time.Millisecond},
		doc: &space.Space{
			APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"},
			Spec: space.Spec{
				ID: "shop", Code: "shop", Name: "shop", Version: "1", TenantID: "t",
				Units:     []space.Unit{{Code: "unit-a", Type: space.Center}, {Code: "unit-b", Type: space.Regular}},
				Variables: []space.Variable{{Name: "user", Sources: []space.Source{{Name: "q", Scope: space.ScopeQuery, Key: "user"}}}},
				UnitRules: []space.UnitRule{{
					ID: rule, LiveType: space.CrossRegion, Variable: "user", VariableSource: "q", VariableFunction: "BKDRHash", Modulo: 10000,
					Units: []space.UnitRoute{
						{Code: "unit-a", Ranges: []space.Range{{From: 0, To: 6000}}},
						{Code: "unit-b", Ranges: []space.Range{{From: 6000, To: 10000}}},
					},
				}},
			},
		},
		db: &space.Database{
			APIVersion: space.APIVersionAtoll, Kind: space.KindDatabase, Metadata: space.Metadata{Name: "shop"},
			Spec: space.DatabaseSpec{Space: "shop", Rule: rule, Tables: []space.Table{
				{Name: "orders", Kind: space.TableUnit, Key: "buyer_id", Reads: space.ReadsOwner},
				{Name: "carts", Kind: space.TableUnit, Key: "buyer_id"},
				{Name: "products", Kind: space.TableCenterUnit},
				{Name: "stock", Kind: space.TableCenter},
			}},
		},
	}
	password := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(password, []byte(mariadbtest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, unit := range units {
		s := mariadbtest.Start(t, mariadbtest.Options{ServerID: i + 1, Port: freePort(t)})
		s.Exec(t, tables...)
		w.servers[unit] = s
		w.db.Spec.Sources = append(w.db.Spec.Sources, space.DataSource{
			Unit: unit, Host: s.Host, Port: s.Port, Database: s.Database, User: s.User, PasswordFile: password,
		})
	}
	return w
}

// port is the next of this package's ports. Another run of these tests on the
// machine begins elsewhere.
var port = func() *atomic.Int32 {
	var p atomic.Int32
	p.Store(int32(os.Getpid() * 61 % 900))
	return &p
}()

// freePort is one that nobody listens on now.
func freePort(t testing.TB) int {
	t.Helper()
	for range 900 {
		p := 21000 + int(port.Add(1))%900
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p)); err == nil {
			_ = l.Close()
			return p
		}
	}
	t.Fatal("no free port from 21000 to 21899")
	return 0
}

// snapshot is the next one.
func (w *world) snapshot() *space.Snapshot {
	w.epoch++
	moves := make([]*space.Transfer, 0, len(w.moves))
	for _, m := range w.moves {
		c := *m
		moves = append(moves, &c)
	}
	doc, db := *w.doc, *w.db
	return &space.Snapshot{Space: "shop", Epoch: w.epoch, Document: &doc, Databases: []*space.Database{&db}, Moves: moves, Settings: w.set}
}

// proxy is one running Proxy.
type proxy struct {
	*dbproxy.Proxy
	w    *world
	unit string
	stop func()
}

// start starts a proxy for a unit, with no snapshot.
func (w *world) start(unit, incarnation string) *proxy {
	w.t.Helper()
	p, err := dbproxy.New(dbproxy.Config{
		Plane: "dbproxy@" + unit, Incarnation: incarnation, Unit: unit, Space: "shop", Database: "shop",
		Listen: "127.0.0.1:" + strconv.Itoa(freePort(w.t)), User: "app", Password: "app-secret", Limits: w.limits, Clock: w.clock, Reach: w.reach,
		Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var over atomic.Bool
	x := &proxy{Proxy: p, w: w, unit: unit}
	x.stop = func() {
		if over.Swap(true) {
			return
		}
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("proxy of %s: %v", unit, err)
		}
	}
	w.t.Cleanup(x.stop)
	await(w.t, "listening", func() bool { return p.Addr() != nil })
	return x
}

// serve starts a proxy and gives it a snapshot and a lease for ever.
func (w *world) serve(unit string) *proxy {
	w.t.Helper()
	p := w.start(unit, "")
	p.install(w.snapshot())
	p.Renew("shop", w.epoch, guard.Forever)
	await(w.t, "ready", p.Ready)
	return p
}

func (p *proxy) install(s *space.Snapshot) {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMost)
	defer cancel()
	if err := p.Install(ctx, s); err != nil {
		p.w.t.Fatal(err)
	}
}

// await polls a condition that something else brings about.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	awaitEvery(t, 2*time.Millisecond, what, cond)
}

func awaitEvery(t testing.TB, interval time.Duration, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for end := time.Now().Add(waitMost); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for: %s", waitMost, what)
		}
	}
}

// config is of the Go driver with its defaults, but silent.
func (p *proxy) config() *mysql.Config {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = "app", "app-secret", "tcp", p.Addr().String(), "shop"
	c.Logger = log.New(io.Discard, "", 0)
	return c
}

func openConfig(t testing.TB, c *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (p *proxy) open() *sql.DB { return openConfig(p.w.t, p.config()) }

// conn is one connection of its own.
func (p *proxy) conn() *sql.Conn { return p.connOf(p.config()) }

// textConn is one that sends texts instead of prepared statements.
func (p *proxy) textConn() *sql.Conn {
	c := p.config()
	c.InterpolateParams = true
	return p.connOf(c)
}

func (p *proxy) connOf(config *mysql.Config) *sql.Conn {
	p.w.t.Helper()
	c, err := openConfig(p.w.t, config).Conn(ctx(p.w.t))
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), waitMost)
	t.Cleanup(cancel)
	return c
}

// key finds the n-th key that a unit owns.
func (w *world) key(unit string, n int) string {
	w.t.Helper()
	table, err := route.Compile(w.doc)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 1; ; i++ {
		if k := strconv.Itoa(i); table.DecideKey(rule, k).Unit == unit {
			if n--; n == 0 {
				return k
			}
		}
	}
}

// move is a transfer of keys from unit-a to unit-b.
func move(id string, keys ...string) *space.Transfer {
	return &space.Transfer{ID: id, Rule: rule, From: "unit-a", To: "unit-b", Keys: space.KeySet{Keys: keys}}
}

// fence puts the move's fence in force at a proxy.
func (w *world) fence(p *proxy, m *space.Transfer) {
	w.t.Helper()
	m.Hold, m.Fenced, m.FenceEpoch = true, true, w.epoch+1
	w.moves = []*space.Transfer{m}
	p.install(w.snapshot())
}

// switchOver makes the target the owner and opens the keys there.
func (w *world) switchOver(p *proxy, m *space.Transfer) {
	w.t.Helper()
	doc, err := route.Switch(w.doc, m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.doc = doc
	m.Hold, m.Fenced, m.Outcome = false, false, space.OutcomeSwitched
	p.install(w.snapshot())
}

// abort lifts the fence.
func (w *world) abort(p *proxy, m *space.Transfer) {
	w.t.Helper()
	m.Hold, m.Fenced, m.Outcome = false, false, space.OutcomeAborted
	p.install(w.snapshot())
}

// drained says whether the proxy acks the fence of a move, and how many
// transactions it killed.
func (p *proxy) drained(m *space.Transfer) (bool, int64) {
	var r atollv1.ReportRequest
	p.Report(&r)
	for _, a := range r.GetAcks() {
		if a.GetStep() == "drained" && a.GetMove() == m.ID && a.GetEpoch() == m.FenceEpoch {
			return true, a.GetFigures()["tx_killed"]
		}
	}
	return false, 0
}

func (p *proxy) awaitDrained(m *space.Transfer) int64 {
	p.w.t.Helper()
	await(p.w.t, "drained", func() bool { ok, _ := p.drained(m); return ok })
	_, killed := p.drained(m)
	return killed
}

// refused checks the number of an error.
func refused(t testing.TB, err error, code uint16) {
	t.Helper()
	var e *mysql.MySQLError
	if !errors.As(err, &e) || e.Number != code {
		t.Fatalf("got %v, want error %d", err, code)
	}
	want := "HY000"
	if code == 9602 {
		want = "40001"
	}
	if state := string(e.SQLState[:]); code >= 9600 && code < 9700 && state != want {
		t.Errorf("error %d has state %s, want %s", code, state, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// count asks a server directly.
func (w *world) count(unit, query string, args ...any) int {
	w.t.Helper()
	db := w.servers[unit].Open(w.t)
	defer func() { _ = db.Close() }()
	var n int
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// direct is one connection to a server, past any proxy.
func (w *world) direct(unit string) func(text string) {
	w.t.Helper()
	c, err := w.servers[unit].Open(w.t).Conn(ctx(w.t))
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return func(text string) {
		w.t.Helper()
		_, err := c.ExecContext(ctx(w.t), text)
		must(w.t, err)
	}
}

// lockWaits is how many statements wait for a row lock at unit-a's server.
func (w *world) lockWaits() int {
	w.t.Helper()
	return w.count("unit-a", "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'")
}

// openTransactions is how many InnoDB knows at unit-a's server. It looks anew
// only when nobody has asked for a tenth of a second.
func (w *world) openTransactions() int {
	w.t.Helper()
	return w.count("unit-a", "SELECT COUNT(*) FROM information_schema.INNODB_TRX")
}

func (w *world) orders(unit, key string) int {
	w.t.Helper()
	return w.count(unit, "SELECT COUNT(*) FROM orders WHERE buyer_id = ?", key)
}
