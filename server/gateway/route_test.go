package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atoll-live/atoll/space"
)

func TestRequestsGoToTheOwner(t *testing.T) {
	p := startPair(t, app(t, "a", nil), app(t, "b", nil))
	p.install(t, snapshot(7, document()))
	for _, c := range []struct{ user, app, unit string }{
		{"anna", "a", "unit-a"}, {"bob", "b", "unit-b"},
		{"user1", "b", "unit-b"},    // bucket 8566
		{"zhangsan", "a", "unit-a"}, // bucket 4556
	} {
		for _, edge := range []string{p.urlA, p.urlB} {
			got := do(t, "POST", edge+"/order?user="+c.user+"&x=%2F", "a body", nil)
			if got.status != 200 {
				t.Fatalf("%s: %d %s", c.user, got.status, got.body)
			}
			s := got.seen(t)
			if s.App != c.app || s.Host != "shop.atoll.test" || s.URI != "/order?user="+c.user+"&x=%2F" || s.Body != "a body" {
				t.Errorf("%s: application saw %+v", c.user, s)
			}
			want := map[string]string{"X-Live-Unit": c.unit, "X-Live-Epoch": "7", "X-Live-Endpoint": p.url(c.unit)}
			for name, v := range want {
				if got.header.Get(name) != v || len(got.header.Values(name)) != 1 {
					t.Errorf("%s: %s is %q, want %q", c.user, name, got.header.Values(name), v)
				}
			}
		}
	}
	if f := p.a.readFigures(); f["forwarded"] == 0 || f["requests"] == 0 {
		t.Errorf("figures %v", f)
	}
}

func (p pair) url(unit string) string {
	if unit == "unit-a" {
		return p.urlA
	}
	return p.urlB
}

func TestCellDecidesTheBackend(t *testing.T) {
	dead := "http://" + freeAddr(t)
	g, url := start(t, Config{Unit: "unit-b", Backends: map[string]string{"b1": dead, "b2": app(t, "b2", nil), "b9": dead}})
	g.must(t, snapshot(1, document()))
	got := do(t, "POST", url+"/order?user=bob", "body", nil)
	if s := got.seen(t); s.App != "b2" || s.Body != "body" {
		t.Errorf("a dead cell is not passed over: %+v", s)
	}
	if cell := got.header.Get("X-Live-Cell"); cell != "b2" {
		t.Errorf("cell %q served, want b2", cell)
	}
	g2, url2 := start(t, Config{Unit: "unit-b", Backends: map[string]string{"b1": app(t, "b1", nil), "b2": app(t, "b2", nil)}})
	g2.must(t, snapshot(1, document()))
	if got := do(t, "GET", url2+"/order?user=bob", "", nil); got.seen(t).App != "b1" || got.header.Get("X-Live-Cell") != "b1" {
		t.Errorf("bob's cell is not b1: %s", got.body)
	}
}

func TestRefusals(t *testing.T) {
	p := startPair(t, app(t, "a", nil), app(t, "b", nil))
	if got := do(t, "GET", p.urlA+"/order?user=anna", "", nil); got.status != 503 {
		t.Errorf("without a snapshot: %d", got.status)
	} else {
		got.refusal(t)
	}
	p.install(t, snapshot(7, document()))
	unknown := request(t, "GET", p.urlA+"/order?user=anna", "", nil)
	unknown.Host = "other.test"
	for name, c := range map[string]struct {
		r      *http.Request
		status int
	}{
		"unknown domain": {unknown, 404},
		"unknown path":   {request(t, "GET", p.urlA+"/else?user=anna", "", nil), 404},
		"missing key":    {request(t, "GET", p.urlA+"/order", "", nil), 403},
	} {
		got := send(t, c.r)
		if got.status != c.status {
			t.Errorf("%s: %d, want %d", name, got.status, c.status)
		}
		got.refusal(t)
		if got.header.Get("X-Live-Unit") != "unit-a" || got.header.Get("X-Live-Endpoint") != p.urlA || got.header["X-Live-Cell"] == nil || got.header.Get("X-Live-Epoch") == "" {
			t.Errorf("%s: headers %v", name, got.header)
		}
	}
	if got := do(t, "GET", p.urlB+"/product", "", nil); got.seen(t).App != "a" {
		t.Errorf("a request without a key does not go to the center: %s", got.body)
	}
}

