package liar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
)

// Liar speaks the Planes service to one plane. What it has no reason to change
// it passes on as it came, other services included.
type Liar struct {
	cfg    Config
	tale   tale
	client *http.Client
	planes atollv1connect.PlanesClient
}

// New starts nothing.
func New(cfg Config) (*Liar, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	return &Liar{cfg: cfg, tale: newTale(cfg), client: client,
		planes: atollv1connect.NewPlanesClient(client, cfg.Console, connect.WithGRPC())}, nil
}

// Run serves until ctx ends.
func (l *Liar) Run(ctx context.Context) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", l.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", l.cfg.Plane, err)
	}
	return l.serve(ctx, ln)
}

func (l *Liar) serve(ctx context.Context, ln net.Listener) error {
	handler, err := l.handler()
	if err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stopped := make(chan struct{})
	release := context.AfterFunc(ctx, func() { defer close(stopped); _ = server.Close() })
	err = server.Serve(ln)
	if !release() {
		<-stopped
	}
	l.client.CloseIdleConnections()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.cfg.Plane, err)
	}
	return nil
}

func (l *Liar) handler() (http.Handler, error) {
	console, err := origin(l.cfg.Console)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	planes, served := atollv1connect.NewPlanesHandler(l)
	mux.Handle(planes, served)
	rest := httputil.NewSingleHostReverseProxy(console)
	rest.Transport, rest.FlushInterval = l.client.Transport, -1
	mux.Handle("/", rest)
	return mux, nil
}

// forward makes the same call to the console, with the caller's token.
func forward[Q, A any](ctx context.Context, q *connect.Request[Q], call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error)) (*connect.Response[A], error) {
	a, err := call(ctx, withToken(q.Msg, q.Header()))
	if err != nil {
		return nil, passed(err)
	}
	return connect.NewResponse(a.Msg), nil
}

func withToken[Q any](msg *Q, from http.Header) *connect.Request[Q] {
	q := connect.NewRequest(msg)
	for _, name := range []string{"Authorization", "X-Atoll-User"} {
		if v := from.Get(name); v != "" {
			q.Header().Set(name, v)
		}
	}
	return q
}

// passed hands the console's own error on: its code decides what the plane does.
func passed(err error) error {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return connect.NewError(e.Code(), errors.New(e.Message()))
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

// Register passes the plane's identity on.
func (l *Liar) Register(ctx context.Context, q *connect.Request[atollv1.RegisterRequest]) (*connect.Response[atollv1.RegisterResponse], error) {
	return forward(ctx, q, l.planes.Register)
}

// Deregister passes it on.
func (l *Liar) Deregister(ctx context.Context, q *connect.Request[atollv1.DeregisterRequest]) (*connect.Response[atollv1.DeregisterResponse], error) {
	return forward(ctx, q, l.planes.Deregister)
}

// List passes it on.
func (l *Liar) List(ctx context.Context, q *connect.Request[atollv1.ListPlanesRequest]) (*connect.Response[atollv1.ListPlanesResponse], error) {
	return forward(ctx, q, l.planes.List)
}

// Forget passes it on.
func (l *Liar) Forget(ctx context.Context, q *connect.Request[atollv1.ForgetRequest]) (*connect.Response[atollv1.ForgetResponse], error) {
	return forward(ctx, q, l.planes.Forget)
}

// LeaseWorker passes it on.
func (l *Liar) LeaseWorker(ctx context.Context, q *connect.Request[atollv1.LeaseWorkerRequest]) (*connect.Response[atollv1.LeaseWorkerResponse], error) {
	return forward(ctx, q, l.planes.LeaseWorker)
}

// Report tells the console what the lie wants told.
func (l *Liar) Report(ctx context.Context, q *connect.Request[atollv1.ReportRequest]) (*connect.Response[atollv1.ReportResponse], error) {
	l.tale.report(ctx, q.Msg)
	return forward(ctx, q, l.planes.Report)
}

// Watch tells the plane what the lie wants told, and when. Messages are read
// as they come, so that a report can speak of what the plane has not heard.
func (l *Liar) Watch(ctx context.Context, q *connect.Request[atollv1.WatchRequest], out *connect.ServerStream[atollv1.WatchResponse]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := l.planes.Watch(ctx, withToken(q.Msg, q.Header()))
	if err != nil {
		return passed(err)
	}
	defer in.Close()
	told := make(chan telling, untoldMax)
	var end error
	go func() {
		defer close(told)
		end = l.hear(ctx, in, told)
	}()
	for t := range told {
		if err := t.tell(ctx, out); err != nil {
			cancel()
			for range told { // until the hearer has ended
			}
			return err
		}
	}
	return end
}

// untoldMax bounds what waits for its time; beyond it the console waits.
const untoldMax = 64

// telling is one message and the earliest time for it.
type telling struct {
	message   *atollv1.WatchResponse
	notBefore time.Time
}

func (t telling) tell(ctx context.Context, out *connect.ServerStream[atollv1.WatchResponse]) error {
	if wait := time.Until(t.notBefore); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return out.Send(t.message)
}

func (l *Liar) hear(ctx context.Context, in *connect.ServerStreamForClient[atollv1.WatchResponse], told chan<- telling) error {
	for in.Receive() {
		m := in.Msg()
		notBefore, err := l.tale.watch(ctx, m)
		if err != nil {
			return connect.NewError(connect.CodeInternal, err)
		}
		select {
		case told <- telling{m, notBefore}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := in.Err(); err != nil {
		return passed(err)
	}
	return nil
}
