package idgen

import (
	"fmt"
	"time"
)

// The layout, from the top: sign 0 | time 38 | unit 4 | worker 6 | sequence 1
// | bucket 14. The bucket stands at the bottom as it is, so that id & 16383
// finds it in any language.
const (
	bucketBits   = 14
	sequenceBits = 1
	workerBits   = 6
	unitBits     = 4
	timeBits     = 38

	sequenceShift = bucketBits
	workerShift   = sequenceShift + sequenceBits
	unitShift     = workerShift + workerBits
	timeShift     = unitShift + unitBits

	MaxBucket = 1<<bucketBits - 1 // room for a modulo of 16,384
	MaxWorker = 1<<workerBits - 1
	MaxUnit   = 1<<unitBits - 1
	MaxTick   = 1<<timeBits - 1 // in the year 2303

	perTick = 1 << sequenceBits // ids of one bucket in one tick of one worker
)

// TickLength is the time that ids count in.
const TickLength = 32 * time.Millisecond

// epoch is tick 0.
var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Tick is the tick that a time lies in, 0 before the year 2025.
func Tick(t time.Time) int64 {
	return max(0, t.Sub(epoch).Milliseconds()/TickLength.Milliseconds())
}

// TickTime is the time at which a tick begins.
func TickTime(tick int64) time.Time {
	return epoch.Add(time.Duration(tick) * TickLength)
}

// Parts are what an id is made of.
type Parts struct {
	Tick     int64
	Time     time.Time // at which the tick begins; ids may be borrowed from the near future
	Unit     int       // where the id was made; never route by it, keys move
	Worker   int
	Sequence int
	Bucket   int
}

// Parse takes an id apart.
func Parse(id int64) (Parts, error) {
	if id < 0 {
		return Parts{}, fmt.Errorf("id %d is negative", id)
	}
	tick := id >> timeShift
	return Parts{
		Tick:     tick,
		Time:     TickTime(tick),
		Unit:     int(id >> unitShift & MaxUnit),
		Worker:   int(id >> workerShift & MaxWorker),
		Sequence: int(id >> sequenceShift & (perTick - 1)),
		Bucket:   Bucket(id),
	}, nil
}

// Bucket is the bucket of an id's key.
func Bucket(id int64) int { return int(id & MaxBucket) }
