package load

import (
	"slices"
	"time"
)

// Pause is how long clients waited, in milliseconds.
type Pause struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
	N   int     `json:"n"`
}

// Pauses are the delays of acknowledged writes of moved keys that were
// scheduled between HOLD and RELEASE: from the scheduled time to the
// acknowledgement, less the time that a client itself held its transaction.
func Pauses(writes []Write, moved func(key string) bool, hold, release time.Time) []time.Duration {
	var delays []time.Duration
	for _, w := range writes {
		if w.Outcome == Acked && !w.Scheduled.Before(hold) && w.Scheduled.Before(release) && moved(w.Key) {
			delays = append(delays, max(w.Done.Sub(w.Scheduled)-w.Held, 0))
		}
	}
	return delays
}

// Summary gives percentiles by the nearest rank.
func Summary(delays []time.Duration) Pause {
	if len(delays) == 0 {
		return Pause{}
	}
	sorted := slices.Clone(delays)
	slices.Sort(sorted)
	at := func(p float64) float64 {
		i := int(p*float64(len(sorted))+0.999999) - 1
		return float64(sorted[min(max(i, 0), len(sorted)-1)].Microseconds()) / 1000
	}
	return Pause{P50: at(0.50), P99: at(0.99), Max: at(1), N: len(sorted)}
}
