package route

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
// Bucket is -1 when there is no key. A unit whose access mode is NONE is still
// named, with the action Reject.
type Decision struct {
	Domain, Path, Rule, Variable, Key string
	Bucket                            int
	Unit, Cell                        string
	Prefix                            string // the prefix that decided, with ByPrefix
	Reason                            Reason
	OwnedBy                           Reason // with BySubdomain and a key: what makes the pinned unit its owner
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
