package main

import (
	"context"
	"log/slog"

	"github.com/atoll-live/atoll/server/sandbox/wan"
)

// WANCmd runs the relay between the sites of a sandbox.
type WANCmd struct {
	Config string `required:"" placeholder:"FILE" help:"Links, round trip and status address, as JSON."`
}

// Run relays until ctx ends.
func (c *WANCmd) Run(ctx context.Context, out *Output) error {
	cfg, err := wan.ReadConfig(c.Config)
	if err != nil {
		return usageError(err)
	}
	r, err := wan.New(cfg, slog.New(slog.NewTextHandler(out.Stderr, nil)).With("plane", "wan"))
	if err != nil {
		return usageError(err)
	}
	return r.Run(ctx)
}
