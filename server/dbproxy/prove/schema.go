package prove

import (
	"github.com/atoll-live/atoll/space"
)

// Type is the type of a key column, as far as canonical keys depend on it.
type Type uint8

// The types of key columns.
const (
	Integer Type = iota + 1 // TINYINT … BIGINT: Bits and Unsigned say which
	Text                    // CHAR, VARCHAR: Length in characters, Collation
	Binary                  // BINARY (Fixed), VARBINARY: Length in bytes
	UUID                    // MariaDB's UUID
)

// Column is a key column as the server describes it.
type Column struct {
	Name          string // as in the table; compared case-blind
	Type          Type
	Bits          int    // Integer: 8, 16, 24, 32 or 64
	Unsigned      bool   // Integer
	AutoIncrement bool   // Integer: an inserted 0 becomes another value, so it is refused
	Length        int    // Text: characters; Binary: bytes
	Fixed         bool   // CHAR, BINARY
	Collation     string // Text: such as utf8mb4_bin, utf8mb4_general_ci
}

// Table is one listed table.
type Table struct {
	Kind       space.TableKind // unit, centerUnit, center or local
	Key        Column          // unit tables
	ReadsOwner bool            // keyed reads only at the owner; unit tables

	// UniquesHoldKey says that every unique index, the primary key too, holds
	// the whole key column. Without it REPLACE and ON DUPLICATE KEY UPDATE are
	// refused: they could change the row of another key that has the same
	// order number.
	UniquesHoldKey bool
}

// Schema is what a Prover must know of a logical database. It is immutable
// after NewSchema; a changed document makes a new Schema.
type Schema struct {
	database string
	tables   map[string]Table // by name, case-sensitive as on Linux
	standard space.TableKind  // kind of the tables that are not listed
}

// NewSchema returns the Schema of the database with its listed tables by
// name. Standard is the kind of every other table: refuse (also when empty),
// center or local.
func NewSchema(database string, standard space.TableKind, tables map[string]Table) (*Schema, error) {
	if standard == "" {
		standard = space.TableRefuse
	}
	s := &Schema{database: database, tables: map[string]Table{}, standard: standard}
	for name, t := range tables {
		s.tables[name] = t
	}
	return s, nil
}

// Database is the name of the database whose tables are listed.
func (s *Schema) Database() string { return s.database }

// Table returns the listed table of that name.
func (s *Schema) Table(name string) (Table, bool) {
	t, ok := s.tables[name]
	return t, ok
}
