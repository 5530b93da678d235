package move

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Step takes an event and answers with the next state and the commands that
// are due. The state that it was given is not changed. It is level-triggered:
// what is due and not done is asked for again at each event.
func Step(s State, e Event) (State, []Command) {
	if s.Phase.Over() || e == nil {
		return s, nil
	}
	s = s.clone()
	var out []Command
	switch e := e.(type) {
	case Registered:
		s.register(e)
	case Reported:
		s.hear(e)
	case Reports:
		for _, r := range e.List {
			s.hear(r)
		}
	case Lapsed:
		s.lapse(e)
	case Checked:
		s.check(e)
	case Published:
		out = s.published(e)
	case Conflict: // what is due is commanded with the next event
		s.Clashes++
		s.Trouble = e.Why
		return s, nil
	case Abort:
		out = s.abort(e)
	case TakenOver:
		out = s.takeOver(e)
	}
	var silent map[string]time.Duration
	if tick, ok := e.(Tick); ok {
		silent = tick.Silent
	}
	return s, append(out, s.advance(e.at(), silent)...)
}

// register takes the set of planes. A plane with a new incarnation starts
// anew: what its former life answered says nothing of what it does now.
func (s *State) register(e Registered) {
	if e.AsOf < s.AsOf {
		return // an older reading that came late
	}
	s.AsOf = e.AsOf
	planes := make(map[string]Plane, len(e.Planes))
	for name, p := range e.Planes {
		known, ok := s.Planes[name]
		if !ok || known.Incarnation != p.Incarnation || known.Kind != p.Kind || known.Unit != p.Unit {
			known = Plane{Kind: p.Kind, Unit: p.Unit, Incarnation: p.Incarnation}
		}
		planes[name] = known
	}
	s.Planes = planes
}

// hear takes a report. What a plane has once answered to this fence stays so;
// an older report that comes late takes nothing back.
func (s *State) hear(e Reported) {
	p, ok := s.Planes[e.Plane]
	if !ok || p.Incarnation != e.Incarnation {
		return
	}
	p.Epoch = max(p.Epoch, e.Epoch)
	for _, a := range e.Answers {
		if want := s.epochOf(a.Joint); want == 0 || a.Epoch != want || a.Joint == Switched || a.Joint == Released {
			continue
		}
		p.Answers = keep(p.Answers, a)
	}
	s.Planes[e.Plane] = p
}

// News tells whether a report would change anything. Planes report each
// second, and most of it is known.
func (s State) News(e Reported) bool {
	p, ok := s.Planes[e.Plane]
	if !ok || p.Incarnation != e.Incarnation || s.Phase.Over() {
		return false
	}
	t := State{Planes: map[string]Plane{e.Plane: p}, HoldEpoch: s.HoldEpoch, FenceEpoch: s.FenceEpoch}
	t.hear(e)
	return !reflect.DeepEqual(t.Planes[e.Plane], p)
}

// keep adds an answer in the place of the former one to the same joint, unless
// that one was met and the new one is not.
func keep(answers []Answer, a Answer) []Answer {
	i := slices.IndexFunc(answers, func(b Answer) bool { return b.Joint == a.Joint && b.Lane == a.Lane })
	switch {
	case i < 0:
		answers = append(slices.Clone(answers), a)
		slices.SortFunc(answers, func(a, b Answer) int {
			return strings.Compare(string(a.Joint)+" "+a.Lane, string(b.Joint)+" "+b.Lane)
		})
		return answers
	case answers[i].Error == "" && a.Error != "", reflect.DeepEqual(answers[i], a):
		return answers
	}
	answers = slices.Clone(answers)
	answers[i] = a
	return answers
}

func (s *State) lapse(e Lapsed) {
	p, ok := s.Planes[e.Plane]
	if !ok || p.Incarnation != e.Incarnation || !s.Phase.Committed() {
		return
	}
	p.Past = true
	s.Planes[e.Plane] = p
}

func (s *State) check(e Checked) {
	if s.Phase != Check {
		return
	}
	s.Checks = slices.Clone(e.Checks)
	for i, c := range s.Checks {
		s.Checks[i].Overridden = !c.OK && slices.Contains(s.Overrides, c.Name)
	}
}

