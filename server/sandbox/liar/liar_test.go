package liar

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/api/apitest"
	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func snapshot(moves ...*space.Transfer) *space.Snapshot {
	return &space.Snapshot{Space: "shop", Epoch: 7, Moves: moves, Document: &space.Space{
		APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"},
		Spec: space.Spec{Code: "shop",
			Units:     []space.Unit{{Code: "unit-a", Type: space.Center, AccessMode: space.ReadWrite}, {Code: "unit-b", Type: space.Regular, AccessMode: space.ReadWrite}},
			Variables: []space.Variable{{Name: "user", Type: "unit", Sources: []space.Source{{Name: "query", Scope: space.ScopeQuery, Key: "user"}}}},
			UnitRules: []space.UnitRule{{ID: "1003", LiveType: space.CrossRegion, Variable: "user", VariableSource: "query", VariableFunction: "BKDRHash",
				VariableMissingAction: space.MissingCenter, Modulo: 10000, Units: []space.UnitRoute{
					{Code: "unit-a", Ranges: []space.Range{{From: 0, To: 6000}}, Allows: []string{"vip"}},
					{Code: "unit-b", Ranges: []space.Range{{From: 6000, To: 10000}}}}}},
		},
	}}
}

func response(t *testing.T, s *space.Snapshot) *atollv1.WatchResponse {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return &atollv1.WatchResponse{Snapshots: [][]byte{text}}
}

