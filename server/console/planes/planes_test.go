package planes_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/planes"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 15 * time.Second

// fakeMover asks what it is told to and remembers what it hears.
type fakeMover struct {
	mu      sync.Mutex
	asks    []*atollv1.Ask
	changed chan struct{}
	heard   []*atollv1.ReportRequest
}

func (m *fakeMover) Asks(*atollv1.Plane) []*atollv1.Ask {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asks
}

func (m *fakeMover) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *fakeMover) ask(asks ...*atollv1.Ask) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asks = asks
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *fakeMover) Heard(_ *atollv1.Plane, r *atollv1.ReportRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, r)
}

func (m *fakeMover) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.heard)
}

// gate is a store whose Keys waits while it is shut: the moment between a
// report's arrival and the read of the epochs.
type gate struct {
	*store.Memory
	shut    atomic.Bool
	entered chan struct{}
	open    chan struct{}
}

func (g *gate) Keys(ctx context.Context, prefix string) (store.Listing, error) {
	if g.shut.Load() && prefix == store.SnapshotPrefix {
		g.entered <- struct{}{}
		<-g.open
	}
	return g.Memory.Keys(ctx, prefix)
}

type world struct {
	t      *testing.T
	ctx    context.Context
	store  *gate
	mover  *fakeMover
	clock  *fakeClock
	s      *planes.Service
	client atollv1connect.PlanesClient
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newWorld(t *testing.T, change func(*planes.Config)) *world {
	t.Helper()
	w := &world{
		t: t, store: &gate{Memory: store.NewMemory(), entered: make(chan struct{}, 10), open: make(chan struct{})},
		mover: &fakeMover{changed: make(chan struct{})}, clock: &fakeClock{now: time.Now()},
	}
	w.run(change)
	return w
}

// run starts a console's service over the world's store: again, after a restart.
func (w *world) run(change func(*planes.Config)) {
	w.t.Helper()
	cfg := planes.Config{Store: w.store, Asker: w.mover, Hearer: w.mover, Clock: w.clock.Now, KeepAlive: 50 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	s, err := planes.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewPlanesHandler(s))
	server := httptest.NewUnstartedServer(planes.Bounded(mux))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	transport := &http.Transport{Protocols: server.Config.Protocols}
	w.ctx, w.s = ctx, s
	w.client = atollv1connect.NewPlanesClient(&http.Client{Transport: transport}, server.URL, connect.WithGRPC())
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	select {
	case <-s.Ready():
	case <-ctx.Done():
		w.t.Fatal("the service is not ready")
	}
}

func (w *world) publish(code string, epoch int64, ttl time.Duration) {
	w.t.Helper()
	w.publishRaw(&space.Snapshot{Space: code, Epoch: epoch, Settings: space.Settings{FenceTTL: ttl}})
}

func (w *world) publishRaw(s *space.Snapshot) {
	w.t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Commit(w.ctx, store.Txn{Then: []store.Op{store.Put(store.SnapshotKey(s.Space), raw)}}); err != nil {
		w.t.Fatal(err)
	}
}

func plane(name, incarnation string) *atollv1.Plane {
	return &atollv1.Plane{Name: name, Kind: "dbproxy", Unit: "unit-a", Incarnation: incarnation, Pid: 7}
}

func (w *world) register(p *atollv1.Plane) error {
	_, err := w.client.Register(w.ctx, connect.NewRequest(&atollv1.RegisterRequest{Plane: p}))
	return err
}

func (w *world) mustRegister(p *atollv1.Plane) {
	w.t.Helper()
	if err := w.register(p); err != nil {
		w.t.Fatal(err)
	}
}

var boottime atomic.Int64

func (w *world) report(p *atollv1.Plane, spaces ...*atollv1.SpaceReport) (*atollv1.ReportResponse, error) {
	res, err := w.client.Report(w.ctx, connect.NewRequest(&atollv1.ReportRequest{
		Plane: p.GetName(), Incarnation: p.GetIncarnation(), BoottimeNs: boottime.Add(1), Spaces: spaces,
	}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// leases reports until the feed has followed the store, or rather: as often
// as a plane would, until the answer is the wanted one.
func (w *world) leases(want string, p *atollv1.Plane, spaces ...*atollv1.SpaceReport) {
	w.t.Helper()
	var got string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		res, err := w.report(p, spaces...)
		if err != nil {
			w.t.Fatal(err)
		}
		var parts []string
		for _, l := range res.GetLeases() {
			parts = append(parts, fmt.Sprintf("%s@%d:%v", l.GetSpace(), l.GetEpoch(), time.Duration(l.GetTtlNs())))
		}
		if got = strings.Join(parts, " "); got == want {
			return
		}
	}
	w.t.Fatalf("leases %q, want %q", got, want)
}

func at(code string, epoch int64) *atollv1.SpaceReport {
	return &atollv1.SpaceReport{Space: code, Epoch: epoch}
}

func code(err error) connect.Code {
	if err == nil {
		return 0
	}
	return connect.CodeOf(err)
}

func TestRegister(t *testing.T) {
	w := newWorld(t, nil)
	w.mustRegister(plane("dbproxy@unit-a", "one"))
	w.mustRegister(plane("dbproxy@unit-a", "one")) // an answer that was lost
	other := plane("dbproxy@unit-a", "two")
	other.Kind = "gateway"
	if err := w.register(other); code(err) != connect.CodeAlreadyExists || !strings.Contains(err.Error(), "planes forget") {
		t.Errorf("another kind: %v", err)
	}
	other = plane("dbproxy@unit-a", "two")
	other.Unit = "unit-b"
	if err := w.register(other); code(err) != connect.CodeAlreadyExists {
		t.Errorf("another unit: %v", err)
	}
	w.mustRegister(plane("dbproxy@unit-a", "two"))
	if err := w.register(plane("dbproxy@unit-a", "one")); code(err) != connect.CodeFailedPrecondition {
		t.Errorf("a replaced incarnation came back: %v", err)
	}
	for _, bad := range []*atollv1.Plane{nil, {Name: "x", Kind: "y"}, {Name: strings.Repeat("x", 999), Kind: "y", Incarnation: "z"}} {
		if err := w.register(bad); code(err) != connect.CodeInvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
	records, _, err := store.Planes(w.ctx, w.store)
	if err != nil || len(records) != 1 || records[0].Plane.GetIncarnation() != "two" {
		t.Errorf("in the store: %+v, %v", records, err)
	}
}

func TestLease_GrantedOnlyAtTheEpochInForce(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	w.mustRegister(p)
	w.publish("shop", 7, 5*time.Second)
	w.publish("other", 3, 0)
	w.leases("shop@7:5s other@3:0s", p, at("shop", 7), at("other", 3))
	w.leases("other@3:0s", p, at("shop", 6), at("other", 3))
	w.leases("", p, at("shop", 8), at("never", 1))
	w.publish("shop", 8, 5*time.Second)
	w.leases("shop@8:5s", p, at("shop", 8), at("shop", 8))
	if res, err := w.report(p, at("shop", 7)); err != nil || len(res.GetLeases()) != 0 {
		t.Errorf("lease for a former epoch: %v, %v", res, err)
	}
}

// A snapshot that is committed after a report came in and before its epochs
// are read must cost the plane its lease: with the read before, a plane would
// be renewed for a map that is no longer in force.
func TestLease_ReadsTheEpochAfterTheReport(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	w.mustRegister(p)
	w.publish("shop", 7, 5*time.Second)
	w.leases("shop@7:5s", p, at("shop", 7))
	w.store.shut.Store(true)
	answer := make(chan *atollv1.ReportResponse, 1)
	go func() {
		res, err := w.report(p, at("shop", 7))
		if err != nil {
			t.Error(err)
		}
		answer <- res
	}()
	<-w.store.entered
	if _, forEver := w.s.LeaseEnd(p, "shop", 0); !forEver {
		t.Error("a plane whose renewal is on its way counts as without a lease")
	}
	end, _ := w.s.LeaseEnd(p, "shop", time.Hour)
	if end.Sub(w.clock.Now()) < time.Hour {
		t.Errorf("a plane whose renewal is on its way is leased until %v", end)
	}
	w.publish("shop", 8, 5*time.Second)
	w.store.shut.Store(false)
	close(w.store.open)
	if res := <-answer; len(res.GetLeases()) != 0 || res.GetUnknownPlane() {
		t.Errorf("renewed for epoch 7 after 8 was committed: %v", res)
	}
}

func TestLease_OnlyToTheRegisteredIncarnation(t *testing.T) {
	w := newWorld(t, nil)
	old, now := plane("dbproxy@unit-a", "one"), plane("dbproxy@unit-a", "two")
	w.publish("shop", 1, 0)
	w.mustRegister(old)
	w.leases("shop@1:0s", old, at("shop", 1))
	w.mustRegister(now)
	res, err := w.report(old, at("shop", 1))
	if err != nil || !res.GetUnknownPlane() || len(res.GetLeases()) != 0 {
		t.Errorf("the former life: %v, %v", res, err)
	}
	w.leases("shop@1:0s", now, at("shop", 1))
	heard := w.mover.count()
	if res, err = w.report(plane("never@unit-a", "x"), at("shop", 1)); err != nil || !res.GetUnknownPlane() {
		t.Errorf("a plane never registered: %v, %v", res, err)
	}
	if w.mover.count() != heard {
		t.Error("the mover heard a plane that is not registered")
	}
}

func TestLease_NoneWithAnUndrainedFence(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	w.mustRegister(p)
	w.publish("shop", 7, time.Second)
	w.publish("other", 3, time.Second)
	undrained := at("shop", 7)
	undrained.Undrained = true
	w.leases("other@3:1s", p, undrained, at("other", 3))
	w.leases("shop@7:1s other@3:1s", p, at("shop", 7), at("other", 3))
}

func TestLease_NoneForAnOvertakenReport(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	w.mustRegister(p)
	w.publish("shop", 7, time.Second)
	w.leases("shop@7:1s", p, at("shop", 7))
	heard := w.mover.count()
	res, err := w.client.Report(w.ctx, connect.NewRequest(&atollv1.ReportRequest{
		Plane: p.GetName(), Incarnation: p.GetIncarnation(), BoottimeNs: 0, Spaces: []*atollv1.SpaceReport{at("shop", 7)},
	}))
	if err != nil || len(res.Msg.GetLeases()) != 0 || w.mover.count() != heard {
		t.Errorf("an overtaken report: %v, %v, %d heard of %d", res, err, w.mover.count(), heard)
	}
}

func TestLease_NoneWithoutQuorum(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	w.mustRegister(p)
	w.publish("shop", 7, time.Second)
	w.leases("shop@7:1s", p, at("shop", 7))
	w.store.SetDown(true)
	if _, err := w.report(p, at("shop", 7)); code(err) != connect.CodeUnavailable {
		t.Errorf("without a quorum: %v", err)
	}
	w.store.SetDown(false)
	w.leases("shop@7:1s", p, at("shop", 7))
}

func TestLeaseEnd(t *testing.T) {
	w := newWorld(t, nil)
	start := w.clock.Now()
	p := plane("dbproxy@unit-a", "one")
	if end, _ := w.s.LeaseEnd(p, "shop", time.Second); !end.Equal(start.Add(1020 * time.Millisecond)) {
		t.Errorf("a plane of the time before this start is leased until %v after it", end.Sub(start))
	}
	if _, forEver := w.s.LeaseEnd(p, "shop", 0); !forEver {
		t.Error("a plane of the time before this start may hold a lease for ever")
	}
	w.mustRegister(p)
	if end, forEver := w.s.LeaseEnd(p, "shop", 0); forEver || !end.IsZero() {
		t.Errorf("a plane that has just registered: %v, %v", end, forEver)
	}
	w.run(nil) // after a restart, the same incarnation registers again
	w.mustRegister(p)
	if end, forEver := w.s.LeaseEnd(p, "shop", 0); !forEver {
		t.Errorf("a plane that registers again may hold a lease from before the restart: %v, %v", end, forEver)
	}
	w.publish("shop", 1, time.Second)
	w.clock.advance(time.Minute)
	w.leases("shop@1:1s", p, at("shop", 1))
	if end, forEver := w.s.LeaseEnd(p, "shop", time.Second); forEver || !end.Equal(w.clock.Now().Add(1020*time.Millisecond)) {
		t.Errorf("leased until %v from now", end.Sub(w.clock.Now()))
	}
	w.publish("shop", 2, 0)
	w.leases("shop@2:0s", p, at("shop", 2))
	if _, forEver := w.s.LeaseEnd(p, "shop", time.Second); !forEver {
		t.Error("a lease for ever has an end after the ttl changed")
	}
}

// received collects what a Watch delivers.
type received struct {
	mu     sync.Mutex
	epochs map[string][]int64
	asks   [][]*atollv1.Ask
	spaces []string
	empty  int
	err    error
	ended  bool
	news   chan struct{}
}

func (w *world) watch(p *atollv1.Plane, held map[string]int64) (*received, context.CancelFunc) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	stream, err := w.client.Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: p.GetName(), Incarnation: p.GetIncarnation(), Epochs: held}))
	if err != nil {
		w.t.Fatal(err)
	}
	r := &received{epochs: map[string][]int64{}, news: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for stream.Receive() {
			r.take(stream.Msg())
		}
		r.mu.Lock()
		r.err, r.ended = stream.Err(), true
		r.mu.Unlock()
		r.notify()
		_ = stream.Close()
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return r, cancel
}

func (r *received) notify() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *received) take(m *atollv1.WatchResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, raw := range m.GetSnapshots() {
		var s space.Snapshot
		if err := json.Unmarshal(raw, &s); err != nil {
			r.err = err
		}
		r.epochs[s.Space] = append(r.epochs[s.Space], s.Epoch)
	}
	if m.GetAsksSet() {
		r.asks, r.spaces = append(r.asks, m.GetAsks()), m.GetSpaces()
	}
	if len(m.GetSnapshots()) == 0 && !m.GetAsksSet() {
		r.empty++
	}
	r.notify()
}

