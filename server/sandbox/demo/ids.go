package demo

import (
	"context"

	"github.com/atoll-live/atoll/sdk/console"
)

// newIDs obtains an id worker of its own for the writers who speak SQL.
func newIDs(ctx context.Context, c *console.Client, cfg Config) (*idsWorker, error) { panic("stub") }

type idsWorker struct{}

func (*idsWorker) Next(bucket int) (int64, error) { return 0, nil }
func (*idsWorker) Run(ctx context.Context)        {}
