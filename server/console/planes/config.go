package planes

import (
	"errors"
	"log/slog"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/store"
)

// Asker knows what the movers want of a plane. The mover implements it.
type Asker interface {
	// Asks is the whole list for a registered plane, in a stable order. It
	// must not block.
	Asks(plane *atollv1.Plane) []*atollv1.Ask
	// Changed returns a channel that is closed when the answer of Asks may have
	// changed after this call. Take it before Asks, so that no change is missed.
	Changed() <-chan struct{}
}

// Hearer is told of every report that is news, at once and in the order of
// arrival for one plane. The mover implements it. It must neither block nor call
// the service.
type Hearer interface {
	Heard(plane *atollv1.Plane, report *atollv1.ReportRequest)
}

// nobody asks nothing and hears nothing: the console without a mover.
type nobody struct{}

func (nobody) Asks(*atollv1.Plane) []*atollv1.Ask           { return nil }
func (nobody) Changed() <-chan struct{}                     { return nil }
func (nobody) Heard(*atollv1.Plane, *atollv1.ReportRequest) {}

// Config is what the service stands on.
type Config struct {
	Store  store.Store
	Asker  Asker  // nil: nobody asks
	Hearer Hearer // nil: nobody hears
	Log    *slog.Logger
	// Clock is the console's monotonic clock; time.Now when nil.
	Clock func() time.Time
	// KeepAlive is the time between empty messages on an idle stream, 1 s.
	KeepAlive time.Duration
	// SendTimeout is how long a stream may not take a message before it is
	// ended, 10 s.
	SendTimeout time.Duration
	// Silent is how long after its last report a plane counts as connected,
	// 3 s.
	Silent time.Duration
}

func (c *Config) defaults() error {
	if c.Store == nil {
		return errors.New("planes: no store")
	}
	if c.Asker == nil {
		c.Asker = nobody{}
	}
	if c.Hearer == nil {
		c.Hearer = nobody{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&c.KeepAlive, time.Second}, {&c.SendTimeout, 10 * time.Second}, {&c.Silent, 3 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	return nil
}

// The limits of the service. What is beyond them is refused.
const (
	MaxPlanes     = 10_000
	maxName       = 200             // bytes of a name, kind, unit, cell or incarnation
	storeTimeout  = 2 * time.Second // of one read or write for a plane
	messageTarget = 1 << 20         // bytes of snapshots in one message of a stream, if one alone is not larger
)
