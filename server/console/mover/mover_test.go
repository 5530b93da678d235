package mover

import (
	"testing"
	"time"

	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/space"
)

func TestMove_ThereAndBack(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		before := b.snapshot()
		s := b.awaitEnd(b.start(nil).GetId())
		if s.Phase != move.Done || s.Reason != "" {
			t.Fatalf("ended %s: %s", s.Phase, s.Reason)
		}
		if s.Pause() > 300*time.Millisecond {
			t.Errorf("keys were held for %v", s.Pause())
		}
		t.Logf("pause %v, phases %v", s.Pause(), s.Phases)
		now := b.snapshot()
		if got := owned(now.Document, "unit-b"); got != "[{3000 10000}] []" {
			t.Errorf("unit-b owns %s", got)
		}
		_ = before
	})
}
