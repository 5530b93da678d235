package dbsync_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/dbsync"
	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(laneProcess); file != "" {
		runLaneProcess(file)
		return
	}
	goleak.VerifyTestMain(m)
}

const ddlOrders = "CREATE TABLE orders (id BIGINT PRIMARY KEY, buyer VARCHAR(40) COLLATE utf8mb4_bin NOT NULL, amount INT NOT NULL, note LONGTEXT)"

// site is one unit of a test: its server and its plane.
type site struct {
	unit   string
	server *mariadbtest.Server
	db     *sql.DB
	cfg    dbsync.Config
	sync   *dbsync.Sync
	stop   func()
}

// world is a space on real servers. Keys are owned by bucket of their text:
// the test names keys by owner with key.
type world struct {
	t     testing.TB
	sites map[string]*site
	snap  *space.Snapshot
}

var ports = struct {
	sync.Mutex
	next int
}{next: 23000 + os.Getpid()%40*20}

func port() int {
	ports.Lock()
	defer ports.Unlock()
	ports.next++
	return ports.next
}

// newWorld starts a server for each unit; the first unit is the center.
// Statements are run on each.
func newWorld(t testing.TB, units int, tables []space.Table, statements ...string) *world {
	t.Helper()
	w := &world{t: t, sites: map[string]*site{}, snap: &space.Snapshot{Space: "shop", Epoch: 1}}
	doc := &space.Space{APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"},
		Spec: space.Spec{ID: "1", Code: "shop", Version: "1", TenantID: "t",
			Variables: []space.Variable{{Name: "user", Type: "string", Sources: []space.Source{{Name: "q", Scope: space.ScopeQuery, Key: "user", Func: "BKDRHash"}}}}}}
	rule := space.UnitRule{ID: "r", Name: "r", LiveType: space.CrossRegion, Variable: "user", VariableSource: "q", VariableFunction: "BKDRHash", Modulo: 1000}
	database := &space.Database{APIVersion: space.APIVersionAtoll, Kind: space.KindDatabase, Metadata: space.Metadata{Name: "shop"},
		Spec: space.DatabaseSpec{Space: "shop", Rule: "r", Tables: tables}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range units {
		unit := unitName(i)
		kind := space.Regular
		if i == 0 {
			kind = space.Center
		}
		doc.Spec.Units = append(doc.Spec.Units, space.Unit{Code: unit, Name: unit, Type: kind, Cells: []space.Cell{{Code: unit + "-1", Name: unit}}})
		rule.Units = append(rule.Units, space.UnitRoute{Code: unit, Ranges: []space.Range{{From: 1000 * i / units, To: 1000 * (i + 1) / units}}})
		p := port()
		password := filepath.Join(t.TempDir(), "pw")
		if err := os.WriteFile(password, []byte(mariadbtest.Password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		database.Spec.Sources = append(database.Spec.Sources, space.DataSource{Unit: unit, Host: "127.0.0.1", Port: p, Database: "shop", User: mariadbtest.User, PasswordFile: password})
		wg.Go(func() {
			s := mariadbtest.Start(t, mariadbtest.Options{Port: p, ServerID: i + 1})
			s.Exec(t, statements...)
			st := &site{unit: unit, server: s, db: s.Open(t), cfg: dbsync.Config{Unit: unit, Log: slog.New(slog.NewTextHandler(testLog{t}, nil)).With("unit", unit)}}
			mu.Lock()
			w.sites[unit] = st
			mu.Unlock()
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for unit, st := range w.sites {
			text, err := os.ReadFile(filepath.Join(st.server.Dir, "error.log"))
			if _, crash, crashed := bytes.Cut(text, []byte("got signal")); err == nil && crashed {
				t.Errorf("the server of %s crashed: got signal%s", unit, crash)
			}
		}
	})
	doc.Spec.UnitRules = []space.UnitRule{rule}
	w.snap.Document = doc
	w.snap.Databases = []*space.Database{database}
	return w
}

func unitName(i int) string { return "unit-" + string(rune('a'+i)) }

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if testing.Verbose() {
		fmt.Fprint(os.Stderr, string(b))
	}
	return len(b), nil
}

// start runs the plane of a unit with the snapshot of now.
func (w *world) start(unit string) *site {
	w.t.Helper()
	st := w.sites[unit]
	s, err := dbsync.New(st.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	st.sync = s
	if err := s.Install(context.Background(), w.snap); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	once := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run %s: %v", unit, err)
		}
	})
	st.stop = once
	w.t.Cleanup(once)
	return st
}

func (w *world) startAll() {
	for i := range len(w.sites) {
		w.start(unitName(i))
	}
	for i := range len(w.sites) {
		for k := range len(w.sites) {
			if i != k {
				w.running(unitName(i), unitName(k))
			}
		}
	}
}

// publish changes the snapshot and installs it everywhere, or at some units.
func (w *world) publish(change func(*space.Snapshot), units ...string) {
	w.t.Helper()
	next := *w.snap
	next.Epoch++
	next.Moves = nil
	for _, m := range w.snap.Moves {
		c := *m
		next.Moves = append(next.Moves, &c)
	}
	change(&next)
	w.snap = &next
	for unit, st := range w.sites {
		if st.sync != nil && (len(units) == 0 || slices.Contains(units, unit)) {
			if err := st.sync.Install(context.Background(), w.snap); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *world) report(unit string) *atollv1.ReportRequest {
	return w.reportOf(w.sites[unit].sync)
}

func (w *world) reportOf(s *dbsync.Sync) *atollv1.ReportRequest {
	r := &atollv1.ReportRequest{}
	s.Report(r)
	return r
}

func (w *world) lane(from, to string) *atollv1.LaneReport {
	for _, l := range w.report(to).Lanes {
		if l.Name == from+">"+to {
			return l
		}
	}
	return &atollv1.LaneReport{}
}

// eventually waits for a condition; what says what was last seen.
func eventually(t testing.TB, what string, cond func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := cond()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within the deadline; last seen: %s", what, seen)
		}
		<-tick.C
	}
}

func (w *world) running(from, to string) {
	w.t.Helper()
	eventually(w.t, from+">"+to+" runs", func() (bool, string) {
		l, r := w.lane(from, to), w.report(to)
		return l.State == "running" && l.Position != "", fmt.Sprintf("%v; %s", l, r.Trouble)
	})
}

// query gives the rows of a query as text, a line each.
func query(t testing.TB, db *sql.DB, q string, args ...any) string {
	t.Helper()
	out, err := tryQuery(db, q, args...)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return out
}

func tryQuery(db *sql.DB, q string, args ...any) (string, error) {
	rows, err := db.Query(q, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values := make([]sql.RawBytes, len(names))
		refs := make([]any, len(names))
		for i := range values {
			refs[i] = &values[i]
		}
		if err := rows.Scan(refs...); err != nil {
			return "", err
		}
		parts := make([]string, len(values))
		for i, v := range values {
			parts[i] = "NULL"
			if v != nil {
				parts[i] = string(v)
			}
		}
		lines = append(lines, strings.Join(parts, "|"))
	}
	return strings.Join(lines, "\n"), rows.Err()
}

func run(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, q := range statements {
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// same waits until a query gives the same on all the databases.
func (w *world) same(q string, units ...string) string {
	w.t.Helper()
	var last string
	eventually(w.t, "same answer to "+q, func() (bool, string) {
		last = ""
		for i, u := range units {
			got, err := tryQuery(w.sites[u].db, q)
			if err != nil {
				return false, err.Error()
			}
			if i > 0 && got != last {
				return false, fmt.Sprintf("%s has\n%s\nand %s has\n%s\n%v", units[i-1], last, u, got, w.report(u))
			}
			last = got
		}
		return true, ""
	})
	return last
}

// keys gives n keys whose owner by the first document is a unit.
func (w *world) keys(unit string, n int) []string {
	w.t.Helper()
	var out []string
	for i := 0; len(out) < n; i++ {
		key := fmt.Sprintf("u%d", i)
		if w.owner(key) == unit {
			out = append(out, key)
		}
	}
	return out
}
