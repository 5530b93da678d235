package space

import "time"

// Snapshot is everything that planes obey for one space: the document, its
// databases, and the moves that hold or fence keys. The console publishes it
// as one value with one epoch, so that no plane sees a new map without its
// fences.
type Snapshot struct {
	Space     string      `json:"space"` // space code
	Epoch     int64       `json:"epoch"` // only rises
	Document  *Space      `json:"document"`
	Databases []*Database `json:"databases"`
	Moves     []*Transfer `json:"moves,omitempty"` // the active move, and settled ones until every lane has passed their tokens
	Settings  Settings    `json:"settings"`
}

// Settings are the times that planes of a space obey.
type Settings struct {
	// FenceTTL is how long a plane that hears no quorum may go on writing
	// unit data; zero means for ever.
	FenceTTL time.Duration `json:"fenceTTL"`
	// FenceDeadline is how long open transactions of fenced keys may take to
	// end before the proxy ends them.
	FenceDeadline time.Duration `json:"fenceDeadline"`
	// HoldMax is how long a gateway holds a request of a held key at most.
	HoldMax time.Duration `json:"holdMax"`
}

// Outcome says how a move ended, as far as a lane must know.
type Outcome string

// The outcomes of a move. The empty outcome is "not known yet".
const (
	OutcomeNone     Outcome = ""
	OutcomeSwitched Outcome = "switched"
	OutcomeAborted  Outcome = "aborted"
)

// Transfer is the part of a move that planes obey.
type Transfer struct {
	ID         string  `json:"id"`
	Rule       string  `json:"rule"`
	From       string  `json:"from"`
	To         string  `json:"to"`
	Keys       KeySet  `json:"keys"`
	Hold       bool    `json:"hold"`                 // new work of the keys waits at the edge
	FenceEpoch int64   `json:"fenceEpoch,omitempty"` // epoch of the snapshot that fenced the keys; stays after the move as the identity of its tokens
	Fenced     bool    `json:"fenced"`               // writes of the keys are refused at every dbproxy
	Outcome    Outcome `json:"outcome,omitempty"`
}

// KeySet is the set of keys that one move carries. A key belongs to it when
// it is named in Keys, or when the rule decides it by a prefix that is in
// Prefixes, or by range and its bucket is in Buckets. A move changes no other
// part of the rule, so the answer is the same before and after its switch.
type KeySet struct {
	Buckets  []Range  `json:"buckets,omitempty"`
	Keys     []string `json:"keys,omitempty"`     // exact keys, whatever decides them
	Prefixes []string `json:"prefixes,omitempty"` // keys decided by one of these prefixes
}
