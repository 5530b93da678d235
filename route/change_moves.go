package route

import (
	"maps"
	"slices"

	"github.com/atoll-live/atoll/space"
)

// MovesCut gives the ended moves of a snapshot whose sets of keys another
// document would read otherwise. A set names buckets and prefixes, and holds a
// key when one of these decides it: a key that gets on a list leaves the set of
// its bucket, though its owner stays. A lane that has yet to come to the
// tokens of such a move would then judge its rows wrongly.
func MovesCut(before *space.Snapshot, doc *space.Space) ([]*space.Transfer, error) {
	if before == nil || before.Document == nil || len(before.Moves) == 0 {
		return nil, nil
	}
	now, err := Compile(before.Document)
	if err != nil {
		return nil, err
	}
	then, err := Compile(doc)
	if err != nil {
		return nil, err
	}
	var cut []*space.Transfer
	for _, m := range before.Moves {
		if m.Outcome == space.OutcomeNone || m.FenceEpoch == 0 {
			continue // under way, or without tokens
		}
		a, b := now.rules[m.Rule], then.rules[m.Rule]
		if a == nil || b == nil || cuts(now, then, m, a, b) {
			cut = append(cut, m)
		}
	}
	return cut, nil
}

func cuts(now, then *Table, m *space.Transfer, a, b *rule) bool {
	if parts := len(m.Keys.Buckets)+len(m.Keys.Prefixes) > 0; parts {
		if (len(a.routes) == 1) != (len(b.routes) == 1) || a.modulo != b.modulo || !slices.Equal(texts(a), texts(b)) {
			return true
		}
	}
	for _, list := range []map[string]uint16{a.allows, b.allows} {
		for key := range maps.Keys(list) {
			if Contains(m.Keys, now.DecideKey(m.Rule, key)) != Contains(m.Keys, then.DecideKey(m.Rule, key)) {
				return true
			}
		}
	}
	return false
}

// texts are the prefixes of a rule, in order.
func texts(r *rule) []string {
	list := make([]string, len(r.prefixes.entries))
	for i, p := range r.prefixes.entries {
		list[i] = p.text
	}
	return list
}
