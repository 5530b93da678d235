package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTwoSpaces moves a share of one space's buckets there and back while
// buyers are in both. The other space has databases of its own on the same
// servers and the same lanes: its epoch stays, its clients see no failure, and
// nothing of it meets a hold or a fence. Then both move at once.
func TestTwoSpaces(t *testing.T) {
	path := program(t, "atoll")
	dir, _ := sandbox(t, path, "--spaces", "2")
	first := beginLoad(t, path, dir, "--seconds", "20", "--rate", "20")
	second := beginLoad(t, path, dir, "--seconds", "20", "--rate", "20", "--space", "shop2")
	underWay(t, path, dir, "app@unit-a", "app-shop2@unit-a")
	before := planes(t, path, dir)
	move := func(space, from, to string, more ...string) (m struct{ ID, State string }) {
		t.Helper()
		args := append([]string{"move", "start", "--space", space, "--from", from, "--to", to, "--buckets", "3000-5999", "-o", "json", "--dir", dir}, more...)
		r := run(t, 2*time.Minute, path, args...)
		r.want(t, statusDone, "move of "+space)
		decode(t, r.stdout, &m)
		return m
	}
	for _, m := range []struct{ ID, State string }{move("shop", "unit-a", "unit-b", "--wait"), move("shop", "unit-b", "unit-a", "--wait")} {
		if m.State != "done" {
			t.Errorf("move %+v", m)
		}
	}
	after := planes(t, path, dir)
	moved, other := first(), second()
	if moved.Verdict != "pass" || moved.Load.HTTPRefused > 0 || moved.SQLRefusals["9602"] == 0 {
		t.Errorf("the space that moved: verdict %s, %+v, refusals %v (of 9602 there must be some), samples %q",
			moved.Verdict, moved.Load, moved.SQLRefusals, moved.Samples)
	}
	other.wantNoFailure(t)
	if other.SQLRefusals["9602"]+other.SQLRefusals["9607"] > 0 {
		t.Errorf("the other space's clients met a fence or a lapsed lease: %v", other.SQLRefusals)
	}
	met := wantApart(t, before, after)
	t.Logf("%d and %d orders; refusals in the space that moved %v, in the other %v; the planes of the first met %v",
		moved.Load.Acked, other.Load.Acked, moved.SQLRefusals, other.SQLRefusals, met)

	one, two := move("shop", "unit-a", "unit-b"), move("shop2", "unit-a", "unit-b", "--wait")
	eventually(t, "both moves to be done", func() (bool, string) {
		r := run(t, time.Minute, path, "move", "status", one.ID, "-o", "json", "--dir", dir)
		decode(t, r.stdout, &one)
		return one.State == "done" && two.State == "done", fmt.Sprintf("%+v, %+v", one, two)
	})
}

// wantApart compares what planes said before and after moves of shop: shop2's
// epoch stayed, and its own planes met nothing. It gives what shop's met.
func wantApart(t *testing.T, before, after map[string]plane) map[string]int64 {
	t.Helper()
	met, own := map[string]int64{}, 0
	for name, p := range after {
		if p.Epochs["shop2"] == 0 || p.Epochs["shop2"] != before[name].Epochs["shop2"] {
			t.Errorf("%s: epochs %v, and before the moves %v", name, p.Epochs, before[name].Epochs)
		}
		if p.Epochs["shop"] <= before[name].Epochs["shop"] {
			t.Errorf("%s did not see the moves of shop: epochs %v, before %v", name, p.Epochs, before[name].Epochs)
		}
		other := strings.Contains(name, "-shop2@")
		if other {
			own++
		}
		for _, figure := range []string{"parked_total", "tx_killed", "refused_9602", "refused_9607", "held_total", "hold_ended"} {
			if n := p.Figures[figure] - before[name].Figures[figure]; !other {
				met[figure] += n
			} else if n > 0 {
				t.Errorf("%s met a hold or a fence: %s %d", name, figure, n)
			}
		}
	}
	if own != 6 || met["tx_killed"]+met["parked_total"] == 0 {
		t.Errorf("%d planes of shop2 alone, and those of shop met %v", own, met)
	}
	return met
}
