package e2e

import (
	"strings"
	"testing"
)

// TestDemo_ThreeUnits moves 30 % of the buckets from unit to unit and round,
// while the lane unit-a>unit-c stands still over the first move and over a try
// of the second: that one gets nowhere, and nothing is lost or overwritten. How
// long a write pauses is for the demo of two units to say; here the bound is 4 s.
func TestDemo_ThreeUnits(t *testing.T) {
	rep, res := demo(t, program(t, "atoll"), "--units", "3", "--slow-lane", "--seconds", "45", "--rate", "30", "--canaries", "4", "--pause-max", "4s")
	if rep.Verdict != "pass" || rep.Reason != nil || res.status != statusDone {
		t.Fatalf("verdict %s: %s; exit status %d\n%s%s", rep.Verdict, *rep.Reason, res.status, tail(res.stdout), tail(res.stderr))
	}
	var way []string
	for _, m := range rep.Moves {
		if m.Stalled {
			if m.State == "done" || !strings.Contains(m.Reason, "unit-b>unit-c") {
				t.Errorf("the move on a lane that stood still: %+v", m)
			}
			continue
		}
		if m.State != "done" || len(m.Phases) != 7 {
			t.Errorf("move %s → %s: %s with phases %v", m.From, m.To, m.State, m.Phases)
		}
		way = append(way, m.From+">"+m.To)
	}
	if got := strings.Join(way, " "); got != "unit-a>unit-b unit-b>unit-c unit-c>unit-a" {
		t.Errorf("the keys went %s", got)
	}
	if rep.SlowLane != "unit-a>unit-c" || rep.SlowLaneBehind == 0 || rep.OrdersAcked == 0 || rep.GroupsChecked == 0 {
		t.Errorf("a pass that checked nothing: %+v", rep)
	}
	t.Logf("%d orders acknowledged, %d groups checked, the slow lane was %d groups behind, moves %+v", rep.OrdersAcked, rep.GroupsChecked, rep.SlowLaneBehind, rep.Moves)
}

// TestDemo_ByTheSnapshotOfTheMoment is the negative control of that: unit-c's
// lanes do not learn of the moves between the other units, and judge rows by
// the map that is in force. What unit-a wrote of the moved keys before the move
// comes late and is parked there. (That the second move still waits is the
// center's lane, which is in its BARRIER as well.)
func TestDemo_ByTheSnapshotOfTheMoment(t *testing.T) {
	rep, res := demo(t, program(t, "atoll"), "--units", "3", "--break", "no-in-band", "--seconds", "40", "--rate", "40", "--canaries", "4")
	if rep.Verdict != "fail" || rep.Reason == nil || res.status != statusFailed {
		t.Fatalf("the control passed: %+v, exit status %d", rep, res.status)
	}
	for _, want := range []string{"orders lost", "rows parked", "rows different"} {
		if !strings.Contains(*rep.Reason, want) {
			t.Errorf("failed for %q, without %q", *rep.Reason, want)
		}
	}
}
