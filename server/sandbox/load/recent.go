package load

import (
	"math/rand/v2"
	"sync"
)

// recentMax is how many orders are remembered: some seconds of them, so that
// many reads after a switch ask for what was acknowledged before it.
const recentMax = 512

// recent remembers the orders that were acknowledged last.
type recent struct {
	mu   sync.Mutex
	ring [recentMax]remembered
	n    int // acknowledged so far
}

type remembered struct{ key, id string }

func (r *recent) add(key, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.n%recentMax] = remembered{key, id}
	r.n++
}

// pick gives any of them; ok is false while there is none.
func (r *recent) pick(rng *rand.Rand) (o remembered, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		return o, false
	}
	return r.ring[rng.IntN(min(r.n, recentMax))], true
}
