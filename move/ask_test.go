package move

import "testing"

// TestAsk_ByPhase: OPEN is asked of the new owner's lanes from SWITCH on, not
// before, since only there the outcome is final; nothing is asked of others.
func TestAsk_ByPhase(t *testing.T) {
	none := ""
	for phase, want := range map[Phase][2]string{ // of the lanes at the former and at the new owner
		Check: {none, none}, Hold: {none, none}, Fence: {none, none}, Barrier: {AskClose, AskClose},
		Switch: {none, AskOpen}, Release: {none, AskOpen}, Settle: {none, AskSettle}, Done: {none, none}, Aborted: {none, none},
	} {
		s := State{Phase: phase, From: "a", To: "b", Participants: Participants([]string{"a", "b", "c"})}
		if got := [2]string{s.Ask("dbsync", "a"), s.Ask("dbsync", "b")}; got != want {
			t.Errorf("%s asks %q of the lanes, want %q", phase, got, want)
		}
		for _, other := range []string{s.Ask("dbsync", "c"), s.Ask("dbproxy", "b"), s.Ask("gateway", "b")} {
			if other != none {
				t.Errorf("%s asks %q of who has nothing to do", phase, other)
			}
		}
	}
	beside := State{Phase: Barrier, From: "a", To: "b", Center: "c", Participants: Participants([]string{"a", "b", "c"})}
	if got := beside.Ask("dbsync", "c"); got != AskClose {
		t.Errorf("asks %q of the lanes at a center that is neither end, want %q", got, AskClose)
	}
	released := State{Phase: Release, ReleaseEpoch: 9, From: "a", To: "b", Participants: Participants([]string{"a", "b"})}
	if got := released.Ask("dbsync", "b"); got != none {
		t.Errorf("asks %q after the release", got)
	}
}
