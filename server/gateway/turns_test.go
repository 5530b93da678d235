package gateway

import (
	"testing"
	"time"
)

// enter puts a request into the queue without waiting for its turn.
func (t *turns) enter(r *turn) {
	t.take(r, closed)
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (r *turn) has() bool {
	select {
	case <-r.granted:
		return true
	default:
		return false
	}
}

// Held requests go on in the order in which they came, however they wake, and
// never more than turnsAtOnce at a time.
func TestTurns_OrderAndBound(t *testing.T) {
	order := turns{placeMax: time.Hour}
	var all []*turn
	for range turnsAtOnce + 3 {
		all = append(all, order.arrive())
	}
	for i := 3; i < len(all); i++ { // the first three are the last to wake
		order.enter(all[i])
		if !all[i].has() {
			t.Fatalf("request %d waits while %d have their turn", i, order.taken)
		}
	}
	for _, i := range []int{2, 0, 1} {
		order.enter(all[i])
		if all[i].has() {
			t.Fatalf("more than %d at a time", turnsAtOnce)
		}
	}
	for i := range 3 {
		order.done(all[len(all)-1-i])
		order.done(all[len(all)-1-i]) // a place is passed on once
		if !all[i].has() {
			t.Errorf("request %d was not the next", i)
		}
	}
}

func TestTurns_WhoLeavesTakesNoPlace(t *testing.T) {
	order := turns{placeMax: time.Hour}
	var all []*turn
	for range turnsAtOnce + 2 {
		all = append(all, order.arrive())
		order.enter(all[len(all)-1])
	}
	left, next := all[turnsAtOnce], all[turnsAtOnce+1]
	order.done(left)
	order.done(all[0])
	if left.has() || !next.has() {
		t.Errorf("the place went to the one that left: %v, next %v", left.has(), next.has())
	}
	if order.taken != turnsAtOnce {
		t.Errorf("%d places taken, want %d", order.taken, turnsAtOnce)
	}
}
