package dbproxy

import (
	"context"
	"fmt"
	"reflect"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// fenceID tells fences apart: a move has one, a new try of it another.
type fenceID struct {
	move  string
	epoch int64
}

// installWait is how long Install waits for a change of the Database document
// to be in force. A server that is down must not keep fences from it: then
// the old tables serve on, and newly listed ones are refused.
const installWait = 2 * time.Second

// Install puts a snapshot in force, its owners and fences at once, its tables
// after the JOIN token. Snapshots of other spaces are only noted.
func (p *Proxy) Install(ctx context.Context, s *space.Snapshot) error {
	if s.Space != p.cfg.Space {
		p.mu.Lock()
		old := p.others[s.Space]
		if old == nil || s.Epoch > old.Epoch {
			p.others[s.Space] = s
		}
		p.mu.Unlock()
		if old == nil || !reflect.DeepEqual(old.Databases, s.Databases) {
			p.signal() // its databases must be left alone
		}
		return nil
	}
	v, err := route.NewView(s)
	if err != nil {
		return fmt.Errorf("dbproxy: %w", err)
	}
	if st := p.state.Load(); st != nil && adds(st.database, p.databaseOf(s, st)) {
		p.holdEpoch(p.guard.View().Snapshot.Epoch)
		defer p.holdEpoch(0)
	}
	p.mu.Lock()
	p.gains.note(p.cfg.Unit, s) // before anything is read by this snapshot
	p.mu.Unlock()
	p.guard.Install(v)
	p.noteFences()
	p.signal()
	p.poke()
	p.awaitTables(ctx, s)
	return nil
}

// awaitTables waits until newly listed tables are served.
func (p *Proxy) awaitTables(ctx context.Context, s *space.Snapshot) {
	ctx, cancel := context.WithTimeout(ctx, installWait)
	defer cancel()
	for {
		changed := p.changes()
		st := p.state.Load()
		if st == nil || !adds(st.database, p.databaseOf(s, st)) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (p *Proxy) holdEpoch(epoch int64) {
	p.mu.Lock()
	p.heldEpoch = epoch
	p.mu.Unlock()
	p.poke()
}

// databaseOf is the served Database of a snapshot, or the one in force.
func (p *Proxy) databaseOf(s *space.Snapshot, st *state) *space.Database {
	if d, err := p.document(s); err == nil {
		return d
	}
	return st.database
}

// noteFences remembers since when each fence is in force.
func (p *Proxy) noteFences() {
	fences := p.guard.Fences()
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.fenced
	p.fenced = map[fenceID]time.Time{}
	for _, f := range fences {
		id := fenceID{f.Transfer.ID, f.Transfer.FenceEpoch}
		if at, ok := known[id]; ok {
			p.fenced[id] = at
		} else {
			p.fenced[id] = now
		}
	}
}

// Ask does nothing: what movers want of a proxy stands in the snapshots.
func (p *Proxy) Ask([]*atollv1.Ask) {}

// Report says what is in force and which fences are met.
func (p *Proxy) Report(r *atollv1.ReportRequest) {
	if t := p.trouble.Load(); t != nil {
		r.Trouble = *t
	}
	r.Figures = p.Figures()
	ready := p.state.Load() != nil
	v, fences := p.verdicts()
	undrained := false
	for _, f := range fences {
		if !ready || len(f.Open) > 0 {
			undrained = true
			continue
		}
		r.Acks = append(r.Acks, drained(p.cfg.Space, f.Transfer, f.Killed))
	}
	if v != nil {
		r.Spaces = append(r.Spaces, &atollv1.SpaceReport{Space: p.cfg.Space, Epoch: p.inForce(v), Undrained: undrained})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.others {
		r.Spaces = append(r.Spaces, &atollv1.SpaceReport{Space: s.Space, Epoch: s.Epoch})
		for _, m := range s.Moves {
			if m.Fenced {
				r.Acks = append(r.Acks, drained(s.Space, m, 0)) // nothing of another space is ever open here
			}
		}
	}
}

// verdicts reads the snapshot in force and its fences as of one moment: an
// epoch must not be reported beside the fences of another.
func (p *Proxy) verdicts() (*route.View, []guard.Fence) {
	for {
		v := p.guard.View()
		fences := p.guard.Fences()
		if p.guard.View() == v {
			return v, fences
		}
	}
}

// inForce is the epoch to report. While newly listed tables wait for their
// JOIN token it is the one before, so that whoever waits for the epoch can use
// the tables.
func (p *Proxy) inForce(v *route.View) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heldEpoch != 0 {
		return p.heldEpoch
	}
	return v.Snapshot.Epoch
}

func drained(spaceCode string, m *space.Transfer, killed int64) *atollv1.Ack {
	return &atollv1.Ack{
		Space: spaceCode, Move: m.ID, Epoch: m.FenceEpoch, Step: "drained", Figures: map[string]int64{"tx_killed": killed},
	}
}

// Renew extends the lease. What the former lease admitted and lost is ended
// also when the renewal came just after its end. It does not report: each
// report is answered by a renewal.
func (p *Proxy) Renew(spaceCode string, epoch int64, until time.Duration) {
	if spaceCode != p.cfg.Space {
		return
	}
	p.leaseMu.Lock()
	end := p.guard.LeaseEnd()
	p.guard.Renew(epoch, until)
	lapsed := over(end, p.cfg.Clock())
	p.leaseMu.Unlock()
	if lapsed {
		p.lapse()
	}
	p.look()
}

// over tells whether no lease is held. Zero is the end of one that a statement
// has found lapsed before anybody else did, or of none at all: what it had
// admitted is still to be ended then.
func over(end, now time.Duration) bool { return end != guard.Forever && now >= end }
