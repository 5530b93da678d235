package prove

import (
	"strings"

	"github.com/atoll-live/atoll/space"
)

// unread is the plan of a text that the parser cannot read. No parser in Go
// reads all that MariaDB does, so nothing passes because it is unknown: SHOW
// passes; what names a listed table is refused; the rest follows the kind of
// the tables that are not listed.
func (a *analyzer) unread() {
	list := words(a.scanned.clean)
	if len(list) == 0 || list[0].quoted {
		a.refuse(unprovable("statement", "the text is not a statement", "write SQL"))
		return
	}
	first := strings.ToUpper(list[0].text)
	if first == "SET" {
		a.refuse(unprovable("SET", "this form of SET cannot be read by the parser", "set variables to plain constants; use utf8mb4"))
		return
	}
	for _, w := range list {
		if a.schema.names(w.text) {
			a.refuse(unprovable("statement cannot be read", "it names the listed table "+w.text+" and cannot be read by the parser",
				"put names in back-ticks, or write it more plainly"))
			return
		}
		if another := a.schema.Another(w.text); another != nil && first != "SHOW" {
			a.refuse(another)
			return
		}
		if what, ok := a.schema.shunned[strings.ToLower(w.text)]; ok && first != "SHOW" {
			a.refuse(unprovable("statement cannot be read", "it cannot be read by the parser, and "+what, "write it more plainly"))
			return
		}
	}
	switch {
	case first == "SHOW" || first == "HELP":
		a.plan.Class = Show
		a.guess(list)
	case a.schema.standard == space.TableLocal && queries[first]:
		a.guess(list)
	case queries[first]:
		a.refuse(&Refusal{Code: CodeUnlisted, Rule: "statement cannot be read", What: "it cannot be read by the parser, and names no listed table",
			Mend: "put names in back-ticks, or write it more plainly"})
	default:
		a.refuse(unprovable("statement", "this kind of statement does not go through the proxy", "run it on each unit's server directly"))
	}
}

// queries are the words that a statement which reads or writes rows begins
// with.
var queries = map[string]bool{
	"SELECT": true, "WITH": true, "VALUES": true, "INSERT": true, "REPLACE": true, "UPDATE": true, "DELETE": true,
}

// callers are words before a parenthesis that call no function.
var callers = func() map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(`
	all and any as between by case distinct div else exists from group having in index interval into join key like limit
	mod not on or order over partition regexp returning rlike row select set some then union unit use using values value
	when where with xor recursive`) {
		set[w] = true
	}
	return set
}()

// guess plans a text of tables that are not listed by its words alone. It
// errs to the side of writing.
func (a *analyzer) guess(list []token) {
	p := a.plan
	if p.Class != Show {
		p.Class, p.Reads = Read, LocalTables
	}
	for i, w := range list {
		name := strings.ToLower(w.text)
		switch {
		case w.called && !callers[name] && !builtIns[name] && !columnList(list, i):
			a.builtIn(w.text)
		case !w.quoted && (name == "outfile" || name == "dumpfile" || name == "execute" || name == "procedure" && p.Class != Show):
			a.refuse(unprovable("statement cannot be read", "it cannot be read by the parser, and does more than read and write rows", "write it more plainly"))
		case !w.quoted && (name == "insert" || name == "replace" || name == "update" || name == "delete") && p.Class != Show:
			p.Class, p.Writes = Write, LocalTables
		case !w.quoted && (name == "for" || name == "lock") && p.Class == Read:
			p.Class = LockingRead
		case system(name) && p.Class == Write:
			a.refuse(unprovable("system table", "the statement may write database "+w.text, "leave it to the server"))
		}
	}
	if strings.Contains(a.scanned.clean, "@") {
		p.Pins |= PinUserVariable
	}
}

// Touches says whether the body of a trigger may write a table of which names
// says so: it names one, or calls what cannot be seen.
func Touches(body string, names func(word string) bool) bool {
	sc, why := scan([]byte(body), false)
	if why != nil {
		return true
	}
	list := words(sc.clean)
	for _, w := range list {
		word := strings.ToLower(w.text)
		if names(w.text) || !w.quoted && (word == "call" || word == "execute") {
			return true
		}
	}
	return calls(list)
}

// Calls says whether the text of a view calls a function that is not built in.
func Calls(view string) bool {
	sc, why := scan([]byte(view), false)
	return why != nil || calls(words(sc.clean))
}

// bodies are words before a parenthesis that call no function, in the bodies
// of triggers and in CAST.
var bodies = func() map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(`
	elseif while until return binary bit char datetime decimal double enum float int bigint mediumint numeric smallint time
	timestamp tinyint varbinary varchar`) {
		set[w] = true
	}
	return set
}()

func calls(list []token) bool {
	for i, w := range list {
		name := strings.ToLower(w.text)
		if w.called && !builtIns[name] && !columnList(list, i) && (w.quoted || !callers[name] && !bodies[name]) {
			return true
		}
	}
	return false
}

// columnList says whether the word is the table of an INSERT INTO table (…).
func columnList(list []token, i int) bool {
	return i > 0 && !list[i-1].quoted && strings.EqualFold(list[i-1].text, "into")
}

// withoutWork is the text without the word WORK behind BEGIN, COMMIT or
// ROLLBACK, which the parser does not know.
func withoutWork(clean string) (string, bool) {
	list := words(clean)
	if len(list) < 2 || list[0].quoted || list[1].quoted || !strings.EqualFold(list[1].text, "work") {
		return clean, false
	}
	switch strings.ToUpper(list[0].text) {
	case "BEGIN", "COMMIT", "ROLLBACK":
		return clean[:list[1].at] + "    " + clean[list[1].at+len("work"):], true
	}
	return clean, false
}

// returning cuts the RETURNING clause, which the parser does not know, off an
// INSERT, REPLACE or DELETE. MariaDB reserves the word and takes the clause
// only at the end. Fields is the clause as a SELECT; both texts keep the
// offsets of their ? markers.
func returning(clean string) (statement, fields string, ok bool) {
	list := words(clean)
	if len(list) == 0 {
		return "", "", false
	}
	switch strings.ToUpper(list[0].text) {
	case "INSERT", "REPLACE", "DELETE":
	default:
		return "", "", false
	}
	for _, w := range list {
		if w.quoted || w.depth > 0 || !strings.EqualFold(w.text, "returning") {
			continue
		}
		if ok {
			return "", "", false
		}
		end := w.at + len("returning")
		statement, fields, ok = clean[:w.at], strings.Repeat(" ", end-len("SELECT"))+"SELECT"+clean[end:], true
	}
	return statement, fields, ok
}
