package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/server/console/planes"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// Mover carries out moves. The mover package has it.
type Mover interface {
	planes.Asker
	planes.Hearer
	atollv1connect.MovesHandler
	// Run drives moves until ctx ends.
	Run(ctx context.Context) error
	// Ready is closed once the Mover answers.
	Ready() <-chan struct{}
	// Passed tells whether every lane has passed the tokens of an ended move.
	Passed(*space.Snapshot, *space.Transfer) bool
}

// LeaseEnd is when the last lease that a plane may hold of a space ends.
type LeaseEnd func(plane *atollv1.Plane, space string, ttl time.Duration) (end time.Time, forEver bool)

// Config describes one console.
type Config struct {
	Name   string // of this console; no two live ones have the same
	Dir    string // where the store keeps its files; one console at a time
	Listen string // host:port of the service
	// Peer is the host:port for other consoles, and Cluster all of them as
	// "name=http://host:port,…". Empty: there is one console, and no port.
	Peer, Cluster string
	Settings      space.Settings // of every snapshot
	TokenFile     string         // tokens that callers need, see auth.ReadTokens; empty: none needed
	Log           *slog.Logger
	// NewMover makes the mover. Nil: this console carries out no moves.
	NewMover func(store.Store, LeaseEnd) (Mover, error)
	// Started is told the address of the service once it is ready. May be nil.
	Started func(address string)
}

// The defaults of the flags.
const (
	DefaultListen        = "127.0.0.1:7400"
	DefaultFenceDeadline = 400 * time.Millisecond
	DefaultHoldMax       = 5 * time.Second
)

// maxSetting bounds each time of the settings: a hold or a fence that lasts
// longer is a mistake.
const maxSetting = time.Hour

// Validate says what is wrong, with the flag to mend.
func (c *Config) Validate() error {
	if c.Name == "" {
		return errors.New("--name: a console needs a name")
	}
	if c.Dir == "" {
		return errors.New("--dir: a console needs a directory")
	}
	for _, a := range []struct{ flag, address string }{{"--listen", c.Listen}, {"--peer", c.Peer}} {
		if a.flag == "--peer" && a.address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(a.address); err != nil {
			return fmt.Errorf("%s %q: want host:port", a.flag, a.address)
		}
	}
	if c.Cluster != "" && c.Peer == "" {
		return errors.New("--cluster: needs --peer, the address that the others reach this console at")
	}
	return checkSettings(c.Settings)
}

func checkSettings(s space.Settings) error {
	for _, t := range []struct {
		flag  string
		value time.Duration
	}{{"--fence-ttl", s.FenceTTL}, {"--fence-deadline", s.FenceDeadline}, {"--hold-max", s.HoldMax}} {
		if t.value < 0 || t.value > maxSetting {
			return fmt.Errorf("%s %v: want a time from 0 to %v", t.flag, t.value, maxSetting)
		}
	}
	switch {
	case s.FenceDeadline == 0:
		return errors.New("--fence-deadline: must be more than 0")
	case s.FenceTTL > 0 && s.FenceDeadline >= s.FenceTTL:
		// A proxy must have ended what is open under a fence before its lease does.
		return fmt.Errorf("--fence-deadline %v: must be less than --fence-ttl %v", s.FenceDeadline, s.FenceTTL)
	}
	return nil
}
