package dbproxy

import (
	"sync"
	"time"

	"github.com/atoll-live/atoll/server/wire/mysql"
)

// parks bounds the statements that wait for a fence to go. A parked statement
// holds no transaction and no lock.
type parks struct {
	max     int
	maxSize int64

	mu   sync.Mutex
	n    int
	size int64
}

// enter takes a place, or says that there is none.
func (k *parks) enter(size int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n >= k.max || k.size+int64(size) > k.maxSize {
		return false
	}
	k.n++
	k.size += int64(size)
	return true
}

func (k *parks) leave(size int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n--
	k.size -= int64(size)
}

// parking is one statement's stay, over several snapshots.
type parking struct {
	p     *Proxy
	size  int
	until time.Time // zero before the first wait
}

// leftEvery is how often a parked statement looks whether its client is there.
const leftEvery = 100 * time.Millisecond

// wait waits for a change of the snapshot. It is false when the statement has
// waited long enough in all, when there is no place, or when the session ends
// or its client has left.
func (k *parking) wait(changed <-chan struct{}, ending <-chan struct{}, client *mysql.Conn) bool {
	if k.until.IsZero() {
		if !k.p.parks.enter(k.size) {
			return false
		}
		k.until = time.Now().Add(k.p.cfg.Limits.FenceWait)
		k.p.figures.parked.Add(1)
		k.p.figures.parkedTotal.Add(1)
	}
	timer := time.NewTimer(time.Until(k.until))
	defer timer.Stop()
	look := time.NewTicker(leftEvery)
	defer look.Stop()
	for {
		select {
		case <-changed:
			return !client.Gone()
		case <-ending:
			return false
		case <-timer.C:
			return false
		case <-look.C:
			if client.Gone() {
				return false
			}
		}
	}
}

func (k *parking) end() {
	if !k.until.IsZero() {
		k.p.parks.leave(k.size)
		k.p.figures.parked.Add(-1)
	}
}
