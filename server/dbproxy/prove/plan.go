package prove

// Class is what a statement does.
type Class uint8

// The classes. The zero class is Refused, so that an empty plan admits
// nothing.
const (
	Refused       Class = iota // see Plan.Refusal
	Read                       // plain SELECT, VALUES, TABLE, DO, EXPLAIN of one
	LockingRead                // FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE: admitted like a write
	Write                      // INSERT, REPLACE, UPDATE, DELETE
	Begin                      // BEGIN, START TRANSACTION
	Commit                     // COMMIT
	Rollback                   // ROLLBACK
	Savepoint                  // SAVEPOINT, RELEASE SAVEPOINT, ROLLBACK TO SAVEPOINT
	SetAutocommit              // SET autocommit alone: see Plan.Autocommit
	Set                        // other session settings: see Plan.Settings; may hold autocommit too
	Show                       // SHOW, DESCRIBE, HELP
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
	Name  string // lower case: sql_mode, time_zone, names, …; user variables as @x
	Value string // SQL text of the value, as it may stand behind SET name =
}

// Plan is what was proven of one text. It is immutable and shared: callers
// must not change its slices.
type Plan struct {
	Class  Class
	Params int      // number of ? markers
	Reads  Kinds    // kinds of the tables that are only read
	Writes Kinds    // kinds of the tables that are written
	Tables []string // listed tables touched, in order of first use

	// Keyed says that Resolve gives all keys of the unit tables' rows that
	// the statement touches. A Write or LockingRead of unit tables is always
	// keyed, or refused.
	Keyed bool
	// Unproven says why a Read of unit tables is not keyed; else nil. A proxy
	// answers it when it must treat the read as a write.
	Unproven *Refusal
	// ReadsOwner says that the statement reads a unit table whose keyed reads
	// go to the owner only.
	ReadsOwner bool

	ImplicitCommit bool      // commits an open transaction
	Autocommit     Switch    // SetAutocommit, Set
	Settings       []Setting // Set
	Name           string    // Use: the database; Savepoint: its name
	Chain          bool      // Commit, Rollback: AND CHAIN
	Release        bool      // Commit, Rollback: RELEASE
	ReadOnly       bool      // Begin: READ ONLY
	KillID         uint64    // Kill
	KillQuery      bool      // Kill: KILL QUERY
	Pins           Pin

	Refusal *Refusal // Refused; else nil

	keys []string // resolved constants
}

// Resolve returns the canonical keys of the statement's rows in the unit
// tables, in order of first use, without doubles. Params are the values bound
// to the ? markers. The result is shared when the plan has no parameters: it
// must not be changed.
func (p *Plan) Resolve(params []Param) ([]string, *Refusal) {
	if p.Refusal != nil {
		return nil, p.Refusal
	}
	return p.keys, nil
}
