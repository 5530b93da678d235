package gateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// state is what is in force. It is immutable; renewed is closed when a later
// state replaces it.
type state struct {
	views   []*route.View // by space code
	renewed chan struct{}
}

// decide asks each space; the one whose domain it is answers. The view is nil
// when no space has the host.
func (s *state) decide(r route.Request) (*route.View, route.Decision) {
	for _, v := range s.views {
		if d := v.Decide(r); d.Domain != "" {
			return v, d
		}
	}
	return nil, route.Decision{Bucket: -1, Reason: route.ByNone, Action: route.Reject}
}

// gate admits unsafe requests and counts what is in flight under each hold.
// Install and admit exclude each other: a request is either counted by the
// hold that a snapshot brings, or it has seen the hold.
type gate struct {
	now     atomic.Pointer[state]
	changed func() // told, without locks, when a hold became quiet

	mu    sync.Mutex
	open  map[*ticket]struct{}
	holds map[holdID]*hold
}

type holdID struct{ space, move string }

// hold is a transfer that holds its keys.
type hold struct {
	transfer *space.Transfer
	epoch    int64 // of the snapshot that first showed the hold
	open     int   // requests of its keys that were admitted before and are not over
}

// ticket is one admitted unsafe request.
type ticket struct {
	space    string
	decision route.Decision
	holds    []*hold // those that count it
}

func newGate(changed func()) *gate {
	g := &gate{changed: changed, open: map[*ticket]struct{}{}, holds: map[holdID]*hold{}}
	g.now.Store(&state{renewed: make(chan struct{})})
	return g
}

// install puts a view in force, unless the epoch of its space is no higher.
func (g *gate) install(v *route.View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	former := g.now.Load()
	code := v.Snapshot.Space
	at, known := slices.BinarySearchFunc(former.views, code, func(v *route.View, code string) int {
		return strings.Compare(v.Snapshot.Space, code)
	})
	if known && former.views[at].Snapshot.Epoch >= v.Snapshot.Epoch {
		return
	}
	next := &state{views: slices.Clone(former.views), renewed: make(chan struct{})}
	if known {
		next.views[at] = v
	} else {
		next.views = slices.Insert(next.views, at, v)
	}
	g.renewHolds(v)
	g.now.Store(next)
	close(former.renewed)
}

// renewHolds drops the holds of a space that ended and counts, for each new
// one, what is in flight of its keys.
func (g *gate) renewHolds(v *route.View) {
	code := v.Snapshot.Space
	held := map[holdID]bool{}
	for _, m := range v.Snapshot.Moves {
		if !m.Hold {
			continue
		}
		id := holdID{code, m.ID}
		held[id] = true
		if h := g.holds[id]; h != nil {
			h.transfer = m
			continue
		}
		h := &hold{transfer: m, epoch: v.Snapshot.Epoch}
		g.holds[id] = h
		for t := range g.open {
			if t.space == code && t.decision.Rule == m.Rule && route.Contains(m.Keys, t.decision) {
				t.holds = append(t.holds, h)
				h.open++
			}
		}
	}
	for id := range g.holds {
		if id.space == code && !held[id] {
			delete(g.holds, id)
		}
	}
}

// verdict of admit.
type verdict int

const (
	admitted verdict = iota
	outdated         // the state is no longer in force: decide again
	held             // a transfer holds the key: wait for a later state
)

// admit counts an unsafe request as in flight. Edge is the epoch at which a
// peer admitted it, 0 when this gateway is the first that sees it: a request
// that a peer admitted before the hold, and therefore counts, is let through,
// or neither gateway would ever be quiet. Behind a fence it waits here.
func (g *gate) admit(s *state, v *route.View, d route.Decision, edge int64) (*ticket, verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now.Load() != s {
		return nil, outdated
	}
	if m := v.Held(d); m != nil {
		h := g.holds[holdID{v.Snapshot.Space, m.ID}]
		if edge == 0 || m.Fenced || h == nil || edge >= h.epoch {
			return nil, held
		}
	}
	t := &ticket{space: v.Snapshot.Space, decision: d}
	g.open[t] = struct{}{}
	return t, admitted
}

// end says that a request is over.
func (g *gate) end(t *ticket) {
	quiet := false
	g.mu.Lock()
	delete(g.open, t)
	for _, h := range t.holds {
		h.open--
		quiet = quiet || h.open == 0
	}
	t.holds = nil
	g.mu.Unlock()
	if quiet {
		g.changed()
	}
}

// inFlight is the number of unsafe requests that are admitted and not over.
func (g *gate) inFlight() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

// report adds the epochs in force and an ack for each hold that is quiet. A
// quiet hold stays so, since nothing new of its keys is counted by it.
func (g *gate) report(r *atollv1.ReportRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, v := range g.now.Load().views {
		r.Spaces = append(r.Spaces, &atollv1.SpaceReport{Space: v.Snapshot.Space, Epoch: v.Snapshot.Epoch})
	}
	for id, h := range g.holds {
		if h.open > 0 {
			continue
		}
		r.Acks = append(r.Acks, &atollv1.Ack{
			Space: id.space, Move: id.move, Epoch: h.epoch, Step: "quiet",
			Detail: fmt.Sprintf("nothing of %s→%s in flight", h.transfer.From, h.transfer.To),
		})
	}
}
