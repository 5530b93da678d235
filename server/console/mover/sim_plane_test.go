package mover

import (
	"context"
	"fmt"
	"slices"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/store"
)

// simProxy is a database proxy with a real guard. Its registration and its
// disk outlive it, and so does, for a while, what it has sent to the server.
type simProxy struct {
	s          *sim
	name, unit string
	rate       float64 // of its clock
	offset     time.Duration
	inc        int
	up         bool
	frozen     time.Time // it stands still until then
	late       time.Time // since when its lease is over and it has not noticed
	deaf       time.Time // no snapshot reaches it until then
	stubborn   bool      // its clients commit late, and what fences find open ends late
	reported   int64     // boot time of its last report
	guard      *guard.Guard
	stored     *route.View // what a crash leaves
	fenceSeen  map[int64]time.Time
	open       []*simTx
	left       []*simTx // of former lives, still at the server
}

// simTx is a transaction that writes the key once.
type simTx struct {
	tx     *guard.Tx // nil: one that the guard does not know of
	number int
	sent   time.Time // when its COMMIT went to the server, zero: it did not
	killed bool      // its server thread was ended by another process
}

func (p *simProxy) clock() time.Duration {
	return p.offset + time.Duration(p.rate*float64(p.s.now.Sub(time.Unix(1_700_000_000, 0))))
}

func (p *simProxy) id() string { return fmt.Sprintf("%s/%d", p.name, p.inc) }

func (p *simProxy) plane() *atollv1.Plane {
	return &atollv1.Plane{Name: p.name, Kind: "dbproxy", Unit: p.unit, Incarnation: fmt.Sprint(p.inc)}
}

// start begins a life: what former ones left at the server is ended first.
func (p *simProxy) start() {
	p.inc++
	p.up, p.left, p.open, p.fenceSeen = true, nil, nil, map[int64]time.Time{}
	p.guard = guard.New(p.unit, p.clock, func() {})
	if p.stored != nil {
		p.guard.Install(p.stored)
	}
	p.s.say("%s starts as %d", p.name, p.inc)
}

// register is refused to a life that was forgotten.
func (p *simProxy) register() {
	if p.s.record(p.name).Plane.GetIncarnation() == fmt.Sprint(p.inc) {
		return
	}
	if p.s.dead[p.id()] {
		p.crash()
		return
	}
	p.s.enroll(p.plane())
	p.s.say("%s registers", p.id())
}

func (p *simProxy) crash() {
	if !p.up {
		return
	}
	p.up = false
	for _, t := range p.open {
		if !t.killed && (!t.sent.IsZero() || p.s.r.IntN(2) == 0) { // a statement that waits for a row goes on at the server
			p.left = append(p.left, t)
		}
	}
	p.open = nil
	p.s.say("%s dies with %d left at the server", p.id(), len(p.left))
}

func (p *simProxy) still() bool { return p.s.now.Before(p.frozen) }

func (p *simProxy) install() {
	if p.s.now.Before(p.deaf) {
		return
	}
	v := p.s.look()
	if p.s.r.IntN(3) == 0 {
		v = p.s.views[p.s.r.IntN(len(p.s.views))]
	}
	p.guard.Install(v)
	for _, f := range p.guard.Fences() {
		if e := f.Transfer.FenceEpoch; p.fenceSeen[e].IsZero() {
			p.fenceSeen[e] = p.s.now
		}
	}
	if p.s.r.IntN(2) == 0 { // the disk may take longer
		p.keep()
	}
}

// keep brings what is in force to the disk.
func (p *simProxy) keep() { p.stored = p.guard.View() }

func (p *simProxy) renew(epoch int64, until time.Duration) {
	if p.s.mistake == revived { // as if it had not seen that the lease was over
		for _, t := range p.open {
			if t.tx != nil && !t.tx.MayCommit() && t.tx.DoomedBy() == "" {
				t.tx = nil
			}
		}
	}
	p.guard.Renew(epoch, until)
}

