package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of the tests"

// document is the sandbox's space: unit-a owns buckets 0–5999, unit-b the rest.
func document(change ...func(*space.Space)) *space.Space {
	d := &space.Space{
		APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"},
		Spec: space.Spec{
			ID: "shop", Code: "shop", Name: "shop", Version: "1", TenantID: "t",
			Units: []space.Unit{
				{Code: "unit-a", Type: space.Center, AccessMode: space.ReadWrite},
				{Code: "unit-b", Type: space.Regular, AccessMode: space.ReadWrite, Cells: []space.Cell{{Code: "b1"}, {Code: "b2"}}},
			},
			Variables: []space.Variable{{Name: "user", Type: "unit", Sources: []space.Source{{Name: "q", Scope: space.ScopeQuery, Key: "user"}}}},
			UnitRules: []space.UnitRule{
				rule("1003", space.MissingReject), rule("1004", space.MissingCenter),
			},
			Domains: []space.Domain{{
				Host: "shop.atoll.test", Protocols: []string{"http"}, LiveType: space.CrossRegion, CorrectionType: "UPSTREAM",
				Paths: []space.Path{{Path: "/order", RuleID: "1003"}, {Path: "/product", RuleID: "1004"}},
			}},
		},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

func rule(id string, missing space.MissingAction) space.UnitRule {
	return space.UnitRule{
		ID: id, Name: id, LiveType: space.CrossRegion, Variable: "user", VariableSource: "q", VariableFunction: "BKDRHash",
		VariableMissingAction: missing, Modulo: 10000,
		Units: []space.UnitRoute{
			{Code: "unit-a", Allows: []string{"anna"}, Ranges: []space.Range{{From: 0, To: 6000}}},
			{Code: "unit-b", Allows: []string{"bob"}, Ranges: []space.Range{{From: 6000, To: 10000}},
				Cells: []space.CellRoute{{Code: "b1", Allows: []string{"bob"}, Weight: 1}, {Code: "b2", Weight: 0}}},
		},
	}
}

// snapshot is the document at an epoch, with the moves of that epoch.
func snapshot(epoch int64, doc *space.Space, moves ...*space.Transfer) *space.Snapshot {
	return &space.Snapshot{Space: "shop", Epoch: epoch, Document: doc, Moves: moves,
		Settings: space.Settings{HoldMax: 5 * time.Second}}
}

// moving carries anna from unit-a to unit-b.
func moving(fenced bool) *space.Transfer {
	m := &space.Transfer{ID: "m1", Rule: "1003", From: "unit-a", To: "unit-b", Keys: space.KeySet{Keys: []string{"anna"}}, Hold: true}
	if fenced {
		m.Fenced, m.FenceEpoch = true, 12
	}
	return m
}

// movedDocument is the document after anna's move.
func movedDocument() *space.Space {
	return document(func(d *space.Space) {
		r := &d.Spec.UnitRules[0]
		r.Units[0].Allows, r.Units[1].Allows = nil, []string{"anna", "bob"}
	})
}

func (g *Gateway) must(t *testing.T, s *space.Snapshot) {
	t.Helper()
	if err := g.Install(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// app is an application that tells what it was asked.
func app(t *testing.T, name string, handler http.HandlerFunc) string {
	t.Helper()
	if handler == nil {
		handler = func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Live-Unit", "a lie of the application")
			w.Header().Set("X-App", name)
			_ = json.NewEncoder(w).Encode(seen{App: name, URI: r.RequestURI, Host: r.Host, Body: string(body), Header: r.Header})
		}
	}
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

type seen struct {
	App, URI, Host, Body string
	Header               http.Header
}

// start runs a gateway until the test ends.
func start(t *testing.T, cfg Config) (*Gateway, string) {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.HopSecret = []byte(secret)
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 200 * time.Millisecond
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	limit, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	addr, err := g.Addr(limit)
	if err != nil {
		t.Fatal(err)
	}
	return g, "http://" + addr
}

// pair is the two gateways of the sandbox, each the other's peer.
type pair struct {
	a, b       *Gateway
	urlA, urlB string
}

func startPair(t *testing.T, appA, appB string) pair {
	t.Helper()
	portA, portB := freeAddr(t), freeAddr(t)
	var p pair
	p.a, p.urlA = start(t, Config{Unit: "unit-a", Listen: portA, Backends: map[string]string{"": appA}, Peers: map[string]string{"unit-b": "http://" + portB}})
	p.b, p.urlB = start(t, Config{Unit: "unit-b", Listen: portB, Backends: map[string]string{"": appB}, Peers: map[string]string{"unit-a": "http://" + portA}})
	return p
}

func (p pair) install(t *testing.T, s *space.Snapshot) {
	t.Helper()
	p.a.must(t, s)
	p.b.must(t, s)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) seen(t *testing.T) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(r.body), &s); err != nil {
		t.Fatalf("status %d, body %q: %v", r.status, r.body, err)
	}
	return s
}

func (r reply) refusal(t *testing.T) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("status %d, body %q: %v", r.status, r.body, err)
	}
	for _, field := range []string{"error", "mend"} {
		if s, _ := m[field].(string); s == "" {
			t.Errorf("status %d: refusal has no %s: %s", r.status, field, r.body)
		}
	}
	return m
}

func request(t *testing.T, method, url, body string, header http.Header) *http.Request {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, content)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	r.Host = "shop.atoll.test"
	return r
}

func do(t *testing.T, method, url, body string, header http.Header) reply {
	t.Helper()
	return send(t, request(t, method, url, body, header))
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

func send(t *testing.T, r *http.Request) reply {
	t.Helper()
	res, err := client.Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return reply{}
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	return reply{res.StatusCode, res.Header, string(raw)}
}

// wait waits for a condition.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("waited for %s in vain", what)
		}
		<-tick.C
	}
}
