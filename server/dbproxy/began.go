package dbproxy

import (
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// epochsRemembered is how many epochs back the moves in a snapshot tell for
// sure what has moved: a snapshot keeps the last eight ended moves, and each
// takes at least four epochs.
const epochsRemembered = 32

// noteEpoch remembers under which epoch a transaction begins. It is called
// before each statement; what it notes holds once the server says that a
// transaction is open.
func (s *session) noteEpoch() {
	if s.inTransaction() {
		return
	}
	if v := s.p.guard.View(); v != nil {
		s.since = v.Snapshot.Epoch
	}
}

// beganBeforeMoveOf tells whether the open transaction may see an old state of
// a key: it began before the key's last move had brought everything over. A
// server shows a repeatable-read transaction the rows as they stood at its
// first read, so one that began here before the SWITCH of a move into this
// unit would not see what the former owner acknowledged last. It is rolled
// back like one that meets a fence; its repetition sees everything.
func (s *session) beganBeforeMoveOf(v *route.View, rule string, keys []string) bool {
	if !s.inTransaction() || s.since == v.Snapshot.Epoch {
		return false
	}
	if v.Snapshot.Epoch-s.since > epochsRemembered && len(v.Snapshot.Moves) > 0 {
		return true
	}
	for _, m := range v.Snapshot.Moves {
		if m.Outcome != space.OutcomeSwitched || s.since > m.FenceEpoch || m.Rule != rule {
			continue
		}
		for _, key := range keys {
			if route.Contains(m.Keys, v.DecideKey(rule, key)) {
				return true
			}
		}
	}
	return false
}
