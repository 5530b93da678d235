package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-live/atoll/server/pause"
)

func TestFor(t *testing.T) {
	for name, c := range map[string]struct{ end, pause, want time.Duration }{
		"the time is over first":     {end: time.Hour, pause: time.Minute, want: time.Minute},
		"the context ends first":     {end: time.Minute, pause: time.Hour, want: time.Minute},
		"the context is over before": {end: 0, pause: time.Hour, want: 0},
		"no time at all":             {end: time.Hour, pause: 0, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.end)
				defer cancel()
				began := time.Now()
				pause.For(ctx, c.pause)
				if waited := time.Since(began); waited != c.want {
					t.Errorf("waited %v, want %v", waited, c.want)
				}
			})
		})
	}
}