// published moves on to the phase that a published snapshot begins.
func (s *State) published(e Published) []Command {
	if e.Epoch <= s.Epoch || !s.due(e.What) {
		return nil
	}
	s.Epoch = e.Epoch
	switch e.What {
	case PublishHold:
		s.HoldEpoch = e.Epoch
		s.enter(Hold, e.At)
		return s.overrides()
	case PublishFence:
		s.FenceEpoch = e.Epoch
		s.enter(Fence, e.At)
	case PublishSwitch:
		s.SwitchEpoch = e.Epoch
		s.Barriers = s.positions()
		s.enter(Switch, e.At)
	case PublishRelease:
		s.ReleaseEpoch, s.ReleasedAt = e.Epoch, e.At
	case PublishAbort:
		s.AbortEpoch, s.ReleasedAt, s.Reason = e.Epoch, e.At, s.Ending
		s.enter(Aborted, e.At)
		return []Command{{Audit, "aborted: " + s.Reason}}
	}
	return nil
}

// due tells whether a publishing command belongs to the present phase.
func (s *State) due(k Kind) bool {
	switch k {
	case PublishHold:
		return s.Phase == Check && s.Ending == ""
	case PublishFence:
		return s.Phase == Hold && s.Ending == ""
	case PublishSwitch:
		return s.Phase == Barrier && s.Ending == ""
	case PublishRelease:
		return s.Phase == Release && s.ReleaseEpoch == 0
	case PublishAbort:
		return !s.Phase.Committed() && s.Phase != Check && s.Ending != ""
	}
	return false
}

func (s *State) overrides() []Command {
	var out []Command
	for _, c := range s.Checks {
		if c.Overridden {
			out = append(out, Command{Audit, fmt.Sprintf("check %s overridden: %s", c.Name, c.Detail)})
		}
	}
	return out
}

// positions are where the token came out, by lane.
func (s *State) positions() map[string]string {
	at := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Planes)) {
		for _, a := range s.Planes[name].Answers {
			if a.Joint == Passed && a.Error == "" {
				at[a.Lane] = a.Detail
			}
		}
	}
	return at
}

func (s *State) abort(e Abort) []Command {
	if s.Phase.Committed() {
		return []Command{{Audit, fmt.Sprintf("abort by %s comes after the switch: the move goes on", e.By)}}
	}
	if s.Ending == "" {
		s.Ending = "aborted by " + e.By
	}
	return nil
}

// takeOver persists the new leader first: with that write the former one's
// compares no longer hold.
func (s *State) takeOver(e TakenOver) []Command {
	if e.Leader == s.Leader {
		return nil
	}
	former := s.Leader
	s.Leader, s.AsOf = e.Leader, 0
	for name, p := range s.Planes {
		p.Past = false
		s.Planes[name] = p
	}
	if former == "" { // nobody drove it before
		return []Command{{Kind: Persist}}
	}
	s.TakenN++
	return []Command{{Kind: Persist}, {Audit, fmt.Sprintf("taken over by %s from %s in %s", e.Leader, former, s.Phase)}}
}

// advance does what is due in the present phase.
func (s *State) advance(at time.Time, silent map[string]time.Duration) []Command {
	switch s.Phase {
	case Check:
		return s.advanceCheck(at)
	case Hold, Fence, Barrier:
		return s.advanceBefore(at, silent)
	case Switch, Release, Settle:
		return s.advanceBehind(at, silent)
	}
	return nil
}

func (s *State) advanceCheck(at time.Time) []Command {
	switch {
	case s.Ending != "":
		s.Reason = s.Ending
		s.enter(Aborted, at)
		return []Command{{Kind: Finish}, {Audit, s.Reason}}
	case !at.Before(s.Deadline):
		s.Reason = "checks not passed: " + s.failing()
		s.enter(Failed, at)
		return []Command{{Kind: Finish}, {Audit, s.Reason}}
	case s.passed():
		return []Command{{Kind: PublishHold}}
	}
	return nil
}

// passed tells whether every check passed or was overridden.
func (s *State) passed() bool {
	return len(s.Checks) > 0 && !slices.ContainsFunc(s.Checks, func(c CheckResult) bool { return !c.OK && !c.Overridden })
}

