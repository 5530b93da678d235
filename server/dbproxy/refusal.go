package dbproxy

import (
	"fmt"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/wire/mysql"
	"github.com/atoll-live/atoll/space"
)

// serverError is a refusal as the client gets it.
func serverError(r *prove.Refusal) *mysql.ServerError {
	e := &mysql.ServerError{Code: uint16(r.Code), State: "HY000", Message: r.Error()}
	if r.Code == codeFenced {
		e.State = "40001" // like a deadlock: roll back, try again
	}
	return e
}

func noSnapshot() *prove.Refusal {
	return &prove.Refusal{Code: codeNoLease, Rule: "no snapshot", What: "this proxy does not serve yet", Mend: "try again when it has heard a console"}
}

func noLease() *prove.Refusal {
	return &prove.Refusal{
		Code: codeNoLease, Rule: "no lease", What: "this proxy may not use unit data before it hears a console", Mend: "try again later",
	}
}

func rolledBack() *prove.Refusal {
	return &prove.Refusal{
		Code: codeFenced, Rule: "fenced", What: "a move of these keys ended the transaction, it is rolled back", Mend: "run it again from its start",
	}
}

func parkedTooLong() *prove.Refusal {
	return &prove.Refusal{Code: codeFenced, Rule: "fenced", What: "a move of these keys takes longer than a statement may wait", Mend: "try again"}
}

func notOwner(d route.Decision) *prove.Refusal {
	r := &prove.Refusal{Code: codeNotOwner, Rule: "not the owner"}
	if d.Unit == "" {
		r.What, r.Mend = fmt.Sprintf("no unit owns key %.100q of rule %s", d.Key, d.Rule), "give the key a unit in the rule"
		return r
	}
	r.What = fmt.Sprintf("key %.100q of rule %s belongs to unit %s", d.Key, d.Rule, d.Unit)
	r.Mend = "send the request to " + d.Unit
	return r
}

func twoOwners(a, b route.Decision) *prove.Refusal {
	return &prove.Refusal{
		Code: codeTwoOwners, Rule: "two owners", What: fmt.Sprintf("keys %.100q of unit %s and %.100q of unit %s", a.Key, a.Unit, b.Key, b.Unit),
		Mend: "one transaction writes keys of one owner",
	}
}

func anotherOwner(d route.Decision) *prove.Refusal {
	return &prove.Refusal{
		Code: codeTwoOwners, Rule: "two owners", What: fmt.Sprintf("this transaction has written keys of this unit, and key %.100q belongs to unit %s", d.Key, d.Unit),
		Mend: "one transaction writes keys of one owner",
	}
}

func twoSources(what, mend string) *prove.Refusal {
	return &prove.Refusal{Code: codeTwoOwners, Rule: "two sources", What: what, Mend: mend}
}

func unsafeCharset(name string) *prove.Refusal {
	return &prove.Refusal{Code: codeUnprovable, Rule: "character set", What: fmt.Sprintf("texts in %.64q cannot be read safely", name), Mend: "connect with utf8mb4"}
}

func centerOnly(unit string) *prove.Refusal {
	return &prove.Refusal{
		Code: codeCenter, Rule: "center table", What: "this table is only in the center, and this is unit " + unit, Mend: "send the request to the center",
	}
}

func accessMode(unit string, m space.AccessMode) *prove.Refusal {
	return &prove.Refusal{
		Code: codeNotOwner, Rule: "access mode", What: fmt.Sprintf("unit %s has access mode %s", unit, m), Mend: "wait until the operator opens the unit",
	}
}

// refusalOf is the text for a verdict that is neither Admitted, Fenced nor
// Doomed.
func (p *Proxy) refusalOf(v guard.Verdict, d route.Decision) *prove.Refusal {
	switch v {
	case guard.NotOwner:
		return notOwner(d)
	case guard.AccessDenied:
		return accessMode(p.cfg.Unit, p.guard.View().UnitAccess(p.cfg.Unit))
	default:
		return noLease()
	}
}

// Refusals of commands that have nothing to do with keys, by the numbers that
// servers use.
var (
	errKill       = &mysql.ServerError{Code: 1095, State: "HY000", Message: "atoll: kill: connections of a proxy are not killed through it (close the client's connection)"}
	errCommand    = &mysql.ServerError{Code: 1047, State: "08S01", Message: "Unknown command"}
	errMultiple   = &mysql.ServerError{Code: 1235, State: "42000", Message: "atoll: several statements: one text holds one statement (send them one by one)"}
	errUnknown    = &mysql.ServerError{Code: 1243, State: "HY000", Message: "Unknown prepared statement handler"}
	errStatements = &mysql.ServerError{Code: 1461, State: "42000", Message: "atoll: prepared statements: this connection has too many (close some)"}
	errTooLarge   = &mysql.ServerError{Code: 1153, State: "08S01", Message: "Got a packet bigger than 'max_allowed_packet' bytes"}
	errSettings   = &mysql.ServerError{Code: 1226, State: "42000", Message: "atoll: settings: this connection has changed too many to write a center-unit table by it (connect anew)"}
	errArguments  = &mysql.ServerError{Code: 1210, State: "HY000", Message: "Incorrect arguments to EXECUTE"}
	errMalformed  = &mysql.ServerError{Code: 1835, State: "HY000", Message: "Malformed communication packet"}
)
