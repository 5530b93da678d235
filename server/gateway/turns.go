package gateway

import (
	"container/heap"
	"sync"
	"time"
)

// How held requests go on when their hold ends: so many at a time, and none
// keeps its place for longer than turnMax. All at once they would share the
// machine and each would end as late as the last.
const (
	turnsAtOnce = 32
	turnMax     = 100 * time.Millisecond
)

// turns lets held requests go on in the order in which they came.
type turns struct {
	placeMax time.Duration // a place is passed on after it at the latest

	mu      sync.Mutex
	arrived uint64
	taken   int
	waiting turnQueue
}

// turn is one request's place in the order.
type turn struct {
	arrival uint64
	granted chan struct{}
	once    sync.Once
}

// arrive gives a request its place. It need not come back.
func (t *turns) arrive() *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arrived++
	return &turn{arrival: t.arrived, granted: make(chan struct{})}
}

// take waits for the turn of a request that may go on now, or for its client
// to leave. Each take is followed by one or more calls of done.
func (t *turns) take(r *turn, left <-chan struct{}) {
	t.mu.Lock()
	heap.Push(&t.waiting, r)
	t.grantLocked()
	t.mu.Unlock()
	select {
	case <-r.granted:
	case <-left:
	}
	time.AfterFunc(t.placeMax, func() { t.done(r) })
}

// done passes the place on.
func (t *turns) done(r *turn) {
	r.once.Do(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for i, w := range t.waiting {
			if w == r { // its client left before its turn
				heap.Remove(&t.waiting, i)
				return
			}
		}
		t.taken--
		t.grantLocked()
	})
}

func (t *turns) grantLocked() {
	for t.taken < turnsAtOnce && len(t.waiting) > 0 {
		t.taken++
		close(heap.Pop(&t.waiting).(*turn).granted)
	}
}

// turnQueue is a heap by arrival.
type turnQueue []*turn

func (q turnQueue) Len() int           { return len(q) }
func (q turnQueue) Less(i, j int) bool { return q[i].arrival < q[j].arrival }
func (q turnQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *turnQueue) Push(x any)        { *q = append(*q, x.(*turn)) }
func (q *turnQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
