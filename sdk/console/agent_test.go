package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/api/apitest"
	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeConsole serves the Planes service from memory.
type fakeConsole struct {
	atollv1connect.UnimplementedPlanesHandler
	url string

	mu         sync.Mutex
	registered []string
	refuse     error
	ttl        time.Duration
	known      bool
	out        chan *atollv1.WatchResponse
	reports    chan *atollv1.ReportRequest
}

func newFakeConsole(t *testing.T) *fakeConsole {
	t.Helper()
	f := &fakeConsole{
		known:   true,
		out:     make(chan *atollv1.WatchResponse, 10),
		reports: make(chan *atollv1.ReportRequest, 1000),
	}
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewPlanesHandler(f))
	f.url = apitest.Serve(t, mux)
	return f
}

func (f *fakeConsole) Register(_ context.Context, r *connect.Request[atollv1.RegisterRequest]) (*connect.Response[atollv1.RegisterResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.known = true
	f.registered = append(f.registered, r.Msg.GetPlane().GetIncarnation())
	return connect.NewResponse(&atollv1.RegisterResponse{}), nil
}

func (f *fakeConsole) Watch(ctx context.Context, _ *connect.Request[atollv1.WatchRequest], s *connect.ServerStream[atollv1.WatchResponse]) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-f.out:
			if !ok {
				return nil
			}
			if err := s.Send(m); err != nil {
				return err
			}
		}
	}
}

func (f *fakeConsole) Report(_ context.Context, r *connect.Request[atollv1.ReportRequest]) (*connect.Response[atollv1.ReportResponse], error) {
	f.reports <- r.Msg
	f.mu.Lock()
	defer f.mu.Unlock()
	res := &atollv1.ReportResponse{UnknownPlane: !f.known}
	for _, s := range r.Msg.GetSpaces() {
		res.Leases = append(res.Leases, &atollv1.Lease{Space: s.GetSpace(), Epoch: s.GetEpoch(), TtlNs: int64(f.ttl)})
	}
	return connect.NewResponse(res), nil
}

// fakePlane records what it is told.
type fakePlane struct {
	mu        sync.Mutex
	epoch     int64
	asks      []*atollv1.Ask
	until     time.Duration
	told      chan struct{}
	installed []int64
}

func newFakePlane() *fakePlane { return &fakePlane{told: make(chan struct{}, 1000)} }

func (p *fakePlane) Install(_ context.Context, s *space.Snapshot) error {
	p.mu.Lock()
	p.epoch = s.Epoch
	p.installed = append(p.installed, s.Epoch)
	p.mu.Unlock()
	p.told <- struct{}{}
	return nil
}

func (p *fakePlane) Ask(asks []*atollv1.Ask) {
	p.mu.Lock()
	p.asks = asks
	p.mu.Unlock()
	p.told <- struct{}{}
}

func (p *fakePlane) Report(r *atollv1.ReportRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch > 0 {
		r.Spaces = append(r.Spaces, &atollv1.SpaceReport{Space: "shop", Epoch: p.epoch})
		r.Acks = append(r.Acks, &atollv1.Ack{Space: "shop", Move: "m1", Epoch: p.epoch, Step: "drained"})
	}
}

func (p *fakePlane) Renew(_ string, _ int64, until time.Duration) {
	p.mu.Lock()
	p.until = until
	p.mu.Unlock()
	select {
	case p.told <- struct{}{}:
	default:
	}
}

func (p *fakePlane) leasedUntil() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

