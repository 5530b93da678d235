package console

import (
	"context"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/space"
)

// Plane is a process that obeys snapshots. The Agent calls its methods from
// one goroutine each for the watch and the report side; a slow method delays
// only its own side.
type Plane interface {
	// Install puts a snapshot in force. The Agent has stored it on disk. An
	// error keeps the plane at its former epoch and is reported as trouble.
	Install(ctx context.Context, s *space.Snapshot) error
	// Ask gives the plane all that the movers want of it now; it replaces the
	// former list. It must not block.
	Ask(asks []*atollv1.Ask)
	// Report fills in epochs in force, acks, lanes, figures and trouble. The
	// Agent adds name, incarnation and boot time.
	Report(r *atollv1.ReportRequest)
	// Renew extends a lease: until is a boot time, guard.Forever for ever.
	Renew(space string, epoch int64, until time.Duration)
}

// Config says who the plane is and where its console stands.
type Config struct {
	URLs     []string       // consoles, tried in turn: "http://127.0.0.1:7400"
	Identity *atollv1.Plane // name, kind, unit, cell, address; Incarnation is filled in by New when empty
	Dir      string         // where snapshots are kept; "" keeps none
	Interval time.Duration  // between reports, 1 s when zero
}

// Agent keeps one plane in touch with its console.
type Agent struct {
	cfg   Config
	plane Plane
}

// NewAgent starts nothing; Run does.
func NewAgent(cfg Config, p Plane) (*Agent, error) { panic("stub") }

// Run registers the plane, puts the stored snapshots in force, and watches and
// reports until ctx ends. It returns only for ctx or a refused registration.
func (a *Agent) Run(ctx context.Context) error { panic("stub") }

// Poke makes the Agent report at once. It never blocks.
func (a *Agent) Poke() { panic("stub") }

// Boottime reads CLOCK_BOOTTIME, the clock of leases.
func Boottime() time.Duration { panic("stub") }