func (r *received) wait(t *testing.T, what string, ok func(*received) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		r.mu.Lock()
		good := ok(r)
		r.mu.Unlock()
		if good {
			return
		}
		select {
		case <-r.news:
		case <-limit:
			t.Fatalf("waited in vain for %s: %+v", what, r)
		}
	}
}

func (r *received) last(code string) int64 {
	if e := r.epochs[code]; len(e) > 0 {
		return e[len(e)-1]
	}
	return 0
}

func TestWatch_EpochsOnlyRise(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	w.mustRegister(p)
	w.publish("held", 4, 0)
	r, _ := w.watch(p, map[string]int64{"held": 4})
	const many = 300
	for epoch := int64(1); epoch <= many; epoch++ {
		w.publish("shop", epoch, 0)
	}
	r.wait(t, "the last epoch", func(r *received) bool { return r.last("shop") == many })
	w.publish("shop", many-50, 0) // a store that was set back
	w.publish("after", 1, 0)
	r.wait(t, "a later snapshot", func(r *received) bool { return r.last("after") == 1 })
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := 1; i < len(r.epochs["shop"]); i++ {
		if r.epochs["shop"][i] <= r.epochs["shop"][i-1] {
			t.Fatalf("epochs %v", r.epochs["shop"])
		}
	}
	if len(r.epochs["held"]) != 0 {
		t.Errorf("the plane was sent what it holds: %v", r.epochs["held"])
	}
}

