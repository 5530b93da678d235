package workload_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/server/sandbox/history"
	"github.com/atoll-live/atoll/server/sandbox/liar"
	"github.com/atoll-live/atoll/server/sandbox/shop"
	"github.com/atoll-live/atoll/server/sandbox/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noIDs is for an application that places no orders.
type noIDs struct{}

func (noIDs) Next(int) (int64, error) { return 0, errors.New("no orders here") }
func (noIDs) Ready() bool             { return true }

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// database is a real server with the shop's tables and its application.
func database(t *testing.T) (server *mariadbtest.Server, app string) {
	t.Helper()
	server = mariadbtest.Start(t, mariadbtest.Options{})
	server.Exec(t, shop.Statements(false)...)
	s, err := shop.New(shop.Config{Unit: "unit-a", Listen: "127.0.0.1:0", DSN: server.DSN(), IDs: noIDs{}, Center: new(bool)})
	if err != nil {
		t.Fatal(err)
	}
	background(t, s.Run)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	addr, err := s.Addr(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return server, "http://" + addr
}

// run lets clients work for some seconds, half of those by SQL at a second
// address, and checks what they saw, also after it was stored.
func run(t *testing.T, seed uint64, server *mariadbtest.Server, app, second string) *history.Result {
	t.Helper()
	dsn := func(addr string) string {
		return server.User + ":" + server.Password + "@tcp(" + addr + ")/" + server.Database
	}
	w, err := workload.New(workload.Config{
		Sites:    []workload.Site{{Unit: "unit-a", Gateway: app, DSN: dsn(server.Addr())}, {Unit: "second", DSN: dsn(second)}},
		Duration: 3 * time.Second, KeyLife: time.Second, Rate: 300, Keys: 4, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := w.Store(&file); err != nil {
		t.Fatal(err)
	}
	head, ops, err := history.Load(&file)
	if err != nil || head.Seed != seed {
		t.Fatalf("%+v, %v", head, err)
	}
	res, err := history.Check(ops, history.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Undecided) > 0 || w.Unread() > 0 {
		t.Errorf("undecided %+v, unread %d", res.Undecided, w.Unread())
	}
	for _, k := range []history.Kind{history.Read, history.Write, history.CAS, history.Append, history.List} {
		if res.Kinds[string(k)] < 5 {
			t.Errorf("%s was done %d times only", k, res.Kinds[string(k)])
		}
	}
	t.Logf("%s: operations %d %v, keys %d, skipped %d, violations %d %v", w.Describe(), res.Operations,
		res.Outcomes, res.Keys, w.Skipped(), len(res.Violations), res.Anomalies())
	return res
}

func TestWorkload_AnHonestServer(t *testing.T) {
	server, app := database(t)
	res := run(t, 1, server, app, server.Addr())
	for _, v := range res.Violations {
		t.Error(v.String())
	}
	if res.Outcomes["unknown"] > 0 || res.Outcomes["ok"] < 200 {
		t.Errorf("outcomes %v", res.Outcomes)
	}
}

// TestWorkload_EachLieIsFound has the negative controls of the history checker:
// each is found, and named.
func TestWorkload_EachLieIsFound(t *testing.T) {
	server, app := database(t)
	for i, c := range []struct {
		lie  string
		want history.Anomaly
	}{
		{liar.OKWithoutWrite, history.LostUpdate}, {liar.WriteTwice, history.Doubled}, {liar.StaleRead, history.StaleRead}, {liar.Reorder, history.Reordered},
	} {
		t.Run(c.lie, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			q, err := liar.NewSQLLiar(liar.SQLConfig{Lie: c.lie, Listen: l.Addr().String(), Proxy: server.Addr(), User: server.User, Password: server.Password})
			if err != nil {
				t.Fatal(err)
			}
			background(t, func(ctx context.Context) error { return q.Serve(ctx, l) })
			res := run(t, uint64(100+i), server, app, l.Addr().String())
			if q.Lies() == 0 || res.Anomalies()[c.want] == 0 {
				t.Errorf("%d lies, and no %s was found: %v", q.Lies(), c.want, res.Anomalies())
			}
			if len(res.Violations) > 0 {
				t.Log(res.Violations[0].String())
			}
		})
	}
}

// TestWorkload_NobodyThere ends in time, and says that nothing was done.
func TestWorkload_NobodyThere(t *testing.T) {
	w, err := workload.New(workload.Config{Sites: []workload.Site{{Unit: "unit-a", DSN: "u:p@tcp(127.0.0.1:1)/shop"}}, Duration: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err != nil || len(w.Ops()) != 0 {
		t.Errorf("%d operations, %v", len(w.Ops()), err)
	}
}

// TestWorkload_KeysOfAFormerRun: a history that does not begin at the
// beginning would be judged wrong.
func TestWorkload_KeysOfAFormerRun(t *testing.T) {
	server, app := database(t)
	cfg := workload.Config{Sites: []workload.Site{{Unit: "unit-a", Gateway: app, DSN: server.DSN()}}, Duration: 100 * time.Millisecond, Seed: 5}
	for again := range 2 {
		w, err := workload.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(t.Context()); (err != nil) != (again == 1) {
			t.Errorf("run %d under one seed: %v", again+1, err)
		}
	}
}
