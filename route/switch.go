package route

import (
	"fmt"
	"slices"

	"github.com/atoll-live/atoll/space"
)

// Switch returns a copy of the document in which the keys of the transfer
// belong to its target. Switching back with the same keys gives the first
// document again, except that the ranges of the two units are then merged. The
// caller raises spec.version.
func Switch(doc *space.Space, t *space.Transfer) (*space.Space, error) {
	now, err := Compile(doc)
	if err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	next := *doc
	next.Spec.UnitRules = slices.Clone(doc.Spec.UnitRules)
	r, from, to, err := parties(&next, t.Rule, t.From, t.To)
	if err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	r.Units = slices.Clone(r.Units)
	s := &switching{doc: &next, rule: r, from: &r.Units[from], to: &r.Units[to]}
	if err := s.move(now, &t.Keys); err != nil {
		return nil, fmt.Errorf("switch rule %q: %w", t.Rule, err)
	}
	return &next, nil
}

// parties finds a rule and the places of two different units in it.
func parties(doc *space.Space, id, from, to string) (r *space.UnitRule, f, t int, err error) {
	i := slices.IndexFunc(doc.Spec.UnitRules, func(r space.UnitRule) bool { return r.ID == id })
	if i < 0 {
		return nil, 0, 0, fmt.Errorf("space %q has no rule %q", doc.Spec.Code, id)
	}
	r = &doc.Spec.UnitRules[i]
	f, t = routeOf(r, from), routeOf(r, to)
	switch {
	case f < 0:
		err = fmt.Errorf("rule %q has no unit %q", id, from)
	case t < 0:
		err = fmt.Errorf("rule %q has no unit %q", id, to)
	case f == t:
		err = fmt.Errorf("unit %q is both from and to", from)
	}
	return r, f, t, err
}

func routeOf(r *space.UnitRule, unit string) int {
	return slices.IndexFunc(r.Units, func(u space.UnitRoute) bool { return u.Code == unit })
}

// switching is a rule while keys move in it. Its unit routes are copies; their
// lists are replaced, never changed.
type switching struct {
	doc      *space.Space
	rule     *space.UnitRule
	from, to *space.UnitRoute
}

func (s *switching) move(now *Table, keys *space.KeySet) error {
	named := sorted(keys.Keys)
	for _, key := range named {
		if owner := now.DecideKey(s.rule.ID, key).Unit; owner != s.from.Code {
			return fmt.Errorf("unit %q does not own key %q, unit %q does", s.from.Code, key, owner)
		}
	}
	if err := s.dropKeys(named); err != nil {
		return err
	}
	if err := s.moveBuckets(keys.Buckets); err != nil {
		return err
	}
	if err := s.movePrefixes(sorted(keys.Prefixes)); err != nil {
		return err
	}
	return s.enterKeys(named)
}

// dropKeys takes named keys out of the allow list of the unit that owns them.
// No other unit's list has them, or it would be the owner.
func (s *switching) dropKeys(named []string) error {
	listed := slices.DeleteFunc(slices.Clone(named), func(key string) bool {
		return !slices.Contains(s.from.Allows, key)
	})
	setIdle(s.from, named, listed)
	if len(listed) == 0 {
		return nil
	}
	allows := s.from.Allows
	s.from.Allows = without(allows, listed)
	bare, err := Compile(s.doc)
	if err != nil {
		return err
	}
	// A key that its unit would own without the list as well is listed on
	// purpose: it must not follow its bucket. Nothing but a memory tells that
	// to its return.
	pins := slices.DeleteFunc(slices.Clone(listed), func(key string) bool {
		return bare.DecideKey(s.rule.ID, key).Unit != s.from.Code
	})
	s.from.Allows = allows
	leave(s.from, allowList, listed, pins)
	return nil
}

// enterKeys gives named keys to the target: by its allow list when the rest of
// the rule gives them to another unit, or when they stood there before.
func (s *switching) enterKeys(named []string) error {
	if len(named) == 0 {
		return nil
	}
	rest, err := Compile(s.doc)
	if err != nil {
		return err
	}
	var listed, pins []string
	for _, key := range named {
		implied := rest.DecideKey(s.rule.ID, key).Unit == s.to.Code
		if implied && (allowList.leftAt(s.to, key) < 0 || wakeIdle(s.to, key)) {
			continue
		}
		listed = append(listed, key)
		if implied {
			pins = append(pins, key)
		}
	}
	enter(s.to, allowList, listed, pins)
	return nil
}

func (s *switching) moveBuckets(moved []space.Range) error {
	if len(moved) == 0 {
		return nil
	}
	moved = canonical(moved)
	owned := canonical(s.from.Ranges)
	if missing := takeRanges(moved, owned); len(missing) > 0 {
		return fmt.Errorf("unit %q does not own buckets %s", s.from.Code, FormatBuckets(missing))
	}
	s.from.Ranges = takeRanges(owned, moved)
	s.to.Ranges = addRanges(s.to.Ranges, moved)
	return nil
}

func (s *switching) movePrefixes(moved []string) error {
	for _, p := range moved {
		if !slices.Contains(s.from.Prefixes, p) {
			return fmt.Errorf("unit %q does not have prefix %q", s.from.Code, p)
		}
	}
	leave(s.from, prefixList, moved, nil)
	enter(s.to, prefixList, moved, nil)
	return nil
}
