package dbsync

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Config says which unit the plane serves and how it goes about it.
type Config struct {
	Unit  string            // the lanes into this unit run here
	Reach map[string]string // unit → host:port that reaches its database, instead of the Database's own
	Log   *slog.Logger      // slog.Default when nil
	// Changed is called, without locks, when a report should go out at once.
	Changed func()

	Beat       time.Duration // between two heartbeats of the own unit; 200 ms
	QueueBytes int           // what a lane holds in memory; a full queue holds the source back; 64 MiB
	GroupBytes int           // the largest transaction carried; a larger one stops the lane; 256 MiB
	Idle       time.Duration // a link that brings nothing for so long is dialled anew; 5 s
	ParkLimit  int           // parked rows of one lane; at the limit it stops; 100,000
	Settle     time.Duration // how long rows that differ are compared again; 5 s
}

// Limits of one target transaction: what is queued joins up to these.
const (
	packRows   = 256
	packBytes  = 256 << 10
	packGroups = 64
)

// Times that nobody needs to set.
const (
	checkpointEvery = time.Second            // an idle lane stores its position
	retryFirst      = 100 * time.Millisecond // after a failure that may pass
	retryMost       = 2 * time.Second
	retryRefused    = 2 * time.Second // after one that somebody has to mend
)

func (c *Config) fill() {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	num := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.Beat, 200*time.Millisecond)
	def(&c.Idle, 5*time.Second)
	def(&c.Settle, 5*time.Second)
	num(&c.QueueBytes, 64<<20)
	num(&c.GroupBytes, 256<<20)
	num(&c.ParkLimit, 100_000)
}

// Validate says what is wrong with the configuration.
func (c *Config) Validate() error {
	if c.Unit == "" {
		return errors.New("dbsync needs the code of its unit")
	}
	for unit, addr := range c.Reach {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("reach %s=%s: %w", unit, addr, err)
		}
	}
	return nil
}
