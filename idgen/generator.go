package idgen

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// What Next answers when it has no id now.
var (
	// ErrUnreserved: the worker has used up the time that it has reserved, or
	// has reserved none yet.
	ErrUnreserved = errors.New("id worker has no time reserved")
	// ErrBusy: the bucket has borrowed as much of the future as it may; there
	// is an id again within a tick or two.
	ErrBusy = errors.New("too many ids of one bucket at once")
)

// Config is one worker of one unit. No two processes may have the same numbers
// at the same reserved time.
type Config struct {
	Unit   int // number of the unit, 0–15
	Worker int // 0–63
	// Clock tells the time. A clock that steps back gives no duplicate, but
	// buckets in use then wait for it; one that runs on the monotonic time of
	// the process does not step back.
	Clock func() time.Time
	// Borrow is how far ahead of the clock a bucket may take ids: 2 s when
	// zero, which is a burst of 125 ids.
	Borrow time.Duration
	// Reserve is how far ahead Due asks for time: 10 s when zero.
	Reserve time.Duration
}

func (c *Config) validate() error {
	switch {
	case c.Unit < 0 || c.Unit > MaxUnit:
		return fmt.Errorf("unit number %d is not between 0 and %d", c.Unit, MaxUnit)
	case c.Worker < 0 || c.Worker > MaxWorker:
		return fmt.Errorf("worker %d is not between 0 and %d", c.Worker, MaxWorker)
	case c.Clock == nil:
		return errors.New("no clock")
	case c.Borrow < 0 || c.Reserve < 0:
		return errors.New("borrow and reserve must not be negative")
	}
	return nil
}

// Generator makes the ids of one worker. Each bucket counts for itself: ticks
// and sequence together are one number that only rises and carries by itself
// from sequence to tick. All methods are safe for concurrent use.
type Generator struct {
	clock   func() time.Time
	borrow  int64 // ticks
	reserve int64 // ticks
	stamp   int64 // unit and worker in their places

	from  atomic.Int64 // first tick that may be used
	until atomic.Int64 // last one, -1 when none is reserved

	buckets [MaxBucket + 1]atomic.Int64 // tick<<sequenceBits | sequence of the last id
}

// New returns a generator with no time reserved.
func New(cfg Config) (*Generator, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("id generator: %w", err)
	}
	g := &Generator{
		clock:   cfg.Clock,
		borrow:  ticks(cfg.Borrow, 2*time.Second),
		reserve: ticks(cfg.Reserve, 10*time.Second),
		stamp:   int64(cfg.Unit)<<unitShift | int64(cfg.Worker)<<workerShift,
	}
	g.until.Store(-1)
	for i := range g.buckets {
		g.buckets[i].Store(-1)
	}
	return g, nil
}

func ticks(d, whenZero time.Duration) int64 {
	if d == 0 {
		d = whenZero
	}
	return int64((d + TickLength - 1) / TickLength)
}

// SetReservation says that the worker may use the ticks from–until, both
// included, and nobody else ever will. A holder that extends its time passes
// the same from; who takes a worker over passes a from behind all that was
// reserved before. Neither end ever goes down.
func (g *Generator) SetReservation(from, until int64) {
	raise(&g.from, from)
	raise(&g.until, min(until, MaxTick))
}

func raise(a *atomic.Int64, to int64) {
	for have := a.Load(); have < to; have = a.Load() {
		if a.CompareAndSwap(have, to) {
			return
		}
	}
}

// Due tells whether it is time to reserve more, and up to which tick: when
// less than two thirds of the reserve lie ahead.
func (g *Generator) Due() (until int64, due bool) {
	now := max(Tick(g.clock()), g.from.Load())
	return now + g.reserve, g.until.Load() < now+g.reserve*2/3
}

// Next makes an id for a bucket. ErrBusy passes within two ticks, ErrUnreserved
// when SetReservation was called. It does not wait and does not allocate.
func (g *Generator) Next(bucket int) (int64, error) {
	if bucket < 0 || bucket > MaxBucket {
		return 0, fmt.Errorf("bucket %d is not between 0 and %d", bucket, MaxBucket)
	}
	// From and until are read before the counter: they only rise, so an id that
	// was allowed by old ones is allowed.
	until := g.until.Load()
	now := max(Tick(g.clock()), g.from.Load())
	last := &g.buckets[bucket]
	for {
		was := last.Load()
		next := max(was+1, now<<sequenceBits)
		tick := next >> sequenceBits
		switch {
		case tick > until:
			return 0, ErrUnreserved
		case tick > now+g.borrow:
			return 0, ErrBusy
		}
		if last.CompareAndSwap(was, next) {
			return tick<<timeShift | g.stamp | (next&(perTick-1))<<sequenceShift | int64(bucket), nil
		}
	}
}