// told is the snapshot as the plane gets it.
func told(t *testing.T, l tale, s *space.Snapshot) *space.Snapshot {
	t.Helper()
	m := response(t, s)
	if _, err := l.watch(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got, err := read(m.GetSnapshots()[0])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNoFence_HidesFencesAndAcksThem(t *testing.T) {
	l := newTale(Config{Lie: NoFence})
	got := told(t, l, snapshot(
		&space.Transfer{ID: "m1", From: "unit-a", To: "unit-b", Hold: true, Fenced: true, FenceEpoch: 7},
		&space.Transfer{ID: "m0", From: "unit-b", To: "unit-a", FenceEpoch: 3, Outcome: space.OutcomeSwitched}))
	for _, m := range got.Moves {
		if m.Hold || m.Fenced {
			t.Errorf("the plane still sees the hold or fence of %+v", m)
		}
	}
	if got.Moves[0].FenceEpoch != 7 || got.Epoch != 7 || len(got.Document.Spec.UnitRules) != 1 {
		t.Errorf("more than the fence was changed: %+v", got)
	}

	for range 2 { // the ack is in each report once
		r := &atollv1.ReportRequest{Spaces: []*atollv1.SpaceReport{{Space: "shop", Epoch: 6, Undrained: true}}}
		l.report(t.Context(), r)
		if got := r.GetSpaces()[0].GetEpoch(); got != 7 {
			t.Errorf("epoch %d is claimed, want 7", got)
		}
		if a := r.GetAcks(); len(a) != 1 || a[0].GetMove() != "m1" || a[0].GetEpoch() != 7 || a[0].GetStep() != "drained" || r.GetSpaces()[0].GetUndrained() {
			t.Errorf("report %v", r)
		}
	}
	told(t, l, snapshot())
	r := &atollv1.ReportRequest{Spaces: []*atollv1.SpaceReport{{Space: "shop", Epoch: 8}}}
	l.report(t.Context(), r)
	if len(r.GetAcks()) != 0 {
		t.Errorf("acks of a fence that is over: %v", r.GetAcks())
	}
}

func TestNoFence_KeepsTheProxyInTheDark(t *testing.T) {
	l := newTale(Config{Lie: NoFence, Lag: time.Hour})
	fenced := &space.Transfer{ID: "m1", Hold: true, Fenced: true, FenceEpoch: 7}
	for i, s := range []*space.Snapshot{snapshot(), snapshot(fenced), snapshot(fenced)} {
		notBefore, err := l.watch(t.Context(), response(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if late := time.Until(notBefore) > 0; late != (i == 2) {
			t.Errorf("message %d is told late: %v", i, late)
		}
	}
}

func TestNoRoute_GivesTheOwnUnitEverything(t *testing.T) {
	got := told(t, newTale(Config{Lie: NoRoute, Unit: "unit-b"}), snapshot())
	view, err := route.NewView(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"vip", "alice", "bob", "carol", "dave"} {
		if d := view.DecideKey("1003", key); d.Unit != "unit-b" {
			t.Errorf("key %s goes to %q", key, d.Unit)
		}
	}
}

func TestNoInBand_HidesTheMovesOfOthers(t *testing.T) {
	l := newTale(Config{Lie: NoInBand, Unit: "unit-c"})
	got := told(t, l, snapshot(
		&space.Transfer{ID: "m1", From: "unit-a", To: "unit-b", FenceEpoch: 3, Outcome: space.OutcomeSwitched},
		&space.Transfer{ID: "m2", From: "unit-b", To: "unit-c", Hold: true, Fenced: true, FenceEpoch: 7},
		&space.Transfer{ID: "m3", From: "unit-c", To: "unit-a", FenceEpoch: 2, Outcome: space.OutcomeAborted}))
	if len(got.Moves) != 2 || got.Moves[0].ID != "m2" || got.Moves[1].ID != "m3" || !got.Moves[0].Fenced || got.Epoch != 7 {
		t.Errorf("the plane sees %+v", got)
	}
	r := &atollv1.ReportRequest{Spaces: []*atollv1.SpaceReport{{Space: "shop", Epoch: 7}}}
	if l.report(t.Context(), r); len(r.GetAcks()) != 0 || r.GetSpaces()[0].GetEpoch() != 7 {
		t.Errorf("what the plane says was changed: %v", r)
	}
}

// cutter is a relay that notes what it is asked to cut.
type cutter struct {
	*httptest.Server
	mu   sync.Mutex
	cuts []string
}

func newCutter(t *testing.T) *cutter {
	c := &cutter{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cuts = append(c.cuts, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("link")+" "+r.URL.Query().Get("for")+r.URL.Query().Get("by"))
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *cutter) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.cuts, "; ")
}

func TestNoBarrier_StallsAndClaims(t *testing.T) {
	relay := newCutter(t)
	l := newTale(Config{Log: slog.New(slog.DiscardHandler), Lie: NoBarrier, Unit: "unit-b", WAN: relay.URL, Stall: 3 * time.Second, LaneLinks: map[string]string{"unit-a": "a>b"}})
	for _, rows := range []int64{0, warmRows, warmRows + 1} {
		l.report(t.Context(), &atollv1.ReportRequest{Lanes: []*atollv1.LaneReport{{Name: "unit-a>unit-b", Rows: rows}}})
		if got := relay.all(); (got == "") != (rows == 0) {
			t.Errorf("a lane that has carried %d rows: %q", rows, got)
		}
	}
	out := &space.Transfer{ID: "out", From: "unit-b", To: "unit-a", Hold: true}
	told(t, l, snapshot(out))
	if got := relay.all(); got != "POST /slow a>b 800ms" {
		t.Errorf("a move out of the unit cut %q", got)
	}
	in := &space.Transfer{ID: "in", From: "unit-a", To: "unit-b", Hold: true}
	for range 2 {
		told(t, l, snapshot(out, in))
	}
	if got := relay.all(); got != "POST /slow a>b 800ms; POST /cut a>b 10s" {
		t.Errorf("the hold cut %q", got)
	}
	ask := &atollv1.WatchResponse{AsksSet: true, Asks: []*atollv1.Ask{
		{Space: "shop", Move: "in", Epoch: 9, Step: "close"}, {Space: "shop", Move: "out", Epoch: 9, Step: "close"}, {Space: "shop", Move: "in", Epoch: 9, Step: "open"}}}
	for range 2 {
		if _, err := l.watch(t.Context(), ask); err != nil {
			t.Fatal(err)
		}
	}
	if got := relay.all(); got != "POST /slow a>b 800ms; POST /cut a>b 10s; POST /cut a>b 3s; POST /slow a>b 0s" {
		t.Errorf("hold and barrier cut %q", got)
	}
	r := &atollv1.ReportRequest{}
	l.report(t.Context(), r)
	if a := r.GetAcks(); len(a) != 1 || a[0].GetStep() != "passed" || a[0].GetLane() != "unit-a>unit-b" || a[0].GetEpoch() != 9 || a[0].GetMove() != "in" {
		t.Errorf("claims %v", a)
	}
	if _, err := l.watch(t.Context(), &atollv1.WatchResponse{AsksSet: true}); err != nil {
		t.Fatal(err)
	}
	r = &atollv1.ReportRequest{}
	l.report(t.Context(), r)
	if len(r.GetAcks()) != 0 {
		t.Errorf("claims %v that nobody asks for", r.GetAcks())
	}
	if got := relay.all(); strings.HasSuffix(got, "800ms") {
		t.Error("the lane is slow again before SETTLE")
	}
	for _, m := range []*atollv1.WatchResponse{{AsksSet: true, Asks: []*atollv1.Ask{{Move: "in", Epoch: 9, Step: "settle"}}}, {AsksSet: true}} {
		if _, err := l.watch(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if got := relay.all(); !strings.HasSuffix(got, "0s; POST /slow a>b 800ms") {
		t.Errorf("after the move the lane is left %q", got)
	}
}

// console is the real console's place.
type console struct {
	atollv1connect.UnimplementedPlanesHandler
	snapshot []byte
	mu       sync.Mutex
	token    string
	reports  []*atollv1.ReportRequest
}

func (c *console) Register(_ context.Context, q *connect.Request[atollv1.RegisterRequest]) (*connect.Response[atollv1.RegisterResponse], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = q.Header().Get("Authorization")
	return connect.NewResponse(&atollv1.RegisterResponse{}), nil
}

func (c *console) Forget(context.Context, *connect.Request[atollv1.ForgetRequest]) (*connect.Response[atollv1.ForgetResponse], error) {
	return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("it still reports"))
}

func (c *console) Report(_ context.Context, q *connect.Request[atollv1.ReportRequest]) (*connect.Response[atollv1.ReportResponse], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports = append(c.reports, q.Msg)
	return connect.NewResponse(&atollv1.ReportResponse{UnknownPlane: true}), nil
}

func (c *console) Watch(ctx context.Context, _ *connect.Request[atollv1.WatchRequest], out *connect.ServerStream[atollv1.WatchResponse]) error {
	if err := out.Send(&atollv1.WatchResponse{Snapshots: [][]byte{c.snapshot}}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// between runs a console and a liar, and gives a client of the liar.
func between(t *testing.T, c *console, lie string) (atollv1connect.PlanesClient, string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewPlanesHandler(c))
	mux.HandleFunc("/other", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("as it came")) })
	real := apitest.Serve(t, mux)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{Lie: lie, Plane: "p@unit-b", Unit: "unit-b", Listen: ln.Addr().String(), Console: real})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.serve(ctx, ln) }()
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: only}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("liar: %v", err)
		}
	})
	url := "http://" + ln.Addr().String()
	return atollv1connect.NewPlanesClient(client, url, connect.WithGRPC()), url
}