func (p *simProxy) report() {
	v := p.stored
	r := &atollv1.ReportRequest{Plane: p.name, Incarnation: fmt.Sprint(p.inc), BoottimeNs: max(int64(p.clock()), p.reported+1)}
	p.reported = r.BoottimeNs
	if v == nil {
		return
	}
	sp := &atollv1.SpaceReport{Space: simSpace, Epoch: v.Snapshot.Epoch}
	for _, f := range p.guard.Fences() {
		if len(f.Open) > 0 {
			sp.Undrained = true
		} else if f.Transfer.FenceEpoch <= v.Snapshot.Epoch {
			r.Acks = append(r.Acks, &atollv1.Ack{Space: simSpace, Move: f.Transfer.ID, Epoch: f.Transfer.FenceEpoch, Step: string(move.Drained)})
		}
	}
	r.Spaces = []*atollv1.SpaceReport{sp}
	p.s.send(simMessage{report: r, plane: p.plane(), proxy: p, inc: p.inc})
}

func decideKey(v *route.View) route.Decision { return v.DecideKey(simRule, simKey) }

// admit begins a transaction and writes the key in it.
func (p *simProxy) admit() {
	t := &simTx{tx: p.guard.Begin(p)}
	verdict, _, m := t.tx.Admit(decideKey)
	if verdict == guard.Fenced && p.s.mistake == ownClock && p.guard.View().DecideKey(simRule, simKey).Unit == p.unit &&
		p.s.now.Sub(p.fenceSeen[m.FenceEpoch]) > 300*time.Millisecond {
		t.tx.End()
		t.tx, verdict = nil, guard.Admitted
	}
	if verdict != guard.Admitted {
		t.tx.End()
		return
	}
	p.s.write++
	t.number = p.s.write
	p.s.say("%s admits write %d at epoch %d", p.id(), t.number, p.guard.View().Snapshot.Epoch)
	p.open = append(p.open, t)
}

// read shows the key to a client, if the guard lets it.
func (p *simProxy) read() {
	v := p.guard.View()
	if v == nil || p.guard.Read(decideKey(v)) != guard.Admitted {
		return
	}
	if got := p.s.syncs[p.unit].data; got != p.s.truth {
		p.s.fail("stale read: %s shows write %d, the last acknowledged one is %d", p.id(), got, p.s.truth)
	}
}

// commit sends a COMMIT, unless the guard forbids it.
func (p *simProxy) commit() {
	if p.stubborn && p.s.r.IntN(30) != 0 {
		return
	}
	for i, t := range p.open {
		if !t.sent.IsZero() {
			continue
		}
		if !t.killed && (t.tx == nil || t.tx.MayCommit()) {
			t.sent = p.s.now
			return
		}
		if t.tx != nil {
			t.tx.End()
		}
		p.open = slices.Delete(p.open, i, i+1)
		return
	}
}

// land lets the server do what it was sent: at unit's database the write is
// there, and goes into its log.
func (p *simProxy) land(i int, list *[]*simTx) {
	t := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	p.s.commitRow(p, t)
	if t.tx != nil {
		t.tx.End()
	}
}

// landAny lets one of those that were sent land, or one that a dead life left.
func (p *simProxy) landAny() {
	if len(p.left) > 0 {
		p.land(0, &p.left)
		return
	}
	for i, t := range p.open {
		if !t.sent.IsZero() {
			p.land(i, &p.open)
			return
		}
	}
}

func (s *sim) commitRow(p *simProxy, t *simTx) {
	home := s.syncs[p.unit]
	if !home.owns() {
		s.fail("write %d of %s lands in %s, which does not own the key by the tokens in its log", t.number, p.id(), p.unit)
	}
	if home.data != s.truth {
		s.fail("write %d of %s lands on write %d, the last acknowledged one is %d", t.number, p.id(), home.data, s.truth)
	}
	if home.price < s.price {
		s.fail("write %d of %s is made at price %d, the last acknowledged one at %d", t.number, p.id(), home.price, s.price)
	}
	home.data, s.truth, s.price = t.number, t.number, home.price
	home.log = append(home.log, simEntry{number: t.number})
	s.say("write %d lands in %s", t.number, p.unit)
}

// end rolls a transaction back that was not sent; one that was is a matter of
// the server.
func (p *simProxy) end(gone func(*simTx) bool) {
	p.open = slices.DeleteFunc(p.open, func(t *simTx) bool {
		if t.tx == nil || !t.sent.IsZero() || !gone(t) {
			return false
		}
		t.tx.End()
		return true
	})
}