func (p *fakePlane) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		p.mu.Lock()
		good := ok()
		p.mu.Unlock()
		if good {
			return
		}
		select {
		case <-p.told:
		case <-limit:
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

func runAgent(t *testing.T, cfg console.Config, p console.Plane) (*console.Agent, func() error) {
	t.Helper()
	if cfg.Identity == nil {
		cfg.Identity = &atollv1.Plane{Name: "dbproxy@unit-a", Kind: "dbproxy", Unit: "unit-a"}
	}
	a, err := console.NewAgent(cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	var result error
	stop := func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return a, stop
}

func snapshot(t *testing.T, epoch int64) []byte {
	t.Helper()
	raw, err := json.Marshal(&space.Snapshot{Space: "shop", Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAgent_InstallsReportsAndRenews(t *testing.T) {
	f, p := newFakeConsole(t), newFakePlane()
	f.ttl = 5 * time.Second
	before := console.Boottime()
	dir := t.TempDir()
	_, stop := runAgent(t, console.Config{URLs: []string{f.url}, Interval: 50 * time.Millisecond, Dir: dir}, p)
	f.out <- &atollv1.WatchResponse{Snapshots: [][]byte{snapshot(t, 7)}}
	f.out <- &atollv1.WatchResponse{Asks: []*atollv1.Ask{{Step: "close"}}, AsksSet: true}
	p.wait(t, "the snapshot, the ask and a lease", func() bool { return p.epoch == 7 && len(p.asks) == 1 && p.until > 0 })
	if until := p.leasedUntil(); until < before+5*time.Second || until > console.Boottime()+5*time.Second {
		t.Errorf("lease until %v, not 5 s after a report was sent", until)
	}
	f.out <- &atollv1.WatchResponse{Snapshots: [][]byte{snapshot(t, 6)}} // never adopted
	f.out <- &atollv1.WatchResponse{Snapshots: [][]byte{snapshot(t, 9)}}
	p.wait(t, "epoch 9", func() bool { return p.epoch == 9 })
	_ = stop()
	if got := p.installed; len(got) != 2 {
		t.Errorf("installed %v, want 7 and 9 only", got)
	}

	again := newFakePlane() // a restart without a console still has the snapshot
	f.mu.Lock()
	f.refuse = connect.NewError(connect.CodeUnavailable, errors.New("away"))
	f.mu.Unlock()
	_, _ = runAgent(t, console.Config{URLs: []string{f.url}, Dir: dir}, again)
	again.wait(t, "the stored snapshot", func() bool { return again.epoch == 9 })
	if again.leasedUntil() != 0 {
		t.Error("a lease without a console")
	}
}

// TestAgent_TellsOfWhatIsStored: a snapshot that cannot be stored is obeyed and
// not told of, nor what rests on it.
func TestAgent_TellsOfWhatIsStored(t *testing.T) {
	f, p := newFakeConsole(t), newFakePlane()
	dir := filepath.Join(t.TempDir(), "plane")
	_, _ = runAgent(t, console.Config{URLs: []string{f.url}, Interval: 20 * time.Millisecond, Dir: dir}, p)
	told := func(want func(*atollv1.ReportRequest) bool) *atollv1.ReportRequest {
		t.Helper()
		limit := time.After(10 * time.Second)
		for {
			select {
			case r := <-f.reports:
				if want(r) {
					return r
				}
			case <-limit:
				t.Fatal("waited 10 s for a report")
			}
		}
	}
	epoch := func(r *atollv1.ReportRequest) int64 {
		if len(r.GetSpaces()) == 0 {
			return 0
		}
		return r.GetSpaces()[0].GetEpoch()
	}
	f.out <- &atollv1.WatchResponse{Snapshots: [][]byte{snapshot(t, 7)}}
	if r := told(func(r *atollv1.ReportRequest) bool { return epoch(r) == 7 }); len(r.GetAcks()) != 1 {
		t.Errorf("told of epoch 7 with %v", r.GetAcks())
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	f.out <- &atollv1.WatchResponse{Snapshots: [][]byte{snapshot(t, 9)}}
	p.wait(t, "epoch 9 in force", func() bool { return p.epoch == 9 })
	since := int64(console.Boottime())
	for range 3 {
		r := told(func(r *atollv1.ReportRequest) bool { return r.GetBoottimeNs() > since })
		if epoch(r) != 7 || len(r.GetAcks()) != 0 {
			t.Fatalf("told of what is not stored: %v", r)
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	f.out <- &atollv1.WatchResponse{Snapshots: [][]byte{snapshot(t, 9)}} // the console sends what is above the stored epoch
	if r := told(func(r *atollv1.ReportRequest) bool { return epoch(r) == 9 }); len(r.GetAcks()) != 1 {
		t.Errorf("told of epoch 9 with %v", r.GetAcks())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.installed) != 2 {
		t.Errorf("installed %v, want 7 and 9 once", p.installed)
	}
}

func TestAgent_PokeReportsAtOnce(t *testing.T) {
	f, p := newFakeConsole(t), newFakePlane()
	a, _ := runAgent(t, console.Config{URLs: []string{f.url}, Interval: time.Hour}, p)
	for range 3 {
		a.Poke()
		select {
		case <-f.reports:
		case <-time.After(10 * time.Second):
			t.Fatal("no report within 10 s of a poke")
		}
	}
}

func TestAgent_RegistersAgainWhenForgotten(t *testing.T) {
	f, p := newFakeConsole(t), newFakePlane()
	_, _ = runAgent(t, console.Config{URLs: []string{f.url}, Interval: 10 * time.Millisecond}, p)
	<-f.reports
	f.mu.Lock()
	f.known = false
	f.mu.Unlock()
	for range 1000 {
		<-f.reports
		f.mu.Lock()
		n := len(f.registered)
		f.mu.Unlock()
		if n >= 2 {
			return
		}
	}
	t.Fatal("not registered again after 1000 reports")
}

func TestAgent_RefusedRegistrationEndsRun(t *testing.T) {
	f, p := newFakeConsole(t), newFakePlane()
	f.refuse = connect.NewError(connect.CodeAlreadyExists, errors.New("dbproxy@unit-a is a gateway"))
	a, err := console.NewAgent(console.Config{
		URLs:     []string{f.url},
		Identity: &atollv1.Plane{Name: "dbproxy@unit-a", Kind: "dbproxy"},
	}, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Fatalf("Run returned %v, want the refusal", err)
	}
}

func TestAgent_LeaseForEver(t *testing.T) {
	f, p := newFakeConsole(t), newFakePlane()
	_, _ = runAgent(t, console.Config{URLs: []string{f.url}, Interval: 10 * time.Millisecond}, p)
	f.out <- &atollv1.WatchResponse{Snapshots: [][]byte{snapshot(t, 1)}}
	p.wait(t, "a lease for ever", func() bool { return p.until == guard.Forever })
}

func TestAgent_BrokenStoredSnapshotNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.0.snapshot"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := console.NewAgent(console.Config{
		URLs: []string{"http://127.0.0.1:1"}, Dir: dir,
		Identity: &atollv1.Plane{Name: "x", Kind: "gateway"},
	}, newFakePlane())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil {
		t.Fatal("a broken stored snapshot passed")
	}
}
