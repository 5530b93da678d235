package wan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a server behind the relay; serve handles each connection.
func site(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range all {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

func relay(t *testing.T, cfg Config) *Relay {
	t.Helper()
	cfg.Status = "127.0.0.1:0"
	for i := range cfg.Links {
		cfg.Links[i].Listen = "127.0.0.1:0"
	}
	r, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("relay: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the relay did not stop within 10 s")
		}
	})
	for _, l := range cfg.Links {
		within(t, 5*time.Second, "the relay to listen", func() bool { return !strings.HasSuffix(r.Addr(l.Name), ":0") })
	}
	return r
}

func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	end := time.Now().Add(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", limit, what)
		}
		<-tick.C
	}
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

func oneLink(target string) Config {
	return Config{RTTMs: 60, Links: []Link{{Name: "x", From: "unit-a", To: "unit-b", Target: target}}}
}

func roundTrip(t *testing.T, c net.Conn, text string) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != text {
		t.Fatalf("sent %q, got %q", text, got)
	}
	return time.Since(began)
}

func TestRelay_DelaysByTheRoundTrip(t *testing.T) {
	r := relay(t, oneLink(site(t, echo)))
	c := dial(t, r.Addr("x"))
	if d := roundTrip(t, c, "first"); d < 120*time.Millisecond {
		t.Errorf("the first answer took %v: the handshake's round trip of 60 ms is missing", d)
	}
	best := time.Hour
	for range 5 {
		d := roundTrip(t, c, "ping")
		if d < 60*time.Millisecond {
			t.Errorf("an answer took %v, under the round trip of 60 ms", d)
		}
		best = min(best, d)
	}
	if best > 90*time.Millisecond {
		t.Errorf("the best of five answers took %v with a round trip of 60 ms", best)
	}
}

// A stream through the delay line comes out as it went in and is not slowed
// to one buffer a round trip.
func TestRelay_KeepsOrderAndThroughput(t *testing.T) {
	r := relay(t, oneLink(site(t, echo)))
	c := dial(t, r.Addr("x"))
	want := make([]byte, 16<<20)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(want)
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+int(rnd.Uint64()%100_000))
			if _, err := c.Write(rest[:n]); err != nil {
				sent <- err
				return
			}
			rest = rest[n:]
		}
		sent <- c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes went in, %d other bytes came out", len(want), len(got))
	}
	// One 64 KiB chunk a round trip would take 15 s.
	if d := time.Since(began); d > 8*time.Second {
		t.Errorf("16 MiB there and back took %v", d)
	}
}

// A receiver that takes nothing holds the sender up: the line keeps no more
// than its limit.
func TestRelay_BackPressure(t *testing.T) {
	release := make(chan struct{})
	cfg := oneLink(site(t, func(c *net.TCPConn) {
		<-release
		_, _ = io.Copy(io.Discard, c)
	}))
	cfg.BufferBytes = 1 << 20
	r := relay(t, cfg)
	c := dial(t, r.Addr("x"))
	_ = c.SetWriteBuffer(64 << 10)
	const total = 64 << 20
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		block := make([]byte, 64<<10)
		for sent.Load() < total {
			n, err := c.Write(block)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	last, still := int64(-1), 0
	within(t, 20*time.Second, "the sender to be held up", func() bool {
		if n := sent.Load(); n > 0 && n == last {
			still++
		} else {
			last, still = n, 0
		}
		return still > 60 || last >= total
	})
	if n := sent.Load(); n >= total/2 {
		t.Errorf("the relay took %d bytes for a receiver that reads nothing", n)
	}
	close(release)
	<-done
	if sent.Load() != total {
		t.Errorf("only %d of %d bytes were sent after the receiver woke", sent.Load(), total)
	}
}

func TestRelay_HalfClose(t *testing.T) {
	r := relay(t, oneLink(site(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		_, _ = fmt.Fprintf(c, "%d bytes", len(all))
	})))
	c := dial(t, r.Addr("x"))
	_, _ = io.WriteString(c, "hello")
	_ = c.CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != "5 bytes" {
		t.Errorf("after a half-close: %q, %v", answer, err)
	}
	within(t, 5*time.Second, "the connection to be over", func() bool { return r.Links()[0].Connections == 0 })
}

// What the server said before it broke the connection still arrives.
func TestRelay_ResetComesAfterTheData(t *testing.T) {
	r := relay(t, oneLink(site(t, func(c *net.TCPConn) {
		_, _ = io.ReadFull(c, make([]byte, 1))
		_, _ = io.WriteString(c, "too many connections")
		abort(c)
	})))
	c := dial(t, r.Addr("x"))
	_, _ = io.WriteString(c, "x")
	got := make([]byte, len("too many connections"))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read what was said before the reset: %v", err)
	}
	if _, err := c.Read(got); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the reset did not arrive: %v", err)
	}
}

func TestRelay_UnreachableTargetBreaksTheClient(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := gone.Addr().String()
	_ = gone.Close()
	r := relay(t, oneLink(addr))
	c := dial(t, r.Addr("x"))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read from an unreachable target: %v", err)
	}
	if n := r.Links()[0].Failed; n != 1 {
		t.Errorf("%d failed connections counted, want 1", n)
	}
}

