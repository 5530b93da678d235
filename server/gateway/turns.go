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
	turnsAtOnce = 12
	turnMax     = 100 * time.Millisecond
)

// turns lets held requests look at a new state, and go on, in the order in
// which they came. Left to themselves the last to wait are the first to wake.
type turns struct {
	now      func() *state // in force
	atOnce   int           // places
	placeMax time.Duration // a place is passed on after it at the latest

	mu      sync.Mutex
	arrived uint64
	taken   int                // places
	held    map[*turn]struct{} // they wait for a later state
	ready   turnQueue          // there is a later state: they wait for a place
}

func newTurns(now func() *state) *turns {
	return &turns{now: now, atOnce: turnsAtOnce, placeMax: turnMax, held: map[*turn]struct{}{}}
}

// turn is one request's place in the order.
type turn struct {
	arrival uint64
	at      int           // index in ready, -1: not there
	place   int           // number of the place that it has, 0: none
	places  int           // it has had
	granted chan struct{} // closed when it gets one
	late    *time.Timer   // passes its place on
}

// arrive gives a request its place in the order, for as often as it waits.
func (t *turns) arrive() *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arrived++
	return &turn{arrival: t.arrived, at: -1}
}

// wait returns true when a request that is held by a state may look again,
// because there is a later one and it is its turn; until done it has a place.
// It returns false when limit has passed, or one of the channels was closed.
func (t *turns) wait(r *turn, by *state, limit time.Duration, left, stop <-chan struct{}) bool {
	t.mu.Lock()
	t.giveBackLocked(r)
	granted := make(chan struct{})
	r.granted = granted
	if t.now() == by { // renew comes after a later one is in force
		t.held[r] = struct{}{}
	} else {
		heap.Push(&t.ready, r)
	}
	t.grantLocked()
	t.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-granted:
		return true
	case <-timer.C:
	case <-left:
	case <-stop:
	}
	t.done(r)
	return false
}

// renew is called when a later state is in force.
func (t *turns) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for r := range t.held {
		delete(t.held, r)
		heap.Push(&t.ready, r)
	}
	t.grantLocked()
}

// done passes the place on, or the wish for one.
func (t *turns) done(r *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.held, r)
	if r.at >= 0 {
		heap.Remove(&t.ready, r.at)
	}
	t.giveBackLocked(r)
	t.grantLocked()
}

func (t *turns) giveBackLocked(r *turn) {
	if r.place != 0 {
		r.place = 0
		r.late.Stop()
		t.taken--
	}
}

func (t *turns) grantLocked() {
	for t.taken < t.atOnce && len(t.ready) > 0 {
		r := heap.Pop(&t.ready).(*turn)
		t.taken++
		r.places++
		r.place = r.places
		close(r.granted)
		place := r.place
		r.late = time.AfterFunc(t.placeMax, func() { t.passOn(r, place) })
	}
}

// passOn takes a place back from a request that still has it.
func (t *turns) passOn(r *turn, place int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.place == place {
		t.giveBackLocked(r)
		t.grantLocked()
	}
}

// turnQueue is a heap by arrival.
type turnQueue []*turn

func (q turnQueue) Len() int           { return len(q) }
func (q turnQueue) Less(i, j int) bool { return q[i].arrival < q[j].arrival }

func (q turnQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *turnQueue) Push(x any) {
	r := x.(*turn)
	r.at = len(*q)
	*q = append(*q, r)
}

func (q *turnQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	last.at = -1
	*q = old[:len(old)-1]
	return last
}
