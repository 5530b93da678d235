package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/atoll-live/atoll/server/console"
	"github.com/atoll-live/atoll/server/console/mover"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// ConsoleCmd runs a console.
type ConsoleCmd struct {
	Name          string        `default:"console" help:"Name of this console; no two live ones have the same."`
	Dir           string        `default:".atoll/console" help:"Directory of its store, made when it is not there."`
	Listen        string        `default:"127.0.0.1:7400" placeholder:"HOST:PORT" help:"Address of the service, and of /ready."`
	EtcdPort      int           `placeholder:"N" help:"Port for other consoles, on the host of --listen. None while there is one console."`
	Cluster       string        `placeholder:"NAME=URL,…" help:"All consoles with the addresses of their --etcd-port, at the first start of several."`
	FenceTTL      string        `name:"fence-ttl" default:"off" placeholder:"off|TIME" help:"How long a proxy that hears no console may go on writing unit data; off: for ever."`
	FenceDeadline time.Duration `default:"400ms" help:"How long open transactions may take to end under a fence."`
	HoldMax       time.Duration `default:"5s" help:"How long a gateway holds a request of a moving key at most."`
	Quiesce       time.Duration `default:"100ms" help:"How long a move waits at HOLD until what is under way has ended; it goes on afterwards in any case."`
	TokenFile     string        `placeholder:"FILE" help:"Tokens that callers need, one a line: TOKEN or NAME TOKEN. Without it everybody may call."`
}

// Run serves until ctx ends.
func (c *ConsoleCmd) Run(ctx context.Context, out *Output) error {
	log := slog.New(slog.NewTextHandler(out.Stderr, nil)).With("plane", "console")
	ttl, err := parseTTL(c.FenceTTL)
	if err != nil {
		return usageError(err)
	}
	cfg := console.Config{
		Name: c.Name, Dir: c.Dir, Listen: c.Listen, Cluster: c.Cluster, TokenFile: c.TokenFile, Log: log,
		Settings: space.Settings{FenceTTL: ttl, FenceDeadline: c.FenceDeadline, HoldMax: c.HoldMax},
		NewMover: func(s store.Store, leaseEnd console.LeaseEnd) (console.Mover, error) {
			return mover.New(mover.Config{Store: s, Member: c.Name, Log: log, LeaseEnd: leaseEnd, Quiesce: c.Quiesce})
		},
	}
	if c.EtcdPort != 0 {
		host, _, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return usageError(fmt.Errorf("--listen %q: want host:port", c.Listen))
		}
		cfg.Peer = net.JoinHostPort(host, strconv.Itoa(c.EtcdPort))
	}
	server, err := console.New(cfg)
	if err != nil {
		return usageError(err)
	}
	return server.Run(ctx)
}

// parseTTL reads --fence-ttl. No time at all is off.
func parseTTL(text string) (time.Duration, error) {
	if text == "off" {
		return 0, nil
	}
	ttl, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("--fence-ttl %s: want off or a time like 30s", text)
	}
	return ttl, nil
}
