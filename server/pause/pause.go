// Package pause waits in a way that the end of a context cuts short.
package pause

import (
	"context"
	"time"
)

// For returns after d, or when ctx ends. Who has to know which of both it was
// asks ctx.
func For(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
