package prove

// The numbers of refusals, as DESIGN has them for all of dbproxy.
const (
	CodeUnprovable = 9603 // key not provable
	CodeUnlisted   = 9604 // table not listed
	CodeCenter     = 9605 // center table written or read in a unit
	CodeTwoOwners  = 9606 // two owners or shards in one transaction
)

// Refusal says that a statement is not run, and which rule failed. It is an
// error.
type Refusal struct {
	Code int
	Rule string // short name of the rule, such as "key is a function"
	What string // never holds a value of the statement
	Mend string // what the caller can do about it
}

// Error is the text for the client: atoll: <rule>: <what> (<mend>).
func (r *Refusal) Error() string {
	return "atoll: " + r.Rule + ": " + r.What + " (" + r.Mend + ")"
}

func unprovable(rule, what, mend string) *Refusal {
	return &Refusal{Code: CodeUnprovable, Rule: rule, What: what, Mend: mend}
}

func unlisted(what string) *Refusal {
	return &Refusal{Code: CodeUnlisted, Rule: "table not listed", What: what,
		Mend: "list the table in the Database document, or set its defaultKind"}
}

// refusedPlan is the plan of a text that is not run.
func refusedPlan(r *Refusal) *Plan { return &Plan{Class: Refused, Refusal: r} }
