package gateway

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

func TestHeldRequestWaitsAndGoesToTheNewOwner(t *testing.T) {
	p := startPair(t, app(t, "a", nil), app(t, "b", nil))
	p.install(t, snapshot(11, document(), moving(false)))
	answers := make(chan reply, 2)
	for _, edge := range []string{p.urlA, p.urlB} {
		go func() { answers <- do(t, "POST", edge+"/order?user=anna", "a body", nil) }()
	}
	wait(t, "both held", func() bool { return p.a.figures.heldNow.Load() == 1 && p.b.figures.heldNow.Load() == 1 })
	for name, got := range map[string]reply{
		"a read of a held key":   do(t, "GET", p.urlA+"/order?user=anna", "", nil),
		"a write of another key": do(t, "POST", p.urlA+"/order?user=zhangsan", "x", nil),
	} {
		if got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	p.install(t, snapshot(12, document(), moving(true)))
	p.install(t, snapshot(13, movedDocument(), moving(true)))
	select {
	case got := <-answers:
		t.Fatalf("let go before the release: %d %s", got.status, got.body)
	default:
	}
	p.install(t, snapshot(14, movedDocument()))
	for range 2 {
		got := <-answers
		if got.status != 200 || got.header.Get("X-Live-Epoch") != "14" || got.header.Get("X-Live-Unit") != "unit-b" {
			t.Fatalf("%d %v %s", got.status, got.header, got.body)
		}
		if s := got.seen(t); s.App != "b" || s.Body != "a body" {
			t.Errorf("application saw %+v", s)
		}
	}
	for _, g := range []*Gateway{p.a, p.b} {
		if f := g.readFigures(); f["held_now"] != 0 || f["held_total"] != 1 {
			t.Errorf("figures %v", f)
		}
	}
}

func TestHoldIsBounded(t *testing.T) {
	g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": app(t, "a", nil)}, HoldLimit: 1})
	s := snapshot(11, document(), moving(false))
	s.Settings.HoldMax = 300 * time.Millisecond
	g.must(t, s)
	first := make(chan reply, 1)
	go func() { first <- do(t, "POST", url+"/order?user=anna", "x", nil) }()
	wait(t, "one held", func() bool { return g.figures.heldNow.Load() == 1 })
	for name, got := range map[string]reply{"one too many": do(t, "POST", url+"/order?user=anna", "x", nil), "too long": <-first} {
		m := got.refusal(t)
		if got.status != 503 || got.header.Get("Retry-After") != "1" || m["done"] != false || m["retry"] != true {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if f := g.readFigures(); f["hold_full"] != 1 || f["hold_ended"] != 1 || f["held_now"] != 0 || f["held_total"] != 1 {
		t.Errorf("figures %v", f)
	}
}

func TestHeldRequestsAreLetGoWhenTheGatewayStops(t *testing.T) {
	g, err := New(Config{Unit: "unit-a", Listen: "127.0.0.1:0", Backends: map[string]string{"": app(t, "a", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	addr, _ := g.Addr(t.Context())
	g.must(t, snapshot(11, document(), moving(false)))
	answer := make(chan reply, 1)
	go func() { answer <- do(t, "POST", "http://"+addr+"/order?user=anna", "x", nil) }()
	wait(t, "one held", func() bool { return g.figures.heldNow.Load() == 1 })
	cancel()
	if got := <-answer; got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func acks(g *Gateway) []*atollv1.Ack {
	r := &atollv1.ReportRequest{}
	g.Report(r)
	return r.GetAcks()
}

func TestQuietIsAckedWhenNothingAdmittedBeforeIsInFlight(t *testing.T) {
	inside, release := make(chan string), make(chan struct{})
	slow := app(t, "slow", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		inside <- r.URL.Query().Get("user")
		<-release
		w.WriteHeader(http.StatusCreated)
	})
	p := startPair(t, slow, app(t, "b", nil))
	p.install(t, snapshot(10, document()))
	answers := make(chan reply, 3)
	go func() { answers <- do(t, "POST", p.urlB+"/order?user=anna", "x", nil) }() // in flight at both gateways
	go func() { answers <- do(t, "POST", p.urlA+"/order?user=zhangsan", "x", nil) }()
	go func() { answers <- do(t, "GET", p.urlA+"/order?user=anna", "", nil) }()
	for range 3 {
		<-inside
	}
	p.install(t, snapshot(11, document(), moving(false)))
	for _, g := range []*Gateway{p.a, p.b} {
		if got := acks(g); len(got) != 0 {
			t.Errorf("acked while a write of anna is in flight: %v", got)
		}
	}
	release <- struct{}{}
	release <- struct{}{}
	release <- struct{}{}
	for range 3 {
		<-answers
	}
	for _, g := range []*Gateway{p.a, p.b} {
		wait(t, "quiet", func() bool { return len(acks(g)) == 1 })
		a := acks(g)[0]
		if a.GetSpace() != "shop" || a.GetMove() != "m1" || a.GetStep() != "quiet" || a.GetEpoch() != 11 {
			t.Errorf("ack %v", a)
		}
	}
	p.install(t, snapshot(12, document(), moving(true)))
	if got := acks(p.a); len(got) != 1 || got[0].GetEpoch() != 11 {
		t.Errorf("a quiet hold does not stay acked at its epoch: %v", got)
	}
	p.install(t, snapshot(13, movedDocument()))
	if got := acks(p.a); len(got) != 0 {
		t.Errorf("acks after the hold: %v", got)
	}
}

// What a peer admitted before the hold is counted there; if the owner held it
// too, the peer could not become quiet before the hold ends.
func TestOwnerLetsThroughWhatAPeerAdmittedBeforeTheHold(t *testing.T) {
	g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": app(t, "a", nil)}})
	g.must(t, snapshot(10, document()))
	g.must(t, snapshot(11, document(), moving(false)))
	from := func(epoch int64) *http.Request {
		r := request(t, "POST", url+"/order?user=anna", "", nil)
		passage{unit: "unit-b", hop: 1, epoch: epoch}.send(r, []byte(secret))
		return r
	}
	if got := send(t, from(10)); got.status != 200 {
		t.Errorf("admitted before the hold: %d %s", got.status, got.body)
	}
	if got := acks(g); len(got) != 1 {
		t.Errorf("the owner is not quiet: %v", got)
	}
	held := make(chan reply, 3)
	go func() { held <- send(t, from(11)) }()
	go func() { held <- send(t, from(14)) }()
	wait(t, "requests admitted under the hold held", func() bool { return g.figures.heldNow.Load() == 2 })
	g.must(t, snapshot(12, document(), moving(true)))
	go func() { held <- send(t, from(10)) }()
	wait(t, "everything behind the fence held", func() bool { return g.figures.heldNow.Load() == 3 })
	g.must(t, snapshot(13, document()))
	for range 3 {
		if got := <-held; got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

// An application that says 421 has done nothing: the request is decided again
// when the snapshot that the application has already is here too.
func TestMisdirectedRequestGoesToTheNewOwner(t *testing.T) {
	refused := make(chan struct{}, 4)
	a := app(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusMisdirectedRequest)
		refused <- struct{}{}
	})
	p := startPair(t, a, app(t, "b", nil))
	p.install(t, snapshot(10, document()))
	for _, method := range []string{"GET", "POST"} {
		body := ""
		if method == "POST" {
			body = "a body"
		}
		answer := make(chan reply, 1)
		p.a.cfg.SnapshotWait = 5 * time.Second
		go func() { answer <- do(t, method, p.urlA+"/order?user=anna", body, nil) }()
		<-refused
		epoch := p.a.gate.now.Load().views[0].Snapshot.Epoch
		p.install(t, snapshot(epoch+1, movedDocument()))
		got := <-answer
		if got.status != 200 || got.seen(t).App != "b" || got.seen(t).Body != body {
			t.Errorf("%s: %d %s", method, got.status, got.body)
		}
		p.install(t, snapshot(epoch+2, document()))
	}
}

func TestMisdirectedForEverIsAnswered(t *testing.T) {
	var served atomic.Int64
	a := app(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.WriteHeader(http.StatusMisdirectedRequest)
		_, _ = io.WriteString(w, "not here")
	})
	g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": a}, SnapshotWait: 5 * time.Millisecond})
	g.must(t, snapshot(10, document()))
	got := do(t, "POST", url+"/order?user=anna", "x", nil)
	if got.status != 421 || got.body != "not here" || served.Load() != maxAttempts {
		t.Errorf("%d %q after %d attempts", got.status, got.body, served.Load())
	}
	served.Store(0)
	stream := request(t, "POST", url+"/order?user=anna", "", nil)
	in, out := io.Pipe()
	go func() { _, _ = io.WriteString(out, "x"); _ = out.Close() }()
	stream.Body, stream.ContentLength = in, -1
	if got := send(t, stream); got.status != 421 || served.Load() != 1 {
		t.Errorf("a body that was not kept: %d after %d attempts", got.status, served.Load())
	}
}

// Admission and Install exclude each other: while a hold is acked quiet nobody
// has a request of its keys in flight.
func TestQuietAndAdmissionRace(t *testing.T) {
	g := newGate(func() {})
	install := func(s *space.Snapshot) {
		v, err := route.NewView(s)
		if err != nil {
			t.Fatal(err)
		}
		g.install(v)
	}
	install(snapshot(1, document()))
	var quiet atomic.Bool
	var stop atomic.Bool
	var violations, passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				s := g.now.Load()
				v := s.views[0]
				ticket, verdict := g.admit(s, v, v.DecideKey("1003", "anna"), 0)
				switch verdict {
				case admitted:
					if quiet.Load() {
						violations.Add(1)
					}
					passed.Add(1)
					g.end(ticket)
				case held:
					<-s.renewed
				}
			}
		})
	}
	for epoch := int64(2); epoch < 2000; epoch += 2 {
		install(snapshot(epoch, document(), moving(false)))
		wait(t, "quiet", func() bool {
			r := &atollv1.ReportRequest{}
			g.report(r)
			return len(r.GetAcks()) == 1 && r.GetAcks()[0].GetEpoch() == epoch
		})
		quiet.Store(true)
		for range 50 { // while the mover believes the ack
			runtime.Gosched()
		}
		quiet.Store(false)
		install(snapshot(epoch+1, document()))
	}
	stop.Store(true)
	install(snapshot(1_000_000, document()))
	wg.Wait()
	if violations.Load() > 0 || passed.Load() == 0 {
		t.Errorf("%d of %d were in flight while the hold was acked quiet", violations.Load(), passed.Load())
	}
}

// The mover waits for quiet: it is told at once, not with the next report.
func TestQuietIsToldAtOnce(t *testing.T) {
	var told atomic.Int64
	g := newGate(func() { told.Add(1) })
	put := func(s *space.Snapshot) (*state, *route.View) {
		v, err := route.NewView(s)
		if err != nil {
			t.Fatal(err)
		}
		g.install(v)
		return g.now.Load(), v
	}
	s, v := put(snapshot(1, document()))
	one, _ := g.admit(s, v, v.DecideKey("1003", "anna"), 0)
	two, _ := g.admit(s, v, v.DecideKey("1003", "anna"), 0)
	put(snapshot(2, document(), moving(false)))
	g.end(one)
	if told.Load() != 0 {
		t.Error("told while a request is in flight")
	}
	g.end(two)
	if told.Load() != 1 {
		t.Errorf("told %d times", told.Load())
	}
}

func TestLowerEpochIsIgnored(t *testing.T) {
	g, _ := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": "http://127.0.0.1:1"}})
	g.must(t, snapshot(5, document()))
	g.must(t, snapshot(4, document(), moving(false)))
	if e := g.gate.now.Load().views[0].Snapshot.Epoch; e != 5 {
		t.Errorf("epoch %d in force", e)
	}
	if got := acks(g); len(got) != 0 {
		t.Errorf("acks of a snapshot that is not in force: %v", got)
	}
}
