package prove

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// maxTables is how many tables one statement may name. Servers stop at 61 in
// one join.
const maxTables = 256

// ref is one table in a FROM clause.
type ref struct {
	alias  string // how columns name it
	schema string // of an unaliased table: its database as written, or the session's
	base   bool   // a table of the server, not a derived one or a CTE
	kinds  Kinds  // of a base table
	table  string // its name
	unit   *Table // unit tables
	column *keyed // unit tables

	proven  bool
	sources []source
	why     *Refusal // why it is not proven, when a condition came near
}

// note keeps the first reason why a condition on the key proves nothing.
func (r *ref) note(why *Refusal) {
	if r.why == nil {
		r.why = why
	}
}

// scope is one query's tables, inside the scope of the query around it.
type scope struct {
	parent *scope
	refs   []*ref
	ctes   []string
	shared bool // a USING or NATURAL join makes columns of several tables one
}

// cte says whether a name is that of a common table expression here.
func (s *scope) cte(name string) bool {
	for ; s != nil; s = s.parent {
		if slices.Contains(s.ctes, name) {
			return true
		}
	}
	return false
}

// keyColumn is the table whose key the column names, or nil when it is no
// key or may be another column. Visible are the tables that the condition
// can see without a qualifier; a qualified name is also looked for in the
// queries around.
func (s *scope) keyColumn(c *ast.ColumnName, visible []*ref) *ref {
	if c.Table.O == "" {
		return s.unqualified(c.Name.O, visible)
	}
	for ; s != nil; s, visible = s.parent, nil {
		if visible == nil {
			visible = s.refs
		}
		found, near := named(c, visible)
		switch {
		case found != nil && found.unit != nil && isKey(c.Name.O, found.column):
			return found
		case near:
			return nil
		}
	}
	return nil
}

// named finds the one table that a qualified column means. Near says that
// some table has that name, or one that differs in case.
func named(c *ast.ColumnName, visible []*ref) (found *ref, near bool) {
	for _, r := range visible {
		if !strings.EqualFold(r.alias, c.Table.O) {
			continue
		}
		if near || r.alias != c.Table.O || c.Schema.O != "" && c.Schema.O != r.schema {
			return nil, true
		}
		found, near = r, true
	}
	return found, near
}

// unqualified finds the table of a bare key column. A name that two tables
// have is an error on the server, unless USING or NATURAL made them one; then
// all tables must be unit tables with the same key, or the name may be the
// column of a table that is not.
func (s *scope) unqualified(name string, visible []*ref) *ref {
	var found *ref
	n := 0
	for _, r := range visible {
		if r.unit != nil && isKey(name, r.column) {
			found = r
			n++
		}
	}
	switch {
	case n == 1 && !s.shared:
		return found
	case n > 0 && s.shared && alike(visible):
		return visible[0]
	}
	return nil
}

// alike says whether all tables are unit tables with one key column.
func alike(list []*ref) bool {
	for _, r := range list {
		if r.unit == nil || !sameKey(r, list[0]) || !strings.EqualFold(r.column.column.Name, list[0].column.column.Name) {
			return false
		}
	}
	return true
}

// sameKey says whether equal keys of two tables are one canonical key.
func sameKey(a, b *ref) bool {
	if a.unit == nil || b.unit == nil {
		return false
	}
	x, y := a.column.column, b.column.column
	return x.Type != 0 && x.Type == y.Type && x.Bits == y.Bits && x.Unsigned == y.Unsigned &&
		x.Length == y.Length && x.Fixed == y.Fixed && strings.EqualFold(x.Collation, y.Collation)
}

func isKey(name string, k *keyed) bool { return strings.EqualFold(name, k.column.Name) }

// mayBeKey is isKey for columns that are written: servers fold more
// characters than Go does, so that a name of other than ASCII characters may
// be the key when it is as long and equal elsewhere.
func mayBeKey(name string, k *keyed) bool {
	key := []rune(k.column.Name)
	n := []rune(name)
	if len(key) != len(n) {
		return false
	}
	for i := range n {
		if n[i] < 0x80 && key[i] < 0x80 && !strings.EqualFold(string(n[i]), string(key[i])) {
			return false
		}
	}
	return true
}
