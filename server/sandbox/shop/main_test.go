package shop

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/idgen"
	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter gives ids without a console.
type counter struct{ g *idgen.Generator }

func newCounter(t *testing.T, worker int) *counter {
	t.Helper()
	g, err := idgen.New(idgen.Config{Unit: 1, Worker: worker, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	g.SetReservation(0, idgen.Tick(time.Now())+1_000_000)
	return &counter{g}
}

func (c *counter) Next(bucket int) (int64, error) { return c.g.Next(bucket) }
func (c *counter) Ready() bool                    { return true }

func snapshot(epoch int64) *space.Snapshot {
	return &space.Snapshot{
		Space: "shop", Epoch: epoch,
		Document: &space.Space{Metadata: space.Metadata{Name: "shop"}, Spec: space.Spec{
			Code:      "shop",
			Units:     []space.Unit{{Code: "unit-a", Type: space.Center}, {Code: "unit-b", Type: space.Regular}},
			Variables: []space.Variable{{Name: "user", Sources: []space.Source{{Name: "q", Scope: space.ScopeQuery, Key: "user"}}}},
			UnitRules: []space.UnitRule{{
				ID: "1003", Variable: "user", VariableSource: "q", VariableFunction: "BKDRHash", Modulo: 10000,
				Units: []space.UnitRoute{{Code: "unit-a", Ranges: []space.Range{{From: 0, To: 6000}}}, {Code: "unit-b", Ranges: []space.Range{{From: 6000, To: 10000}}}},
			}},
		}},
		Databases: []*space.Database{{Metadata: space.Metadata{Name: "shop"}, Spec: space.DatabaseSpec{Space: "shop", Rule: "1003", Tables: DocumentTables()}}},
	}
}

// start runs an application on a database of its own.
func start(t *testing.T, db *mariadbtest.Server, change func(*Config)) (*Shop, string) {
	t.Helper()
	cfg := Config{Unit: "unit-a", Listen: "127.0.0.1:0", DSN: db.DSN(), IDs: newCounter(t, int(workers.Add(1))%64), StockEvery: 5 * time.Millisecond, PriceEvery: 5 * time.Millisecond, Center: new(bool)}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	if err := s.Install(t.Context(), snapshot(3)); err != nil {
		t.Fatal(err)
	}
	limit, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	addr, err := s.Addr(limit)
	if err != nil {
		t.Fatal(err)
	}
	return s, "http://" + addr
}

var workers atomic.Int64

// database is a server with the shop's tables and assortment.
func database(t *testing.T) *mariadbtest.Server {
	t.Helper()
	db := mariadbtest.Start(t, mariadbtest.Options{})
	db.Exec(t, Statements(true)...)
	db.Exec(t, "INSERT INTO products VALUES ('p01', 'anchor', 500, NOW(6)), ('p02', 'beacon', 637, NOW(6))")
	return db
}

type reply struct {
	status int
	header http.Header
	body   string
	fields map[string]any
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

func do(t *testing.T, method, url, body string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", method, url, err)
		return reply{}
	}
	defer func() { _ = res.Body.Close() }()
	raw, _ := io.ReadAll(res.Body)
	got := reply{status: res.StatusCode, header: res.Header, body: string(raw)}
	_ = json.Unmarshal(raw, &got.fields)
	return got
}

func (r reply) text(name string) string {
	s, _ := r.fields[name].(string)
	return s
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("waited for %s in vain", what)
		}
		<-tick.C
	}
}
