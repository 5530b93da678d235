package ids

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/atoll-live/atoll/idgen"
)

// Config of one id worker. The zero value of a time means its default.
type Config struct {
	Unit     string   // code of the unit
	Holder   string   // new at every start; made by New when empty
	Consoles []string // URLs, tried in turn
	Token    string
	// Reserve is how far ahead of the clock time is reserved, and so how long
	// ids are made while no console answers. A process that ends leaves its
	// worker number unused for so long; a unit has 64.
	Reserve time.Duration
	Check   time.Duration    // between two looks at the reservation
	Timeout time.Duration    // of one call of a console
	Clock   func() time.Time // of ids; the time of the start, and from then on the monotonic clock, when nil
	Log     *slog.Logger
}

// Defaults of Config.
const (
	DefaultReserve = 10 * time.Minute
	DefaultCheck   = time.Second
	DefaultTimeout = 3 * time.Second

	MinReserve = 10 * idgen.TickLength // room for a call that fails before ids run out
	MaxReserve = 8 * time.Hour         // the console gives no more
)

func (c Config) withDefaults() Config {
	if c.Reserve == 0 {
		c.Reserve = DefaultReserve
	}
	if c.Check == 0 {
		c.Check = DefaultCheck
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Clock == nil {
		// A wall clock that steps back would leave buckets waiting for it.
		start := time.Now()
		c.Clock = func() time.Time { return start.Add(time.Since(start)) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate says what is wrong with the configuration, all of it in one line.
func (c Config) Validate() error {
	var wrong []string
	if c.Unit == "" {
		wrong = append(wrong, "no unit named")
	}
	if len(c.Consoles) == 0 {
		wrong = append(wrong, "no console named")
	}
	if c.Reserve != 0 && (c.Reserve < MinReserve || c.Reserve > MaxReserve) {
		wrong = append(wrong, fmt.Sprintf("reserve %v is not between %v and %v", c.Reserve, MinReserve, MaxReserve))
	}
	if c.Check < 0 || c.Timeout < 0 {
		wrong = append(wrong, "a time is below zero")
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}
