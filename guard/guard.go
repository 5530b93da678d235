package guard

import (
	"sync"
	"time"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// Verdict is the answer to one write or one keyed read.
type Verdict int

// The verdicts.
const (
	Admitted     Verdict = iota
	NotOwner             // another unit owns the key, or none does
	Fenced               // a move fences the key: wait and try again
	NoLease              // no snapshot yet, no console heard since the start, or the lease ended
	Doomed               // the lease lapsed, or a fence ended this transaction: it may only be rolled back
	AccessDenied         // the unit's access mode forbids it
)

// Forever is the lease end of a plane that needs no lease (fence.ttl off).
const Forever = time.Duration(1<<63 - 1)

// Guard is the gate of one plane for one space. All methods are safe for
// concurrent use. The clock is the machine's CLOCK_BOOTTIME.
type Guard struct {
	unit    string
	clock   func() time.Duration
	changed func() // told after anything that a report should carry

	mu     sync.Mutex
	view   *route.View
	lease  time.Duration // unit data may be written until then; 0 before a console was heard
	open   map[*Tx]struct{}
	killed map[string]int64 // transfer id → transactions ended by its fence
}

// New returns the Guard of a plane in unit. It admits nothing before Install
// and Renew. Changed is called, without locks, when drained fences changed.
func New(unit string, clock func() time.Duration, changed func()) *Guard {
	return &Guard{unit: unit, clock: clock, changed: changed, open: map[*Tx]struct{}{}, killed: map[string]int64{}}
}

// Install puts a snapshot in force. A lower or equal epoch is ignored. What
// Admit answers afterwards follows the new snapshot; there is no moment at
// which a write passes that neither counts as open nor sees the fence.
func (g *Guard) Install(v *route.View) {
	g.mu.Lock()
	installed := g.view == nil || v.Snapshot.Epoch > g.view.Snapshot.Epoch
	if installed {
		g.view = v
	}
	g.mu.Unlock()
	if installed {
		g.changed()
	}
}

// View is the snapshot in force, nil before the first.
func (g *Guard) View() *route.View {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view
}

// Renew extends the lease to until, if the grant is for the epoch in force
// (rule L1). A lapsed lease does not revive transactions that it doomed.
func (g *Guard) Renew(epoch int64, until time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.view == nil || epoch != g.view.Snapshot.Epoch {
		return
	}
	g.lapseLocked()
	if until > g.lease {
		g.lease = until
	}
}

// Lapse dooms what an ended lease had admitted and returns the open
// transactions that the plane must end without an OK (rule L3). A plane calls
// it by its own timer, at LeaseEnd.
func (g *Guard) Lapse() []*Tx {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lapseLocked()
	var doomed []*Tx
	for t := range g.open {
		if t.doomed && len(t.keys) > 0 {
			doomed = append(doomed, t)
		}
	}
	return doomed
}

func (g *Guard) lapseLocked() {
	if g.lease == 0 || g.clock() < g.lease {
		return
	}
	g.lease = 0
	for t := range g.open {
		if len(t.keys) > 0 {
			t.doomed = true
		}
	}
}

// LeaseEnd is the boot time at which the lease ends, 0 when there is none.
func (g *Guard) LeaseEnd() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lease
}

// Read answers for a keyed read of a table whose reads are the owner's alone.
// It holds nothing open: the caller rechecks with the same call after the
// answer came from the database and before it passes it on.
func (g *Guard) Read(d route.Decision) Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lapseLocked()
	switch {
	case g.view == nil || g.lease == 0:
		return NoLease
	case g.view.UnitAccess(g.unit) == space.NoAccess:
		return AccessDenied
	case d.Unit != g.unit:
		return NotOwner
	}
	return Admitted
}

// Fence is a fence of the snapshot in force, seen from this plane.
type Fence struct {
	Transfer *space.Transfer
	Open     []*Tx // transactions that wrote keys of it and are not over
	Killed   int64 // transactions ended by it so far
}

// Fences lists the fences in force with what is still open under each. A
// fence with nothing open is drained: it stays so, since nothing new of its
// keys is admitted.
func (g *Guard) Fences() []Fence {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.view == nil {
		return nil
	}
	var fences []Fence
	for _, m := range g.view.Snapshot.Moves {
		if !m.Fenced {
			continue
		}
		f := Fence{Transfer: m, Killed: g.killed[m.ID]}
		for t := range g.open {
			if t.wrote(m) {
				f.Open = append(f.Open, t)
			}
		}
		fences = append(fences, f)
	}
	return fences
}

// Tx is one transaction, or one autocommit statement, that may write unit
// data. Its methods are safe for concurrent use.
type Tx struct {
	g      *Guard
	Owner  any // the plane's session, for whoever must end the transaction
	keys   []route.Decision
	doomed bool
	fence  string // id of the transfer whose fence ended it
}

// Begin opens a transaction. End must be called once its outcome is known.
func (g *Guard) Begin(owner any) *Tx {
	t := &Tx{g: g, Owner: owner}
	g.mu.Lock()
	g.open[t] = struct{}{}
	g.mu.Unlock()
	return t
}

// Decider decides a key by the table in force. It is called under the lock of
// the guard, so that decision, fence and admission are of one snapshot.
type Decider func(*route.View) route.Decision

// Admit asks to write the key that decide finds, and counts it as written when
// admitted. The decision is returned for the error text. With Fenced the
// transfer that fences the key is returned too.
func (t *Tx) Admit(decide Decider) (Verdict, route.Decision, *space.Transfer) {
	g := t.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lapseLocked()
	if t.doomed {
		return Doomed, route.Decision{}, nil
	}
	if g.view == nil || g.lease == 0 {
		return NoLease, route.Decision{}, nil
	}
	d := decide(g.view)
	if m := g.view.Fenced(d); m != nil {
		return Fenced, d, m
	}
	if d.Unit != g.unit {
		return NotOwner, d, nil
	}
	if mode := g.view.UnitAccess(g.unit); mode != space.ReadWrite {
		return AccessDenied, d, nil
	}
	t.keys = append(t.keys, d)
	return Admitted, d, nil
}

// MayCommit tells whether a COMMIT may still be sent.
func (t *Tx) MayCommit() bool {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	t.g.lapseLocked()
	return !t.doomed
}

// Doom marks the transaction as ended by the fence of a transfer: it may only
// be rolled back. It is false if it was doomed before.
func (t *Tx) Doom(transfer string) bool {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	if t.doomed {
		return false
	}
	t.doomed, t.fence = true, transfer
	t.g.killed[transfer]++
	return true
}

// DoomedBy is the id of the transfer whose fence ended the transaction, ""
// when none did.
func (t *Tx) DoomedBy() string {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	return t.fence
}

// Wrote tells whether the transaction has written any key.
func (t *Tx) Wrote() bool {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	return len(t.keys) > 0
}

func (t *Tx) wrote(m *space.Transfer) bool {
	for _, d := range t.keys {
		if d.Rule == m.Rule && route.Contains(m.Keys, d) {
			return true
		}
	}
	return false
}

// End says that nothing of the transaction is in flight any more: it is
// committed, rolled back, or its server thread was seen gone.
func (t *Tx) End() {
	g := t.g
	g.mu.Lock()
	_, was := g.open[t]
	delete(g.open, t)
	fenced := false
	if was && g.view != nil {
		for _, m := range g.view.Snapshot.Moves {
			fenced = fenced || m.Fenced && t.wrote(m)
		}
	}
	g.mu.Unlock()
	if fenced {
		g.changed()
	}
}