// press is what fences do at their deadline.
func (p *simProxy) press() {
	if p.stubborn && p.s.r.IntN(30) != 0 {
		return
	}
	for _, f := range p.guard.Fences() {
		for _, tx := range f.Open {
			p.end(func(t *simTx) bool { return t.tx == tx && (tx.Doom(f.Transfer.ID) || tx.DoomedBy() != "") })
		}
	}
}

// lapse is what a proxy does by its own clock when its lease ends.
func (p *simProxy) lapse() {
	if p.s.mistake == revived {
		return
	}
	for _, tx := range p.guard.Lapse() {
		p.end(func(t *simTx) bool { return t.tx == tx })
	}
}

// keepPromises holds the stated assumptions: what was sent is there within
// simGrace, a lease that ended is noticed within it.
func (s *sim) keepPromises() {
	for _, p := range s.proxies {
		for _, list := range []*[]*simTx{&p.open, &p.left} {
			for i := 0; i < len(*list); {
				if t := (*list)[i]; !t.sent.IsZero() && s.now.Sub(t.sent) >= simGrace/2 {
					p.land(i, list)
					continue
				}
				i++
			}
		}
		if p.up && !p.still() {
			p.noticeLapse()
		}
	}
}

// noticeLapse lets the timer of a lease run late, as after a machine stood
// still: until then only the guard knows.
func (p *simProxy) noticeLapse() {
	end := p.guard.LeaseEnd()
	if p.clock() < end {
		p.late = time.Time{}
		return
	}
	if p.late.IsZero() {
		p.late = p.s.now
	}
	if p.s.now.Sub(p.late) >= simGrace/2 || p.s.r.IntN(20) == 0 {
		p.late = time.Time{}
		p.lapse()
	}
}

// ---- operators

// forget takes a proxy out of the registered ones that is silent, and whose
// leases are over; its server threads are ended by another process of its
// site. With leases for ever only a dead one is forgotten.
func (s *sim) forget(p *simProxy) {
	end, leased := s.leased[p.id()]
	if p.up && (s.ttl == 0 && leased || s.now.Before(end.Add(simGrace))) || s.record(p.name).Plane.GetIncarnation() != fmt.Sprint(p.inc) {
		return
	}
	if !p.up && s.ttl > 0 && s.now.Before(end) {
		return
	}
	ops, err := s.record(p.name).Remove()
	if err == nil {
		_, err = s.memory.Commit(context.Background(), store.Txn{Then: ops})
	}
	if err != nil {
		panic(err)
	}
	s.dead[p.id()] = true
	p.endServerThreads()
	s.tellOfPlanes()
	s.say("%s is forgotten", p.id())
}

// endServerThreads is the second line: what a dead or silent proxy has at the
// server is ended there.
func (p *simProxy) endServerThreads() {
	if p.up && !p.still() && p.late.IsZero() {
		return // it lives, and has ended them itself
	}
	p.left = nil
	for _, t := range p.open {
		t.killed, t.sent = true, time.Time{}
	}
}

// attest is what a forced move rests on: once fence.ttl, with the margin for
// clocks, and fence.grace have passed since a fence was committed, proxies that
// said nothing count as drained.
func (s *sim) attest() {
	c := s.leader()
	if s.ttl == 0 || c.driver == nil || c.driver.state.Phase != move.Fence {
		return
	}
	st := c.driver.state
	if s.now.Before(s.fencedAt[st.FenceEpoch].Add(s.ttl*102/100 + simGrace)) {
		return
	}
	for _, p := range s.proxies {
		plane, registered := st.Planes[p.name]
		if !registered || c.driver == nil {
			continue
		}
		p.endServerThreads()
		s.say("%s is taken for drained at epoch %d", p.id(), st.FenceEpoch)
		_ = c.driver.step(context.Background(), move.Reported{At: s.now, Plane: p.name, Incarnation: plane.Incarnation,
			Answers: []move.Answer{{Joint: move.Drained, Epoch: st.FenceEpoch}}})
	}
	s.look()
}
