package mover

import (
	"maps"
	"slices"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
)

// stateOf is the move's state in the words of the Moves service.
func stateOf(s move.State) string {
	switch {
	case s.Phase == move.Done:
		return "done"
	case s.Phase == move.Aborted:
		return "aborted"
	case s.Phase == move.Failed:
		return "failed"
	case s.Stuck:
		return "stuck"
	}
	return "running"
}

// render is a move as people see it.
func (m *Mover) render(s move.State) *atollv1.Move {
	now := m.now()
	end := s.Ended
	if end.IsZero() {
		end = now
	}
	out := &atollv1.Move{
		Id: s.ID, Space: s.Space, Rule: s.Rule, State: stateOf(s), Phase: lastPhase(s), From: s.From, To: s.To,
		Buckets: route.FormatBuckets(s.Keys.Buckets), Keys: s.Keys.Keys, Prefixes: s.Keys.Prefixes,
		EpochBefore: s.EpochBefore, EpochAfter: s.Epoch, DurationMs: end.Sub(s.Created).Milliseconds(), Reason: s.Reason,
		Barriers: maps.Clone(s.Barriers), Figures: figures(s),
	}
	out.Refused = out.Figures["refused"]
	for i, p := range s.Phases {
		ms := p.MS
		if i == len(s.Phases)-1 && s.Ended.IsZero() {
			ms = max(now.Sub(p.Started).Milliseconds(), 0)
		}
		out.Phases = append(out.Phases, &atollv1.Phase{Name: string(p.Name), Ms: ms, StartedAt: p.Started.Format(time.RFC3339Nano)})
	}
	if !s.EffectiveAt.IsZero() {
		out.FenceEffectiveAt = s.EffectiveAt.Format(time.RFC3339Nano)
	}
	for _, c := range s.Checks {
		out.Checks = append(out.Checks, &atollv1.Check{Name: c.Name, Ok: c.OK, Detail: c.Detail, Overridden: c.Overridden})
	}
	out.WaitingFor = m.waiting(s)
	return out
}

// lastPhase is the phase that the move is in, or ended in.
func lastPhase(s move.State) string {
	if n := len(s.Phases); n > 0 {
		return string(s.Phases[n-1].Name)
	}
	return string(s.Phase)
}

// figures are those of the planes, and what the mover itself measured.
func figures(s move.State) map[string]int64 {
	f := maps.Clone(s.Figures())
	if p := s.Pause(); p > 0 {
		f["pause_ms"] = p.Milliseconds()
	}
	for name, n := range map[string]int64{"taken_over": int64(s.TakenN), "clashes": int64(s.Clashes)} {
		if n > 0 {
			f[name] = n
		}
	}
	return f
}

// waiting says in words what the move waits for now.
func (m *Mover) waiting(s move.State) []string {
	var words []string
	if s.Phase == move.Check {
		for _, c := range s.Checks {
			if !c.OK && !slices.Contains(s.Overrides, c.Name) {
				words = append(words, c.Name+": "+c.Detail)
			}
		}
		return words
	}
	waits := s.Waiting()
	if len(waits) == 0 {
		return nil
	}
	silent := m.silent(s)
	for _, w := range waits {
		w.Silent = silent[w.Plane]
		words = append(words, w.String())
	}
	return words
}
