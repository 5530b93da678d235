package wan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atoll-live/atoll/server/pause"
)

const (
	dialLimit = 10 * time.Second
	stopLimit = 2 * time.Second
)

// Relay carries all links of a sandbox. New starts nothing.
type Relay struct {
	cfg   Config
	log   *slog.Logger
	links []*link
	cuts  *cuts
}

type link struct {
	Link
	gate *gate
	conn chan struct{} // a place for each connection

	delay  atomic.Int64 // one way, in nanoseconds
	open   atomic.Int64 // connections now
	total  atomic.Int64 // connections accepted
	bytes  atomic.Int64 // delivered, both directions
	failed atomic.Int64 // connections whose target could not be reached

	mu   sync.Mutex
	addr string // where it really listens
}

// New checks the config.
func New(cfg Config, log *slog.Logger) (*Relay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := &Relay{cfg: cfg, log: log, cuts: newCuts()}
	for _, l := range cfg.Links {
		k := &link{Link: l, addr: l.Listen, gate: newGate(), conn: make(chan struct{}, cfg.ConnsPer)}
		k.delay.Store(int64(cfg.rtt() / 2))
		r.links = append(r.links, k)
	}
	return r, nil
}

// Run listens on all links and on the status address until ctx ends, and
// returns when every connection is closed. Nothing is accepted unless all
// addresses were free.
func (r *Relay) Run(ctx context.Context) error {
	listeners, status, err := r.listen(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, l := range r.links {
		wg.Go(func() { r.accept(ctx, l, listeners[i], &wg) })
	}
	server := &http.Server{Handler: r.handler(ctx), ReadHeaderTimeout: 5 * time.Second}
	wg.Go(func() {
		if err := server.Serve(status); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve relay status: %w", err))
		}
	})
	r.log.Info("relay is ready", "links", len(r.links), "rtt", r.cfg.rtt().String(), "status", status.Addr().String())
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close()
	}
	_ = server.Close()
	r.cuts.stop()
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (r *Relay) listen(ctx context.Context) (listeners []net.Listener, status net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
		}
	}()
	var lc net.ListenConfig
	for _, l := range r.links {
		ln, err := lc.Listen(ctx, "tcp", l.Listen)
		if err != nil {
			return listeners, nil, fmt.Errorf("listen for link %s: %w", l.Name, err)
		}
		listeners = append(listeners, ln)
		l.mu.Lock()
		l.addr = ln.Addr().String()
		l.mu.Unlock()
	}
	status, err = lc.Listen(ctx, "tcp", r.cfg.Status)
	if err != nil {
		return listeners, nil, fmt.Errorf("listen for relay status: %w", err)
	}
	return listeners, status, nil
}

func (r *Relay) accept(ctx context.Context, l *link, ln net.Listener, wg *sync.WaitGroup) {
	for {
		select {
		case l.conn <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := ln.Accept()
		if err != nil {
			<-l.conn
			if ctx.Err() != nil {
				return
			}
			// Out of file descriptors, most likely: wait for some to be given back.
			r.log.Warn("accept", "link", l.Name, "error", err)
			pause.For(ctx, 50*time.Millisecond)
			continue
		}
		wg.Go(func() {
			defer func() { <-l.conn }()
			r.carry(ctx, l, c.(*net.TCPConn))
		})
	}
}

// carry carries one connection. The target sees it one and a half round trips
// after the client began it, as with TCP's own handshake, and with it what the
// client has said meanwhile.
func (r *Relay) carry(ctx context.Context, l *link, client *net.TCPConn) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	// A blocked read or write does not see ctx; closing the connection ends it.
	context.AfterFunc(ctx, func() { abort(client) })
	up, down := newLine(r.cfg.BufferBytes, &l.delay, &l.bytes), newLine(r.cfg.BufferBytes, &l.delay, &l.bytes)
	l.total.Add(1)
	l.open.Add(1)
	defer l.open.Add(-1)
	wg.Go(func() { up.fill(client, ctx.Done()) })

	server, err := r.dial(ctx, l, up)
	if err != nil {
		if !errors.Is(err, errGone) && ctx.Err() == nil {
			l.failed.Add(1)
			r.log.Debug("relay target", "link", l.Name, "error", err)
		}
		return
	}
	context.AfterFunc(ctx, func() { abort(server) })
	wg.Go(func() { down.fill(server, ctx.Done()) })
	var ways sync.WaitGroup
	ways.Go(func() { deliver(up, server, l.gate, ctx.Done()) })
	ways.Go(func() { deliver(down, client, l.gate, ctx.Done()) })
	ways.Wait()
	if up.orderly() && down.orderly() {
		_ = client.Close()
		_ = server.Close()
	}
}

// deliver runs one direction to its end and passes the end on: an orderly one
// as a half-close, a broken one as a reset. When the receiver failed, the
// other direction, which reads from it, ends by itself and first delivers
// what the receiver had still said.
func deliver(l *line, dst *net.TCPConn, g *gate, stop <-chan struct{}) {
	switch ended := l.drain(dst, g, stop); ended {
	case closed:
		if dst.CloseWrite() != nil {
			_ = dst.SetReadDeadline(time.Now().Add(stopLimit))
		}
	case undeliverable:
		_ = dst.SetReadDeadline(time.Now().Add(stopLimit))
	default:
		abort(dst)
	}
}

var errGone = errors.New("the client has gone")

// dial reaches the target once the link is open and the handshake's time is
// over. A client that went away meanwhile was never seen by the target.
func (r *Relay) dial(ctx context.Context, l *link, up *line) (*net.TCPConn, error) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	handshake := 3 * time.Duration(l.delay.Load())
	if !l.gate.pass(time.Now().Add(handshake), handshake, ctx.Done(), timer) {
		return nil, context.Cause(ctx)
	}
	if up.gone() {
		return nil, errGone
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.Target)
	if err != nil {
		return nil, fmt.Errorf("reach %s over link %s: %w", l.Target, l.Name, err)
	}
	return c.(*net.TCPConn), nil
}

// abort closes with a reset, so that the peer knows that data may be missing.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// Addr is where a link listens, "" for an unknown one. It is the real port
// once Run listens, also for a link that asked for port 0.
func (r *Relay) Addr(name string) string {
	i := slices.IndexFunc(r.links, func(l *link) bool { return l.Name == name })
	if i < 0 {
		return ""
	}
	r.links[i].mu.Lock()
	defer r.links[i].mu.Unlock()
	return r.links[i].addr
}