func TestWatch_AsksAndKeepAlive(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbsync@unit-b", "one")
	w.mustRegister(p)
	r, _ := w.watch(p, nil)
	r.wait(t, "the first list of asks", func(r *received) bool { return len(r.asks) == 1 && len(r.asks[0]) == 0 })
	r.wait(t, "keep-alives", func(r *received) bool { return r.empty >= 3 })
	w.mover.ask(&atollv1.Ask{Space: "shop", Move: "m1", Epoch: 5, Step: "close"})
	r.wait(t, "an ask", func(r *received) bool { return len(r.asks) == 2 && r.asks[1][0].GetStep() == "close" })
	w.mover.ask(&atollv1.Ask{Space: "shop", Move: "m1", Epoch: 5, Step: "close"}) // the same again is no news
	w.publish("shop", 1, 0)
	r.wait(t, "the list of spaces", func(r *received) bool { return len(r.spaces) == 1 && r.spaces[0] == "shop" && len(r.asks) == 3 })
	w.mover.ask()
	r.wait(t, "the end of the asks", func(r *received) bool { return len(r.asks) == 4 && len(r.asks[3]) == 0 })
}

func TestWatch_EndsWhenThePlaneIsReplaced(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	r, _ := w.watch(p, nil)
	r.wait(t, "a refusal", func(r *received) bool { return r.ended && code(r.err) == connect.CodeNotFound })
	w.mustRegister(p)
	first, _ := w.watch(p, nil)
	first.wait(t, "the first stream", func(r *received) bool { return len(r.asks) > 0 })
	second, _ := w.watch(p, nil)
	first.wait(t, "the end of the first", func(r *received) bool { return r.ended && code(r.err) == connect.CodeAborted })
	second.wait(t, "the second stream", func(r *received) bool { return len(r.asks) > 0 })
	w.mustRegister(plane("dbproxy@unit-a", "two"))
	second.wait(t, "the end of the second", func(r *received) bool { return r.ended && code(r.err) == connect.CodeAborted })
}

