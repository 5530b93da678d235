package gateway

import (
	"slices"
	"testing"
	"time"
)

// queue is turns with a state that the test sets, and the requests that wait.
type queue struct {
	*turns
	t   *testing.T
	now *state
	all []*turn
	out chan int // arrivals that may look again
}

func newQueue(t *testing.T, atOnce int) *queue {
	q := &queue{t: t, now: &state{}, out: make(chan int, 100)}
	q.turns = newTurns(func() *state { return q.now })
	q.atOnce, q.placeMax = atOnce, time.Hour
	return q
}

// hold lets a request wait that the state in force holds.
func (q *queue) hold(r *turn, left <-chan struct{}) {
	q.t.Helper()
	before := q.waiting()
	by := q.now
	go func() {
		if q.wait(r, by, time.Hour, left, nil) {
			q.out <- int(r.arrival)
		}
	}()
	wait(q.t, "it waits", func() bool { return q.waiting() == before+1 })
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.held) + len(q.ready)
}

// fill lets n requests wait, in any order but that of their arrival.
func (q *queue) fill(n int, left <-chan struct{}) {
	for range n {
		q.all = append(q.all, q.arrive())
	}
	for _, r := range slices.Backward(q.all) {
		q.hold(r, left)
	}
}

func (q *queue) publish() {
	q.mu.Lock()
	q.now = &state{}
	q.mu.Unlock()
	q.renew()
}

// looking reads who may look now: so many, no more.
func (q *queue) looking(want ...int) {
	q.t.Helper()
	got := make([]int, 0, len(want))
	for range want {
		select {
		case n := <-q.out:
			got = append(got, n)
		case <-time.After(10 * time.Second):
			q.t.Fatalf("%v may look, want %v", got, want)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) || q.taken != len(want) {
		q.t.Fatalf("%v may look and %d places are taken, want %v", got, q.taken, want)
	}
}

// Held requests go on in the order in which they came, however they wake, and
// only so many at a time.
func TestTurns_OrderAndBound(t *testing.T) {
	q := newQueue(t, 2)
	q.fill(5, nil)
	if q.taken != 0 {
		t.Fatal("a place is taken before there is a later state")
	}
	q.publish()
	q.looking(1, 2)
	for i, next := range []int{3, 4, 5} {
		q.done(q.all[i])
		q.done(q.all[i]) // a place is passed on once
		if got := <-q.out; got != next {
			t.Errorf("request %d is next, want %d", got, next)
		}
	}
	q.done(q.all[3])
	q.done(q.all[4])
	if q.taken != 0 || q.waiting() != 0 {
		t.Errorf("%d places taken and %d wait when all are done", q.taken, q.waiting())
	}
}

// A request that finds itself held by the later state too keeps its place in
// the order, and no place meanwhile.
func TestTurns_HeldAgain(t *testing.T) {
	q := newQueue(t, 1)
	q.fill(3, nil)
	q.publish()
	for i, r := range q.all {
		if got := <-q.out; got != i+1 {
			t.Fatalf("request %d looks, want %d", got, i+1)
		}
		by := q.now
		go func() {
			if q.wait(r, by, time.Hour, nil, nil) {
				q.out <- int(r.arrival)
			}
		}()
	}
	wait(t, "all wait again", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.held) == 3 && q.taken == 0 })
	q.publish()
	q.looking(1)
	q.done(q.all[0])
	q.looking(2)
	q.done(q.all[1])
	q.looking(3)
}

func TestTurns_WhoLeavesTakesNoPlace(t *testing.T) {
	q := newQueue(t, 1)
	q.fill(2, nil)
	left := make(chan struct{})
	q.all = append(q.all, q.arrive(), q.arrive())
	q.hold(q.all[2], left)
	q.hold(q.all[3], nil)
	q.publish()
	q.looking(1)
	close(left)
	wait(t, "it left", func() bool { return q.waiting() == 2 })
	q.done(q.all[0])
	q.looking(2)
	q.done(q.all[1])
	q.looking(4)
}

func TestTurns_NobodyWaitsForEver(t *testing.T) {
	q := newQueue(t, 1)
	r := q.arrive()
	if q.wait(r, q.now, time.Nanosecond, nil, nil) {
		t.Error("may look though nothing has changed")
	}
	stop := make(chan struct{})
	close(stop)
	if q.wait(r, q.now, time.Hour, nil, stop) || q.waiting() != 0 || q.taken != 0 {
		t.Errorf("%d wait, %d places taken after the end", q.waiting(), q.taken)
	}
	if !q.wait(r, &state{}, time.Hour, nil, nil) {
		t.Error("waits for a later state that is there")
	}
}

// A slow request keeps its place for a while only, and gives back no other's.
func TestTurns_PlacesArePassedOn(t *testing.T) {
	q := newQueue(t, 1)
	q.placeMax = time.Millisecond
	q.fill(3, nil)
	q.publish()
	for i := range 3 { // none says that it is done
		if got := <-q.out; got != i+1 {
			t.Fatalf("request %d is next, want %d", got, i+1)
		}
	}
	wait(t, "all places passed on", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.taken == 0 })
	q.done(q.all[0])
	if q.taken != 0 {
		t.Errorf("%d places taken", q.taken)
	}
}
