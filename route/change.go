package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/atoll-live/atoll/space"
)

// Change is one thing of a new snapshot that would give keys another owner, or
// drop their protection, without a move.
type Change struct {
	Space    string        `json:"space"`
	Rule     string        `json:"rule,omitempty"`
	Database string        `json:"database,omitempty"`
	What     string        `json:"what"` // "buckets", "keys", "prefix", "modulo", "table stock: kind", …
	Buckets  []space.Range `json:"buckets,omitempty"`
	Keys     []string      `json:"keys,omitempty"`
	Prefix   string        `json:"prefix,omitempty"` // keys that begin so and are in no allow list
	Before   string        `json:"before,omitempty"` // owner or value now; "" for none
	After    string        `json:"after,omitempty"`  // owner or value then; "" for none
	Mend     string        `json:"mend"`             // the command that does it safely, or what else to do
}

// String is the change in one line.
func (c Change) String() string {
	of := fmt.Sprintf("rule %q", c.Rule)
	if c.Database != "" {
		of = fmt.Sprintf("database %q", c.Database)
	} else if c.Rule == "" {
		of = fmt.Sprintf("space %q", c.Space)
	}
	what := c.What
	switch {
	case len(c.Buckets) > 0:
		what = "buckets " + FormatBuckets(c.Buckets)
	case len(c.Keys) > 0:
		what = "keys " + shortList(c.Keys, 10)
	case c.Prefix != "":
		what = fmt.Sprintf("keys that begin with %q", c.Prefix)
	}
	return fmt.Sprintf("%s: %s would go from %s to %s (%s)", of, what, orNothing(c.Before), orNothing(c.After), c.Mend)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func shortList(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, ",")
	}
	return fmt.Sprintf("%s,… (%d in all)", strings.Join(list[:most], ","), len(list))
}

// OwnersChanged says what a new snapshot would change of the owners of keys, or
// of their protection, as far as a Database of the former one uses the rule.
// After is nil when the space is deleted. Without changes any key has the owner
// that it had, in every table that was listed.
func OwnersChanged(before, after *space.Snapshot) ([]Change, error) {
	if before == nil || before.Document == nil || len(before.Databases) == 0 {
		return nil, nil
	}
	if after == nil || after.Document == nil {
		return []Change{{Space: before.Space, What: "the space", Before: "in use", Mend: "delete its databases first"}}, nil
	}
	now, err := Compile(before.Document)
	if err != nil {
		return nil, err
	}
	then, err := Compile(after.Document)
	if err != nil {
		return nil, err
	}
	c := &comparison{space: before.Space, before: before, after: after, now: now, then: then}
	c.databases()
	c.units()
	c.rules()
	return c.changes, nil
}

type comparison struct {
	space         string
	before, after *space.Snapshot
	now, then     *Table
	changes       []Change
}

func (c *comparison) add(change Change) {
	change.Space = c.space
	c.changes = append(c.changes, change)
}

func (c *comparison) databases() {
	for _, db := range c.before.Databases {
		name := db.Metadata.Name
		i := slices.IndexFunc(c.after.Databases, func(d *space.Database) bool { return d.Metadata.Name == name })
		if i < 0 {
			c.add(Change{Database: name, What: "the database", Before: "listed", Mend: "keep it: its tables would lose their protection"})
			continue
		}
		next := c.after.Databases[i]
		if db.Spec.Rule != "" && db.Spec.Rule != next.Spec.Rule { // without a rule it has no keys
			c.add(Change{Database: name, What: "rule", Before: db.Spec.Rule, After: next.Spec.Rule, Mend: "keep the rule, and move keys within it"})
		}
		c.sources(name, db, next)
		c.standard(name, db.Spec.DefaultKind, next.Spec.DefaultKind)
		c.tables(name, db, next)
	}
}

// standard looks at the kind of the tables that are not listed. Those that are
// refused hold nothing that an application wrote; those of the center are
// written there alone, local ones in each unit apart.
func (c *comparison) standard(name string, before, after space.TableKind) {
	if before == space.TableCenter && after == space.TableLocal || before == space.TableLocal && after == space.TableCenter {
		c.add(Change{Database: name, What: "defaultKind", Before: string(before), After: string(after),
			Mend: "list the tables that shall be of another kind, or write refuse"})
	}
}

func (c *comparison) tables(name string, db, next *space.Database) {
	for _, t := range db.Spec.Tables {
		i := slices.IndexFunc(next.Spec.Tables, func(n space.Table) bool { return n.Name == t.Name })
		if i < 0 {
			c.add(Change{Database: name, What: "table " + t.Name, Before: string(t.Kind), Mend: "keep it: its rows would lose their protection"})
			continue
		}
		n := next.Spec.Tables[i]
		const mend = "make a new table and copy the rows"
		if t.Kind != n.Kind {
			c.add(Change{Database: name, What: "table " + t.Name + ": kind", Before: string(t.Kind), After: string(n.Kind), Mend: mend})
		} else if t.Key != n.Key {
			c.add(Change{Database: name, What: "table " + t.Name + ": key", Before: t.Key, After: n.Key, Mend: mend})
		}
	}
}

// units finds units in use whose type changes, or that are gone.
func (c *comparison) units() {
	used := map[string]bool{}
	for _, db := range c.before.Databases {
		for _, s := range db.Spec.Sources {
			used[s.Unit] = true
		}
		if r := c.now.rules[db.Spec.Rule]; r != nil {
			for _, u := range r.routes {
				used[u.unit.code] = true
			}
		}
	}
	for _, u := range c.before.Document.Spec.Units {
		i := slices.IndexFunc(c.after.Document.Spec.Units, func(n space.Unit) bool { return n.Code == u.Code })
		switch {
		case !used[u.Code]:
		case i < 0:
			c.add(Change{What: "unit " + u.Code, Before: string(u.Type), Mend: "move its keys away and take it out of rules and databases first"})
		case c.after.Document.Spec.Units[i].Type != u.Type:
			c.add(Change{What: "unit " + u.Code + ": type", Before: string(u.Type), After: string(c.after.Document.Spec.Units[i].Type),
				Mend: "keep it: center tables live there"})
		}
	}
}

// rules compares the rules that databases use.
func (c *comparison) rules() {
	done := map[string]bool{}
	for _, db := range c.before.Databases {
		now := c.now.rules[db.Spec.Rule]
		if now == nil || done[now.id] {
			continue
		}
		done[now.id] = true
		then := c.then.rules[now.id]
		if then == nil {
			c.add(Change{Rule: now.id, What: "the rule", Before: "in use", Mend: "keep it: its keys would have no owner"})
			continue
		}
		(&ruleComparison{c, now, then, specOf(c.before, now.id), specOf(c.after, now.id)}).compare()
	}
}

func specOf(s *space.Snapshot, id string) *space.UnitRule {
	for i := range s.Document.Spec.UnitRules {
		if r := &s.Document.Spec.UnitRules[i]; r.ID == id {
			return r
		}
	}
	return nil
}
