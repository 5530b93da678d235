package route

import (
	"fmt"
	"slices"

	"github.com/atoll-live/atoll/space"
)

// Table is a compiled space. It is immutable and safe for concurrent use.
type Table struct {
	center string
	units  []unit
	rules  map[string]*rule
	hosts  map[string]host // by lower-case name
	// sources holds the ways to read each variable, by variable and source name.
	sources map[string]map[string]source
}

// unit is a compiled unit.
type unit struct {
	code   string
	access space.AccessMode
	cells  []cell
}

type cell struct {
	code   string
	access space.AccessMode
}

func (u *unit) cellAccess(code string) (mode space.AccessMode, ok bool) {
	for _, c := range u.cells {
		if c.code == code {
			return c.access, true
		}
	}
	return space.NoAccess, false
}

// Compile builds the Table of a document. It refuses only what would leave a
// decision open; space.Validate says all that is wrong with a document.
func Compile(doc *space.Space) (*Table, error) {
	if doc == nil {
		return nil, fmt.Errorf("compile: no document")
	}
	t, err := compile(&doc.Spec)
	if err != nil {
		return nil, fmt.Errorf("compile space %q: %w", doc.Spec.Code, err)
	}
	return t, nil
}

func compile(s *space.Spec) (*Table, error) {
	t := &Table{rules: map[string]*rule{}, hosts: map[string]host{}, sources: map[string]map[string]source{}}
	if err := t.addUnits(s.Units); err != nil {
		return nil, err
	}
	for _, v := range s.Variables {
		named := map[string]source{}
		for _, src := range v.Sources {
			named[src.Name] = source{scope: src.Scope, key: src.Key}
		}
		t.sources[v.Name] = named
	}
	for i := range s.UnitRules {
		r := &s.UnitRules[i]
		if t.rules[r.ID] != nil {
			return nil, fmt.Errorf("rule %q stands twice", r.ID)
		}
		c, err := t.compileRule(r)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", r.ID, err)
		}
		t.rules[r.ID] = c
	}
	for i := range s.Domains {
		if err := t.addDomain(&s.Domains[i]); err != nil {
			return nil, fmt.Errorf("domain %q: %w", s.Domains[i].Host, err)
		}
	}
	return t, nil
}

func (t *Table) addUnits(units []space.Unit) error {
	if len(units) > space.MaxUnits {
		return fmt.Errorf("%d units are more than %d", len(units), space.MaxUnits)
	}
	t.units = make([]unit, 0, len(units)) // rules point into it: it must not grow
	for _, u := range units {
		if t.unit(u.Code) != nil {
			return fmt.Errorf("unit %q stands twice", u.Code)
		}
		if u.Type == space.Center {
			if t.center != "" {
				return fmt.Errorf("units %q and %q are both the center", t.center, u.Code)
			}
			t.center = u.Code
		}
		c := unit{code: u.Code, access: orReadWrite(u.AccessMode)}
		for _, z := range u.Cells {
			c.cells = append(c.cells, cell{z.Code, orReadWrite(z.AccessMode)})
		}
		if len(c.cells) > space.MaxUnits {
			return fmt.Errorf("unit %q: %d cells are more than %d", u.Code, len(c.cells), space.MaxUnits)
		}
		t.units = append(t.units, c)
	}
	return nil
}

func orReadWrite(m space.AccessMode) space.AccessMode {
	if m == "" {
		return space.ReadWrite
	}
	return m
}

func (t *Table) unit(code string) *unit {
	for i := range t.units {
		if t.units[i].code == code {
			return &t.units[i]
		}
	}
	return nil
}

// source finds the one way to read a variable that a rule or a path names. A
// rule that names neither reads nothing: its keys come from elsewhere.
func (t *Table) source(variable, name string) (source, error) {
	if variable == "" && name == "" {
		return source{}, nil
	}
	sources, ok := t.sources[variable]
	if !ok {
		return source{}, fmt.Errorf("unknown variable %q", variable)
	}
	src, ok := sources[name]
	if !ok {
		return source{}, fmt.Errorf("variable %q has no source %q", variable, name)
	}
	return src, nil
}

// DecideKey decides a key by a rule: what a database proxy, a lane or a
// message consumer asks. An unknown rule or an empty key gives Reason ByNone.
// It does not allocate.
func (t *Table) DecideKey(rule, key string) Decision {
	d := Decision{Rule: rule, Key: key, Bucket: -1, Reason: ByNone, Action: Reject}
	if r := t.rules[rule]; r != nil && key != "" {
		r.decide(&d, key)
	}
	return d
}

// Center is the code of the center unit, "" when there is none.
func (t *Table) Center() string { return t.center }

// Modulo is the number of buckets of a rule, 0 for an unknown one.
func (t *Table) Modulo(rule string) int {
	if r := t.rules[rule]; r != nil {
		return r.modulo
	}
	return 0
}

// UnitAccess is the access mode of a unit; NoAccess for an unknown one.
func (t *Table) UnitAccess(unit string) space.AccessMode {
	if u := t.unit(unit); u != nil {
		return u.access
	}
	return space.NoAccess
}

// CellAccess is the access mode of a cell for the requests of a rule, which may
// close the cell to itself alone; NoAccess for an unknown cell.
func (t *Table) CellAccess(rule, unit, cell string) space.AccessMode {
	u := t.unit(unit)
	if u == nil {
		return space.NoAccess
	}
	mode, _ := u.cellAccess(cell)
	if r := t.rules[rule]; r != nil && mode == space.ReadWrite {
		for _, way := range r.routes {
			if way.unit == u && slices.Contains(way.cells.readOnly, cell) {
				return space.ReadOnly
			}
		}
	}
	return mode
}
