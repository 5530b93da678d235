package console_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/guard"
	sdk "github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/console"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// running is a console in this process.
type running struct {
	t    testing.TB
	url  string
	stop func() error // waits for its end; may be called twice
	log  *bytes.Buffer
}

func config(dir string) console.Config {
	return console.Config{
		Name: "one", Dir: dir, Listen: "127.0.0.1:0",
		Settings: space.Settings{FenceTTL: 5 * time.Second, FenceDeadline: 400 * time.Millisecond, HoldMax: 5 * time.Second},
	}
}

func start(t testing.TB, cfg console.Config) *running {
	t.Helper()
	r := &running{t: t, log: &bytes.Buffer{}}
	cfg.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	address := make(chan string, 1)
	cfg.Started = func(a string) { address <- a }
	c, err := console.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	var once sync.Once
	var result error
	r.stop = func() error {
		once.Do(func() { cancel(); result = <-ended })
		return result
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case a := <-address:
		r.url = "http://" + a
	case err := <-ended:
		cancel()
		ended <- nil
		t.Fatalf("the console ended at once: %v", err)
	case <-time.After(patience):
		t.Fatal("the console does not start")
	}
	return r
}

func client(t *testing.T, url, token string) *sdk.Client {
	t.Helper()
	c, err := sdk.NewClient([]string{url}, token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func documents(t *testing.T) []byte {
	t.Helper()
	var all []byte
	for _, name := range []string{"shop.yaml", "database.yaml"} {
		data, err := os.ReadFile(filepath.Join("documents", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, data...), "\n---\n"...)
	}
	return all
}

func apply(t *testing.T, c *sdk.Client, docs []byte, wait bool) []*atollv1.Applied {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := c.Documents().Apply(ctx, connect.NewRequest(&atollv1.ApplyRequest{Documents: docs, Wait: wait}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.GetApplied()
}

// shopPlane is the least that obeys.
type shopPlane struct {
	mu    sync.Mutex
	epoch int64
	until time.Duration
	news  chan struct{}
}

func (p *shopPlane) Install(_ context.Context, s *space.Snapshot) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = s.Epoch
	return nil
}

func (p *shopPlane) Ask([]*atollv1.Ask) {}

func (p *shopPlane) Report(r *atollv1.ReportRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch > 0 {
		r.Spaces = append(r.Spaces, &atollv1.SpaceReport{Space: "shop", Epoch: p.epoch})
	}
}

func (p *shopPlane) Renew(_ string, _ int64, until time.Duration) {
	p.mu.Lock()
	p.until = until
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *shopPlane) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		p.mu.Lock()
		good := ok()
		p.mu.Unlock()
		if good {
			return
		}
		select {
		case <-p.news:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func runAgent(t *testing.T, url string) *shopPlane {
	t.Helper()
	p := &shopPlane{news: make(chan struct{}, 1)}
	a, err := sdk.NewAgent(sdk.Config{
		URLs: []string{url}, Identity: &atollv1.Plane{Name: "dbproxy@unit-a", Kind: "dbproxy", Unit: "unit-a"},
		Dir: t.TempDir(), Interval: 50 * time.Millisecond,
	}, p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the agent ended: %v", err)
		}
	})
	return p
}

// The whole way: documents applied by gRPC over h2c, a plane that obeys them
// and is leased, apply that waits for it, and a restart in the middle that
// loses nothing and lets no epoch fall.
func TestConsole_WithAPlaneOverARestart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t.TempDir())
	cfg.Listen = l.Addr().String() // the same address over the restart
	l.Close()
	r := start(t, cfg)
	plane := runAgent(t, r.url)
	c := client(t, r.url, "")
	if a := apply(t, c, documents(t), true); a[0].GetEpoch() != 1 || a[0].GetAction() != "created" {
		t.Fatalf("%v", a)
	}
	plane.await(t, "a lease", func() bool { return plane.epoch == 1 && plane.until > sdk.Boottime() && plane.until != guard.Forever })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	c = client(t, r.url, "")
	list, err := c.Planes().List(t.Context(), connect.NewRequest(&atollv1.ListPlanesRequest{}))
	if err != nil || len(list.Msg.GetPlanes()) != 1 {
		t.Fatalf("planes after the restart: %v, %v", list, err)
	}
	other := bytes.Replace(documents(t), []byte("name: Shop"), []byte("name: Other"), 1)
	for epoch := int64(2); epoch < 6; epoch++ {
		text := bytes.Replace(other, []byte("name: Other"), []byte(fmt.Sprintf("name: Other%d", epoch)), 1)
		if a := apply(t, c, text, true); a[0].GetEpoch() != epoch {
			t.Fatalf("epoch %v, want %d", a, epoch)
		}
	}
	plane.await(t, "epoch 5", func() bool { return plane.epoch == 5 })
	h, err := c.Documents().History(t.Context(), connect.NewRequest(&atollv1.HistoryRequest{Kind: "multilivespace", Name: "shop"}))
	if err != nil || len(h.Msg.GetRevisions()) != 5 {
		t.Fatalf("history over the restart: %v, %v", h, err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if r.log.Len() > 0 {
		t.Errorf("an orderly life logs:\n%s", r.log)
	}
}

// What curl would do: JSON over HTTP/1.1.
func TestConsole_JSONOverHTTP1(t *testing.T) {
	r := start(t, config(t.TempDir()))
	post := func(method, body string) (int, string) {
		res, err := http.Post(r.url+"/"+method, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.ProtoMajor != 1 {
			t.Errorf("answered over %s", res.Proto)
		}
		data, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(data)
	}
	docs := base64.StdEncoding.EncodeToString(documents(t))
	if code, body := post("atoll.v1.Documents/Apply", `{"documents":"`+docs+`"}`); code != 200 || !strings.Contains(body, `"action":"created"`) {
		t.Errorf("apply: %d %s", code, body)
	}
	code, body := post("atoll.v1.Documents/Explain", `{"space":"shop","rule":"1003","key":"alice"}`)
	var e struct{ Explanation []byte }
	if err := json.Unmarshal([]byte(body), &e); code != 200 || err != nil || !strings.Contains(string(e.Explanation), `"unit":"unit-a"`) {
		t.Errorf("explain: %d %s", code, body)
	}
	if code, body = post("atoll.v1.Documents/Get", `{"kind":"nonsense"}`); code != 400 || !strings.Contains(body, "invalid_argument") {
		t.Errorf("a bad request: %d %s", code, body)
	}
	if code, body = post("atoll.v1.Documents/Apply", `{"documents":"`+strings.Repeat("A", 12<<20)+`"}`); code < 400 {
		t.Errorf("a request that is too large: %d %.100s", code, body)
	}
	if code, body = post("atoll.v1.Moves/List", `{}`); code != 404 {
		t.Errorf("moves of a console without a mover: %d %s", code, body)
	}
	res, err := http.Get(r.url + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/ready: %d", res.StatusCode)
	}
}

func TestConsole_Tokens(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.TokenFile = filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(cfg.TokenFile, []byte("ann s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, cfg)
	for _, token := range []string{"", "wrong"} {
		_, err := client(t, r.url, token).Documents().Get(t.Context(), connect.NewRequest(&atollv1.GetRequest{Kind: "database"}))
		if connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("with token %q: %v", token, err)
		}
	}
	c := client(t, r.url, "s3cret")
	apply(t, c, documents(t), false)
	log, err := c.Documents().Audit(t.Context(), connect.NewRequest(&atollv1.AuditRequest{}))
	if err != nil || len(log.Msg.GetEntries()) != 1 || log.Msg.GetEntries()[0].GetBy() != "ann" {
		t.Errorf("audit: %v, %v", log, err)
	}
	res, err := http.Get(r.url + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/ready needs no token: %d", res.StatusCode)
	}
}

func TestConsole_RefusesItsStart(t *testing.T) {
	r := start(t, config(t.TempDir()))
	taken := strings.TrimPrefix(r.url, "http://")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, c := range map[string]struct {
		change func(*console.Config)
		want   string
	}{
		"no name":       {func(c *console.Config) { c.Name = "" }, "--name"},
		"no dir":        {func(c *console.Config) { c.Dir = "" }, "--dir"},
		"bad address":   {func(c *console.Config) { c.Listen = "7400" }, "--listen"},
		"bad peer":      {func(c *console.Config) { c.Peer = "7400" }, "--peer"},
		"lone cluster":  {func(c *console.Config) { c.Cluster = "a=http://b:1" }, "--cluster"},
		"long ttl":      {func(c *console.Config) { c.Settings.FenceTTL = 99 * time.Hour }, "--fence-ttl"},
		"no deadline":   {func(c *console.Config) { c.Settings.FenceDeadline = 0 }, "--fence-deadline"},
		"long deadline": {func(c *console.Config) { c.Settings.FenceDeadline = 5 * time.Second }, "--fence-deadline"},
		"no tokens":     {func(c *console.Config) { c.TokenFile = "/no/such/file" }, "read the tokens"},
		"port in use":   {func(c *console.Config) { c.Listen = taken }, "address already in use"},
		"peer in use":   {func(c *console.Config) { c.Peer = l.Addr().String() }, "address already in use"},
		"bad dir":       {func(c *console.Config) { c.Dir = "/proc/no/such" }, "directory"},
		"mover refuses": {func(c *console.Config) {
			c.NewMover = func(store.Store, console.LeaseEnd) (console.Mover, error) { return nil, fmt.Errorf("no mover today") }
		}, "no mover today"},
	} {
		cfg := config(t.TempDir())
		c.change(&cfg)
		server, err := console.New(cfg)
		if err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			err = server.Run(ctx)
			cancel()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, c.want)
		}
	}
}

// A mover that asks one thing of everybody, to see that it is plugged in.
type askingMover struct {
	atollv1connect.UnimplementedMovesHandler
	ready    chan struct{}
	leaseEnd console.LeaseEnd
	heard    chan *atollv1.ReportRequest
}

func (m *askingMover) Run(ctx context.Context) error { close(m.ready); <-ctx.Done(); return nil }
func (m *askingMover) Ready() <-chan struct{}        { return m.ready }
func (m *askingMover) Changed() <-chan struct{}      { return nil }
func (m *askingMover) Passed(*space.Snapshot, *space.Transfer) bool {
	return true
}
func (m *askingMover) Asks(p *atollv1.Plane) []*atollv1.Ask {
	return []*atollv1.Ask{{Space: "shop", Move: p.GetName(), Step: "close"}}
}
func (m *askingMover) Heard(_ *atollv1.Plane, r *atollv1.ReportRequest) {
	select {
	case m.heard <- r:
	default:
	}
}

func TestConsole_PlugsTheMoverIn(t *testing.T) {
	m := &askingMover{ready: make(chan struct{}), heard: make(chan *atollv1.ReportRequest, 1)}
	cfg := config(t.TempDir())
	cfg.NewMover = func(_ store.Store, end console.LeaseEnd) (console.Mover, error) { m.leaseEnd = end; return m, nil }
	r := start(t, cfg)
	c := client(t, r.url, "")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := &atollv1.Plane{Name: "dbsync@unit-a", Kind: "dbsync", Unit: "unit-a", Incarnation: "x"}
	if _, err := c.Planes().Register(ctx, connect.NewRequest(&atollv1.RegisterRequest{Plane: p})); err != nil {
		t.Fatal(err)
	}
	stream, err := c.Planes().Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: p.Name, Incarnation: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || len(stream.Msg().GetAsks()) != 1 || stream.Msg().GetAsks()[0].GetMove() != p.Name {
		t.Errorf("asks: %v, %v", stream.Msg(), stream.Err())
	}
	if _, err := c.Planes().Report(ctx, connect.NewRequest(&atollv1.ReportRequest{Plane: p.Name, Incarnation: "x", BoottimeNs: 1})); err != nil {
		t.Fatal(err)
	}
	if got := <-m.heard; got.GetPlane() != p.Name {
		t.Errorf("the mover heard %v", got)
	}
	if end, forEver := m.leaseEnd(p, "shop", time.Second); forEver || !end.IsZero() {
		t.Errorf("lease end of a plane without one: %v, %v", end, forEver)
	}
	_, err = c.Moves().List(ctx, connect.NewRequest(&atollv1.ListMovesRequest{}))
	if connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Errorf("the mover's service: %v", err)
	}
}

// Settings that a console is started with reach the snapshots that stand.
func TestConsole_PublishesNewSettings(t *testing.T) {
	cfg := config(t.TempDir())
	r := start(t, cfg)
	apply(t, client(t, r.url, ""), documents(t), false)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.Settings.FenceTTL = 0
	r = start(t, cfg)
	plane := runAgent(t, r.url)
	plane.await(t, "a lease for ever at epoch 2", func() bool { return plane.epoch == 2 && plane.until == guard.Forever })
}

// A stream must not hold up the end of a console.
func TestConsole_EndsWithOpenStreams(t *testing.T) {
	r := start(t, config(t.TempDir()))
	runAgent(t, r.url)
	c := client(t, r.url, "")
	for end := time.Now().Add(patience); ; {
		list, err := c.Planes().List(t.Context(), connect.NewRequest(&atollv1.ListPlanesRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Msg.GetPlanes()) == 1 && list.Msg.GetPlanes()[0].GetConnected() {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the plane does not come")
		}
	}
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the end took %v", took)
	}
}
