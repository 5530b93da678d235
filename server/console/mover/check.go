package mover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/space"
)

// The checks, by the names that people override them by.
const (
	noActiveMove    = "no-active-move"     // no other move of the space is under way
	targetAccess    = "target-access-mode" // the target unit may be written
	reversePlan     = "reverse-plan"       // the way back restores the document
	dataAtBoth      = "data-at-both-units" // every database of the rule has a source in either
	endedMoves      = "ended-moves"        // lanes have passed the tokens of earlier moves
	planesDeclared  = "planes-declared"    // every kind that the documents declare is registered
	planesConnected = "planes-connected"   // every registered plane that takes part reports
	planesAtEpoch   = "planes-at-epoch"    // and has the snapshot in force
	lanesRunning    = "lanes-running"      // both lanes between the units run, and the center's
	laneLag         = "lane-lag"           // and are not far behind
	nothingParked   = "nothing-parked"     // and hold no rows back
)

const (
	planesNamed = 4         // at most, by one check
	laneRuns    = "running" // LaneReport.state
)

// CheckNames lists the checks in the order in which they are made.
var CheckNames = []string{
	noActiveMove, targetAccess, reversePlan, dataAtBoth, endedMoves, planesDeclared, planesConnected, planesAtEpoch,
	lanesRunning, laneLag, nothingParked,
}

// checks makes all checks of a move against what stands and what planes said
// last. The planes of the state are those registered.
func (m *Mover) checks(s move.State, snapshot *space.Snapshot) []move.CheckResult {
	c := &checking{move: s, snapshot: snapshot, heard: map[string]hearing{}, now: m.cfg.Clock(), silent: m.cfg.Silent, maxLag: m.cfg.MaxLag, passed: m.Passed}
	m.mu.Lock()
	for name, p := range s.Planes {
		if h, ok := m.heard[name]; ok && h.report.GetIncarnation() == p.Incarnation {
			c.heard[name] = h
		}
	}
	for id, k := range m.moves {
		if id != s.ID && k.state.Space == s.Space && !k.state.Phase.Over() {
			c.other = id
		}
	}
	m.mu.Unlock()
	results := make([]move.CheckResult, len(CheckNames))
	for i, name := range CheckNames {
		detail := c.answer(name)
		results[i] = move.CheckResult{Name: name, OK: detail == "", Detail: detail}
	}
	return results
}

// checking is one round of checks.
type checking struct {
	move     move.State
	snapshot *space.Snapshot
	heard    map[string]hearing // registered planes that reported
	other    string             // another move of the space that is under way
	now      time.Time
	silent   time.Duration
	maxLag   time.Duration
	passed   func(*space.Snapshot, *space.Transfer) bool
}

// answer is "" when the check passes, else why it does not.
func (c *checking) answer(name string) string {
	switch name {
	case noActiveMove:
		if c.other != "" {
			return "move " + c.other + " is under way"
		}
	case targetAccess:
		return c.targetAccess()
	case reversePlan:
		return c.reversePlan()
	case dataAtBoth:
		return c.dataAtBoth()
	case endedMoves:
		return c.endedMoves()
	case planesDeclared:
		if missing := c.move.Missing(); len(missing) > 0 {
			return "not registered: " + strings.Join(missing, ", ")
		}
	case planesConnected:
		return c.planes(func(name string) string {
			h, ok := c.heard[name]
			switch since := c.now.Sub(h.at); {
			case !ok:
				return "not heard"
			case since > c.silent:
				return fmt.Sprintf("silent for %v", since.Round(100*time.Millisecond))
			}
			return ""
		})
	case planesAtEpoch:
		return c.planes(func(name string) string {
			h, ok := c.heard[name]
			if epoch := spaceOf(h.report, c.snapshot.Space).GetEpoch(); ok && epoch < c.snapshot.Epoch {
				return fmt.Sprintf("epoch %d, not yet %d", epoch, c.snapshot.Epoch)
			}
			return ""
		})
	case lanesRunning, laneLag, nothingParked:
		return c.lanes(name)
	}
	return ""
}

