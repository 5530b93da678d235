package dbsync

import (
	"testing"

	"github.com/atoll-live/atoll/space"
)

func TestOutcomeOfAnEarlierAttempt(t *testing.T) {
	m := &space.Transfer{FenceEpoch: 7, Outcome: space.OutcomeSwitched}
	if got := outcome(m, 5); got != space.OutcomeAborted {
		t.Errorf("the attempt of epoch 5, which one of epoch 7 followed: %q", got)
	}
	if got := outcome(m, 7); got != space.OutcomeSwitched {
		t.Errorf("the attempt itself: %q", got)
	}
}

func TestOverlap(t *testing.T) {
	keys := func(rule string, k space.KeySet) *space.Transfer { return &space.Transfer{Rule: rule, Keys: k} }
	buckets := func(from, to int) space.KeySet { return space.KeySet{Buckets: []space.Range{{From: from, To: to}}} }
	for _, c := range []struct {
		a, b *space.Transfer
		want bool
	}{
		{keys("r", buckets(0, 5)), keys("r", buckets(5, 9)), false},
		{keys("r", buckets(0, 6)), keys("r", buckets(5, 9)), true},
		{keys("r", buckets(0, 6)), keys("q", buckets(5, 9)), false},
		{keys("r", space.KeySet{Keys: []string{"a"}}), keys("r", space.KeySet{Keys: []string{"b"}}), false},
		{keys("r", space.KeySet{Keys: []string{"a"}}), keys("r", space.KeySet{Keys: []string{"b", "a"}}), true},
		{keys("r", space.KeySet{Keys: []string{"a"}}), keys("r", buckets(5, 9)), true},
		{keys("r", space.KeySet{Prefixes: []string{"a"}}), keys("r", space.KeySet{Keys: []string{"b"}}), true},
	} {
		if got := overlap(c.a, c.b); got != c.want {
			t.Errorf("overlap of %+v and %+v: %v", *c.a, *c.b, got)
		}
		if got := overlap(c.b, c.a); got != c.want {
			t.Errorf("overlap of %+v and %+v: %v", *c.b, *c.a, got)
		}
	}
}