func TestAccessMode(t *testing.T) {
	for mode, want := range map[space.AccessMode][2]int{space.ReadWrite: {200, 200}, space.ReadOnly: {200, 503}, space.NoAccess: {503, 503}} {
		g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": app(t, "a", nil)}})
		g.must(t, snapshot(1, document(func(d *space.Space) { d.Spec.Units[0].AccessMode = mode })))
		for i, method := range []string{"GET", "POST"} {
			if got := do(t, method, url+"/order?user=anna", "", nil); got.status != want[i] {
				t.Errorf("%s, %s: %d, want %d: %s", mode, method, got.status, want[i], got.body)
			}
		}
	}
}

// A cell that its unit, or the rule alone, lets only read takes no writes; one
// without access gets nobody, and here there is no other cell with a weight.
func TestAccessModeOfACell(t *testing.T) {
	b1 := app(t, "b1", nil)
	for name, tt := range map[string]struct {
		set  func(*space.Space, space.AccessMode)
		want map[space.AccessMode][2]int
	}{
		"of the unit": {func(d *space.Space, m space.AccessMode) { d.Spec.Units[1].Cells[0].AccessMode = m },
			map[space.AccessMode][2]int{space.ReadWrite: {200, 200}, space.ReadOnly: {200, 503}, space.NoAccess: {503, 503}}},
		"of the rule": {func(d *space.Space, m space.AccessMode) { d.Spec.UnitRules[0].Units[1].Cells[0].AccessMode = m },
			map[space.AccessMode][2]int{"": {200, 200}, space.ReadOnly: {200, 503}, space.NoAccess: {503, 503}}},
	} {
		for mode, want := range tt.want {
			g, url := start(t, Config{Unit: "unit-b", Backends: map[string]string{"b1": b1}})
			g.must(t, snapshot(1, document(func(d *space.Space) { tt.set(d, mode) })))
			for i, method := range []string{"GET", "POST"} {
				if got := do(t, method, url+"/order?user=bob", "", nil); got.status != want[i] {
					t.Errorf("%s %s, %s: %d, want %d: %s", name, mode, method, got.status, want[i], got.body)
				}
			}
		}
	}
}

func TestClientsCannotSetLiveHeaders(t *testing.T) {
	p := startPair(t, app(t, "a", nil), app(t, "b", nil))
	p.install(t, snapshot(7, document()))
	h := http.Header{"X-Live-Hop": {"2"}, "X-Live-Epoch": {"99"}, "X-Live-Unit": {"unit-x"}, "x-live-anything": {"1"},
		"X-Forwarded-For": {"1.2.3.4"}, "Connection": {"X-Live-Peer, X-Live-Hop"}}
	for _, user := range []string{"anna", "bob"} {
		s := do(t, "GET", p.urlA+"/order?user="+user, "", h.Clone()).seen(t)
		for name, v := range s.Header {
			switch {
			case name == "X-Live-Epoch" && v[0] == "7", name == "X-Live-Cell", name == "X-Live-Space":
			case name == "X-Live-Unit" && strings.HasPrefix(v[0], "unit-"+s.App):
			case strings.HasPrefix(strings.ToLower(name), "x-live-"):
				t.Errorf("%s: the application saw %s: %v", user, name, v)
			}
		}
		if from := s.Header.Get("X-Forwarded-For"); from != "127.0.0.1" {
			t.Errorf("X-Forwarded-For %q: the client's word was taken", from)
		}
	}
	forged := http.Header{"X-Live-Peer": {"unit-b " + strings.Repeat("00", 32)}, "X-Live-Hop": {"1"}, "X-Live-Epoch": {"1"}}
	if got := do(t, "GET", p.urlA+"/order?user=anna", "", forged); got.status != 403 {
		t.Errorf("a forged passage: %d", got.status)
	}
}

