package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/auth"
	"github.com/atoll-live/atoll/server/console/documents"
	"github.com/atoll-live/atoll/server/console/planes"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
)

// Console is one console.
type Console struct {
	cfg    Config
	tokens *auth.Tokens
	ready  atomic.Bool
}

// New checks the configuration and starts nothing.
func New(cfg Config) (*Console, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	tokens, err := auth.ReadTokens(cfg.TokenFile)
	if err != nil {
		return nil, err
	}
	return &Console{cfg: cfg, tokens: tokens}, nil
}

// How long the stopping of a console may take, part by part.
const (
	drainTime  = 2 * time.Second
	pruneEvery = 10 * time.Minute
)

// Run serves until ctx ends or the store fails. The order of the end: streams
// and requests first, then the mover, which hands its leadership back through
// the store, then the store.
func (c *Console) Run(ctx context.Context) error {
	// The port first: a second console of the same address must not touch the store.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.cfg.Listen)
	if err != nil {
		return fmt.Errorf("serve: %w (is another console running? take another --listen)", err)
	}
	defer listener.Close()
	kept, err := store.OpenEtcd(ctx, store.EtcdConfig{
		Name: c.cfg.Name, Dir: c.cfg.Dir, PeerListen: c.cfg.Peer, InitialCluster: c.cfg.Cluster, Logger: c.cfg.Log,
	})
	if err != nil {
		return err
	}
	defer kept.Close()
	p, err := c.parts(kept)
	if err != nil {
		return err
	}
	return c.run(ctx, listener, kept, p)
}

// parts are the services over one store.
type parts struct {
	planes    *planes.Service
	documents *documents.Service
	mover     Mover // nil: none
}

func (c *Console) parts(kept store.Store) (*parts, error) {
	p := &parts{}
	cfg := planes.Config{Store: kept, Log: c.cfg.Log}
	if c.cfg.NewMover != nil {
		mover, err := c.cfg.NewMover(kept, func(plane *atollv1.Plane, space string, ttl time.Duration) (time.Time, bool) {
			return p.planes.LeaseEnd(plane, space, ttl)
		})
		if err != nil {
			return nil, err
		}
		p.mover, cfg.Asker, cfg.Hearer = mover, mover, mover
	}
	var err error
	if p.planes, err = planes.New(cfg); err != nil {
		return nil, err
	}
	d := documents.Config{Store: kept, Settings: c.cfg.Settings, Awaiter: p.planes, Asker: p.planes}
	if p.mover != nil {
		d.Passed = p.mover.Passed
	}
	p.documents, err = documents.New(d)
	return p, err
}

// run owns every goroutine of the console.
func (c *Console) run(ctx context.Context, listener net.Listener, kept *store.Etcd, p *parts) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var wg sync.WaitGroup
	fail := func(what string, err error) {
		if err != nil {
			cancel(fmt.Errorf("%s: %w", what, err))
		}
	}
	wg.Go(func() { fail("planes", p.planes.Run(serving)) })
	if p.mover != nil {
		wg.Go(func() { fail("mover", p.mover.Run(serving)) })
	}
	wg.Go(func() { fail("settings", p.documents.AdoptSettings(serving, c.cfg.Log)) })
	wg.Go(func() { c.prune(serving, kept, p) })
	wg.Go(func() { c.becomeReady(serving, listener, p) })
	server := c.server(p)
	wg.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fail("serve", err)
		}
	})
	select {
	case <-ctx.Done():
	case err := <-kept.Failed():
		fail("store", err)
	}
	c.ready.Store(false)
	c.drain(server, stopServing)
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// drain lets requests finish. Streams end when the planes service stops.
func (c *Console) drain(server *http.Server, stopServing func()) {
	draining, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	stopServing()
	if err := server.Shutdown(draining); err != nil {
		server.Close()
	}
}

func (c *Console) becomeReady(ctx context.Context, listener net.Listener, p *parts) {
	waits := []<-chan struct{}{p.planes.Ready()}
	if p.mover != nil {
		waits = append(waits, p.mover.Ready())
	}
	for _, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return
		}
	}
	c.ready.Store(true)
	c.cfg.Log.Info("console serves", "address", listener.Addr().String(), "name", c.cfg.Name)
	if c.cfg.Started != nil {
		c.cfg.Started(listener.Addr().String())
	}
}

// prune keeps the audit log and the history within their sizes.
func (c *Console) prune(ctx context.Context, kept store.Store, p *parts) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := errors.Join(audit.Prune(ctx, kept, store.AuditPrefix, audit.Kept), publish.PruneHistory(ctx, kept), p.planes.Prune(ctx))
		if err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("old entries are not pruned", "err", err)
		}
	}
}
