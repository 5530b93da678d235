package mover

import (
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
)

// rateMargin covers clocks whose rates differ by one percent each way.
const rateMargin = 1.02

// silent tells how long each plane of a move has not been heard, of those that
// are not connected.
func (m *Mover) silent(s move.State) map[string]time.Duration {
	now := m.cfg.Clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	silent := map[string]time.Duration{}
	for name, p := range s.Planes {
		since := m.begun
		if h, ok := m.heard[name]; ok && h.report.GetIncarnation() == p.Incarnation {
			since = h.at
		}
		if d := now.Sub(since); d > m.cfg.Silent {
			silent[name] = d
		}
	}
	return silent
}

// past tells whether a plane that is waited for behind SWITCH can do nothing
// any more by an epoch before it.
//
// Of a kind with leases: no console grants one for an epoch before SWITCH once
// SWITCH is committed, so what is left ends with the ttl, counted from when
// this mover knew of the switch. With the ttl off it never does; then only a
// plane that is forgotten is not waited for.
func (m *Mover) past(w move.Wait, code string, leased bool, ttl time.Duration, switched, now time.Time) bool {
	m.mu.Lock()
	h, ok := m.heard[w.Plane]
	m.mu.Unlock()
	if !leased {
		since := switched
		if ok && h.at.After(since) {
			since = h.at
		}
		return now.Sub(since) > m.cfg.GoneAfter
	}
	if ttl <= 0 || now.Sub(switched) <= time.Duration(float64(ttl)*rateMargin)+m.cfg.Grace {
		return false
	}
	if m.cfg.LeaseEnd == nil || !ok {
		return true
	}
	end, forEver := m.cfg.LeaseEnd(h.plane, code, ttl)
	return !forEver && !end.Add(m.cfg.Grace).After(now)
}

// spaceOf is what a report says of a space, nil when nothing.
func spaceOf(r *atollv1.ReportRequest, code string) *atollv1.SpaceReport {
	for _, sp := range r.GetSpaces() {
		if sp.GetSpace() == code {
			return sp
		}
	}
	return nil
}