func TestSignatureBelongsToItsRequest(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/order?user=anna", nil)
	r.Host = "shop.atoll.test"
	passage{unit: "unit-b", hop: 1, epoch: 5}.send(r, []byte(secret))
	good := r.Clone(context.Background())
	if p, err := receive(good, []byte(secret)); err != nil || p != (passage{"unit-b", 1, 5}) {
		t.Errorf("signed: %+v, %v", p, err)
	}
	if len(good.Header) != 0 {
		t.Errorf("headers left: %v", good.Header)
	}
	for name, change := range map[string]func(*http.Request){
		"uri":    func(r *http.Request) { r.RequestURI = "/order?user=bob" },
		"method": func(r *http.Request) { r.Method = "GET" },
		"host":   func(r *http.Request) { r.Host = "other" },
		"hop":    func(r *http.Request) { r.Header.Set("X-Live-Hop", "0") },
		"epoch":  func(r *http.Request) { r.Header.Set("X-Live-Epoch", "4") },
		"unit":   func(r *http.Request) { r.Header.Set("X-Live-Peer", "unit-c"+r.Header.Get("X-Live-Peer")[6:]) },
	} {
		bad := r.Clone(context.Background())
		change(bad)
		if p, err := receive(bad, []byte(secret)); err == nil {
			t.Errorf("a changed %s passes: %+v", name, p)
		}
	}
}