// A plane that takes nothing is cut off, and while it hangs costs one message.
func TestWatch_CutsOffWhoDoesNotRead(t *testing.T) {
	w := newWorld(t, func(c *planes.Config) { c.SendTimeout = 300 * time.Millisecond })
	p := plane("dbproxy@unit-a", "one")
	w.mustRegister(p)
	noise := make([]byte, 1<<19) // what compresses would fit into the window
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	big := &space.Space{Metadata: space.Metadata{Name: hex.EncodeToString(noise)}}
	for i := range 12 { // more than a client's window takes unread
		w.publishRaw(&space.Snapshot{Space: fmt.Sprint("s", i), Epoch: 1, Document: big})
	}
	stream, err := w.client.Watch(w.ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: p.GetName(), Incarnation: p.GetIncarnation()}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	// Nobody reads: only the service can end it.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for opened := false; !opened || w.s.Streams() > 0; opened = opened || w.s.Streams() > 0 {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			t.Fatal("the stream hangs on")
		}
	}
	for stream.Receive() {
	}
	if stream.Err() == nil {
		t.Error("a stream that was cut off ends without an error")
	}
}

func TestForgetAndDeregister(t *testing.T) {
	w := newWorld(t, nil)
	p := plane("dbproxy@unit-a", "one")
	forget := func(name string) error {
		_, err := w.client.Forget(w.ctx, connect.NewRequest(&atollv1.ForgetRequest{Name: name}))
		return err
	}
	if err := forget("never"); code(err) != connect.CodeNotFound {
		t.Errorf("forget a plane that is not there: %v", err)
	}
	w.mustRegister(p)
	w.publish("shop", 1, 20*time.Second)
	w.leases("shop@1:20s", p, at("shop", 1))
	if err := forget(p.GetName()); code(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "is connected") {
		t.Errorf("forget a connected plane: %v", err)
	}
	w.clock.advance(10 * time.Second)
	if err := forget(p.GetName()); code(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "lease") {
		t.Errorf("forget a leased plane: %v", err)
	}
	w.clock.advance(11 * time.Second)
	if err := forget(p.GetName()); code(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "no dbsync plane of unit-a is registered") || !strings.Contains(err.Error(), "--leave-threads") {
		t.Errorf("forget a dbproxy whose threads nobody ends: %v", err)
	}
	if _, err := w.client.Forget(w.ctx, connect.NewRequest(&atollv1.ForgetRequest{Name: p.GetName(), LeaveThreads: true})); err != nil {
		t.Errorf("forget a dead plane: %v", err)
	}
	if entries, err := audit.List(w.ctx, w.store, 0); err != nil || len(entries) != 1 || entries[0].Action != "plane.forget" || entries[0].Object != p.GetName() {
		t.Errorf("audit: %+v, %v", entries, err)
	}
	if res, err := w.report(p, at("shop", 1)); err != nil || !res.GetUnknownPlane() {
		t.Errorf("a forgotten plane: %v, %v", res, err)
	}
	// The process that was forgotten may still hold a lease: it does not come
	// back as if it were new.
	if err := w.register(p); code(err) != connect.CodeFailedPrecondition {
		t.Errorf("a forgotten plane came back: %v", err)
	}

	p = plane("dbproxy@unit-a", "later")
	w.mustRegister(p)
	undrained := at("shop", 1)
	undrained.Undrained = true
	if _, err := w.report(p, undrained); err != nil {
		t.Fatal(err)
	}
	leave := func(incarnation string) error {
		_, err := w.client.Deregister(w.ctx, connect.NewRequest(&atollv1.DeregisterRequest{Name: p.GetName(), Incarnation: incarnation}))
		return err
	}
	if err := leave("later"); code(err) != connect.CodeFailedPrecondition {
		t.Errorf("deregister undrained: %v", err)
	}
	if _, err := w.report(p, at("shop", 1)); err != nil {
		t.Fatal(err)
	}
	if err := leave("another"); err != nil {
		t.Errorf("deregister of another life: %v", err)
	}
	if list, _, _ := store.Planes(w.ctx, w.store); len(list) != 1 {
		t.Errorf("another life deregistered the plane")
	}
	if err := leave("later"); err != nil {
		t.Error(err)
	}
	if list, _, _ := store.Planes(w.ctx, w.store); len(list) != 0 {
		t.Errorf("still registered: %v", list)
	}
	for _, former := range []string{"one", "later"} {
		if err := w.register(plane("dbproxy@unit-a", former)); code(err) != connect.CodeFailedPrecondition {
			t.Errorf("former life %s came back: %v", former, err)
		}
	}
	w.mustRegister(plane("dbproxy@unit-a", "last"))
	if err := w.register(plane("dbproxy@unit-a", "one")); code(err) != connect.CodeFailedPrecondition {
		t.Errorf("a forgotten life came back beside a later one: %v", err)
	}
	if err := w.s.Prune(w.ctx); err != nil {
		t.Error(err)
	}
}

