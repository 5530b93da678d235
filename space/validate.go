package space

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Validate says all that is wrong with documents, each by itself and together:
// hand it everything that shall stand side by side. Problems come in the order
// of the documents.
func Validate(docs ...Document) Problems {
	v := &validation{spaces: map[string]*Space{}, documents: map[string]bool{}, hosts: map[string]string{}, places: map[string]placed{},
		schemas: map[string][]*inSchema{}}
	for _, d := range docs {
		if d.Space != nil && v.spaces[d.Space.Spec.Code] == nil {
			v.spaces[d.Space.Spec.Code] = d.Space
		}
	}
	var problems Problems
	for _, d := range docs {
		r := &reporter{file: d.File, document: d.String(), tree: d.tree}
		v.once(r, d)
		switch {
		case d.Space != nil:
			(&spaceCheck{reporter: r, all: v, spec: &d.Space.Spec}).check(d.Space)
		case d.Database != nil:
			(&databaseCheck{reporter: r, all: v, db: d.Database}).check()
		}
		problems = append(problems, r.problems...)
	}
	return problems
}

// validation is what the documents have in common.
type validation struct {
	spaces    map[string]*Space      // by code
	documents map[string]bool        // kind and name
	hosts     map[string]string      // lower-case host → document
	places    map[string]placed      // unit code → where it was first said what it is
	schemas   map[string][]*inSchema // host:port/schema → the databases that use it
}

// inSchema is a Database that uses a schema of a server.
type inSchema struct {
	document string
	db       *Database
}

// placed is what a document says of a unit as a place.
type placed struct {
	document string
	unit     *Unit
}

func (v *validation) once(r *reporter, d Document) {
	if v.documents[r.document] {
		r.refuse(nil, "name one of them otherwise", "there are two documents %s", r.document)
	}
	v.documents[r.document] = true
	if d.Space == nil && d.Database == nil {
		r.refuse(nil, "", "the document is empty")
	}
}

// apiVersion checks the version of a document's format.
func (r *reporter) apiVersion(have, want string) {
	var root *place
	switch have {
	case want:
	case "":
		r.warn(root.field("apiVersion"), "write "+want, "the format is not named")
	default:
		r.refuse(root.field("apiVersion"), "write "+want, "unknown format %q", have)
	}
}

// choice checks a value of a closed set.
func choice[T ~string](r *reporter, at *place, v T, may ...T) {
	if slices.Contains(may, v) {
		return
	}
	forms := make([]string, 0, len(may))
	for _, m := range may {
		if m != "" {
			forms = append(forms, string(m))
		}
	}
	mend := "write " + strings.Join(forms, " or ")
	if v == "" {
		r.refuse(at, mend, "nothing is said here")
		return
	}
	r.refuse(at, mend, "unknown value %q", string(v))
}

// maxCode is the longest code, id or name that other names are built from.
const maxCode = 100

// code checks what other names are built from: lanes, store keys, headers.
func (r *reporter) code(at *place, what, text string) bool {
	switch {
	case text == "":
		r.refuse(at, "name it", "the %s is empty", what)
		return false
	case utf8.RuneCountInString(text) > maxCode:
		r.refuse(at, "shorten it", "the %s is longer than %d letters", what, maxCode)
		return false
	}
	for _, c := range text {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-_.", c) {
			r.refuse(at, "use letters, digits, - _ and .", "the %s %q has the character %q", what, text, c)
			return false
		}
	}
	return true
}

// seen finds what stands twice.
type seen map[string]*place

func (s seen) check(r *reporter, at *place, what, value string) {
	if first, ok := s[value]; ok {
		r.refuse(at, "keep one of them", "%s %q stands already at %s", what, value, first)
		return
	}
	s[value] = at
}

// spaceCheck validates one MultiLiveSpace.
type spaceCheck struct {
	*reporter
	all  *validation
	spec *Spec
}

func (c *spaceCheck) check(s *Space) {
	c.apiVersion(s.APIVersion, APIVersionSpace)
	var root *place
	spec := root.field("spec")
	c.code(spec.field("code"), "space code", s.Spec.Code)
	c.units(spec.field("units"))
	c.variables(spec.field("variables"))
	ids := seen{}
	for i := range s.Spec.UnitRules {
		r := &s.Spec.UnitRules[i]
		at := spec.field("unitRules").item(i)
		if c.code(at.field("id"), "rule id", r.ID) {
			ids.check(c.reporter, at.field("id"), "rule", r.ID)
		}
		(&ruleCheck{spaceCheck: c, rule: r}).check(at)
	}
	for i := range s.Spec.Domains {
		c.domain(spec.field("domains").item(i), &s.Spec.Domains[i])
	}
}

// MaxUnits bounds the units of a space and the cells of a unit.
const MaxUnits = 4096

