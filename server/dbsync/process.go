package dbsync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
)

// ProcessConfig is a plane with its console and its status page.
type ProcessConfig struct {
	Config
	Name     string   // "dbsync@UNIT" when empty
	Cell     string   // where it stands
	Status   string   // host:port of /ready and /status, "" for none
	Consoles []string // URLs, tried in turn
	Token    string
	Dir      string // where snapshots are kept over a restart, "" keeps none
}

// Process runs a Sync that its console tells what to do.
type Process struct {
	cfg   ProcessConfig
	sync  *Sync
	agent *console.Agent
}

// NewProcess starts nothing; Run does.
func NewProcess(cfg ProcessConfig) (*Process, error) {
	if cfg.Name == "" {
		cfg.Name = "dbsync@" + cfg.Unit
	}
	p := &Process{}
	cfg.Changed = func() { p.agent.Poke() }
	sync, err := New(cfg.Config)
	if err != nil {
		return nil, err
	}
	agent, err := console.NewAgent(console.Config{URLs: cfg.Consoles, Token: cfg.Token, Dir: cfg.Dir, Log: sync.cfg.Log,
		Identity: &atollv1.Plane{Name: cfg.Name, Kind: "dbsync", Unit: cfg.Unit, Cell: cfg.Cell, Address: cfg.Status}}, sync)
	if err != nil {
		return nil, err
	}
	p.cfg, p.sync, p.agent = cfg, sync, agent
	return p, nil
}

// Run serves until ctx ends, or until the console refuses the plane.
func (p *Process) Run(ctx context.Context) error {
	var status net.Listener
	if p.cfg.Status != "" {
		var err error
		if status, err = net.Listen("tcp", p.cfg.Status); err != nil {
			return fmt.Errorf("listen for status: %w", err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.sync.Run(ctx) })
	g.Go(func() error { return p.agent.Run(ctx) })
	if status != nil {
		server := &http.Server{Handler: p.statusHandler(), ReadHeaderTimeout: 5 * time.Second}
		g.Go(func() error {
			if err := server.Serve(status); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve status: %w", err)
			}
			return nil
		})
		g.Go(func() error { <-ctx.Done(); return server.Close() })
	}
	fmt.Fprintf(os.Stderr, "atoll dbsync: %s runs for unit %s\n", p.cfg.Name, p.cfg.Unit)
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (p *Process) statusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !p.sync.Ready() {
			http.Error(w, "the own database is not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		r := &atollv1.ReportRequest{Plane: p.cfg.Name}
		p.sync.Report(r)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r)
	})
	return mux
}
