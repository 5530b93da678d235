package mover

import (
	"fmt"
	"slices"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// simSync is the sync process of a unit with its database: it writes the
// unit's tokens and carries the other units' logs in, row by row.
type simSync struct {
	s      *sim
	unit   string
	inc    int
	boot   int64
	view   *route.View
	data   int // the last write that is here
	price  int // the last one that is here; the center's own
	log    []simEntry
	slow   map[string]bool       // origin → its lane is
	at     map[string]int        // origin → entries taken
	passed map[string][]simEntry // origin → tokens taken
}

// simEntry of a unit's log is a row of the key, a row of a center-unit table,
// or a token.
type simEntry struct {
	number int    // of a row of the key
	price  int    // of a center-unit row
	kind   string // of a token: CLOSE, BARRIER, OPEN
	id     string
	from   string
	to     string
	epoch  int64
}

const (
	simClose   = "CLOSE"
	simBarrier = "BARRIER"
	simOpen    = "OPEN"
)

func newSimSync(s *sim, unit string) *simSync {
	y := &simSync{s: s, unit: unit, inc: 1, view: s.look(), slow: map[string]bool{}, at: map[string]int{}, passed: map[string][]simEntry{}}
	for _, origin := range simUnits {
		y.slow[origin] = s.r.IntN(4) == 0
	}
	s.enroll(y.plane())
	return y
}

func (y *simSync) name() string { return "s" + y.unit }

func (y *simSync) plane() *atollv1.Plane {
	return &atollv1.Plane{Name: y.name(), Kind: "dbsync", Unit: y.unit, Incarnation: fmt.Sprint(y.inc)}
}

// restart begins a new life; all it knows is in its database.
func (y *simSync) restart() {
	y.inc++
	y.s.enroll(y.plane())
	y.s.say("%s starts as %d", y.name(), y.inc)
}

func (y *simSync) install() {
	y.view = y.s.look()
	m := lastMove(y.view)
	if y.s.mistake == earlyToken && m != nil && m.Fenced && m.Outcome == space.OutcomeNone {
		y.close(m.ID, m.FenceEpoch)
	}
}

// obey does what a console wants now.
func (y *simSync) obey() {
	c := y.s.consoles[y.s.r.IntN(len(y.s.consoles))]
	for _, a := range c.mover.Asks(y.plane()) {
		switch a.GetStep() {
		case move.AskClose:
			y.close(a.GetMove(), a.GetEpoch())
		case move.AskOpen:
			y.token(simOpen, a.GetMove(), a.GetEpoch())
		}
	}
}

// close writes CLOSE or BARRIER, by the part that the unit has in a move.
func (y *simSync) close(id string, epoch int64) {
	if m := y.s.transfer(id); m != nil && m.From == y.unit {
		y.token(simClose, id, epoch)
	} else if m != nil && (m.To == y.unit || y.unit == simUnits[0]) {
		y.token(simBarrier, id, epoch)
	}
}

// changePrice writes a row of a center-unit table in the center.
func (y *simSync) changePrice() {
	if y.unit == simUnits[0] {
		y.price++
		y.log = append(y.log, simEntry{price: y.price})
	}
}

func (s *sim) transfer(id string) *space.Transfer {
	for _, v := range slices.Backward(s.views) {
		for _, m := range v.Snapshot.Moves {
			if m.ID == id {
				return m
			}
		}
	}
	return nil
}

func (y *simSync) token(kind, id string, epoch int64) {
	m := y.s.transfer(id)
	if m == nil {
		return
	}
	e := simEntry{kind: kind, id: id, from: m.From, to: m.To, epoch: epoch}
	if !slices.Contains(y.log, e) {
		y.log = append(y.log, e)
		y.s.say("%s of %s stands in %s", kind, id, y.unit)
	}
}

// owns says whether the unit owns the key by the tokens in its own log.
func (y *simSync) owns() bool {
	owns := y.unit == simUnits[0]
	for _, e := range y.log {
		switch {
		case e.kind == simOpen:
			owns = true
		case e.kind == simClose && y.s.outcomes[e.id].outcome != space.OutcomeAborted:
			owns = false
		}
	}
	return owns
}

// carrySlowly is carry, on a slow lane seldom.
func (y *simSync) carrySlowly(origin string) {
	if !y.slow[origin] || y.s.r.IntN(40) == 0 {
		y.carry(origin)
	}
}

// carry takes the next entry of an origin's log, if it may.
func (y *simSync) carry(origin string) bool {
	log := y.s.syncs[origin].log
	if origin == y.unit || y.at[origin] == len(log) {
		return false
	}
	e := log[y.at[origin]]
	switch {
	case e.price > 0:
		y.price = e.price
	case e.kind != "":
		if y.view.Snapshot.Epoch < e.epoch || e.kind == simClose && y.early(origin) {
			return false
		}
		y.passed[origin] = append(y.passed[origin], e)
		y.s.say("%s passes %s of %s", move.Lane(origin, y.unit), e.kind, e.id)
	default:
		owned, wait := y.judge(origin)
		if wait {
			return false
		}
		if owned {
			y.data = e.number
		} else {
			y.s.fail("write %d is parked in %s, though its origin %s owned the key", e.number, y.unit, origin)
		}
	}
	y.at[origin]++
	return true
}

// judge says whether an origin owned the key at the place in its log that the
// lane has come to.
func (y *simSync) judge(origin string) (owned, wait bool) {
	if y.s.mistake == judgeNow {
		return y.view.DecideKey(simRule, simKey).Unit == origin, false
	}
	owned = origin == simUnits[0]
	for _, e := range y.passed[origin] {
		switch e.kind {
		case simOpen:
			owned, wait = true, false
		case simClose:
			switch y.s.outcome(e.id, y.view.Snapshot.Epoch) {
			case space.OutcomeSwitched:
				owned, wait = false, false
			case space.OutcomeNone:
				wait = true
			}
		}
	}
	return owned, wait || owned && y.early(origin)
}

// early tells whether the lane is behind an OPEN whose CLOSE another lane has
// yet to bring here.
func (y *simSync) early(origin string) bool {
	for _, e := range y.passed[origin] {
		if e.kind == simOpen && e.from != y.unit && !slices.ContainsFunc(y.passed[e.from], func(c simEntry) bool { return c.kind == simClose && c.id == e.id }) {
			return true
		}
	}
	return false
}

func (y *simSync) report() {
	y.boot++
	r := &atollv1.ReportRequest{Plane: y.name(), Incarnation: fmt.Sprint(y.inc), BoottimeNs: y.boot,
		Spaces: []*atollv1.SpaceReport{{Space: simSpace, Epoch: y.view.Snapshot.Epoch}}}
	ack := func(j move.Joint, e simEntry, lane string) {
		r.Acks = append(r.Acks, &atollv1.Ack{Space: simSpace, Move: e.id, Epoch: e.epoch, Step: string(j), Lane: lane})
	}
	for _, e := range y.log {
		switch e.kind {
		case simClose, simBarrier:
			ack(move.Closed, e, "")
		case simOpen:
			ack(move.Opened, e, "")
			if y.s.outcome(e.id, y.view.Snapshot.Epoch) == space.OutcomeSwitched {
				ack(move.Settled, e, "")
			}
		}
	}
	for _, origin := range simUnits {
		for _, e := range y.passed[origin] {
			if e.kind != simOpen {
				ack(move.Passed, e, move.Lane(origin, y.unit))
			}
		}
	}
	y.s.send(simMessage{report: r, plane: y.plane()})
}
