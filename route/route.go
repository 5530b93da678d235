package route

import "github.com/atoll-live/atoll/space"

// Reason says what decided the unit.
type Reason string

// The reasons.
const (
	ByAllow     Reason = "allow"
	ByPrefix    Reason = "prefix"
	ByRange     Reason = "range"
	ByMissing   Reason = "missing"   // no key: the rule's missing action decided
	BySingle    Reason = "single"    // the rule has one unit
	BySubdomain Reason = "subdomain" // the unit subdomain pinned its unit
	ByNone      Reason = "none"
)

// Action says what to do with the request.
type Action string

// The actions.
const (
	Route    Action = "route"
	ToCenter Action = "center"
	Reject   Action = "reject"
)

// Decision is the answer to one request or one key. Absent parts are empty;
// Bucket is -1 when there is no key.
type Decision struct {
	Domain, Path, Rule, Variable, Key string
	Bucket                            int
	Unit, Cell                        string
	Prefix                            string // the prefix that decided, with ByPrefix
	Reason                            Reason
	Action                            Action
}

// Request is what Decide reads of an HTTP request. Each method returns the
// first value or "".
type Request interface {
	Host() string
	Path() string // percent-decoded, without query
	Query(name string) string
	Header(name string) string // case-blind
	Cookie(name string) string
}

// Table is a compiled space. It is immutable and safe for concurrent use.
type Table struct{}

// Compile checks the document and builds its Table.
func Compile(doc *space.Space) (*Table, error) { panic("stub") }

// Decide decides a request by domain, path, business parameter, rule and variable.
func (t *Table) Decide(r Request) Decision { panic("stub") }

// DecideKey decides a key by a rule: what a database proxy, a lane or a
// message consumer asks. An unknown rule or an empty key gives Reason ByNone.
func (t *Table) DecideKey(rule, key string) Decision { panic("stub") }

// Center is the code of the center unit, "" when there is none.
func (t *Table) Center() string { panic("stub") }

// UnitAccess is the access mode of a unit; NoAccess for an unknown one.
func (t *Table) UnitAccess(unit string) space.AccessMode { panic("stub") }

// Contains tells whether the keys of a move include the key of a decision.
func Contains(keys space.KeySet, d Decision) bool { panic("stub") }

// View is a compiled Snapshot: what a plane consults at each decision.
type View struct {
	*Table
	Snapshot *space.Snapshot
}

// NewView compiles a snapshot.
func NewView(s *space.Snapshot) (*View, error) { panic("stub") }

// Held is the transfer that holds the key of a decision, or nil.
func (v *View) Held(d Decision) *space.Transfer { panic("stub") }

// Fenced is the transfer that fences the key of a decision, or nil.
func (v *View) Fenced(d Decision) *space.Transfer { panic("stub") }

// Switch returns a copy of the document in which the keys of the transfer
// belong to its target. Switching back gives the first document again.
func Switch(doc *space.Space, t *space.Transfer) (*space.Space, error) { panic("stub") }
