package move

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atoll-live/atoll/space"
)

// Phase is where a move stands.
type Phase string

// The phases, in order. Switch is the commit point: a move that has not
// reached it ends with the old owner, one that has ends with the new one.
const (
	Check   Phase = "CHECK"
	Hold    Phase = "HOLD"
	Fence   Phase = "FENCE"
	Barrier Phase = "BARRIER"
	Switch  Phase = "SWITCH"
	Release Phase = "RELEASE"
	Settle  Phase = "SETTLE"

	Done    Phase = "DONE"    // the new owner owns
	Aborted Phase = "ABORTED" // the old owner owns; it was held or fenced for a while, or a person ended it
	Failed  Phase = "FAILED"  // the checks did not pass; nothing was changed
)

// Order lists the phases that a whole move goes through.
var Order = []Phase{Check, Hold, Fence, Barrier, Switch, Release, Settle}

// Over tells whether the move has ended.
func (p Phase) Over() bool { return p == Done || p == Aborted || p == Failed }

// Committed tells whether the new owner owns: from here a move only goes on.
func (p Phase) Committed() bool {
	return p == Switch || p == Release || p == Settle || p == Done
}

// Limits are the times of one move. They are persisted with it, so that a
// mover that takes over keeps them.
type Limits struct {
	Check   time.Duration `json:"check"`   // checks that do not pass by then fail the move
	Quiesce time.Duration `json:"quiesce"` // HOLD goes on after it, quiet or not
	Hold    time.Duration `json:"hold"`    // HOLD that cannot go on to FENCE aborts
	Fence   time.Duration `json:"fence"`   // planes not drained by then abort the move
	Barrier time.Duration `json:"barrier"` // lanes not past the token by then abort the move
	Stuck   time.Duration `json:"stuck"`   // a phase from SWITCH on that takes longer shows as stuck; it goes on trying
	Settle  time.Duration `json:"settle"`  // SETTLE ends after it, compared or not
}

// CheckResult is the answer to one check by name.
type CheckResult struct {
	Name       string `json:"name"`
	OK         bool   `json:"ok"`
	Detail     string `json:"detail,omitempty"`
	Overridden bool   `json:"overridden,omitempty"`
}

// PhaseTime says when a phase began and how long it took; MS of the phase in
// progress is zero.
type PhaseTime struct {
	Name    Phase     `json:"name"`
	Started time.Time `json:"started"`
	MS      int64     `json:"ms"`
}

// Answer is what a plane said to one joint of the move.
type Answer struct {
	Joint   Joint            `json:"joint"`
	Lane    string           `json:"lane,omitempty"`
	Epoch   int64            `json:"epoch"`
	Detail  string           `json:"detail,omitempty"`
	Error   string           `json:"error,omitempty"`
	Figures map[string]int64 `json:"figures,omitempty"`
}

// Plane is one registered plane as the move knows it. Its answers are of its
// present incarnation.
type Plane struct {
	Kind        string   `json:"kind"`
	Unit        string   `json:"unit"`
	Incarnation string   `json:"incarnation"`
	Epoch       int64    `json:"epoch,omitempty"` // highest it reported in force
	Past        bool     `json:"past,omitempty"`  // it can do nothing any more by an epoch before SWITCH
	Answers     []Answer `json:"answers,omitempty"`
}

// State is one move, whole. It is a value: Step never changes the one it got.
type State struct {
	ID      string       `json:"id"`
	Space   string       `json:"space"`
	Rule    string       `json:"rule"`
	From    string       `json:"from"`
	To      string       `json:"to"`
	Center  string       `json:"center,omitempty"` // when it is neither end and sends To rows of its own: its lane into To is waited for
	Keys    space.KeySet `json:"keys"`
	By      string       `json:"by,omitempty"`
	Created time.Time    `json:"created"`
	Ended   time.Time    `json:"ended,omitzero"`

	Phase    Phase     `json:"phase"`
	Deadline time.Time `json:"deadline"`          // of the phase: before SWITCH it ends the move, from there on it shows it as stuck
	GoOn     time.Time `json:"goOn,omitzero"`     // HOLD and SETTLE: on at that time, answered or not
	Ending   string    `json:"ending,omitempty"`  // reason of an abort that is not written yet
	Reason   string    `json:"reason,omitempty"`  // why it ended as it did
	Stuck    bool      `json:"stuck,omitempty"`   // the phase has passed its deadline, behind SWITCH
	Limits   Limits    `json:"limits"`            // set once
	Leader   string    `json:"leader,omitempty"`  // the mover that drives it
	TakenN   int       `json:"takenN,omitempty"`  // how often another mover took it over
	Clashes  int       `json:"clashes,omitempty"` // writes that did not succeed
	Trouble  string    `json:"trouble,omitempty"` // why the last of them did not

	EpochBefore  int64 `json:"epochBefore"`            // epoch when the move was made
	Epoch        int64 `json:"epoch"`                  // of its last published snapshot
	HoldEpoch    int64 `json:"holdEpoch,omitempty"`    // each is the epoch of the snapshot that began the phase
	FenceEpoch   int64 `json:"fenceEpoch,omitempty"`   // identity of the fence and of its tokens
	SwitchEpoch  int64 `json:"switchEpoch,omitempty"`  //
	ReleaseEpoch int64 `json:"releaseEpoch,omitempty"` //
	AbortEpoch   int64 `json:"abortEpoch,omitempty"`   //

	Participants []Participant    `json:"participants"`
	Checks       []CheckResult    `json:"checks,omitempty"`
	Overrides    []string         `json:"overrides,omitempty"`
	Planes       map[string]Plane `json:"planes,omitempty"` // registered planes by name; nil once the move is over
	AsOf         int64            `json:"asOf,omitempty"`   // epoch published before Planes was last read

	Phases      []PhaseTime       `json:"phases"`
	EffectiveAt time.Time         `json:"fenceEffectiveAt,omitzero"` // when the last plane was seen drained; for people
	ReleasedAt  time.Time         `json:"releasedAt,omitzero"`       // when the keys were published as open again
	Barriers    map[string]string `json:"barriers,omitempty"`        // lane → position of the token
	Totals      map[string]int64  `json:"totals,omitempty"`          // figures of all answers, once the move is over
}

