package prove

import "slices"

// Class is what a statement does.
type Class uint8

// The classes. The zero class is Refused, so that an empty plan admits
// nothing.
const (
	Refused       Class = iota // see Plan.Refusal
	Read                       // plain SELECT, VALUES, TABLE, DO; an empty text
	LockingRead                // FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE: admitted like a write
	Write                      // INSERT, REPLACE, UPDATE, DELETE
	Begin                      // BEGIN, START TRANSACTION
	Commit                     // COMMIT
	Rollback                   // ROLLBACK
	Savepoint                  // SAVEPOINT, RELEASE SAVEPOINT, ROLLBACK TO SAVEPOINT
	SetAutocommit              // SET autocommit alone: see Plan.Autocommit
	Set                        // other session settings: see Plan.Settings; may hold autocommit too
	Show                       // SHOW, DESCRIBE, EXPLAIN, HELP: reads no rows of tables
	Use                        // USE: see Plan.Name
	Kill                       // KILL: see Plan.KillID, Plan.KillQuery
	Admin                      // DDL and the like on local tables
)

// Kinds is a set of table kinds.
type Kinds uint8

// The kinds of tables that a statement touches.
const (
	UnitTables Kinds = 1 << iota
	CenterUnitTables
	CenterTables
	LocalTables
)

// Has says whether any of the kinds is in the set.
func (k Kinds) Has(any Kinds) bool { return k&any != 0 }

// Switch is a change of autocommit.
type Switch uint8

// The changes of autocommit.
const (
	Unchanged Switch = iota
	On
	Off
)

// Pin is a set of reasons why the session must keep its server connection.
type Pin uint16

// The reasons to pin.
const (
	PinUserVariable Pin = 1 << iota // until disconnect: @x read or set
	PinTemporary                    // until disconnect: temporary table made or dropped
	PinNamedLock                    // until released: GET_LOCK and its like
	PinTableLock                    // until UNLOCK TABLES
	PinFoundRows                    // next statement: SQL_CALC_FOUND_ROWS, FOUND_ROWS(), ROW_COUNT()
	PinInsertID                     // next statement: LAST_INSERT_ID()
)

// Setting is one assignment of a SET statement.
type Setting struct {
	// Name is the variable in lower case; @x for a user variable; names and
	// charset for SET NAMES and SET CHARACTER SET; tx_isolation_once and
	// tx_read_only_once for SET TRANSACTION, which is for the next transaction.
	Name   string
	Value  string // SQL text of the value
	Narrow bool   // the character set that it chooses is narrow, see Charset
}

// Plan is what was proven of one text. It is immutable and shared: callers
// must not change its slices.
type Plan struct {
	Class  Class
	Params int      // number of ? markers
	Reads  Kinds    // kinds of the tables that are only read
	Writes Kinds    // kinds of the tables that are written
	Tables []string // listed tables touched, in order of first use

	// Keyed says that Resolve gives all keys of the rows in unit tables that
	// the statement touches. A Write or LockingRead that touches unit tables
	// is always keyed, or refused.
	Keyed bool
	// Unproven says why a Read of unit tables is not keyed; else nil. A proxy
	// answers it when it must treat the read as a write. Resolve still gives
	// the keys of the tables that are proven.
	Unproven *Refusal
	// ReadsOwner says that a Read touches a unit table whose keyed reads go to
	// the owner only: every key that Resolve gives must be owned here.
	ReadsOwner bool

	ImplicitCommit bool      // commits an open transaction
	Autocommit     Switch    // SetAutocommit, Set
	Settings       []Setting // SetAutocommit, Set
	Name           string    // Use: the database; Savepoint: its name
	Chain          bool      // Commit, Rollback: AND CHAIN
	Release        bool      // Commit, Rollback: RELEASE
	ReadOnly       bool      // Begin: READ ONLY
	KillID         uint64    // Kill; 0 means KILL CONNECTION_ID()
	KillQuery      bool      // Kill: KILL QUERY
	LocalInfile    bool      // Write: LOAD DATA LOCAL
	Pins           Pin

	Refusal *Refusal // Refused; else nil

	sources []source // alternatives of the keys, without doubles
	keys    []string // the same, when none is a parameter
	bound   bool     // some source is a parameter
}

// Resolve returns the canonical keys of the statement's rows in the unit
// tables, in order of first use, without doubles. Params are the values bound
// to the ? markers. The result is shared when no key is a parameter: it must
// not be changed.
func (p *Plan) Resolve(params []Param) ([]string, *Refusal) {
	if p.Refusal != nil {
		return nil, p.Refusal
	}
	if !p.bound {
		return p.keys, nil
	}
	keys := make([]string, 0, len(p.sources))
	for i := range p.sources {
		key, why := p.sources[i].value(params)
		if why != nil {
			return nil, why
		}
		keys = append(keys, key)
	}
	return distinct(keys), nil
}

// value is the canonical key of one source.
func (s *source) value(params []Param) (string, *Refusal) {
	switch {
	case s.marker < 0:
		return s.key, s.refusal
	case s.marker >= len(params):
		return "", unprovable("parameter", "no value is bound to the key of "+s.column.name(), "bind all parameters")
	}
	return s.column.canonical(params[s.marker], s.at)
}

// settle resolves the plan's constants once and for all.
func (p *Plan) settle() {
	for i := range p.sources {
		p.bound = p.bound || p.sources[i].marker >= 0
	}
	if p.bound {
		return
	}
	keys := make([]string, len(p.sources))
	for i := range p.sources {
		keys[i] = p.sources[i].key
	}
	p.keys, p.sources = distinct(keys), nil
}

// few is how many keys are compared one by one before a map pays.
const few = 16

// distinct takes the doubles out of keys, in place.
func distinct(keys []string) []string {
	out := keys[:0]
	if len(keys) <= few {
		for _, k := range keys {
			if !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
		return out
	}
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	return out
}

// size is about how many bytes a plan holds in the cache.
func (p *Plan) size() int {
	n := 512 + 96*len(p.sources) + 48*len(p.Settings)
	for _, k := range p.keys {
		n += 16 + len(k)
	}
	for _, t := range p.Tables {
		n += 16 + len(t)
	}
	return n
}