// planes asks of every registered plane that takes part, and names the first
// few for which there is something to say.
func (c *checking) planes(what func(name string) string) string {
	var names []string
	for name, p := range c.move.Planes {
		if slices.ContainsFunc(c.move.Participants, func(q move.Participant) bool { return q.Kind == p.Kind }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var texts []string
	for _, name := range names {
		if text := what(name); text != "" {
			texts = append(texts, name+": "+text)
		}
	}
	if more := len(texts) - planesNamed; more > 0 {
		texts = append(texts[:planesNamed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, "; ")
}

func (c *checking) targetAccess() string {
	for _, u := range c.snapshot.Document.Spec.Units {
		if u.Code != c.move.To {
			continue
		}
		if u.AccessMode != "" && u.AccessMode != space.ReadWrite {
			return fmt.Sprintf("unit %s has access mode %s", u.Code, u.AccessMode)
		}
		return ""
	}
	return fmt.Sprintf("there is no unit %s", c.move.To)
}

// reversePlan makes the switch and its reverse on paper.
func (c *checking) reversePlan() string {
	there := c.move.Transfer()
	back := *there
	back.From, back.To = there.To, there.From
	switched, err := route.Switch(c.snapshot.Document, there)
	if err != nil {
		return err.Error()
	}
	if _, err := route.Compile(switched); err != nil {
		return err.Error()
	}
	restored, err := route.Switch(switched, &back)
	if err != nil {
		return "the way back: " + err.Error()
	}
	if same, err := sameOwners(c.snapshot.Document, restored); err != nil || !same {
		return "the way back does not restore the document"
	}
	return ""
}

// sameOwners compares two documents; ranges are compared merged, as a move
// leaves them, and an empty list is as good as none.
func sameOwners(a, b *space.Space) (bool, error) {
	return publish.SameDocument(canonical(a), canonical(b))
}

func canonical(doc *space.Space) *space.Space {
	next := *doc
	next.Spec.UnitRules = slices.Clone(doc.Spec.UnitRules)
	for i := range next.Spec.UnitRules {
		r := &next.Spec.UnitRules[i]
		r.Units = slices.Clone(r.Units)
		for j := range r.Units {
			u := &r.Units[j]
			if ranges, err := route.ParseBuckets(route.FormatBuckets(u.Ranges)); err == nil {
				u.Ranges = ranges
			}
			if len(u.Ranges) == 0 {
				u.Ranges = nil
			}
			if len(u.Allows) == 0 {
				u.Allows = nil
			}
			if len(u.Prefixes) == 0 {
				u.Prefixes = nil
			}
		}
	}
	return &next
}

// dataAtBoth finds databases whose rows would stay behind.
func (c *checking) dataAtBoth() string {
	var texts []string
	for _, db := range c.snapshot.Databases {
		for _, unit := range []string{c.move.From, c.move.To} {
			if db.Spec.Rule == c.move.Rule && !slices.ContainsFunc(db.Spec.Sources, func(s space.DataSource) bool { return s.Unit == unit }) {
				texts = append(texts, fmt.Sprintf("database %s has no source in %s", db.Metadata.Name, unit))
			}
		}
	}
	return strings.Join(texts, "; ")
}

func (c *checking) endedMoves() string {
	n := 0
	for _, t := range c.snapshot.Moves {
		if t.Outcome != space.OutcomeNone && t.FenceEpoch != 0 {
			n++
		}
	}
	if n >= transfersMax {
		return fmt.Sprintf("%d moves have tokens that a lane has not passed", n)
	}
	return c.cutMoves()
}

// cutMoves finds earlier moves whose rows this one would have lanes judge
// otherwise while they are still on their way: a key that it puts on a list is
// no longer in the set of its bucket.
func (c *checking) cutMoves() string {
	switched, err := route.Switch(c.snapshot.Document, c.move.Transfer())
	if err != nil {
		return "" // told by another check
	}
	cut, err := route.MovesCut(c.snapshot, switched)
	if err != nil {
		return err.Error()
	}
	for _, t := range cut {
		if !c.passed(c.snapshot, t) {
			return fmt.Sprintf("a lane has not passed the tokens of move %s, which carried some of these keys", t.ID)
		}
	}
	return ""
}

// lanes looks at the lanes that the move waits for, if there are data to carry.
func (c *checking) lanes(check string) string {
	units := dataUnits(c.snapshot, c.move.Rule)
	if !slices.Contains(units, c.move.From) || !slices.Contains(units, c.move.To) {
		return ""
	}
	lanes := []string{move.Lane(c.move.From, c.move.To), move.Lane(c.move.To, c.move.From)}
	if c.move.Center != "" {
		lanes = append(lanes, move.Lane(c.move.Center, c.move.To))
	}
	var texts []string
	for _, lane := range lanes {
		if text := c.lane(check, lane); text != "" {
			texts = append(texts, lane+": "+text)
		}
	}
	return strings.Join(texts, "; ")
}

func (c *checking) lane(check, lane string) string {
	reports := c.laneReports(lane)
	if len(reports) == 0 && check == lanesRunning {
		return "nobody reports it"
	}
	for _, r := range reports {
		switch {
		case check == lanesRunning && r.GetState() != laneRuns:
			return strings.TrimSuffix(r.GetState()+": "+r.GetReason(), ": ")
		case check == laneLag && r.GetLagMs() > c.maxLag.Milliseconds():
			return fmt.Sprintf("%d ms behind, at most %d", r.GetLagMs(), c.maxLag.Milliseconds())
		case check == nothingParked && r.GetParked() > 0:
			return fmt.Sprintf("%d rows parked", r.GetParked())
		}
	}
	return ""
}

func (c *checking) laneReports(lane string) []*atollv1.LaneReport {
	var reports []*atollv1.LaneReport
	for _, h := range c.heard {
		for _, r := range h.report.GetLanes() {
			if r.GetName() == lane && (r.GetSpace() == "" || r.GetSpace() == c.snapshot.Space) {
				reports = append(reports, r)
			}
		}
	}
	return reports
}
