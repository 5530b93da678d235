package dbsync

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/sitedb"
)

// Ask implements console.Plane.
func (s *Sync) Ask(asks []*atollv1.Ask) {
	s.mu.Lock()
	s.asks = asks
	s.pruneLocked()
	s.mu.Unlock()
	s.touch()
}

// pruneLocked forgets acks whose ask is over and whose move has left the
// snapshot.
func (s *Sync) pruneLocked() {
	for id := range s.done {
		if !s.listedLocked(id.space, id.move, id.epoch) {
			delete(s.done, id)
		}
	}
}

func (s *Sync) listedLocked(name, move string, epoch int64) bool {
	if v := s.views[name]; v != nil {
		if m := find(v.Snapshot.Moves, move); m != nil && m.FenceEpoch == epoch {
			return true
		}
	}
	return slices.ContainsFunc(s.asks, func(a *atollv1.Ask) bool {
		return a.GetSpace() == name && a.GetMove() == move && a.GetEpoch() == epoch
	})
}

// Report implements console.Plane. Its acks are always all that hold now.
func (s *Sync) Report(r *atollv1.ReportRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, v := range s.views {
		r.Spaces = append(r.Spaces, &atollv1.SpaceReport{Space: name, Epoch: v.Snapshot.Epoch})
	}
	for _, a := range s.done {
		r.Acks = append(r.Acks, a)
	}
	troubles := slices.Clone(s.catalog.troubles)
	if s.home != "" {
		troubles = append(troubles, s.home)
	}
	if r.Figures == nil {
		r.Figures = map[string]int64{}
	}
	for _, l := range s.lanes {
		r.Acks = append(r.Acks, s.laneAcksLocked(l)...)
		lr, bad := l.report(r.Figures)
		if bad {
			troubles = append(troubles, fmt.Sprintf("lane %s is stopped: %s", l.name, lr.Reason))
		}
		for _, name := range l.spec.Spaces {
			r.Lanes = append(r.Lanes, &atollv1.LaneReport{Name: lr.Name, Space: name, State: lr.State, Reason: lr.Reason, Position: lr.Position,
				LagMs: lr.LagMs, Groups: lr.Groups, Rows: lr.Rows, Parked: lr.Parked, ParkedRows: l.shownOf(name)})
		}
	}
	slices.SortFunc(r.Lanes, func(a, b *atollv1.LaneReport) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Space, b.Space))
	})
	slices.Sort(troubles)
	r.Trouble = strings.Join(troubles, "; ")
}

// laneAcksLocked lists what a lane has passed of moves that somebody still
// waits for.
func (s *Sync) laneAcksLocked(l *lane) []*atollv1.Ack {
	var out []*atollv1.Ack
	for _, t := range l.passed {
		if !s.listedLocked(t.space, t.move, t.epoch) {
			continue
		}
		a := &atollv1.Ack{Space: t.space, Move: t.move, Epoch: t.epoch, Step: ackPassed, Lane: l.name, Detail: t.position}
		if t.kind == sitedb.TokenOpen {
			a.Step = ackThrough
		} else if m := s.transferLocked(l, t.tokenID); m != nil && s.views[t.space] != nil {
			if n := l.parkedIn(s.views[t.space], l.spec, m); n > 0 {
				a.Error = fmt.Sprintf("lane %s has parked %d rows of the keys (look at %s.parked, settle them and delete them there)", l.name, n, sitedb.Schema)
			}
		}
		out = append(out, a)
	}
	return out
}

// report shows the lane; bad when somebody has to mend something.
func (l *lane) report(figures map[string]int64) (r *atollv1.LaneReport, bad bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r = &atollv1.LaneReport{Name: l.name, State: "running", Position: l.at.String(), Groups: l.counts.groups, Rows: l.counts.rows, Parked: int64(len(l.parked))}
	var reasons []string
	for _, reason := range l.reasons {
		if reason != "" {
			reasons = append(reasons, reason)
			r.State = "waiting"
		}
	}
	r.Reason = strings.Join(reasons, "; ")
	if l.stopped {
		r.State = "stopped"
	}
	from := l.beat
	if from.IsZero() {
		from = l.since
	}
	r.LagMs = max(0, time.Since(from).Milliseconds())
	behind := 0
	if l.queue != nil {
		behind = l.queue.len()
	}
	for name, n := range map[string]int64{"behind": int64(behind), "groups": l.counts.groups, "rows": l.counts.rows, "commits": l.counts.packs,
		"retries": l.counts.retries, "redials": l.counts.redials, "parked": int64(len(l.parked))} {
		figures["lane_"+name+"{"+l.name+"}"] = n
	}
	return r, l.stopped
}

// Ready tells whether the plane serves: it runs, and its own database, when a
// Database names one, takes its heartbeats.
func (s *Sync) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running && (s.catalog.home == nil || s.beating)
}
