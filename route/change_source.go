package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/atoll-live/atoll/space"
)

// place is a schema of a server.
func place(s *space.DataSource) string {
	return fmt.Sprintf("%s:%d/%s", strings.ToLower(s.Host), s.Port, s.Database)
}

// sources finds units whose data would be somewhere else in a way that hands
// rows to another owner, or that nobody would carry further. That a unit's one
// copy is in another place changes no owner; whoever applies it compares the
// rows.
func (c *comparison) sources(name string, db, next *space.Database) {
	now, then := sourcesOf(db), sourcesOf(next)
	for i := range db.Spec.Sources {
		unit := db.Spec.Sources[i].Unit
		if sourcesOf(db)[unit][0] != &db.Spec.Sources[i] {
			continue // told of its first one
		}
		what := "sources of unit " + unit
		before, after := now[unit], then[unit]
		switch other := c.elsewhere(db, unit, after); {
		case len(after) == 0:
			if why := c.needed(db, unit); why != "" {
				c.add(Change{Database: name, What: what, Before: placesOf(before), Mend: why})
			}
		case other != "":
			c.add(Change{Database: name, What: what, Before: placesOf(before), After: placesOf(after),
				Mend: "keep them: the rows there are those of unit " + other})
		case (len(before) > 1 || len(after) > 1) && !slices.EqualFunc(sharded(before), sharded(after), func(a, b shard) bool { return a == b }):
			c.add(Change{Database: name, What: what, Before: placesOf(before), After: placesOf(after),
				Mend: "keep them: rows do not follow their buckets from shard to shard"})
		}
	}
}

func sourcesOf(db *space.Database) map[string][]*space.DataSource {
	m := map[string][]*space.DataSource{}
	for i := range db.Spec.Sources {
		s := &db.Spec.Sources[i]
		m[s.Unit] = append(m[s.Unit], s)
	}
	return m
}

func placesOf(list []*space.DataSource) string {
	var texts []string
	for _, s := range list {
		text := place(s)
		if len(s.Buckets) > 0 {
			text += " (buckets " + FormatBuckets(canonical(s.Buckets)) + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// elsewhere is another unit whose rows stand, in any database in use, where a
// unit's shall be.
func (c *comparison) elsewhere(db *space.Database, unit string, after []*space.DataSource) string {
	for _, s := range after {
		for i := range db.Spec.Sources {
			if was := &db.Spec.Sources[i]; was.Unit != unit && place(was) == place(s) {
				return was.Unit
			}
		}
	}
	return ""
}

// needed is why a unit's source cannot go, with what to do first; "" when it can.
func (c *comparison) needed(db *space.Database, unit string) string {
	r := c.now.rules[db.Spec.Rule]
	if unit == c.now.center && db.Spec.DefaultKind == space.TableCenter {
		return "keep it: tables that are not listed are written there"
	}
	for _, t := range db.Spec.Tables {
		switch {
		case t.Kind == space.TableUnit && r != nil && r.owns(unit):
			return "move its keys away first: atoll move start --space " + c.space + " --from " + unit + " --to UNIT --all"
		case t.Kind != space.TableUnit && unit == c.now.center:
			return "keep it: " + string(t.Kind) + " table " + t.Name + " is written there"
		}
	}
	return ""
}

// owns tells whether a rule gives any key to a unit.
func (r *rule) owns(unit string) bool {
	i := slices.IndexFunc(r.routes, func(u unitRoute) bool { return u.unit.code == unit })
	if i < 0 {
		return false
	}
	of := uint16(i)
	for _, index := range r.allows {
		if index == of {
			return true
		}
	}
	return len(r.routes) == 1 || slices.ContainsFunc(r.prefixes.entries, func(p prefix) bool { return p.index == of }) ||
		slices.ContainsFunc(r.ranges.spans, func(s span) bool { return s.index == of })
}

// shard is a range of a unit's buckets and where their rows are.
type shard struct {
	space.Range
	place string
}

// sharded are the shards of a unit, in order and joined where they touch.
func sharded(list []*space.DataSource) []shard {
	var all []shard
	for _, s := range list {
		for _, r := range canonical(s.Buckets) {
			all = append(all, shard{r, place(s)})
		}
		if len(s.Buckets) == 0 {
			all = append(all, shard{space.Range{}, place(s)}) // of all buckets
		}
	}
	slices.SortFunc(all, func(a, b shard) int { return a.From - b.From })
	return all
}
