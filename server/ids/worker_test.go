package ids_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/api/apitest"
	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/idgen"
	"github.com/atoll-live/atoll/server/ids"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a console's memory of id workers, by the same rules.
type ledger struct {
	atollv1connect.UnimplementedPlanesHandler
	url string

	mu      sync.Mutex
	away    bool
	calls   int
	workers []record
}

type record struct {
	holder      string
	from, until int64
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{}
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewPlanesHandler(l))
	l.url = apitest.Serve(t, mux)
	return l
}

func (l *ledger) LeaseWorker(_ context.Context, q *connect.Request[atollv1.LeaseWorkerRequest]) (*connect.Response[atollv1.LeaseWorkerResponse], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if l.away {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("no quorum"))
	}
	m := q.Msg
	at := -1
	for i, r := range l.workers {
		if r.holder == m.GetHolder() || at < 0 && r.until < m.GetNowTick() {
			at = i
		}
	}
	if at < 0 {
		l.workers = append(l.workers, record{from: -1, until: -1})
		at = len(l.workers) - 1
	}
	r := &l.workers[at]
	if r.holder == m.GetHolder() {
		r.until = max(r.until, m.GetUntilTick())
	} else {
		from := max(m.GetNowTick(), r.until+1)
		*r = record{m.GetHolder(), from, from + m.GetUntilTick() - m.GetNowTick()}
	}
	return connect.NewResponse(&atollv1.LeaseWorkerResponse{Worker: int32(at), FromTick: r.from, UntilTick: r.until, UnitNumber: 3}), nil
}

func (l *ledger) set(change func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// clock is a clock that a test turns.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// start runs a worker and returns what stops it.
func start(t *testing.T, cfg ids.Config) (*ids.Worker, func()) {
	t.Helper()
	cfg.Unit, cfg.Check = "unit-a", time.Millisecond
	w, err := ids.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return w, stop
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("waited for %s in vain", what)
		}
		<-tick.C
	}
}

func TestIDsCarryUnitAndBucket(t *testing.T) {
	l, c := newLedger(t), newClock()
	w, err := ids.New(ids.Config{Unit: "unit-a", Consoles: []string{l.url}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(1); !errors.Is(err, idgen.ErrUnreserved) || w.Ready() {
		t.Errorf("an id before time was reserved: %v", err)
	}
	w, _ = start(t, ids.Config{Consoles: []string{l.url}, Clock: c.read})
	wait(t, "a reservation", w.Ready)
	id, err := w.Next(9999)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := idgen.Parse(id); err != nil || p.Unit != 3 || p.Bucket != 9999 || p.Tick != idgen.Tick(c.read()) {
		t.Errorf("%+v %v", p, err)
	}
}

func TestWorkerGoesOnWhileTheConsoleIsAway(t *testing.T) {
	l, c := newLedger(t), newClock()
	w, _ := start(t, ids.Config{Consoles: []string{l.url}, Clock: c.read, Reserve: time.Minute})
	wait(t, "a reservation", w.Ready)
	l.set(func(l *ledger) { l.away, l.calls = true, 0 })
	c.turn(59 * time.Second)
	wait(t, "a call in vain", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.calls > 0 })
	if _, err := w.Next(1); err != nil {
		t.Errorf("within the reserve: %v", err)
	}
	c.turn(2 * time.Second)
	if _, err := w.Next(1); !errors.Is(err, idgen.ErrUnreserved) {
		t.Errorf("beyond the reserve: %v", err)
	}
	l.set(func(l *ledger) { l.away = false })
	wait(t, "ids again", func() bool { _, err := w.Next(1); return err == nil })
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.workers) != 1 {
		t.Errorf("%d worker numbers used for one process", len(l.workers))
	}
}

// A process that starts again, with its clock stepped back, makes no id that
// its former life made; nor do processes that live at the same time.
func TestNoDuplicateOverRestartsAndClockSteps(t *testing.T) {
	l, c := newLedger(t), newClock()
	seen := map[int64]bool{}
	draw := func(w *ids.Worker) {
		for range 50 {
			id, err := w.Next(7)
			if errors.Is(err, idgen.ErrBusy) {
				return
			}
			if err != nil {
				t.Errorf("draw: %v", err)
				return
			}
			if seen[id] {
				t.Fatalf("id %d twice", id)
			}
			seen[id] = true
		}
	}
	for _, step := range []time.Duration{0, -time.Second, -time.Hour, 3 * time.Second, 2 * time.Hour, -10 * time.Second} {
		c.turn(step)
		one, stopOne := start(t, ids.Config{Consoles: []string{l.url}, Clock: c.read, Reserve: 10 * time.Second})
		two, stopTwo := start(t, ids.Config{Consoles: []string{l.url}, Clock: c.read, Reserve: 10 * time.Second})
		wait(t, "reservations", func() bool { return one.Ready() && two.Ready() })
		draw(one)
		draw(two)
		stopOne()
		stopTwo()
	}
	if len(seen) < 500 {
		t.Errorf("only %d ids", len(seen))
	}
}

// A process that was frozen while its number went to another takes a new one
// and leaves the other alone.
func TestLostNumberIsNotTakenBack(t *testing.T) {
	l, c := newLedger(t), newClock()
	w, _ := start(t, ids.Config{Holder: "frozen", Consoles: []string{l.url}, Clock: c.read, Reserve: 10 * time.Second})
	wait(t, "a reservation", w.Ready)
	before, err := w.Next(1)
	if err != nil {
		t.Fatal(err)
	}
	l.set(func(l *ledger) {
		r := &l.workers[0]
		*r = record{"other", r.until + 1, r.until + 100_000}
	})
	c.turn(time.Minute)
	wait(t, "another number", func() bool {
		id, err := w.Next(1)
		if err != nil {
			return false
		}
		old, _ := idgen.Parse(before)
		p, _ := idgen.Parse(id)
		return p.Worker != old.Worker
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.workers[0].holder != "other" {
		t.Errorf("the number was taken from %q", "other")
	}
}

func TestSecondConsoleIsAsked(t *testing.T) {
	l := newLedger(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	w, _ := start(t, ids.Config{Consoles: []string{"http://" + dead.Addr().String(), l.url}})
	wait(t, "a reservation", w.Ready)
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for _, c := range []ids.Config{{}, {Unit: "u"}, {Unit: "u", Consoles: []string{"http://h"}, Reserve: time.Millisecond}, {Unit: "u", Consoles: []string{"h"}}} {
		if _, err := ids.New(c); err == nil {
			t.Errorf("%+v passes", c)
		}
	}
}
