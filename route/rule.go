package route

import (
	"fmt"
	"slices"

	"github.com/atoll-live/atoll/space"
)

// rule is a compiled unit rule.
type rule struct {
	id         string
	variable   string
	source     source
	sourceName string
	function   function
	modulo     int
	missing    space.MissingAction
	routes     []unitRoute
	center     *unitRoute // where MissingCenter leads, nil when the space has no center
	allows     map[string]uint16
	prefixes   prefixes
	ranges     ranges
}

// unitRoute is one unit's part of a rule.
type unitRoute struct {
	unit  *unit
	cells *cells
}

// source is one way to read a variable; the zero source reads nothing.
type source struct {
	scope space.Scope
	key   string
}

func (s source) read(r Request) string {
	switch s.scope {
	case space.ScopeQuery:
		return r.Query(s.key)
	case space.ScopeHeader:
		return r.Header(s.key)
	case space.ScopeCookie:
		return r.Cookie(s.key)
	}
	return ""
}

func (t *Table) compileRule(r *space.UnitRule) (*rule, error) {
	c := &rule{
		id: r.ID, variable: r.Variable, sourceName: r.VariableSource, modulo: r.Modulo, missing: r.VariableMissingAction,
		function: functions[r.VariableFunction], allows: map[string]uint16{},
	}
	if c.function == nil {
		return nil, fmt.Errorf("unknown function %q", r.VariableFunction)
	}
	if r.Modulo <= 0 {
		return nil, fmt.Errorf("modulo %d is not positive", r.Modulo)
	}
	src, err := t.source(r.Variable, r.VariableSource)
	if err != nil {
		return nil, err
	}
	c.source = src
	var pre []prefix
	var spans []span
	for i := range r.Units {
		u := &r.Units[i]
		if err := t.compileRoute(c, u, uint16(i)); err != nil {
			return nil, err
		}
		for _, p := range u.Prefixes {
			if p == "" {
				return nil, fmt.Errorf("unit %q has an empty prefix", u.Code)
			}
			pre = append(pre, prefix{text: p, index: uint16(i)})
		}
		for _, g := range u.Ranges {
			spans = append(spans, span{from: g.From, to: g.To, index: uint16(i)})
		}
	}
	c.prefixes = newPrefixes(pre)
	for i := 1; i < len(pre); i++ {
		if pre[i].text == pre[i-1].text {
			return nil, fmt.Errorf("prefix %q stands twice", pre[i].text)
		}
	}
	c.ranges, err = newRanges(spans, r.Modulo)
	if err != nil {
		return nil, err
	}
	c.center, err = t.centerRoute(c)
	return c, err
}

func (t *Table) compileRoute(c *rule, u *space.UnitRoute, index uint16) error {
	known := t.unit(u.Code)
	if known == nil {
		return fmt.Errorf("unknown unit %q", u.Code)
	}
	if slices.ContainsFunc(c.routes, func(r unitRoute) bool { return r.unit == known }) {
		return fmt.Errorf("unit %q stands twice", u.Code)
	}
	cells, err := compileCells(known, u.Cells)
	if err != nil {
		return err
	}
	c.routes = append(c.routes, unitRoute{known, cells})
	for _, key := range u.Allows {
		if _, ok := c.allows[key]; ok {
			return fmt.Errorf("allow %q stands twice", key)
		}
		c.allows[key] = index
	}
	return nil
}

// centerRoute is the rule's route of the center, or one made for it when the
// rule does not list the center.
func (t *Table) centerRoute(c *rule) (*unitRoute, error) {
	center := t.unit(t.center)
	if center == nil {
		return nil, nil
	}
	for i := range c.routes {
		if c.routes[i].unit == center {
			return &c.routes[i], nil
		}
	}
	cells, err := compileCells(center, nil)
	return &unitRoute{center, cells}, err
}

// owner finds the route that owns a key that is not empty.
func (r *rule) owner(key string, bucket int) (route *unitRoute, reason Reason, prefix string) {
	if len(r.routes) == 1 {
		return &r.routes[0], BySingle, ""
	}
	if i, ok := r.allows[key]; ok {
		return &r.routes[i], ByAllow, ""
	}
	if p, ok := r.prefixes.longest(key); ok {
		return &r.routes[p.index], ByPrefix, p.text
	}
	if i, ok := r.ranges.find(bucket); ok {
		return &r.routes[i], ByRange, ""
	}
	return nil, ByNone, ""
}

// decide fills in the key's part of a decision.
func (r *rule) decide(d *Decision, key string) {
	d.Rule, d.Variable, d.Key = r.id, r.variable, key
	if key == "" {
		r.decideMissing(d)
		return
	}
	d.Bucket = r.function(key, r.modulo)
	route, reason, prefix := r.owner(key, d.Bucket)
	d.Reason, d.Prefix = reason, prefix
	route.place(d, Route)
}

func (r *rule) decideMissing(d *Decision) {
	switch {
	case len(r.routes) == 1:
		d.Reason = BySingle
		r.routes[0].place(d, Route)
	case r.missing == space.MissingCenter:
		d.Reason = ByMissing
		r.center.place(d, ToCenter)
	default:
		d.Reason, d.Action = ByMissing, Reject
	}
}

// place sends the decision to the route's unit and cell, unless there is no
// route or nothing of the unit may serve it.
func (u *unitRoute) place(d *Decision, a Action) {
	d.Action = Reject
	if u == nil {
		return
	}
	d.Unit = u.unit.code
	if u.unit.access == space.NoAccess {
		return
	}
	cell, ok := u.cells.pick(d.Key)
	if ok {
		d.Cell, d.Action = cell, a
	}
}
