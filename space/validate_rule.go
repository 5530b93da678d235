package space

import (
	"cmp"
	"slices"
)

// ruleCheck validates one unit rule.
type ruleCheck struct {
	*spaceCheck
	rule *UnitRule
}

func (c *ruleCheck) check(at *place) {
	r := c.rule
	choice(c.reporter, at.field("liveType"), r.LiveType, "", CrossRegion, OneRegion)
	choice(c.reporter, at.field("variableMissingAction"), r.VariableMissingAction, "", MissingReject, MissingCenter)
	if r.Variable == "" && r.VariableSource == "" {
		c.warn(at.field("variable"), "name a variable and its source", "no request has a key by this rule")
	} else {
		c.source(at, r.Variable, r.VariableSource)
	}
	if !slices.Contains(functions, r.VariableFunction) {
		c.refuse(at.field("variableFunction"), "write "+FunctionBKDR, "unknown function %q", r.VariableFunction)
	}
	if r.VariableMissingAction == MissingCenter && !c.spec.hasCenter() {
		c.refuse(at.field("variableMissingAction"), "make a unit the CENTER, or write REJECT", "no unit of the space is the CENTER")
	}
	if r.LiveType == OneRegion && len(r.Units) > 1 {
		c.refuse(at.field("liveType"), "write CROSS_REGION_LIVE, or keep one unit", "ONE_REGION_LIVE with %d units", len(r.Units))
	}
	if len(r.Units) == 0 {
		c.refuse(at.field("units"), "list the units of the rule", "the rule has no unit")
	}
	allows, prefixes, codes := seen{}, seen{}, seen{}
	for i := range r.Units {
		u := &r.Units[i]
		at := at.field("units").item(i)
		codes.check(c.reporter, at.field("code"), "unit", u.Code)
		c.entries(at.field("allows"), "allow", u.Allows, allows)
		c.entries(at.field("prefixes"), "prefix", u.Prefixes, prefixes)
		c.cellRoutes(at, u)
	}
	if r.Modulo <= 0 {
		c.refuse(at.field("modulo"), "write the number of buckets, 10000 as a rule", "modulo %d is not positive", r.Modulo)
		return
	}
	c.ranges(at)
}

// entries checks a list of keys or prefixes. An entry must not stand twice in
// all lists of its kind: two owners, or one of them by mistake.
func (c *ruleCheck) entries(at *place, what string, list []string, all seen) {
	for i, entry := range list {
		if entry == "" {
			c.refuse(at.item(i), "remove it", "an empty %s", what)
			continue
		}
		all.check(c.reporter, at.item(i), what, entry)
	}
}

func (c *ruleCheck) cellRoutes(at *place, u *UnitRoute) {
	unit := c.spec.unit(u.Code)
	if unit == nil {
		c.refuse(at.field("code"), "define it under units", "unknown unit %q", u.Code)
		return
	}
	allows, prefixes, codes := seen{}, seen{}, seen{}
	served := len(u.Cells) == 0
	for i := range u.Cells {
		z := &u.Cells[i]
		at := at.field("cells").item(i)
		codes.check(c.reporter, at.field("code"), "cell", z.Code)
		if !slices.ContainsFunc(unit.Cells, func(cell Cell) bool { return cell.Code == z.Code }) {
			c.refuse(at.field("code"), "define it under the unit's cells", "unit %q has no cell %q", u.Code, z.Code)
		}
		c.entries(at.field("allows"), "allow", z.Allows, allows)
		c.entries(at.field("prefixes"), "prefix", z.Prefixes, prefixes)
		choice(c.reporter, at.field("accessMode"), z.AccessMode, "", ReadWrite, ReadOnly, NoAccess)
		if z.Weight < 0 {
			c.refuse(at.field("weight"), "write 0 or more", "weight %d is negative", z.Weight)
		}
		served = served || z.Weight > 0
	}
	if !served {
		c.warn(at.field("cells"), "give a cell a weight", "no cell has a weight: requests of unit %q are rejected unless a list names them", u.Code)
	}
}

// placedRange is a range and where it stands.
type placedRange struct {
	Range
	at *place
}

// ranges checks that the ranges of a rule cover each bucket once. A rule with
// one unit may leave them out: it owns every key without them.
func (c *ruleCheck) ranges(at *place) {
	var all []placedRange
	for i := range c.rule.Units {
		list := at.field("units").item(i).field("ranges")
		for j, r := range c.rule.Units[i].Ranges {
			all = append(all, placedRange{r, list.item(j)})
		}
	}
	if len(all) == 0 && len(c.rule.Units) <= 1 {
		return
	}
	c.cover(at.field("units"), all, c.rule.Modulo)
}

// cover checks that ranges hold each bucket below modulo exactly once. The
// place is where a missing range is reported when there is none to point at.
func (r *reporter) cover(at *place, all []placedRange, modulo int) {
	sound := true
	for _, g := range all {
		switch {
		case g.From < 0:
			r.refuse(g.at.field("from"), "buckets begin at 0", "range [%d,%d) begins below 0", g.From, g.To)
		case g.To > modulo:
			r.refuse(g.at.field("to"), "to is the bucket after the last one", "range [%d,%d) ends beyond the modulo %d", g.From, g.To, modulo)
		case g.From >= g.To:
			r.refuse(g.at, "to is the bucket after the last one", "range [%d,%d) is empty", g.From, g.To)
		default:
			continue
		}
		sound = false
	}
	if !sound {
		return
	}
	slices.SortStableFunc(all, func(a, b placedRange) int { return cmp.Compare(a.From, b.From) })
	next := 0
	for _, g := range all {
		switch {
		case g.From < next:
			r.refuse(g.at, "give each bucket to one of them", "range [%d,%d) overlaps another, which ends at %d", g.From, g.To, next)
		case g.From > next:
			r.refuse(g.at, "give them to one", "buckets %d to %d belong to nobody", next, g.From-1)
		}
		next = max(next, g.To)
	}
	if next < modulo {
		last := at
		if len(all) > 0 {
			last = all[len(all)-1].at
		}
		r.refuse(last, "give them to one", "buckets %d to %d belong to nobody", next, modulo-1)
	}
}
