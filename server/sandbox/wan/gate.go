package wan

import (
	"sync"
	"time"
)

// gate stops what passes a link while it is cut.
type gate struct {
	mu    sync.Mutex
	shut  bool
	open  chan struct{} // closed while the gate is open
	since time.Time     // when it was last healed
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == shut {
		return
	}
	g.shut = shut
	if shut {
		g.open = make(chan struct{})
		return
	}
	g.since = time.Now()
	close(g.open)
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// state gives the channel that is closed when traffic may pass, and the
// moment of the last heal.
func (g *gate) state() (open <-chan struct{}, since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.since
}

// pass waits until the gate is open and due has come. What was under way at a
// cut is sent anew after the heal, so it arrives at the earliest one delay
// after it. It returns false when stop was closed first.
func (g *gate) pass(due time.Time, delay time.Duration, stop <-chan struct{}, timer *time.Timer) bool {
	for {
		open, since := g.state()
		select {
		case <-open:
		default:
			select {
			case <-open: // healed: ask again for the moment
				continue
			case <-stop:
				return false
			}
		}
		if since != (time.Time{}) && due.Before(since.Add(delay)) {
			due = since.Add(delay)
		}
		wait := time.Until(due)
		if wait <= 0 {
			if g.isShut() {
				continue
			}
			return true
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-stop:
			return false
		}
	}
}
