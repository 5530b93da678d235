package planes

import (
	"testing"
	"time"
)

// TestLeaseBook_Bar: a report that is under way when a plane is barred may
// still bring a lease, and is told of; one that comes later brings none, even
// if its answer is made when the bar is gone.
func TestLeaseBook_Bar(t *testing.T) {
	now := time.Now()
	b := newLeaseBook(now)
	if b.begin("p") {
		t.Error("a plane that nobody forgets is barred")
	}
	if !b.bar("p") {
		t.Error("the report under way is not told of")
	}
	b.finish("p", now, nil)
	if b.bar("p") {
		t.Error("a report under way that is over")
	}
	b.unbar("p")
	if !b.begin("p") {
		t.Error("one of two calls ended, and the other's bar with it")
	}
	b.finish("p", now, nil)
	b.unbar("p")
	if b.begin("p") {
		t.Error("the bar outlives the calls")
	}
}