// Two gateways that disagree pass a request on no more than twice.
func TestHopLimit(t *testing.T) {
	p := startPair(t, app(t, "a", nil), app(t, "b", nil))
	p.a.must(t, snapshot(7, movedDocument())) // a: anna belongs to unit-b
	p.b.must(t, snapshot(7, document()))      // b: anna belongs to unit-a
	got := do(t, "GET", p.urlA+"/order?user=anna", "", nil)
	if got.status != http.StatusLoopDetected {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	if owner := got.refusal(t)["owner"]; owner != "unit-b" {
		t.Errorf("owner %v", owner)
	}
	if a, b := p.a.figures.requests.Load(), p.b.figures.forwarded.Load(); a < 2 || b != 1 {
		t.Errorf("a served %d, b forwarded %d", a, b)
	}
}

func TestGatewayBehindItsPeerWaitsForTheSnapshot(t *testing.T) {
	p := startPair(t, app(t, "a", nil), app(t, "b", nil))
	p.a.must(t, snapshot(8, movedDocument()))
	p.b.must(t, snapshot(7, document()))
	answer := make(chan reply, 1)
	go func() { answer <- do(t, "POST", p.urlA+"/order?user=anna", "x", nil) }()
	wait(t, "the request at b", func() bool { return len(p.b.slots) == 1 })
	p.b.must(t, snapshot(8, movedDocument()))
	if got := <-answer; got.status != 200 || got.seen(t).App != "b" || got.header.Get("X-Live-Epoch") != "8" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if n := p.b.figures.forwarded.Load(); n != 0 {
		t.Errorf("the request bounced %d times", n)
	}
}

func TestOwnerThatCannotBeReachedIsNamed(t *testing.T) {
	dead := "http://" + freeAddr(t)
	g, url := start(t, Config{Unit: "unit-b", Backends: map[string]string{"": dead}, Peers: map[string]string{"unit-a": dead}, PeerSilence: time.Minute})
	g.must(t, snapshot(1, document()))
	for _, user := range []string{"user=anna", "user=bob", ""} {
		path := "/order?"
		if user == "" {
			path = "/product"
		}
		got := do(t, "POST", url+path+user, "x", nil)
		m := got.refusal(t)
		want := "unit-a"
		if user == "user=bob" {
			want = "unit-b"
		}
		if got.status != 503 || m["owner"] != want || m["done"] != false || got.header.Get("Retry-After") != "1" || got.header.Get("X-Live-Unit") != want {
			t.Errorf("%q: %d %s", user, got.status, got.body)
		}
	}
}

func TestSilentPeerFailsAtOnceAndComesBack(t *testing.T) {
	relay := newRelay(t)
	g, url := start(t, Config{Unit: "unit-b", Backends: map[string]string{"": app(t, "b", nil)}, Peers: map[string]string{"unit-a": "http://" + relay.addr()},
		PeerSilence: 400 * time.Millisecond})
	g.must(t, snapshot(1, document()))
	a, urlA := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": app(t, "a", nil)}})
	a.must(t, snapshot(1, document()))
	relay.to(strings.TrimPrefix(urlA, "http://"))
	wait(t, "the peer up", func() bool { return do(t, "GET", url+"/order?user=anna", "", nil).status == 200 })
	relay.cut(true)
	wait(t, "the peer down", func() bool { return g.peers["unit-a"].trouble() != "" })
	began := time.Now()
	got := do(t, "GET", url+"/order?user=anna", "", nil)
	if got.status != 503 || got.refusal(t)["owner"] != "unit-a" || time.Since(began) > time.Second {
		t.Errorf("%d after %v: %s", got.status, time.Since(began), got.body)
	}
	if got := do(t, "GET", url+"/order?user=bob", "", nil); got.status != 200 {
		t.Errorf("own keys are not served: %d", got.status)
	}
	relay.cut(false)
	wait(t, "the peer up again", func() bool { return do(t, "GET", url+"/order?user=anna", "", nil).status == 200 })
}

func TestAnswerThatNeverComes(t *testing.T) {
	release := make(chan struct{})
	hung := app(t, "hung", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	broken := app(t, "broken", func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack()
		_ = c.Close()
	})
	for status, backend := range map[int]string{504: hung, 502: broken} {
		g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": backend}, AnswerTimeout: 100 * time.Millisecond})
		g.must(t, snapshot(1, document()))
		got := do(t, "POST", url+"/order?user=anna", "x", nil)
		if got.status != status || got.refusal(t)["done"] != "unknown" {
			t.Errorf("%d, want %d: %s", got.status, status, got.body)
		}
	}
}

// A request whose bytes may have been sent is never sent again, whatever the
// transport would do by itself.
func TestUnsafeRequestsAreSentOnce(t *testing.T) {
	var mu sync.Mutex
	posts, used := 0, map[string]bool{}
	backend := app(t, "closing", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPost {
			posts++
		}
		if !used[r.RemoteAddr] { // the connection is used again, and breaks at the second request
			used[r.RemoteAddr] = true
			return
		}
		c, _, _ := w.(http.Hijacker).Hijack()
		_ = c.Close()
	})
	g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": backend}})
	g.must(t, snapshot(1, document()))
	do(t, "GET", url+"/order?user=anna", "", nil)
	got := do(t, "POST", url+"/order?user=anna", "", http.Header{"Idempotency-Key": {"k"}})
	if got.status != 502 || got.refusal(t)["done"] != "unknown" {
		t.Errorf("%d %s", got.status, got.body)
	}
	mu.Lock()
	defer mu.Unlock()
	if posts != 1 {
		t.Errorf("the POST was served %d times", posts)
	}
}

// A cell that took the request and broke is not passed over.
func TestSentRequestGoesToNoOtherCell(t *testing.T) {
	broken := app(t, "b1", func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack()
		_ = c.Close()
	})
	var served atomic.Int64
	other := app(t, "b2", func(http.ResponseWriter, *http.Request) { served.Add(1) })
	g, url := start(t, Config{Unit: "unit-b", Backends: map[string]string{"b1": broken, "b2": other}})
	g.must(t, snapshot(1, document()))
	if got := do(t, "POST", url+"/order?user=bob", "", nil); got.status != 502 || served.Load() != 0 {
		t.Errorf("%d, the other cell served %d", got.status, served.Load())
	}
}