func TestLiar_StandsBetween(t *testing.T) {
	c := &console{snapshot: response(t, snapshot(&space.Transfer{ID: "m1", Hold: true, Fenced: true, FenceEpoch: 7})).GetSnapshots()[0]}
	client, url := between(t, c, NoFence)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	register := connect.NewRequest(&atollv1.RegisterRequest{Plane: &atollv1.Plane{Name: "p@unit-b"}})
	register.Header().Set("Authorization", "Bearer secret")
	if _, err := client.Register(ctx, register); err != nil || c.token != "Bearer secret" {
		t.Errorf("register: %v, token %q at the console", err, c.token)
	}
	stream, err := client.Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: "p@unit-b"}))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Fatalf("watch: %v", stream.Err())
	}
	if got, err := read(stream.Msg().GetSnapshots()[0]); err != nil || got.Moves[0].Fenced {
		t.Errorf("the fence is not hidden: %v", err)
	}
	cancelWatch(t, stream)
	answer, err := client.Report(ctx, connect.NewRequest(&atollv1.ReportRequest{Plane: "p@unit-b", Spaces: []*atollv1.SpaceReport{{Space: "shop", Epoch: 7}}}))
	if err != nil || !answer.Msg.GetUnknownPlane() {
		t.Errorf("report: %v, %v", answer, err)
	}
	if len(c.reports) != 1 || len(c.reports[0].GetAcks()) != 1 {
		t.Errorf("the console heard %v", c.reports)
	}
	_, err = client.Forget(ctx, connect.NewRequest(&atollv1.ForgetRequest{Name: "x"}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "it still reports") {
		t.Errorf("the console's refusal came as %v", err)
	}
	for path, want := range map[string]int{"/ready": http.StatusOK, "/other": http.StatusOK, "/none": http.StatusNotFound} {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("GET %s: %s", path, res.Status)
		}
	}
}

func cancelWatch(t *testing.T, stream *connect.ServerStreamForClient[atollv1.WatchResponse]) {
	t.Helper()
	if err := stream.Close(); err != nil && connect.CodeOf(err) != connect.CodeCanceled {
		t.Logf("close the watch: %v", err)
	}
}

func TestNew_BadConfig(t *testing.T) {
	good := Config{Lie: NoBarrier, Plane: "p", Unit: "u", Listen: "127.0.0.1:1", Console: "http://x:1", WAN: "http://x:2", LaneLinks: map[string]string{"a": "l"}}
	for want, change := range map[string]func(*Config){
		"":                   func(*Config) {},
		"no lie":             func(c *Config) { c.Lie = "white" },
		"relay":              func(c *Config) { c.WAN = "" },
		"no lane link":       func(c *Config) { c.LaneLinks = nil },
		"no plane":           func(c *Config) { c.Plane = "" },
		"listen address":     func(c *Config) { c.Listen = "x" },
		"console: \"gopher:": func(c *Config) { c.Console = "gopher://x" },
	} {
		c := good
		change(&c)
		_, err := New(c)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
