package route

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/atoll-live/atoll/space"
)

// ruleComparison compares a rule before and after, both compiled and as
// written.
type ruleComparison struct {
	*comparison
	now, then         *rule
	nowSpec, thenSpec *space.UnitRule
}

func (c *ruleComparison) compare() {
	const mend = "make a new rule for new data: every key would have another bucket"
	if a, b := c.nowSpec.VariableFunction, c.thenSpec.VariableFunction; a != b {
		c.add(Change{Rule: c.now.id, What: "function", Before: a, After: b, Mend: mend})
		return
	}
	if c.now.modulo != c.then.modulo {
		c.add(Change{Rule: c.now.id, What: "modulo", Before: fmt.Sprint(c.now.modulo), After: fmt.Sprint(c.then.modulo), Mend: mend})
		return
	}
	c.buckets()
	c.keys()
	c.prefixes()
}

// hands are an owner before and an owner after.
type hands struct{ from, to string }

// each calls f for every pair of different owners, in order.
func each[V any](changed map[hands]V, f func(hands, V)) {
	order := slices.SortedFunc(maps.Keys(changed), func(a, b hands) int {
		return strings.Compare(a.from+"\x00"+a.to, b.from+"\x00"+b.to)
	})
	for _, h := range order {
		f(h, changed[h])
	}
}

// byBucket is the owner of keys that no list names.
func (r *rule) byBucket(bucket int) string {
	if len(r.routes) == 1 {
		return r.routes[0].unit.code
	}
	if i, ok := r.ranges.find(bucket); ok {
		return r.routes[i].unit.code
	}
	return ""
}

func (c *ruleComparison) buckets() {
	cuts := []int{0, c.now.modulo}
	for _, spans := range [][]span{c.now.ranges.spans, c.then.ranges.spans} {
		for _, s := range spans {
			cuts = append(cuts, s.from, s.to)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	changed := map[hands][]space.Range{}
	for i := 1; i < len(cuts); i++ {
		h := hands{c.now.byBucket(cuts[i-1]), c.then.byBucket(cuts[i-1])}
		if h.from != h.to && h.from != "" {
			changed[h] = mergeRanges(append(changed[h], space.Range{From: cuts[i-1], To: cuts[i]}))
		}
	}
	each(changed, func(h hands, rs []space.Range) {
		c.add(Change{Rule: c.now.id, What: "buckets", Buckets: rs, Before: h.from, After: h.to,
			Mend: c.command(h, "--buckets "+FormatBuckets(rs))})
	})
}

// keys finds named keys with another owner. A key that is named in neither
// rule is a matter of its bucket or prefix.
func (c *ruleComparison) keys() {
	named := map[string]bool{}
	for _, r := range []*rule{c.now, c.then} {
		for key := range r.allows {
			named[key] = true
		}
	}
	changed := map[hands][]string{}
	for _, key := range slices.Sorted(maps.Keys(named)) {
		h := hands{c.comparison.now.DecideKey(c.now.id, key).Unit, c.comparison.then.DecideKey(c.now.id, key).Unit}
		if h.from != h.to && h.from != "" {
			changed[h] = append(changed[h], key)
		}
	}
	each(changed, func(h hands, keys []string) {
		c.add(Change{Rule: c.now.id, What: "keys", Keys: keys, Before: h.from, After: h.to,
			Mend: c.command(h, "--keys "+shellWord(shortList(keys, 100)))})
	})
}

// byPrefix is the owner of the keys for which a text is the longest of all
// prefixes of both rules. It is false when their buckets decide.
func (r *rule) byPrefix(text string) (unit string, ok bool) {
	if len(r.routes) == 1 {
		return r.routes[0].unit.code, true
	}
	p, ok := r.prefixes.longest(text)
	if !ok {
		return "", false
	}
	return r.routes[p.index].unit.code, true
}

func (c *ruleComparison) prefixes() {
	texts := map[string]bool{}
	for _, r := range []*rule{c.now, c.then} {
		for _, p := range r.prefixes.entries {
			texts[p.text] = true
		}
	}
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		from, ok := c.now.byPrefix(text)
		to, still := c.then.byPrefix(text)
		if ok && still && from == to {
			continue
		}
		const byBucket = "the owners of their buckets"
		if !ok {
			from = byBucket
		}
		if !still {
			to = byBucket
		}
		c.add(Change{Rule: c.now.id, What: "prefix", Prefix: text, Before: from, After: to,
			Mend: "move the keys by name: " + c.command(hands{orUnit(ok, from), orUnit(still, to)}, "--keys K,…")})
	}
}

func orUnit(ok bool, unit string) string {
	if ok {
		return unit
	}
	return "UNIT"
}

// shellWord quotes a word that a shell would not take as it is.
func shellWord(text string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_.:@-,…", c)
	}
	if text != "" && strings.IndexFunc(text, func(c rune) bool { return !plain(c) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// command is the move that changes the owner safely.
func (c *ruleComparison) command(h hands, what string) string {
	if h.to == "" {
		return "give them to a unit"
	}
	line := fmt.Sprintf("atoll move start --space %s --from %s --to %s %s", c.space, h.from, h.to, what)
	if _, err := OnlyRule(c.before.Document, h.from, h.to); err != nil && routeOf(c.nowSpec, h.to) >= 0 {
		line += " --rule " + c.now.id
	}
	if h.to != "UNIT" && routeOf(c.nowSpec, h.to) < 0 {
		return fmt.Sprintf("add unit %s to the rule without keys first, then %s", h.to, line)
	}
	return line
}
