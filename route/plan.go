package route

import (
	"errors"
	"fmt"
	"slices"

	"github.com/atoll-live/atoll/space"
)

// Want is what a move shall carry: exactly one of its fields is given.
type Want struct {
	Percent  int           // share of all buckets of the rule, 1–100
	Buckets  []space.Range // see ParseBuckets
	Keys     []string
	Prefixes []string
	All      bool // everything that the unit owns
}

func (w *Want) given() int {
	n := 0
	for _, g := range []bool{w.Percent != 0, len(w.Buckets) > 0, len(w.Keys) > 0, len(w.Prefixes) > 0, w.All} {
		if g {
			n++
		}
	}
	return n
}

// maxNamed bounds the keys and prefixes that one move names.
const maxNamed = 10_000

// Plan turns a wish into the keys of a move by a rule. It refuses what the
// unit does not own now, so that the reverse move restores the document.
//
// Percent takes that share of all buckets of the rule, at least one, from
// those that the unit owns by range: the highest-numbered.
func Plan(doc *space.Space, rule, from, to string, want Want) (space.KeySet, error) {
	t, err := Compile(doc)
	if err != nil {
		return space.KeySet{}, fmt.Errorf("plan: %w", err)
	}
	r, f, _, err := parties(doc, rule, from, to)
	if err != nil {
		return space.KeySet{}, fmt.Errorf("plan: %w", err)
	}
	if n := want.given(); n != 1 {
		return space.KeySet{}, fmt.Errorf("plan: say one of percent, buckets, keys, prefixes or all, not %d of them", n)
	}
	p := &planning{table: t, rule: r, from: &r.Units[f], owned: canonical(r.Units[f].Ranges)}
	keys, err := p.keys(want)
	if err != nil {
		return space.KeySet{}, fmt.Errorf("plan: %w", err)
	}
	return keys, nil
}

type planning struct {
	table *Table
	rule  *space.UnitRule
	from  *space.UnitRoute
	owned []space.Range // by from
}

func (p *planning) keys(want Want) (space.KeySet, error) {
	switch {
	case want.Percent != 0:
		return p.percent(want.Percent)
	case len(want.Buckets) > 0:
		return p.buckets(want.Buckets)
	case len(want.Keys) > 0:
		return p.named(want.Keys)
	case len(want.Prefixes) > 0:
		return p.prefixes(want.Prefixes)
	}
	return p.all()
}

func (p *planning) percent(percent int) (space.KeySet, error) {
	if percent < 1 || percent > 100 {
		return space.KeySet{}, fmt.Errorf("%d %% is not between 1 and 100", percent)
	}
	want := max(1, int(int64(p.rule.Modulo)*int64(percent)/100))
	if have := count(p.owned); have < want {
		return space.KeySet{}, fmt.Errorf("unit %q owns %d buckets, %d %% of all %d are %d", p.from.Code, have, percent, p.rule.Modulo, want)
	}
	return space.KeySet{Buckets: highest(p.owned, want)}, nil
}

func (p *planning) buckets(want []space.Range) (space.KeySet, error) {
	want = canonical(want)
	if len(want) == 0 {
		return space.KeySet{}, errors.New("the bucket ranges are empty")
	}
	if want[0].From < 0 || want[len(want)-1].To > p.rule.Modulo {
		return space.KeySet{}, fmt.Errorf("buckets %s: rule %q has buckets 0-%d", FormatBuckets(want), p.rule.ID, p.rule.Modulo-1)
	}
	if missing := takeRanges(want, p.owned); len(missing) > 0 {
		return space.KeySet{}, fmt.Errorf("unit %q does not own buckets %s", p.from.Code, FormatBuckets(missing))
	}
	return space.KeySet{Buckets: want}, nil
}

func (p *planning) named(keys []string) (space.KeySet, error) {
	if len(keys) > maxNamed {
		return space.KeySet{}, fmt.Errorf("%d keys are more than %d (move their buckets)", len(keys), maxNamed)
	}
	for _, key := range keys {
		d := p.table.DecideKey(p.rule.ID, key)
		switch {
		case key == "":
			return space.KeySet{}, errors.New("an empty key names nobody")
		case d.Unit == "":
			return space.KeySet{}, fmt.Errorf("no unit owns key %q", key)
		case d.Unit != p.from.Code:
			return space.KeySet{}, fmt.Errorf("unit %q does not own key %q, unit %q does (%s)", p.from.Code, key, d.Unit, d.Reason)
		}
	}
	return space.KeySet{Keys: sorted(keys)}, nil
}

func (p *planning) prefixes(want []string) (space.KeySet, error) {
	for _, text := range want {
		if !slices.Contains(p.from.Prefixes, text) {
			return space.KeySet{}, fmt.Errorf("unit %q does not have prefix %q", p.from.Code, text)
		}
	}
	return space.KeySet{Prefixes: sorted(want)}, nil
}

func (p *planning) all() (space.KeySet, error) {
	keys := space.KeySet{Buckets: p.owned, Keys: sorted(p.from.Allows), Prefixes: sorted(p.from.Prefixes)}
	if len(keys.Buckets)+len(keys.Keys)+len(keys.Prefixes) == 0 {
		return keys, fmt.Errorf("unit %q owns nothing by rule %q", p.from.Code, p.rule.ID)
	}
	return keys, nil
}

// OnlyRule is the id of the one rule that lists both units, for a move that
// names none.
func OnlyRule(doc *space.Space, from, to string) (string, error) {
	var ids []string
	for i := range doc.Spec.UnitRules {
		r := &doc.Spec.UnitRules[i]
		if routeOf(r, from) >= 0 && routeOf(r, to) >= 0 {
			ids = append(ids, r.ID)
		}
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("space %q has no rule with units %q and %q", doc.Spec.Code, from, to)
	case 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("rules %q have units %q and %q (name one)", ids, from, to)
}
