package mover

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// Config is what a Mover stands on. Times that are zero take their defaults.
type Config struct {
	Store  store.Store
	Member string // name of this console; no two live ones have the same
	Log    *slog.Logger
	Clock  func() time.Time // time.Now when nil
	// LeaseEnd is when the last lease that a plane may hold of a space ends, as
	// the planes service knows it. Nil: the mover's own reckoning alone.
	LeaseEnd func(plane *atollv1.Plane, space string, ttl time.Duration) (end time.Time, forEver bool)

	Check       time.Duration // checks that do not pass by then fail the move, 10 s
	Quiesce     time.Duration // HOLD goes on after it, quiet or not, 100 ms
	Hold        time.Duration // more than Quiesce until a fence that cannot be published aborts, 5 s
	FenceMargin time.Duration // more than settings.fenceDeadline until planes not drained abort, 1.5 s
	Barrier     time.Duration // lanes not past the token by then abort, 5 s
	Stuck       time.Duration // a phase from SWITCH on shows as stuck after it, 10 s
	Settle      time.Duration // SETTLE ends after it, compared or not, 30 s

	MaxLag    time.Duration // check lane-lag, 2 s
	Silent    time.Duration // how long after its last report a plane counts as connected, 3 s
	GoneAfter time.Duration // a silent plane of a kind without leases is not waited for behind SWITCH, 10 s
	Grace     time.Duration // fence.grace: more than the lease until a silent proxy counts as past, 1 s
	LeaderTTL time.Duration // the leader's lease, 5 s
}

// The sizes. What is beyond them is refused, or dropped where it says so.
const (
	historyKept   = 200 // ended moves of a space; older ones are dropped
	transfersKept = 8   // ended moves in a snapshot; older ones are dropped once every lane has passed their tokens
	transfersMax  = 64  // ended moves in a snapshot at which no new move begins
	listMax       = 500 // moves in one answer
	endedKnown    = 256 // ended moves in memory
)

func (c *Config) defaults() error {
	switch {
	case c.Store == nil:
		return errors.New("mover: no store")
	case c.Member == "":
		return errors.New("mover: no member name")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		usual time.Duration
	}{
		{"check", &c.Check, 10 * time.Second}, {"quiesce", &c.Quiesce, 100 * time.Millisecond},
		{"hold", &c.Hold, 5 * time.Second}, {"fence margin", &c.FenceMargin, 1500 * time.Millisecond},
		{"barrier", &c.Barrier, 5 * time.Second}, {"stuck", &c.Stuck, 10 * time.Second},
		{"settle", &c.Settle, 30 * time.Second},
		{"max lag", &c.MaxLag, 2 * time.Second}, {"silent", &c.Silent, 3 * time.Second},
		{"gone after", &c.GoneAfter, 10 * time.Second}, {"grace", &c.Grace, time.Second},
		{"leader ttl", &c.LeaderTTL, 5 * time.Second},
	} {
		switch {
		case *d.value < 0:
			return fmt.Errorf("mover: %s is negative", d.name)
		case *d.value == 0:
			*d.value = d.usual
		}
	}
	return nil
}

// limits are the times of a new move in a space.
func (c *Config) limits(s space.Settings) move.Limits {
	return move.Limits{
		Check: c.Check, Quiesce: c.Quiesce, Hold: c.Hold, Fence: s.FenceDeadline + c.FenceMargin,
		Barrier: c.Barrier, Stuck: c.Stuck, Settle: c.Settle,
	}
}
