package prove

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/atoll-live/atoll/server/keytext"
	"github.com/atoll-live/atoll/space"
)

// Type and Column say of a key column what the text of its keys depends on.
type (
	Type   = keytext.Type
	Column = keytext.Column
)

// The types of key columns. A column of another type has Type 0: its table
// is listed, but no key of it can be proven.
const (
	Integer = keytext.Integer
	Text    = keytext.Text
	Binary  = keytext.Binary
	UUID    = keytext.UUID
)

// Table is one listed table.
type Table struct {
	Kind       space.TableKind // unit, centerUnit, center or local
	Key        Column          // unit tables
	ReadsOwner bool            // keyed reads only at the owner; unit tables

	// UniquesHoldKey says that every unique index, the primary key too, holds
	// the whole key column. Without it REPLACE and ON DUPLICATE KEY UPDATE are
	// refused: they could change the row of another key that has, say, the
	// same order number.
	UniquesHoldKey bool
}

// Hazard is what the server does by itself when a table is written, or is read
// when Reads says so, and no proof sees: a trigger, a cascade, a view. Such a
// statement is refused whatever its text says.
type Hazard struct {
	Rule, What, Mend string
	Reads            bool
}

// Qualified is a table's name in the hazards of a Schema.
func Qualified(database, table string) string { return database + "." + table }

// Schema is what a Prover must know of a logical database. It is immutable
// after NewSchema; a changed document makes a new Schema.
type Schema struct {
	database string
	tables   map[string]Table // by name, case-sensitive as on Linux
	folded   map[string]bool  // the names in lower case
	standard space.TableKind  // kind of the tables that are not listed
	hazards  map[string]Hazard
	shunned  map[string]string // the tables with a hazard in lower case → what it is
	others   map[string]string // databases, in lower case, that another document speaks for → which
}

// NewSchema returns the Schema of the database with its listed tables by
// name. Standard is the kind of every other table: refuse (also when empty),
// center or local. A table whose name differs from a listed one only in case
// is refused, so that servers which fold names are safe as well. Hazards are
// of any tables, by Qualified names.
func NewSchema(database string, standard space.TableKind, tables map[string]Table, hazards map[string]Hazard) (*Schema, error) {
	if database == "" {
		return nil, errors.New("schema: no database name")
	}
	if system(database) {
		return nil, fmt.Errorf("schema: %s is a system database", database)
	}
	switch standard {
	case "":
		standard = space.TableRefuse
	case space.TableRefuse, space.TableCenter, space.TableLocal:
	default:
		return nil, fmt.Errorf("schema: default kind %q", standard)
	}
	s := &Schema{
		database: database, tables: map[string]Table{}, folded: map[string]bool{}, standard: standard,
		hazards: maps.Clone(hazards), shunned: map[string]string{},
	}
	for name, h := range hazards {
		s.shunned[strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])] = h.What
	}
	for name, t := range tables {
		if err := t.validate(); err != nil {
			return nil, fmt.Errorf("schema: table %s: %w", name, err)
		}
		s.tables[name] = t
		s.folded[strings.ToLower(name)] = true
	}
	return s, nil
}

// Beside returns a Schema that leaves some databases alone, whatever the kind
// of tables that are not listed: those that another Database document speaks
// for, by name, with words for which that is. Behind this proxy nobody guards
// their keys.
func (s *Schema) Beside(others map[string]string) *Schema {
	next := *s
	next.others = map[string]string{}
	for name, which := range others {
		if name != s.database {
			next.others[strings.ToLower(name)] = which
		}
	}
	return &next
}

// Another is the refusal of a database that another document speaks for, nil
// for any other one.
func (s *Schema) Another(database string) *Refusal {
	which, ok := s.others[strings.ToLower(database)]
	if !ok || database == s.database {
		return nil
	}
	return &Refusal{Code: CodeUnlisted, Rule: "database of another", What: "database " + database + " is that of " + which + ", whose keys nobody guards here",
		Mend: "connect to the proxy of " + which}
}

func (t *Table) validate() error {
	switch t.Kind {
	case space.TableCenterUnit, space.TableCenter, space.TableLocal:
		return nil
	case space.TableUnit:
	default:
		return fmt.Errorf("kind %q", t.Kind)
	}
	k := &t.Key
	switch {
	case k.Name == "":
		return errors.New("no key column")
	case k.Type == Integer && k.Bits != 8 && k.Bits != 16 && k.Bits != 24 && k.Bits != 32 && k.Bits != 64:
		return fmt.Errorf("key column %s: integer of %d bits", k.Name, k.Bits)
	case (k.Type == Text || k.Type == Binary) && k.Length < 1:
		return fmt.Errorf("key column %s: length %d", k.Name, k.Length)
	}
	return nil
}

// Database is the name of the database whose tables are listed.
func (s *Schema) Database() string { return s.database }

// Table returns the listed table of that name.
func (s *Schema) Table(name string) (Table, bool) {
	t, ok := s.tables[name]
	return t, ok
}

// names says whether a word is, in any case, the name of a listed table.
func (s *Schema) names(word string) bool { return s.folded[strings.ToLower(word)] }

// twin says whether a name differs from that of a listed table only in case.
// Servers that fold table names would take one for the other.
func (s *Schema) twin(name string) bool {
	_, listed := s.tables[name]
	return !listed && s.names(name)
}

// system says whether a database belongs to the server, or to Atoll: it may
// be read by anyone and written by nobody.
func system(database string) bool {
	switch strings.ToLower(database) {
	case "information_schema", "performance_schema", "mysql", "sys", "atoll":
		return true
	}
	return false
}
