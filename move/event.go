package move

import "time"

// Event is something that happened. Step answers every event in every state;
// one that has no meaning there changes nothing.
type Event interface{ at() time.Time }

// Tick says that time has passed. Silent tells, for the words of an abort,
// which planes have not been heard for how long.
type Tick struct {
	At     time.Time
	Silent map[string]time.Duration
}

// Registered is the whole set of registered planes, read from the store after
// the snapshot of epoch AsOf was committed.
type Registered struct {
	At     time.Time
	AsOf   int64
	Planes map[string]Plane // Kind, Unit and Incarnation are read
}

// Reported is what a plane said in one report: the epoch it has in force and
// its answers that name this move. It counts only for the incarnation that is
// registered.
type Reported struct {
	At          time.Time
	Plane       string
	Incarnation string
	Epoch       int64
	Answers     []Answer
}

// Reports are several at once.
type Reports struct {
	At   time.Time
	List []Reported
}

// Lapsed says that a plane which did not answer can do nothing any more by an
// epoch before SWITCH: its lease has ended, or, for a kind without leases, it
// has been silent for long.
type Lapsed struct {
	At          time.Time
	Plane       string
	Incarnation string
}

// Checked is the answer of all checks.
type Checked struct {
	At     time.Time
	Checks []CheckResult
}

// Published says that a command of the publishing kinds is done: its snapshot
// has this epoch. The mover makes this event before the write, so that the
// state which follows from it is written in the same transaction.
type Published struct {
	At    time.Time
	What  Kind
	Epoch int64
}

// Conflict says that a write was forestalled by somebody else's, or got no
// answer. The state has been read again since.
type Conflict struct {
	At  time.Time
	Why string
}

// Abort is a person's wish to end the move with the old owner.
type Abort struct {
	At time.Time
	By string
}

// TakenOver says that another mover drives the move from now on. What the
// former one knew of planes is forgotten; they say it again.
type TakenOver struct {
	At     time.Time
	Leader string
}

func (e Tick) at() time.Time       { return e.At }
func (e Registered) at() time.Time { return e.At }
func (e Reported) at() time.Time   { return e.At }
func (e Reports) at() time.Time    { return e.At }
func (e Lapsed) at() time.Time     { return e.At }
func (e Checked) at() time.Time    { return e.At }
func (e Published) at() time.Time  { return e.At }
func (e Conflict) at() time.Time   { return e.At }
func (e Abort) at() time.Time      { return e.At }
func (e TakenOver) at() time.Time  { return e.At }

// Kind names a command.
type Kind string

// The commands. The publishing ones are each one transaction that writes the
// state which follows from their Published event together with the snapshot,
// and compares leader, move and snapshot. When a write did not succeed, for
// whatever reason, the mover reads the state again and goes on from there:
// what is due is commanded again with the next event, and a wish to abort is
// told again.
const (
	Persist        Kind = "persist" // write the state
	PublishHold    Kind = "hold"    // snapshot: keys held
	PublishFence   Kind = "fence"   // snapshot: keys fenced
	PublishSwitch  Kind = "switch"  // snapshot: the new map, keys still fenced
	PublishRelease Kind = "release" // snapshot: keys open at the new owner
	PublishAbort   Kind = "abort"   // snapshot: keys open at the old owner
	Finish         Kind = "finish"  // write the state and end the move's activity
	Audit          Kind = "audit"   // note Text in the audit log
)

// Publishes tells whether the command writes a snapshot.
func (k Kind) Publishes() bool {
	switch k {
	case PublishHold, PublishFence, PublishSwitch, PublishRelease, PublishAbort:
		return true
	}
	return false
}

// Command is what the mover must do. Commands of one Step are in order.
type Command struct {
	Kind Kind
	Text string // of Audit
}