// Plan is what New needs to begin a move.
type Plan struct {
	ID, Space, Rule, From, To, By string
	Center                        string // see State.Center
	Keys                          space.KeySet
	Epoch                         int64 // in force now
	Participants                  []Participant
	Overrides                     []string
	Limits                        Limits
	Leader                        string
}

// New begins a move in CHECK. It is not active before it is persisted.
func New(p Plan, at time.Time) (State, error) {
	switch {
	case p.ID == "" || p.Space == "" || p.Rule == "":
		return State{}, errors.New("a move needs an id, a space and a rule")
	case p.From == "" || p.To == "":
		return State{}, errors.New("a move needs a unit to move from and one to move to")
	case p.From == p.To:
		return State{}, fmt.Errorf("from and to are both %s", p.From)
	case p.Center != "" && (p.Center == p.From || p.Center == p.To):
		return State{}, fmt.Errorf("the center %s is an end of the move", p.Center)
	case len(p.Keys.Buckets) == 0 && len(p.Keys.Keys) == 0 && len(p.Keys.Prefixes) == 0:
		return State{}, errors.New("no keys to move")
	}
	l := p.Limits
	if min(l.Check, l.Quiesce, l.Hold, l.Fence, l.Barrier, l.Stuck, l.Settle) <= 0 {
		return State{}, fmt.Errorf("a limit is not set: %+v", l)
	}
	s := State{
		ID: p.ID, Space: p.Space, Rule: p.Rule, From: p.From, To: p.To, Center: p.Center, By: p.By, Keys: p.Keys,
		Created: at, EpochBefore: p.Epoch, Epoch: p.Epoch, Participants: p.Participants,
		Overrides: p.Overrides, Limits: l, Leader: p.Leader,
	}
	s.enter(Check, at)
	return s.clone(), nil
}

// enter begins a phase, ends the time of the former and sets the deadline.
func (s *State) enter(p Phase, at time.Time) {
	if n := len(s.Phases); n > 0 {
		last := s.Phases[n-1]
		last.MS = max(at.Sub(last.Started).Milliseconds(), 0)
		s.Phases = append(slices.Clone(s.Phases[:n-1]), last)
	}
	s.Phase, s.Stuck, s.GoOn, s.Deadline = p, false, time.Time{}, time.Time{}
	switch p {
	case Check:
		s.Deadline = at.Add(s.Limits.Check)
	case Hold:
		s.GoOn = at.Add(s.Limits.Quiesce)
		s.Deadline = s.GoOn.Add(s.Limits.Hold)
	case Fence:
		s.Deadline = at.Add(s.Limits.Fence)
	case Barrier:
		s.Deadline = at.Add(s.Limits.Barrier)
	case Switch, Release:
		s.Deadline = at.Add(s.Limits.Stuck)
	case Settle:
		s.Deadline, s.GoOn = at.Add(s.Limits.Stuck), at.Add(s.Limits.Settle)
	default:
		s.Ended, s.Ending = at, ""
		s.Totals, s.Planes = s.Figures(), nil
		return
	}
	s.Phases = append(slices.Clone(s.Phases), PhaseTime{Name: p, Started: at})
}

// Wake is the next time, after now, at which the move wants a Tick; zero when
// it wants none.
func (s State) Wake(now time.Time) time.Time {
	var next time.Time
	for _, at := range []time.Time{s.GoOn, s.Deadline} {
		if !s.Phase.Over() && at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// Figures sums the figures of all answers by name.
func (s State) Figures() map[string]int64 {
	if s.Phase.Over() && s.Totals != nil {
		return s.Totals
	}
	sum := map[string]int64{}
	for _, p := range s.Planes {
		for _, a := range p.Answers {
			for name, n := range a.Figures {
				sum[name] += n
			}
		}
	}
	return sum
}

// Pause is how long the keys were held, as far as it goes: from the hold to
// the snapshot that opened them again.
func (s State) Pause() time.Duration {
	for _, p := range s.Phases {
		if p.Name == Hold && !s.ReleasedAt.IsZero() {
			return s.ReleasedAt.Sub(p.Started)
		}
	}
	return 0
}

// Transfer is the move as planes see it in a snapshot.
func (s State) Transfer() *space.Transfer {
	t := &space.Transfer{ID: s.ID, Rule: s.Rule, From: s.From, To: s.To, Keys: s.Keys, FenceEpoch: s.FenceEpoch}
	switch {
	case s.Phase == Aborted:
		t.Outcome = space.OutcomeAborted
	case s.Phase.Committed():
		t.Outcome = space.OutcomeSwitched
		t.Hold = s.ReleaseEpoch == 0
		t.Fenced = t.Hold
	default:
		t.Hold = s.HoldEpoch != 0
		t.Fenced = s.FenceEpoch != 0
	}
	return t
}

// clone copies what Step may change in place.
func (s State) clone() State {
	s.Planes = maps.Clone(s.Planes)
	s.Barriers = maps.Clone(s.Barriers)
	s.Checks = slices.Clone(s.Checks)
	s.Phases = slices.Clone(s.Phases)
	return s
}
