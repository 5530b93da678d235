package planes

import (
	"sync"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
)

// rateMargin covers clocks whose rates differ by one percent each way.
const rateMargin = 1.02

// leaseBook remembers until when each plane may hold leases of this console.
// It is never stored: after a restart every lease that may have been granted
// before counts as granted at the restart.
type leaseBook struct {
	mu      sync.Mutex
	planes  map[string]*planeLeases
	started time.Time
}

type planeLeases struct {
	here    string               // incarnation that registered with this console since its start
	until   map[string]time.Time // space → end
	forEver map[string]bool
	pending int // reports whose grant is not decided yet
	barred  int // calls that are about to forget it
}

func newLeaseBook(started time.Time) *leaseBook {
	return &leaseBook{planes: map[string]*planeLeases{}, started: started}
}

func (b *leaseBook) ofLocked(plane string) *planeLeases {
	p := b.planes[plane]
	if p == nil {
		p = &planeLeases{until: map[string]time.Time{}, forEver: map[string]bool{}}
		b.planes[plane] = p
	}
	return p
}

// begin is called before the epochs are read for a report, finish when its
// grants stand in the book. Between them the plane counts as leased: a mover
// that looks in that moment must not believe that no lease is on its way. The
// report of a barred plane brings none, whatever becomes of the bar meanwhile.
func (b *leaseBook) begin(plane string) (barred bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.ofLocked(plane)
	p.pending++
	return p.barred > 0
}

func (b *leaseBook) finish(plane string, arrived time.Time, granted []*atollv1.Lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.ofLocked(plane)
	p.pending--
	for _, l := range granted {
		if l.GetTtlNs() == 0 {
			p.forEver[l.GetSpace()] = true
			continue
		}
		// A new ttl does not take back what was granted for ever.
		end := arrived.Add(time.Duration(float64(l.GetTtlNs()) * rateMargin))
		if end.After(p.until[l.GetSpace()]) {
			p.until[l.GetSpace()] = end
		}
	}
}

// bar keeps a plane from leases until unbar, and tells whether it is reporting
// at this moment: such a report may still bring one.
func (b *leaseBook) bar(plane string) (reporting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.ofLocked(plane)
	p.barred++
	return p.pending > 0
}

func (b *leaseBook) unbar(plane string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.planes[plane]; p != nil && p.barred > 0 {
		p.barred--
	}
}

// registered notes an incarnation that has just registered: it can hold no
// lease but those that stand in the book.
func (b *leaseBook) registered(plane, incarnation string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ofLocked(plane).here = incarnation
}

// forget drops what is known of a plane that is no longer registered.
func (b *leaseBook) forget(plane string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.planes[plane]; p != nil && p.pending == 0 {
		delete(b.planes, plane)
	}
}

// end is when the last lease that the plane may hold of a space ends, by the
// console's clock; the zero time when it can hold none.
func (b *leaseBook) end(plane, incarnation, space string, ttl time.Duration, now time.Time) (end time.Time, forEver bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	margin := time.Duration(float64(ttl) * rateMargin)
	p := b.planes[plane]
	if p == nil || p.here != incarnation {
		end, forEver = b.started.Add(margin), ttl == 0
	}
	if p == nil {
		return end, forEver
	}
	forEver = forEver || p.forEver[space] || (p.pending > 0 && ttl == 0)
	if p.pending > 0 && now.Add(margin).After(end) {
		end = now.Add(margin)
	}
	if p.until[space].After(end) {
		end = p.until[space]
	}
	return end, forEver
}