func (c *spaceCheck) units(at *place) {
	if n := len(c.spec.Units); n > MaxUnits {
		c.refuse(at, "split the space", "%d units are more than %d", n, MaxUnits)
	}
	codes, cells := seen{}, map[string]string{}
	center := ""
	for i := range c.spec.Units {
		u := &c.spec.Units[i]
		at := at.item(i)
		if c.code(at.field("code"), "unit code", u.Code) {
			codes.check(c.reporter, at.field("code"), "unit", u.Code)
		}
		choice(c.reporter, at.field("type"), u.Type, Center, Regular)
		choice(c.reporter, at.field("accessMode"), u.AccessMode, "", ReadWrite, ReadOnly, NoAccess)
		if u.Type == Center {
			if center != "" {
				c.refuse(at.field("type"), "make one of them a UNIT", "units %q and %q are both the CENTER", center, u.Code)
			}
			center = u.Code
		}
		c.cells(at.field("cells"), u, cells)
		c.onePlace(at, u)
	}
}

func (c *spaceCheck) cells(at *place, u *Unit, elsewhere map[string]string) {
	if n := len(u.Cells); n > MaxUnits {
		c.refuse(at, "split the unit", "%d cells are more than %d", n, MaxUnits)
	}
	codes := seen{}
	for i := range u.Cells {
		z := &u.Cells[i]
		at := at.item(i)
		if c.code(at.field("code"), "cell code", z.Code) {
			codes.check(c.reporter, at.field("code"), "cell", z.Code)
		}
		choice(c.reporter, at.field("accessMode"), z.AccessMode, "", ReadWrite, ReadOnly, NoAccess)
		if other, ok := elsewhere[z.Code]; ok && other != u.Code {
			c.warn(at.field("code"), "give each cell its own code", "unit %q has a cell %q as well", other, z.Code)
		}
		elsewhere[z.Code] = u.Code
	}
}

// onePlace warns when two spaces say different things of one unit: a unit code
// means one place.
func (c *spaceCheck) onePlace(at *place, u *Unit) {
	first, ok := c.all.places[u.Code]
	if !ok {
		c.all.places[u.Code] = placed{c.document, u}
		return
	}
	if first.document == c.document {
		return
	}
	const mend = "a unit code means one place in all spaces"
	if first.unit.Type != u.Type {
		c.warn(at.field("type"), mend, "unit %q is %s here and %s in %s", u.Code, u.Type, first.unit.Type, first.document)
	}
	if !maps.Equal(first.unit.Labels, u.Labels) {
		c.warn(at.field("labels"), mend, "unit %q has other labels in %s", u.Code, first.document)
	}
}

func (c *spaceCheck) variables(at *place) {
	names := seen{}
	for i := range c.spec.Variables {
		v := &c.spec.Variables[i]
		at := at.item(i)
		if c.code(at.field("name"), "variable name", v.Name) {
			names.check(c.reporter, at.field("name"), "variable", v.Name)
		}
		sources := seen{}
		for j := range v.Sources {
			s := &v.Sources[j]
			at := at.field("sources").item(j)
			if c.code(at.field("name"), "source name", s.Name) {
				sources.check(c.reporter, at.field("name"), "source", s.Name)
			}
			choice(c.reporter, at.field("scope"), s.Scope, ScopeQuery, ScopeHeader, ScopeCookie)
			if s.Key == "" {
				c.refuse(at.field("key"), "name the parameter, header or cookie", "the key is empty")
			}
			if s.Func != "" {
				c.refuse(at.field("func"), "leave it empty", "unknown function %q", s.Func)
			}
		}
	}
}

func (s *Spec) unit(code string) *Unit {
	for i := range s.Units {
		if s.Units[i].Code == code {
			return &s.Units[i]
		}
	}
	return nil
}

func (s *Spec) rule(id string) *UnitRule {
	for i := range s.UnitRules {
		if s.UnitRules[i].ID == id {
			return &s.UnitRules[i]
		}
	}
	return nil
}

func (s *Spec) hasCenter() bool {
	return slices.ContainsFunc(s.Units, func(u Unit) bool { return u.Type == Center })
}

// source checks that a variable and its named source exist.
func (c *spaceCheck) source(at *place, variable, name string) {
	for i := range c.spec.Variables {
		v := &c.spec.Variables[i]
		if v.Name != variable {
			continue
		}
		if !slices.ContainsFunc(v.Sources, func(s Source) bool { return s.Name == name }) {
			c.refuse(at.field("variableSource"), "name one of its sources", "variable %q has no source %q", variable, name)
		}
		return
	}
	c.refuse(at.field("variable"), "define it under variables", "unknown variable %q", variable)
}

// functions are the unit functions that documents may name.
var functions = []string{FunctionBKDR}

// Functions are the names of the unit functions.
func Functions() []string { return slices.Clone(functions) }
