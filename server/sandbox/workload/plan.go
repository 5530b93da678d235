package workload

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/history"
)

// Streams of random numbers under one seed.
const (
	streamKeys    = 0x4b657973
	streamClients = 0x436c6e74
)

// action is one operation as it is planned.
type action struct {
	at   time.Duration // since the begin; a client that is late does it at once
	key  int
	kind history.Kind
	http bool          // through a gateway, else straight at a dbproxy
	site int           // whose gateway or dbproxy is asked first
	tx   bool          // an append that reads, appends and reads in one transaction
	hold time.Duration // how long the transaction is kept open
}

// plan is what one client does, in order. It has no end.
type plan struct {
	cfg Config
	rng *rand.Rand
	at  time.Duration
}

func newPlan(cfg Config, client int) *plan {
	return &plan{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, streamClients+uint64(client)))}
}

// shares of the operations, in percent.
var shares = []struct {
	kind  history.Kind
	share int
}{{history.Read, 20}, {history.Write, 15}, {history.CAS, 20}, {history.Append, 25}, {history.List, 20}}

func (p *plan) next() action {
	gap := time.Duration(float64(time.Second) * float64(p.cfg.Clients) / p.cfg.Rate)
	p.at += time.Duration(p.rng.Int64N(2 * int64(gap)))
	a := action{at: p.at, http: p.rng.IntN(100) < 40, site: p.rng.IntN(len(p.cfg.Sites)), tx: p.rng.IntN(2) == 0}
	dice := p.rng.IntN(100)
	for _, s := range shares {
		if dice -= s.share; dice < 0 {
			a.kind = s.kind
			break
		}
	}
	if hold := p.rng.Int64N(int64(holdMax)); p.rng.IntN(8) == 0 {
		a.hold = time.Duration(hold)
	}
	round := p.cfg.round(p.at)
	back := p.rng.IntN(round + 1)
	if a.kind != history.Read && a.kind != history.List || p.rng.IntN(6) != 0 {
		back = 0 // now and then a read of a key that nobody writes any more
	}
	a.key = (round-back)*p.cfg.Keys + p.rng.IntN(p.cfg.Keys)
	return a
}

// round is which set of keys is in use at a time. Keys are given up after a
// while, so that each has a short history.
func (c *Config) round(at time.Duration) int { return int(at / c.KeyLife) }

// keyTries bounds the search of a key that a move carries.
const keyTries = 1000

// keyName gives the n-th key. Three of four are keys that moves carry.
func (c *Config) keyName(n int) (string, error) {
	rng := rand.New(rand.NewPCG(c.Seed, streamKeys+uint64(n)))
	for range keyTries {
		key := fmt.Sprintf("h%s%d", letters(rng, 6), n)
		if c.Moving == nil || n%4 == 3 || c.Moving(key) {
			return key, nil
		}
	}
	return "", fmt.Errorf("workload: none of %d names is in the moving set", keyTries)
}

func letters(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return string(b)
}
