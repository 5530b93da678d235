package gateway

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/space"
)

// Gateway is one gateway process.
type Gateway struct {
	cfg       Config
	gate      *gate
	agent     *console.Agent // nil without consoles
	backends  map[string]*url.URL
	cells     []string // of backends, sorted
	peers     map[string]*peer
	transport *http.Transport
	errorLog  *log.Logger
	figures   figures
	slots     chan struct{} // one for each request in flight

	turns    *turns
	stopping chan struct{} // closed when Run begins to end: held requests are let go
	bound    chan struct{} // closed when addr is set
	addr     string
}

var _ console.Plane = (*Gateway)(nil)

// New makes a gateway. It starts nothing; Run does.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	cfg = cfg.withDefaults()
	g := &Gateway{
		cfg: cfg, backends: map[string]*url.URL{}, peers: map[string]*peer{}, transport: newTransport(cfg),
		errorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		slots:    make(chan struct{}, cfg.InFlightLimit),
		stopping: make(chan struct{}), bound: make(chan struct{}),
	}
	g.gate = newGate(g.poke)
	g.turns = newTurns(g.gate.now.Load)
	for cell, u := range cfg.Backends {
		g.backends[cell], _ = origin(u) // Validate has parsed it
		g.cells = append(g.cells, cell)
	}
	slices.Sort(g.cells)
	for unit, u := range cfg.Peers {
		parsed, _ := origin(u)
		g.peers[unit] = &peer{unit: unit, url: parsed, silence: cfg.PeerSilence}
	}
	if len(cfg.Consoles) == 0 {
		return g, nil
	}
	agent, err := console.NewAgent(console.Config{
		URLs: cfg.Consoles, Token: cfg.Token, Dir: cfg.Dir, Log: cfg.Log,
		Identity: &atollv1.Plane{Name: cfg.Name, Kind: "gateway", Unit: cfg.Unit, Cell: cfg.Cell, Address: g.endpoint(cfg.Unit)},
	}, g)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.agent = agent
	return g, nil
}

func (g *Gateway) poke() {
	if g.agent != nil {
		g.agent.Poke()
	}
}

// endpoint is the public address of a unit's gateway, "" when it is not known.
func (g *Gateway) endpoint(unit string) string {
	if e := g.cfg.Endpoints[unit]; e != "" {
		return e
	}
	if p := g.peers[unit]; p != nil {
		return p.url.String()
	}
	if unit == g.cfg.Unit {
		select {
		case <-g.bound:
			return "http://" + g.addr
		default:
			return "http://" + g.cfg.Listen
		}
	}
	return ""
}

// local is the application of this unit: the one of the cell, then those of
// the other cells, which share the unit's data.
func (g *Gateway) local(cell string) *target {
	t := &target{}
	first := cell
	if g.backends[first] == nil {
		first = ""
	}
	if u := g.backends[first]; u != nil {
		t.backends = append(t.backends, backend{first, u})
	}
	for _, c := range g.cells {
		if c != first {
			t.backends = append(t.backends, backend{c, g.backends[c]})
		}
	}
	return t
}

// Install puts a snapshot in force.
func (g *Gateway) Install(_ context.Context, s *space.Snapshot) error {
	v, err := route.NewView(s)
	if err != nil {
		return err
	}
	g.gate.install(v)
	g.turns.renew()
	return nil
}

// Ask has nothing for a gateway: its acks follow from the snapshot alone.
func (g *Gateway) Ask([]*atollv1.Ask) {}

// Report says which holds are quiet.
func (g *Gateway) Report(r *atollv1.ReportRequest) {
	g.gate.report(r)
	r.Figures = g.readFigures()
}

// Renew has nothing for a gateway: it writes nothing and needs no lease.
func (g *Gateway) Renew(string, int64, time.Duration) {}

// ServeHTTP serves one request of a client or of a peer.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.figures.requests.Add(1)
	x := &exchange{g: g, w: w, r: r, read: reading{r: r}, safe: safe(r.Method)}
	from, err := receive(r, g.cfg.HopSecret)
	if err != nil {
		x.refuse(&refusal{status: http.StatusForbidden, text: err.Error(), mend: "start all gateways with the same --hop-secret-file"})
		return
	}
	x.from = from
	if from.hop > 0 && r.URL.Path == probePath {
		x.label(w.Header())
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method == http.MethodConnect {
		x.refuse(&refusal{status: http.StatusMethodNotAllowed, text: "a gateway opens no tunnels", mend: "send an ordinary request"})
		return
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		x.refuse(&refusal{status: http.StatusServiceUnavailable, retry: true,
			text: "this gateway serves as many requests as it may", mend: "try again"})
		return
	}
	if no := x.bound(); no != nil {
		x.refuse(no)
		return
	}
	x.run()
}

// Ready tells whether the gateway serves: it listens and has a snapshot.
func (g *Gateway) Ready() bool {
	select {
	case <-g.bound:
		return len(g.gate.now.Load().views) > 0
	default:
		return false
	}
}

// Addr is the address of the public side, once Run has it; it waits for that.
func (g *Gateway) Addr(ctx context.Context) (string, error) {
	select {
	case <-g.bound:
		return g.addr, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Run serves until ctx ends: then it takes no new requests, lets the held ones
// go, waits DrainTimeout for those in flight, and cuts what is left.
func (g *Gateway) Run(ctx context.Context) error {
	public, err := net.Listen("tcp", g.cfg.Listen)
	if err != nil {
		return fmt.Errorf("gateway: %w (choose another --listen, or end what has the port)", err)
	}
	g.addr = public.Addr().String()
	close(g.bound)
	g.cfg.Log.Info("gateway serves", "address", g.addr)

	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := g.newServer(requests)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(serve(server, public)) })
	for _, p := range g.peers {
		wg.Go(func() { g.watch(ctx, p) })
	}
	if g.agent != nil {
		wg.Go(func() { cancel(g.agent.Run(ctx)) })
	}
	<-ctx.Done()
	g.drain(server, cut)
	wg.Wait()
	for range cap(g.slots) { // each request gives its slot back when it is over
		g.slots <- struct{}{}
	}
	g.transport.CloseIdleConnections()
	if outer.Err() != nil {
		return nil
	}
	return fmt.Errorf("gateway: %w", context.Cause(ctx))
}

func (g *Gateway) drain(server *http.Server, cut context.CancelFunc) {
	close(g.stopping)
	limit, cancel := context.WithTimeout(context.Background(), g.cfg.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		g.cfg.Log.Warn("requests still in flight are cut", "in_flight", g.gate.inFlight())
	}
	cut() // upgraded connections and what did not end in time
	_ = server.Close()
}

func (g *Gateway) newServer(requests context.Context) *http.Server {
	return &http.Server{
		Handler:           g,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       g.cfg.IdleTimeout,
		MaxHeaderBytes:    g.cfg.HeaderLimit,
		ErrorLog:          g.errorLog,
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
}

func serve(s *http.Server, l net.Listener) error {
	err := s.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return context.Canceled
	}
	return err
}
