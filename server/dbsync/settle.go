package dbsync

import (
	"context"
)

func (s *Sync) settler(ctx context.Context, at server) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