func TestUpgradePasses(t *testing.T) {
	backend := app(t, "ws", func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("echo " + line)
		_ = rw.Flush()
		_, _ = rw.ReadByte()
	})
	p := startPair(t, backend, backend)
	p.install(t, snapshot(7, document()))
	c, err := net.Dial("tcp", strings.TrimPrefix(p.urlB, "http://")) // by way of both gateways
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(c, "GET /order?user=anna HTTP/1.1\r\nHost: shop.atoll.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	rd := bufio.NewReader(c)
	res, err := http.ReadResponse(rd, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("X-Live-Unit") != "unit-a" {
		t.Fatalf("%v %v", res, err)
	}
	_ = res.Body.Close()
	_, _ = io.WriteString(c, "hello\n")
	if line, err := rd.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q %v", line, err)
	}
}

// What the client has sent arrives while the client goes on sending, and what
// the application has answered arrives while it goes on answering.
func TestBodiesStream(t *testing.T) {
	backend := app(t, "stream", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = fmt.Fprintf(w, "got %s\n", lines.Text())
			_ = http.NewResponseController(w).Flush()
		}
	})
	g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": backend}})
	g.must(t, snapshot(1, document()))
	in, out := io.Pipe()
	r := request(t, "PUT", url+"/order?user=anna", "", nil)
	r.Body, r.ContentLength = in, -1
	answers := make(chan *http.Response, 1)
	go func() {
		res, err := client.Do(r) //nolint:bodyclose // who takes it from answers does
		if err != nil {
			t.Errorf("stream: %v", err)
		}
		answers <- res
	}()
	_, _ = io.WriteString(out, "one\n")
	res := <-answers
	if res == nil {
		t.FailNow()
	}
	defer func() { _ = res.Body.Close() }()
	rd := bufio.NewReader(res.Body)
	for i, word := range []string{"one", "two", "three"} {
		if i > 0 {
			_, _ = io.WriteString(out, word+"\n")
		}
		if line, err := rd.ReadString('\n'); line != "got "+word+"\n" {
			t.Fatalf("%q %v", line, err)
		}
	}
	_ = out.Close()
}

func TestLimits(t *testing.T) {
	g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": app(t, "a", nil)}, BodyLimit: 1000, HeaderLimit: 1 << 10, InFlightLimit: 1})
	g.must(t, snapshot(1, document()))
	if got := do(t, "POST", url+"/order?user=anna", strings.Repeat("x", 1001), nil); got.status != 413 {
		t.Errorf("large body: %d", got.status)
	}
	chunked := request(t, "POST", url+"/order?user=anna", "", nil)
	chunked.Body, chunked.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 5000))), -1
	if got := send(t, chunked); got.status != 413 {
		t.Errorf("large chunked body: %d %s", got.status, got.body)
	}
	if got := do(t, "GET", url+"/order?user=anna", "", http.Header{"X-Much": {strings.Repeat("x", 10_000)}}); got.status != 431 {
		t.Errorf("large header: %d", got.status)
	}
	g.slots <- struct{}{}
	if got := do(t, "GET", url+"/order?user=anna", "", nil); got.status != 503 {
		t.Errorf("too many in flight: %d", got.status)
	}
	<-g.slots
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	err := Config{Listen: "nowhere", Backends: map[string]string{"": "ftp://x"}, Peers: map[string]string{"unit-b": "http://h/path"}, HoldLimit: -1}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"--unit", "listen", "backend", "peer", "--hop-secret-file", "limit"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("nothing of %s in %q", part, err)
		}
	}
}

func TestPortInUseIsOneError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	g, err := New(Config{Unit: "u", Listen: l.Addr().String(), Backends: map[string]string{"": "http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
}