func (s *State) failing() string {
	var texts []string
	for _, c := range s.Checks {
		if !c.OK && !c.Overridden {
			texts = append(texts, fmt.Sprintf("%s: %s", c.Name, c.Detail))
		}
	}
	if len(texts) == 0 {
		return "no answer in time"
	}
	return strings.Join(texts, "; ")
}

// advanceBefore drives the phases in which a failure leaves the old owner. The
// deadline comes first: behind it holds may have ended by themselves, so even
// a complete set of answers is no longer a reason to go on.
func (s *State) advanceBefore(at time.Time, silent map[string]time.Duration) []Command {
	if s.Ending == "" && !at.Before(s.Deadline) {
		s.Ending = s.lateness(silent)
	}
	switch {
	case s.Ending != "":
		return []Command{{Kind: PublishAbort}}
	case s.Phase == Hold:
		if s.complete() || !at.Before(s.GoOn) {
			return []Command{{Kind: PublishFence}}
		}
	case !s.complete():
	case s.Phase == Fence:
		s.EffectiveAt = at
		s.enter(Barrier, at)
		return append([]Command{{Kind: Persist}}, s.advance(at, silent)...)
	case s.Phase == Barrier:
		return []Command{{Kind: PublishSwitch}}
	}
	return nil
}

// complete tells whether everything that the present joint waits for is there,
// judged by a set of planes that was read after the phase's snapshot.
func (s *State) complete() bool {
	return s.AsOf >= s.Epoch && len(s.lacking(s.joint(), maps.Keys(s.Planes), 1)) == 0
}

// wordsMax is how many planes the words of an abort name.
const wordsMax = 3

func (s *State) lateness(silent map[string]time.Duration) string {
	waits := s.Waiting()
	if s.Phase == Hold { // its waits end by themselves; what is late is the fence
		waits = nil
	}
	var texts []string
	for i, w := range waits {
		if i == wordsMax {
			texts = append(texts, fmt.Sprintf("%d more", len(waits)-i))
			break
		}
		w.Silent = silent[w.Plane]
		texts = append(texts, w.String())
	}
	if s.Trouble != "" {
		texts = append(texts, s.Trouble)
	}
	if len(texts) == 0 {
		return fmt.Sprintf("%s took too long", s.Phase)
	}
	return fmt.Sprintf("%s deadline: %s", s.Phase, strings.Join(texts, "; "))
}

// advanceBehind drives the phases behind the commit point: it only goes on.
func (s *State) advanceBehind(at time.Time, silent map[string]time.Duration) []Command {
	var out []Command
	switch {
	case !s.complete():
		return s.late(at, silent)
	case s.Phase == Switch:
		s.enter(Release, at)
		if s.complete() { // OPEN is there already: the next write says both
			return []Command{{Kind: PublishRelease}}
		}
		out = []Command{{Kind: Persist}}
	case s.Phase == Release && s.ReleaseEpoch == 0:
		return []Command{{Kind: PublishRelease}}
	case s.Phase == Release:
		s.enter(Settle, at)
		out = []Command{{Kind: Persist}}
	default:
		return s.finish(at)
	}
	return append(out, s.advance(at, silent)...)
}

// late shows that a phase takes long. Rows that cannot be compared are no
// reason to keep a move open for ever: it is over for everyone who writes.
func (s *State) late(at time.Time, silent map[string]time.Duration) []Command {
	if at.Before(s.Deadline) {
		return nil
	}
	if s.Phase == Settle && (!at.Before(s.GoOn) || s.refused()) {
		s.Reason = "rows not compared: " + s.lateness(silent)
		return s.finish(at)
	}
	if s.Stuck {
		return nil
	}
	s.Stuck = true
	return []Command{{Kind: Persist}, {Audit, "stuck: " + s.lateness(silent)}}
}

// refused tells whether all that are still waited for said that they cannot.
func (s *State) refused() bool {
	waits := s.Waiting()
	return len(waits) > 0 && !slices.ContainsFunc(waits, func(w Wait) bool { return w.Error == "" })
}

func (s *State) finish(at time.Time) []Command {
	if n := s.Figures()["rows_different"]; n > 0 && s.Reason == "" {
		s.Reason = fmt.Sprintf("%d rows of the moved keys differ between %s and %s", n, s.From, s.To)
	}
	s.enter(Done, at)
	text := "done"
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return []Command{{Kind: Finish}, {Audit, text}}
}
