package space

import (
	"fmt"
	"slices"
	"strings"
)

// databaseCheck validates one Database against the space that it belongs to.
type databaseCheck struct {
	*reporter
	all *validation
	db  *Database
}

func (c *databaseCheck) check() {
	c.apiVersion(c.db.APIVersion, APIVersionAtoll)
	var root *place
	c.code(root.field("metadata").field("name"), "name", c.db.Metadata.Name)
	at, spec := root.field("spec"), &c.db.Spec
	c.tables(at.field("tables"))
	switch spec.DefaultKind {
	case "", TableRefuse, TableCenter, TableLocal:
	default:
		c.refuse(at.field("defaultKind"), "write refuse, center or local", "unknown value %q", string(spec.DefaultKind))
	}
	s := c.all.spaces[spec.Space]
	if s == nil {
		c.refuse(at.field("space"), "apply the space first, or give both together", "unknown space %q", spec.Space)
		return
	}
	if !s.Spec.hasCenter() {
		c.needCenter(at)
	}
	rule := s.Spec.rule(spec.Rule)
	if rule == nil && (spec.Rule != "" || c.hasUnitTable()) {
		c.refuse(at.field("rule"), "name a unit rule of the space", "space %q has no rule %q", spec.Space, spec.Rule)
	}
	c.sources(at.field("sources"), &s.Spec, rule)
}

func (c *databaseCheck) hasUnitTable() bool {
	return slices.ContainsFunc(c.db.Spec.Tables, func(t Table) bool { return t.Kind == TableUnit })
}

func (c *databaseCheck) tables(at *place) {
	names := seen{}
	for i := range c.db.Spec.Tables {
		t := &c.db.Spec.Tables[i]
		at := at.item(i)
		if t.Name == "" {
			c.refuse(at.field("name"), "name it", "the table has no name")
		}
		names.check(c.reporter, at.field("name"), "table", t.Name)
		choice(c.reporter, at.field("kind"), t.Kind, TableUnit, TableCenterUnit, TableCenter)
		isUnit := t.Kind == TableUnit
		switch {
		case isUnit && t.Key == "":
			c.refuse(at.field("key"), "name the column that holds the key", "unit table %q has no key column", t.Name)
		case !isUnit && t.Key != "":
			c.refuse(at.field("key"), "remove it", "table %q has a key column and is no unit table", t.Name)
		}
		switch {
		case t.Reads != "" && t.Reads != ReadsOwner:
			c.refuse(at.field("reads"), "write owner, or leave it out", "unknown value %q", t.Reads)
		case t.Reads != "" && !isUnit:
			c.refuse(at.field("reads"), "remove it", "table %q is no unit table: it has no owner", t.Name)
		}
	}
}

// needCenter refuses what only a center can hold.
func (c *databaseCheck) needCenter(at *place) {
	const mend = "make a unit the CENTER"
	if c.db.Spec.DefaultKind == TableCenter {
		c.refuse(at.field("defaultKind"), mend, "space %q has no CENTER", c.db.Spec.Space)
	}
	for i, t := range c.db.Spec.Tables {
		if t.Kind == TableCenter || t.Kind == TableCenterUnit {
			c.refuse(at.field("tables").item(i).field("kind"), mend, "%s table %q: space %q has no CENTER", t.Kind, t.Name, c.db.Spec.Space)
		}
	}
}

func (c *databaseCheck) sources(at *place, spec *Spec, rule *UnitRule) {
	addresses := seen{}
	ofUnit := map[string][]int{}
	for i := range c.db.Spec.Sources {
		s := &c.db.Spec.Sources[i]
		at := at.item(i)
		if spec.unit(s.Unit) == nil {
			c.refuse(at.field("unit"), "define it under the space's units", "unknown unit %q", s.Unit)
		}
		if s.Host == "" {
			c.refuse(at.field("host"), "name the server", "the host is empty")
		}
		if s.Port < 1 || s.Port > 65535 {
			c.refuse(at.field("port"), "write 1 to 65535", "port %d", s.Port)
		}
		if s.Database == "" {
			c.refuse(at.field("database"), "name the schema on the server", "the database is empty")
		}
		address := fmt.Sprintf("%s:%d/%s", strings.ToLower(s.Host), s.Port, s.Database)
		addresses.check(c.reporter, at, "source", address)
		c.oneDatabase(address)
		ofUnit[s.Unit] = append(ofUnit[s.Unit], i)
	}
	for i := range c.db.Spec.Sources {
		if unit := c.db.Spec.Sources[i].Unit; ofUnit[unit][0] == i {
			c.shards(at, ofUnit[unit], rule)
		}
	}
	if rule == nil {
		return
	}
	for _, u := range rule.Units {
		if ofUnit[u.Code] == nil {
			c.warn(at, "add a source", "unit %q of rule %q has no source: its keys cannot be written", u.Code, rule.ID)
		}
	}
}

// oneDatabase refuses a table that two Databases speak for: its rows would have
// two owners, or none by one of them.
func (c *databaseCheck) oneDatabase(address string) {
	var root *place
	mine := &inSchema{c.document, c.db}
	for _, other := range c.all.schemas[address] {
		if other.document == c.document {
			continue // told already
		}
		for i := range c.db.Spec.Tables {
			name := c.db.Spec.Tables[i].Name
			table := root.field("spec").field("tables").item(i)
			if other.lists(name) {
				c.refuse(table.field("name"), "list it in one of them", "table %q of %s is listed in %s as well", name, address, other.document)
			} else if other.takes() {
				c.refuse(table.field("name"), "write defaultKind: refuse there", "table %q of %s is a %s table by the defaultKind of %s", name, address, other.db.Spec.DefaultKind, other.document)
			}
		}
		for _, t := range other.db.Spec.Tables {
			if mine.takes() && !mine.lists(t.Name) {
				c.refuse(root.field("spec").field("defaultKind"), "write refuse", "table %q of %s is listed in %s and would be a %s table here",
					t.Name, address, other.document, c.db.Spec.DefaultKind)
			}
		}
	}
	c.all.schemas[address] = append(c.all.schemas[address], mine)
}

func (s *inSchema) lists(table string) bool {
	return slices.ContainsFunc(s.db.Spec.Tables, func(t Table) bool { return t.Name == table })
}

// takes says whether a Database lets tables pass that it does not list.
func (s *inSchema) takes() bool {
	return s.db.Spec.DefaultKind == TableLocal || s.db.Spec.DefaultKind == TableCenter
}

// shards checks the sources of one unit: several must say which buckets each
// of them holds, and together hold each bucket once.
func (c *databaseCheck) shards(at *place, sources []int, rule *UnitRule) {
	var all []placedRange
	complete := true
	for _, i := range sources {
		s := &c.db.Spec.Sources[i]
		at := at.item(i).field("buckets")
		if len(s.Buckets) == 0 && len(sources) > 1 {
			c.refuse(at, "say which buckets each of them holds", "unit %q has %d sources and this one has no buckets", s.Unit, len(sources))
			complete = false
		}
		for j, r := range s.Buckets {
			all = append(all, placedRange{r, at.item(j)})
		}
	}
	if len(all) > 0 && complete && rule != nil && rule.Modulo > 0 {
		c.cover(at, all, rule.Modulo)
	}
}