func TestListAndAwaitEpoch(t *testing.T) {
	w := newWorld(t, nil)
	a, b := plane("a", "one"), plane("b", "one")
	w.mustRegister(a)
	w.mustRegister(b)
	w.publish("shop", 5, 0)
	w.leases("shop@5:0s", a, at("shop", 5))
	res, err := w.client.List(w.ctx, connect.NewRequest(&atollv1.ListPlanesRequest{}))
	if err != nil || len(res.Msg.GetPlanes()) != 2 {
		t.Fatalf("%v, %v", res, err)
	}
	first, second := res.Msg.GetPlanes()[0], res.Msg.GetPlanes()[1]
	if !first.GetConnected() || first.GetSilentMs() != 0 || first.GetReport().GetSpaces()[0].GetEpoch() != 5 {
		t.Errorf("a: %v", first)
	}
	if second.GetConnected() || second.GetSilentMs() != -1 {
		t.Errorf("b: %v", second)
	}
	if err := w.s.AwaitEpoch(w.ctx, "shop", 5); err != nil {
		t.Error(err) // b is not connected: nobody waits for it
	}
	w.leases("", b, at("shop", 4))
	short, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
	defer cancel()
	if err := w.s.AwaitEpoch(short, "shop", 5); err == nil || !strings.Contains(err.Error(), "b (epoch 4)") {
		t.Errorf("a plane behind: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- w.s.AwaitEpoch(w.ctx, "shop", 5) }()
	w.leases("shop@5:0s", b, at("shop", 5))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
