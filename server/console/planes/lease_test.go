package planes

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/store"
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

// A plane whose report is under way lives.
func TestForget_WhileItReports(t *testing.T) {
	s, err := New(Config{Store: store.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.register(t.Context(), &atollv1.Plane{Name: "p", Kind: "gateway", Unit: "unit-a", Incarnation: "one"}); err != nil {
		t.Fatal(err)
	}
	forget := func() error {
		_, err := s.Forget(t.Context(), connect.NewRequest(&atollv1.ForgetRequest{Name: "p"}))
		return err
	}
	s.leases.begin("p")
	if err := forget(); err == nil || !strings.Contains(err.Error(), "is connected") {
		t.Errorf("forgotten while it reports: %v", err)
	}
	s.leases.finish("p", time.Now(), nil)
	if err := forget(); err != nil {
		t.Errorf("a dead plane: %v", err)
	}
}
