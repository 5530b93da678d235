package move

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Joint is a point of the move at which it waits for planes.
type Joint string

// The joints. All but Switched and Released are answered by an ack of that
// name; those two by the epoch that a plane reports in force.
const (
	Quiet    Joint = "quiet"    // HOLD: nothing admitted before is in flight
	Drained  Joint = "drained"  // FENCE: no write of the keys is open
	Closed   Joint = "closed"   // BARRIER: the token is written; asked for and shown, not waited for: passed implies it
	Passed   Joint = "passed"   // BARRIER: the token came out of the lane
	Switched Joint = "switched" // SWITCH: the new map is in force
	Opened   Joint = "opened"   // RELEASE: OPEN stands in the new owner's binlog; asked for from SWITCH on
	Released Joint = "released" // RELEASE: the open keys are in force
	Settled  Joint = "settled"  // SETTLE: the rows of both sides are compared
)

// Place says the planes of which units count for a duty.
type Place string

// The places.
const (
	Everywhere Place = "every"
	AtFrom     Place = "from"
	AtTo       Place = "to"
	AtEnds     Place = "ends"
	AtCenter   Place = "center" // nowhere, when State.Center is empty
)

// Duty is one joint that planes of a kind answer.
type Duty struct {
	Joint Joint `json:"joint"`
	At    Place `json:"at"`
	Lane  Place `json:"lane,omitempty"` // where the lane begins that it is about, "" when it is about none
}

// Participant is a kind of planes that a move waits for. A kind that is not
// deployed is not waited for, unless it is declared.
type Participant struct {
	Kind string `json:"kind"`
	// Units are those in which the documents declare this kind: one of it must
	// be registered there.
	Units []string `json:"units,omitempty"`
	// Leased tells that a silent plane of the kind could still write until its
	// lease has ended. Of another kind a silent plane harms nobody behind
	// SWITCH, and is given up after a time.
	Leased bool   `json:"leased,omitempty"`
	Duties []Duty `json:"duties"`
}

// Participants are the kinds that take part in a move. The proxies and lanes
// of the databases take part when data lists units whose data the rule owns.
func Participants(data []string) []Participant {
	all := []Participant{{Kind: "gateway", Duties: []Duty{{Joint: Quiet, At: Everywhere}, {Joint: Released, At: Everywhere}}}}
	if len(data) == 0 {
		return all
	}
	return append(all,
		Participant{Kind: "dbproxy", Units: data, Leased: true, Duties: []Duty{
			{Joint: Drained, At: Everywhere}, {Joint: Switched, At: Everywhere}, {Joint: Released, At: Everywhere},
		}},
		Participant{Kind: "dbsync", Units: data, Duties: []Duty{
			{Joint: Closed, At: AtEnds}, {Joint: Closed, At: AtCenter},
			{Joint: Passed, At: AtFrom, Lane: AtTo}, {Joint: Passed, At: AtTo, Lane: AtFrom}, {Joint: Passed, At: AtTo, Lane: AtCenter},
			{Joint: Opened, At: AtTo}, {Joint: Settled, At: AtTo}, {Joint: Released, At: Everywhere},
		}},
	)
}

// Lane names the lane from one unit into another.
func Lane(source, target string) string { return source + ">" + target }

// Wait is one thing that a move waits for.
type Wait struct {
	Plane  string // "" when no plane of the kind is registered where one must be
	Kind   string
	Unit   string
	Joint  Joint
	Lane   string
	Error  string        // what the plane said instead
	Hint   string        // what is known besides, in words
	Silent time.Duration // how long it has not been heard, 0: it is
}

func (w Wait) String() string {
	text := fmt.Sprintf("%s: %s", w.Plane, w.Joint)
	if w.Plane == "" {
		text = fmt.Sprintf("no %s of %s is registered: %s", w.Kind, w.Unit, w.Joint)
	}
	if w.Lane != "" {
		text += " " + w.Lane
	}
	if w.Silent > 0 {
		w.Hint = strings.TrimPrefix(fmt.Sprintf("%s, silent for %v", w.Hint, w.Silent.Round(100*time.Millisecond)), ", ")
	}
	if w.Hint != "" {
		text += " (" + w.Hint + ")"
	}
	if w.Error != "" {
		text += ": " + w.Error
	}
	return text
}

// joint is the one that the move waits at now, "" when none.
func (s State) joint() Joint {
	switch s.Phase {
	case Hold:
		return Quiet
	case Fence:
		return Drained
	case Barrier:
		return Passed
	case Switch:
		return Switched
	case Release:
		if s.ReleaseEpoch == 0 {
			return Opened
		}
		return Released
	case Settle:
		return Settled
	}
	return ""
}

// epochOf is the epoch that an answer to a joint must carry, or zero when the
// joint has not come yet. Only answers to this very fence count: an older
// one's token was passed before writes that this fence is about.
func (s State) epochOf(j Joint) int64 {
	switch j {
	case Quiet:
		return s.HoldEpoch
	case Drained, Closed, Passed, Opened, Settled:
		return s.FenceEpoch
	case Switched:
		return s.SwitchEpoch
	case Released:
		return s.ReleaseEpoch
	}
	return 0
}

// Waiting lists what the present joint still lacks, in the order of names.
func (s State) Waiting() []Wait {
	return s.lacking(s.joint(), slices.Values(slices.Sorted(maps.Keys(s.Planes))), math.MaxInt)
}

