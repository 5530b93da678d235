package history

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// step is one operation of a register in the search.
type step struct {
	*Op
	slot     int
	ends     int64 // by when it has taken effect
	optional bool  // nobody saw it, and its outcome is unknown: it may never take effect
	named    bool  // optional, and a swap that did not happen names its value
}

const never = math.MaxInt64

func (s *step) changes() bool { return s.Kind == Write || s.Kind == CAS && !s.refused() }

// refused is a swap that did not happen: it saw that the value was another.
func (s *step) refused() bool { return s.Kind == CAS && s.Outcome == OK && !s.Swapped }

// needs tells which value a step must meet, apart from a refused swap.
func (s *step) needs() (value int64, any bool) {
	switch {
	case s.Kind == Read:
		return s.Value, true
	case s.Kind == CAS && !s.refused() && !s.optional:
		return s.Was, true
	}
	return 0, false
}

// settled tells whether a step that changes nothing fits a value.
func (s *step) settled(value int64) bool {
	return s.Kind == Read && s.Value == value || s.refused() && s.Was != value
}

// prepare leaves out what cannot have an effect, and finds of unknown
// operations which were seen: those have taken effect before the first answer
// that shows it.
func prepare(ops []*Op) []*step {
	seen := map[int64]int64{} // value → first answer that shows it
	see := func(value, at int64) bool {
		before, known := seen[value]
		if known && before <= at {
			return false
		}
		seen[value] = at
		return true
	}
	refusedUntil, named := int64(-1), map[int64]bool{}
	var unknown []*Op
	for _, o := range ops {
		switch {
		case o.Outcome == OK && o.Kind == Read:
			see(o.Value, o.Return)
		case o.Outcome == OK && o.Kind == CAS && o.Swapped:
			see(o.Was, o.Return)
		case o.Outcome == OK && o.Kind == CAS:
			refusedUntil, named[o.Was] = max(refusedUntil, o.Return), true
		case o.Outcome == Unknown && o.Kind == CAS:
			unknown = append(unknown, o)
		}
	}
	for again := true; again; { // a swap that was seen has itself seen what it swapped
		again = false
		for _, o := range unknown {
			if at, ok := seen[o.Value]; ok && see(o.Was, at) {
				again = true
			}
		}
	}
	var steps []*step
	for _, o := range ops {
		s := &step{Op: o, ends: o.Return}
		switch at, ok := seen[o.Value]; {
		case o.Outcome == Fail || o.Outcome == Unknown && o.Kind == Read:
			continue
		case o.Outcome == Unknown && ok:
			s.ends = max(at, o.Invoke)
		case o.Outcome == Unknown && o.Invoke > refusedUntil:
			continue // it could only explain why a swap was refused
		case o.Outcome == Unknown:
			s.ends, s.optional, s.named = never, true, named[o.Value]
		}
		steps = append(steps, s)
	}
	return steps
}

// state is where the register may be: its value, and which of the open steps
// have taken effect.
type state struct {
	value int64
	in    uint64
}

// slots is how many steps may be open at once.
const slots = 64

// searcher walks through begins and answers in time, with all states in which
// the register may be. A step takes effect as late as possible: when an
// answer, its own or another's, needs it.
type searcher struct {
	open   [slots]*step
	used   uint64
	states map[state]struct{}
	later  map[int64]int // value → steps that need it and have not begun
	steps  int
	max    int
}

// search gives the operation whose answer no order explains, nil when there is
// an order. It says why when it gave up.
func search(ops []*Op, most int) (at *Op, undecided string) {
	type event struct {
		time   int64
		answer bool
		step   *step
	}
	var events []event
	s := &searcher{states: map[state]struct{}{{}: {}}, later: map[int64]int{}, max: most}
	for _, o := range prepare(ops) {
		events = append(events, event{o.Invoke, false, o})
		if o.ends != never {
			events = append(events, event{o.ends, true, o})
		}
		if v, ok := o.needs(); ok {
			s.later[v]++
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { // at the same time begins come first: they are concurrent
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(b2i(a.answer), b2i(b.answer)))
	})
	for _, e := range events {
		if !e.answer {
			if !s.begin(e.step) {
				return nil, fmt.Sprintf("more than %d operations are open at %s ms", slots, millis(e.time))
			}
		} else if !s.answer(e.step) {
			return e.step.Op, ""
		}
		if s.steps > s.max {
			return nil, fmt.Sprintf("gave up after %d steps at %s ms", s.max, millis(e.time))
		}
	}
	return nil, ""
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *searcher) begin(o *step) bool {
	o.slot = bits.TrailingZeros64(^s.used)
	if o.slot == slots {
		return false
	}
	s.used |= 1 << o.slot
	s.open[o.slot] = o
	if v, ok := o.needs(); ok {
		s.later[v]--
	}
	if o.changes() {
		return true
	}
	next := make(map[state]struct{}, len(s.states))
	for at := range s.states {
		if o.settled(at.value) {
			at.in |= 1 << o.slot
		}
		next[at] = struct{}{}
	}
	s.steps += len(next)
	s.states = next
	return true
}

// answer keeps the states in which a step has taken effect, after whatever
// open steps it takes to come there. It tells whether there is any.
func (s *searcher) answer(o *step) bool {
	bit := uint64(1) << o.slot
	next, seen := map[state]struct{}{}, map[state]struct{}{}
	var ahead []state
	for at := range s.states {
		ahead = append(ahead, at)
	}
	for len(ahead) > 0 && s.steps <= s.max {
		at := ahead[len(ahead)-1]
		ahead = ahead[:len(ahead)-1]
		if at.in&bit != 0 {
			at.in &^= bit
			next[at] = struct{}{}
			continue
		}
		if _, ok := seen[at]; ok {
			continue
		}
		seen[at] = struct{}{}
		s.steps++
		ahead = s.follow(at, ahead)
	}
	s.states = next
	s.used &^= bit
	s.open[o.slot] = nil
	return len(next) > 0 || s.steps > s.max
}

// follow adds the states to which one open step leads. Values are unique, so one
// that is left does not come back: as long as a step needs it, it stays.
func (s *searcher) follow(at state, ahead []state) []state {
	if s.later[at.value] > 0 {
		return ahead
	}
	var needed *step // an open swap that needs the value: it must be the next
	refused := false // an open swap waits to be refused
	for rest := s.used &^ at.in; rest != 0; rest &= rest - 1 {
		o := s.open[bits.TrailingZeros64(rest)]
		if v, ok := o.needs(); ok && v == at.value && o.changes() {
			if needed != nil {
				return ahead
			}
			needed = o
		}
		refused = refused || o.refused() && o.Was == at.value
	}
	var tried [2]bool // optional steps whose values nobody names are all alike
	for rest := s.used &^ at.in; rest != 0; rest &= rest - 1 {
		o := s.open[bits.TrailingZeros64(rest)]
		if !o.changes() || needed != nil && o != needed || o.Kind == CAS && o.Was != at.value {
			continue
		}
		if o.optional {
			like := b2i(o.Kind == CAS)
			if !refused || tried[like] && !o.named {
				continue
			}
			if !o.named {
				tried[like] = true
			}
		}
		ahead = append(ahead, s.settle(state{o.Value, at.in | 1<<o.slot}))
	}
	return ahead
}

// settle lets all open steps take effect that change nothing and fit.
func (s *searcher) settle(at state) state {
	for rest := s.used &^ at.in; rest != 0; rest &= rest - 1 {
		slot := bits.TrailingZeros64(rest)
		if s.open[slot].settled(at.value) {
			at.in |= 1 << slot
		}
	}
	return at
}