func TestRelay_CutStallsAndHealGoesOn(t *testing.T) {
	r := relay(t, oneLink(site(t, echo)))
	old := dial(t, r.Addr("x"))
	roundTrip(t, old, "before")
	if err := r.Cut("unit-b"); err != nil {
		t.Fatal(err)
	}
	fresh := dial(t, r.Addr("x")) // accepted, and hangs
	for _, c := range []*net.TCPConn{old, fresh} {
		if _, err := io.WriteString(c, "during"); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]*net.TCPConn{"old": old, "fresh": fresh} {
		_ = c.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the %s connection read %d bytes, %v over a cut link", name, n, err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
	healed := time.Now()
	if err := r.Heal("unit-b"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*net.TCPConn{"old": old, "fresh": fresh} {
		got := make([]byte, len("during"))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "during" {
			t.Errorf("the %s connection after the heal: %q, %v", name, got, err)
		}
		if d := time.Since(healed); d < 60*time.Millisecond {
			t.Errorf("the %s connection answered %v after the heal, under a round trip", name, d)
		}
	}
}

// A client that gave up while the link was cut is not seen by the target.
func TestRelay_ForgetsClientsThatGaveUp(t *testing.T) {
	var seen atomic.Int64
	r := relay(t, oneLink(site(t, func(c *net.TCPConn) { seen.Add(1); echo(c) })))
	_ = r.Cut("unit-a")
	for range 10 {
		_ = dial(t, r.Addr("x")).Close()
	}
	within(t, 5*time.Second, "all to be accepted", func() bool { return r.Links()[0].Total == 10 })
	_ = r.Heal("unit-a")
	within(t, 5*time.Second, "all to be over", func() bool { return r.Links()[0].Connections == 0 })
	if n := seen.Load(); n != 0 {
		t.Errorf("the target saw %d of 10 clients that had given up", n)
	}
}

func TestRelay_ThousandConnections(t *testing.T) {
	const n = 1000
	r := relay(t, oneLink(site(t, echo)))
	conns := make([]*net.TCPConn, n)
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		conns[i] = dial(t, r.Addr("x"))
		wg.Go(func() {
			text := fmt.Sprintf("connection %04d", i)
			for range 3 {
				got := make([]byte, len(text))
				_, werr := io.WriteString(conns[i], text)
				_, rerr := io.ReadFull(conns[i], got)
				if err := errors.Join(werr, rerr); err != nil || string(got) != text {
					errs <- fmt.Errorf("connection %d got %q: %w", i, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "all bytes to be counted", func() bool {
		s := r.Links()[0]
		return s.Connections == n && s.Bytes == int64(n*3*2*len("connection 0000"))
	})
	for _, c := range conns {
		_ = c.Close()
	}
	within(t, 10*time.Second, "all to be over", func() bool { return r.Links()[0].Connections == 0 })
}

// Beyond its limit of connections a link lets clients wait instead of
// refusing them.
func TestRelay_LimitOfConnections(t *testing.T) {
	cfg := oneLink(site(t, echo))
	cfg.ConnsPer = 1
	r := relay(t, cfg)
	first, second := dial(t, r.Addr("x")), dial(t, r.Addr("x"))
	roundTrip(t, first, "one")
	_, _ = io.WriteString(second, "two")
	_ = second.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the second connection of one allowed: %v", err)
	}
	_ = first.Close()
	_ = second.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(second, make([]byte, 3)); err != nil {
		t.Errorf("the second connection after the first ended: %v", err)
	}
}

func TestRelay_StopsWithStreamsUnderWay(t *testing.T) {
	r := relay(t, oneLink(site(t, echo))) // its cleanup checks the stop
	for range 20 {
		roundTrip(t, dial(t, r.Addr("x")), "hello")
	}
	_ = r.Cut("unit-b")
	_, _ = io.WriteString(dial(t, r.Addr("x")), "hangs")
}

func TestRelay_CutsByUnitPairAndLink(t *testing.T) {
	links := []Link{
		{Name: "a>b", From: "unit-a", To: "unit-b"},
		{Name: "b>a", From: "unit-b", To: "unit-a"},
		{Name: "a>w", From: "unit-a", To: "witness"},
		{Name: "b>w", From: "unit-b", To: "witness"},
	}
	for i := range links {
		links[i].Target = "127.0.0.1:1"
	}
	r := relay(t, Config{Links: links})
	tests := []struct{ path, want string }{
		{"cut?unit=unit-b", "a>b b>a b>w"},
		{"cut?unit=unit-a", "a>b b>a a>w b>w"},
		{"heal?unit=unit-b", "a>b b>a a>w"}, // unit-a is still cut
		{"heal?unit=unit-a", ""},
		{"cut?between=unit-b,unit-a", "a>b b>a"},
		{"cut?link=b>w", "a>b b>a b>w"},
		{"heal?between=unit-a,unit-b", "b>w"},
		{"heal?unit=unit-b", ""},
		{"cut?unit=witness", "a>w b>w"},
		{"heal", ""},
		{"cut?link=a>w&for=1h", "a>w"},
		{"heal?link=a>w", ""},
		{"cut?link=a>w&for=20ms", "a>w"},
	}
	handler := r.handler(t.Context())
	for _, tt := range tests {
		if code, text := post(handler, tt.path); code != http.StatusNoContent {
			t.Fatalf("POST /%s: %d %s", tt.path, code, text)
		}
		if got := cutLinks(r); got != tt.want && !strings.HasSuffix(tt.path, "20ms") {
			t.Errorf("POST /%s cuts %q, want %q", tt.path, got, tt.want)
		}
	}
	within(t, 5*time.Second, "the cut of 20 ms to heal", func() bool { return cutLinks(r) == "" })
	for _, bad := range []string{"cut", "cut?unit=unit-c", "cut?unit=unit-a&link=a>b", "cut?between=unit-a", "cut?unit=unit-a&for=x", "heal?link=none"} {
		if code, _ := post(handler, bad); code < 400 {
			t.Errorf("POST /%s: %d, want a refusal", bad, code)
		}
	}
	if got := cutLinks(r); got != "" {
		t.Errorf("refused orders cut %q", got)
	}
}

func TestRelay_SlowsOneLink(t *testing.T) {
	r := relay(t, oneLink(site(t, echo)))
	c := dial(t, r.Addr("x"))
	roundTrip(t, c, "as ever")
	h := r.handler(t.Context())
	if code, text := post(h, "slow?link=x&by=100ms"); code != http.StatusNoContent {
		t.Fatalf("slow: %d %s", code, text)
	}
	if d := roundTrip(t, c, "slowly"); d < 260*time.Millisecond {
		t.Errorf("with 100 ms more each way an answer took %v", d)
	}
	if s := r.Links()[0]; s.DelayMs != 130 {
		t.Errorf("the delay is shown as %d ms, want 130", s.DelayMs)
	}
	_, _ = post(h, "slow?link=x&by=0s")
	if d := roundTrip(t, c, "as before"); d > 200*time.Millisecond {
		t.Errorf("restored, an answer took %v", d)
	}
	for _, bad := range []string{"slow?link=y&by=1s", "slow?link=x", "slow?link=x&by=-1s"} {
		if code, _ := post(h, bad); code < 400 {
			t.Errorf("POST /%s: %d, want a refusal", bad, code)
		}
	}
}

func cutLinks(r *Relay) string {
	var names []string
	for _, l := range r.Links() {
		if l.Cut {
			names = append(names, l.Name)
		}
	}
	return strings.Join(names, " ")
}

func post(h http.Handler, path string) (int, string) {
	req, _ := http.NewRequest(http.MethodPost, "http://x/"+strings.ReplaceAll(path, ">", "%3E"), nil)
	w := &answer{header: http.Header{}, code: http.StatusOK}
	h.ServeHTTP(w, req)
	return w.code, w.String()
}

type answer struct {
	bytes.Buffer
	header http.Header
	code   int
}

func (a *answer) Header() http.Header  { return a.header }
func (a *answer) WriteHeader(code int) { a.code = code }

func TestReadConfig(t *testing.T) {
	good := Config{Status: "127.0.0.1:1", RTTMs: 30, Links: []Link{{Name: "x", From: "a", To: "b", Listen: "127.0.0.1:2", Target: "127.0.0.1:3"}}}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"good", func(*Config) {}, ""},
		{"open status", func(c *Config) { c.Status = "0.0.0.0:1" }, "not a loopback"},
		{"open link", func(c *Config) { c.Links[0].Listen = ":2" }, "not a loopback"},
		{"remote target", func(c *Config) { c.Links[0].Target = "10.0.0.1:3" }, "not a loopback"},
		{"no port", func(c *Config) { c.Links[0].Target = "127.0.0.1" }, "not host:port"},
		{"one site", func(c *Config) { c.Links[0].To = "a" }, "within site"},
		{"no name", func(c *Config) { c.Links[0].Name = "" }, "wants a name"},
		{"twice", func(c *Config) { c.Links = append(c.Links, c.Links[0]) }, "twice"},
		{"slow", func(c *Config) { c.RTTMs = 60_000 }, "round trip"},
		{"limits", func(c *Config) { c.ConnsPer = -1 }, "below zero"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			c.Links = append([]Link(nil), good.Links...)
			tt.change(&c)
			text, _ := json.Marshal(c)
			path := filepath.Join(t.TempDir(), "wan.json")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadConfig(path)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRelay_PortInUseStartsNothing(t *testing.T) {
	taken := site(t, echo)
	cfg := Config{Status: "127.0.0.1:0", Links: []Link{
		{Name: "x", From: "a", To: "b", Listen: "127.0.0.1:0", Target: taken},
		{Name: "y", From: "a", To: "b", Listen: taken, Target: taken},
	}}
	r, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "link y") {
		t.Errorf("run with a taken port: %v", err)
	}
	if _, err := net.Dial("tcp", r.Addr("x")); err == nil {
		t.Error("link x is left listening")
	}
}