// lacking looks at the planes in the order given and stops at limit.
func (s State) lacking(j Joint, names iter.Seq[string], limit int) []Wait {
	if j == "" {
		return nil
	}
	var waits []Wait
	for _, p := range s.Participants {
		for _, d := range p.Duties {
			if d.Joint == j && len(waits) < limit {
				waits = s.lackingOf(waits, names, limit, p, d)
			}
		}
	}
	return waits
}

func (s State) lackingOf(waits []Wait, names iter.Seq[string], limit int, p Participant, d Duty) []Wait {
	lane := s.lane(d)
	if d.Lane != "" && lane == "" {
		return waits
	}
	there := map[string]bool{}
	for name := range names {
		if len(waits) >= limit {
			return waits
		}
		plane := s.Planes[name]
		if plane.Kind != p.Kind || !s.counts(plane.Unit, d.At) {
			continue
		}
		there[plane.Unit] = true
		if w := (Wait{Plane: name, Kind: p.Kind, Unit: plane.Unit, Joint: d.Joint, Lane: lane}); !s.met(plane, d, &w) {
			waits = append(waits, w)
		}
	}
	// A proxy that is gone for good has nothing open and no epoch to reach; but
	// without a lane its token never comes out.
	if !d.Joint.ofLanes() {
		return waits
	}
	for _, unit := range p.Units {
		if s.counts(unit, d.At) && !there[unit] {
			waits = append(waits, Wait{Kind: p.Kind, Unit: unit, Joint: d.Joint, Lane: lane})
		}
	}
	return waits
}

func (j Joint) ofLanes() bool { return j == Closed || j == Passed || j == Opened || j == Settled }

func (s State) counts(unit string, at Place) bool {
	switch at {
	case Everywhere:
		return true
	case AtEnds:
		return unit == s.From || unit == s.To
	}
	return unit != "" && unit == s.unit(at)
}

// unit is the one at a place that is one unit, "" when there is none.
func (s State) unit(at Place) string {
	switch at {
	case AtFrom:
		return s.From
	case AtTo:
		return s.To
	case AtCenter:
		return s.Center
	}
	return ""
}

// lane names the one that a duty is about, "" when it does not exist.
func (s State) lane(d Duty) string {
	source, target := s.unit(d.Lane), s.unit(d.At)
	if source == "" || target == "" {
		return ""
	}
	return Lane(source, target)
}

// met tells whether a plane has answered; if not, it completes the words.
func (s State) met(p Plane, d Duty, w *Wait) bool {
	switch want := s.epochOf(w.Joint); w.Joint {
	case Switched, Released:
		if p.Past || p.Epoch >= want {
			return true
		}
		w.Hint = fmt.Sprintf("at epoch %d, not yet %d", p.Epoch, want)
		return false
	default:
		a, ok := p.answer(w.Joint, w.Lane, want)
		w.Error = a.Error
		if ok && a.Error == "" {
			return true
		}
	}
	if w.Joint == Passed && w.Error == "" {
		w.Hint, w.Error = s.tokenAt(s.unit(d.Lane))
	}
	return false
}

// tokenAt says how far the token in a unit's own binlog is.
func (s State) tokenAt(unit string) (hint, failure string) {
	for _, name := range slices.Sorted(maps.Keys(s.Planes)) {
		p := s.Planes[name]
		if p.Unit != unit {
			continue
		}
		if a, ok := p.answer(Closed, "", s.FenceEpoch); ok {
			if a.Error != "" {
				return "token of " + name, a.Error
			}
			return "", ""
		}
	}
	return "no token in " + unit + " yet", ""
}

// What the mover asks of planes. The answers are acks of the joints.
const (
	AskClose  = "close"
	AskOpen   = "open"
	AskSettle = "settle"
)

// Ask is what the move, as it is persisted, asks of a plane now, "" when
// nothing. The epoch of every ask is the FenceEpoch.
func (s State) Ask(kind, unit string) string {
	var ask string
	j := s.joint()
	switch j {
	case Passed:
		ask, j = AskClose, Closed
	case Switched, Opened: // OPEN needs the switch to be written, not to be everywhere
		ask, j = AskOpen, Opened
	case Settled:
		ask = AskSettle
	default:
		return ""
	}
	for _, p := range s.Participants {
		for _, d := range p.Duties {
			if p.Kind == kind && d.Joint == j && s.counts(unit, d.At) {
				return ask
			}
		}
	}
	return ""
}

func (p Plane) answer(j Joint, lane string, epoch int64) (Answer, bool) {
	i := slices.IndexFunc(p.Answers, func(a Answer) bool {
		return a.Joint == j && (a.Lane == lane || lane == "") && a.Epoch == epoch && epoch != 0
	})
	if i < 0 {
		return Answer{}, false
	}
	return p.Answers[i], true
}

// Missing lists the declared kinds of which a unit has no registered plane.
func (s State) Missing() []string {
	var missing []string
	for _, p := range s.Participants {
		for _, unit := range p.Units {
			found := false
			for _, plane := range s.Planes {
				found = found || plane.Kind == p.Kind && plane.Unit == unit
			}
			if !found {
				missing = append(missing, p.Kind+" of "+unit)
			}
		}
	}
	return missing
}
