package prove

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-live/atoll/space"
)

var rewrite = flag.Bool("rewrite", false, "write what the prover answers into testdata; read the diff before you keep it")

// TestScripts plans every statement of testdata/*.txt and compares the
// answers with those written there. The lines:
//
//	schema> NAME     schemas() to use from here on
//	session> WORDS   narrow, database=NAME or none, for the next statement
//	sql> TEXT        the statement; \n, \x01 and so on as in Go
//	bind> VALUES     bound values: 'text' 7 -7 7u x'00ff' null float other long
//	=> ANSWER
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	total := 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, n := run(t, string(text))
			total += n
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("answers differ from the script (-script +prover), see -rewrite:\n%s", diff)
			}
		})
	}
	if total < 250 {
		t.Errorf("the scripts hold %d statements, want 250 or more", total)
	}
}

// run answers a script and counts its statements.
func run(t *testing.T, script string) (string, int) {
	var out strings.Builder
	n := 0
	steps(t, script, func(line string, s *step) {
		out.WriteString(line)
		if s != nil {
			n++
			fmt.Fprintln(&out, "=> "+s.answer())
		}
	})
	return strings.TrimRight(out.String(), "\n") + "\n", n
}

// step is one statement of a script.
type step struct {
	schema  *Schema
	session Session
	sql     string
	params  []Param
	prover  *Prover
}

func (s *step) plan() *Plan { return s.prover.Plan(s.schema, s.session, []byte(s.sql)) }

// steps tells f of every line but the answers, and of every statement.
func steps(t *testing.T, script string, f func(line string, s *step)) {
	prover, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := &step{prover: prover}
	lines := bufio.NewScanner(strings.NewReader(script))
	lines.Buffer(nil, 1<<20)
	waiting := false
	flush := func() {
		if waiting {
			f("", s)
			s.params, s.session, waiting = nil, Session{}, false
		}
	}
	for lines.Scan() {
		line := lines.Text()
		word, rest, _ := strings.Cut(line, " ")
		if word != "bind>" {
			flush()
		}
		switch word {
		case "=>":
			continue
		case "schema>":
			s.schema = schemas(t)[rest]
		case "session>":
			s.session = session(t, rest)
		case "sql>":
			s.sql, waiting = unquote(t, rest), true
		case "bind>":
			s.params = params(t, rest)
		}
		f(line+"\n", nil)
	}
	flush()
}

func session(t *testing.T, text string) Session {
	var ses Session
	for w := range strings.FieldsSeq(text) {
		switch {
		case w == "narrow":
			ses.Narrow = true
		case strings.HasPrefix(w, "database="):
			ses.Database = strings.TrimPrefix(w, "database=")
		default:
			t.Fatalf("session> %s", text)
		}
	}
	return ses
}

// unquote reads \n, \x01, … as Go does, and leaves other back-slashes alone.
func unquote(t *testing.T, text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b bytes.Buffer
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+3 < len(text) && text[i+1] == 'x':
			c, err := hex.DecodeString(text[i+2 : i+4])
			if err != nil {
				t.Fatalf("sql> %s: %v", text, err)
			}
			b.Write(c)
			i += 3
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

func params(t *testing.T, text string) []Param {
	var list []Param
	for w := range strings.FieldsSeq(text) {
		list = append(list, param(t, w))
	}
	return list
}

func param(t *testing.T, w string) Param {
	switch {
	case w == "null":
		return Param{Kind: ParamNull}
	case w == "float":
		return Param{Kind: ParamFloat}
	case w == "other":
		return Param{Kind: ParamOther}
	case w == "long":
		return Param{Kind: ParamLongData}
	case strings.HasPrefix(w, "x'"):
		b, err := hex.DecodeString(strings.Trim(w, "x'"))
		if err != nil {
			t.Fatalf("bind> %s: %v", w, err)
		}
		return Param{Kind: ParamBytes, Bytes: b}
	case strings.HasPrefix(w, "'"):
		return Param{Kind: ParamString, Bytes: []byte(strings.ReplaceAll(strings.Trim(w, "'"), "·", " "))}
	case strings.HasSuffix(w, "u"):
		n, err := strconv.ParseUint(strings.TrimSuffix(w, "u"), 10, 64)
		if err != nil {
			t.Fatalf("bind> %s: %v", w, err)
		}
		return Param{Kind: ParamUint, Uint: n}
	}
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		t.Fatalf("bind> %s: %v", w, err)
	}
	return Param{Kind: ParamInt, Int: n}
}

var classNames = map[Class]string{
	Refused: "refused", Read: "read", LockingRead: "locking read", Write: "write", Begin: "begin", Commit: "commit",
	Rollback: "rollback", Savepoint: "savepoint", SetAutocommit: "set autocommit", Set: "set", Show: "show", Use: "use",
	Kill: "kill", Admin: "admin",
}

func kindNames(k Kinds) string {
	var list []string
	for i, name := range []string{"unit", "centerUnit", "center", "local"} {
		if k&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, "+")
}

var pinNames = []string{"user variable", "temporary", "named lock", "table lock", "found rows", "insert id"}

// answer tells all of a plan on one line.
func (s *step) answer() string {
	p := s.plan()
	if p.Refusal != nil {
		return fmt.Sprintf("%d %s", p.Refusal.Code, p.Refusal)
	}
	list := []string{classNames[p.Class]}
	say := func(ok bool, format string, args ...any) {
		if ok {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	say(p.Writes != 0, "writes %s", kindNames(p.Writes))
	say(p.Reads != 0, "reads %s", kindNames(p.Reads))
	say(len(p.Tables) > 0, "of %s", strings.Join(p.Tables, " "))
	say(p.ReadsOwner, "reads owner")
	say(p.Params > 0, "params %d", p.Params)
	say(p.Name != "", "name %s", p.Name)
	say(p.ImplicitCommit, "commits")
	say(p.Chain, "chain")
	say(p.Release, "release")
	say(p.ReadOnly, "read only")
	say(p.LocalInfile, "local infile")
	say(p.KillQuery, "query")
	say(p.Class == Kill, "id %d", p.KillID)
	say(p.Autocommit == On, "autocommit on")
	say(p.Autocommit == Off, "autocommit off")
	for _, set := range p.Settings {
		list = append(list, fmt.Sprintf("{%s = %s}", set.Name, set.Value))
		say(set.Narrow, "narrow")
	}
	for i, name := range pinNames {
		say(p.Pins&(1<<i) != 0, "pin %s", name)
	}
	return strings.Join(append(list, s.keys(p)...), ", ")
}

func (s *step) keys(p *Plan) []string {
	var list []string
	if p.Unproven != nil {
		list = append(list, "unproven: "+p.Unproven.Rule)
	}
	keys, why := p.Resolve(s.params)
	switch {
	case why != nil:
		list = append(list, fmt.Sprintf("resolve %d %s", why.Code, why))
	case p.Keyed || len(keys) > 0:
		list = append(list, fmt.Sprintf("keys %q", keys))
	}
	return list
}

// schemas are the fixtures by name; the tables are those of shopDDL.
func schemas(t testing.TB) map[string]*Schema {
	list := map[string]*Schema{}
	for name, kind := range map[string]space.TableKind{
		"refuse": space.TableRefuse, "local": space.TableLocal, "center": space.TableCenter,
	} {
		s, err := NewSchema("shop", kind, shopTables(), shopHazards())
		if err != nil {
			t.Fatal(err)
		}
		list[name] = s
	}
	return list
}

func shopTables() map[string]Table {
	unit := func(owner, uniques bool, c Column) Table {
		return Table{Kind: space.TableUnit, ReadsOwner: owner, UniquesHoldKey: uniques, Key: c}
	}
	buyer := Column{Name: "buyer_id", Type: Text, Length: 32, Collation: "utf8mb4_bin"}
	user := Column{Name: "user_id", Type: Integer, Bits: 64}
	return map[string]Table{
		"orders":   unit(true, false, buyer),
		"items":    unit(false, false, buyer),
		"carts":    unit(false, true, buyer),
		"wallets":  unit(true, false, user),
		"history":  unit(false, true, user),
		"points":   unit(false, true, Column{Name: "user_id", Type: Integer, Bits: 64, Unsigned: true, AutoIncrement: true}),
		"tiny":     unit(false, false, Column{Name: "k", Type: Integer, Bits: 8}),
		"names":    unit(false, true, Column{Name: "name", Type: Text, Length: 8, Collation: "utf8mb4_general_ci"}),
		"latins":   unit(false, true, Column{Name: "name", Type: Text, Length: 8, Collation: "latin1_swedish_ci"}),
		"latbin":   unit(false, false, Column{Name: "name", Type: Text, Length: 8, Collation: "latin1_bin"}),
		"romans":   unit(false, false, Column{Name: "name", Type: Text, Length: 8, Collation: "utf8mb4_roman_ci"}),
		"tokens":   unit(false, false, Column{Name: "token", Type: Binary, Length: 8}),
		"fixed":    unit(false, false, Column{Name: "token", Type: Binary, Length: 4, Fixed: true}),
		"devices":  unit(false, false, Column{Name: "device", Type: UUID}),
		"odd":      unit(false, false, Column{Name: "total"}),
		"derived":  unit(false, false, Column{Name: "buyer_id", Type: Text, Length: 32, Collation: "utf8mb4_bin", Generated: true}),
		"products": {Kind: space.TableCenterUnit},
		"stock":    {Kind: space.TableCenter},
		"logs":     {Kind: space.TableLocal},
	}
}

// shopHazards are of tables that nothing else of the scripts names.
func shopHazards() map[string]Hazard {
	view := Hazard{Rule: "view", What: "paid is a view", Mend: "name the tables themselves"}
	return map[string]Hazard{
		"shop.paid": view, "other.paid": view,
		"shop.audited": {Rule: "trigger", What: "trigger t of table audited may write rows that no proof sees", Mend: "drop it"},
		"shop.charge":  {Rule: "view", What: "charge is a view", Mend: "name the tables themselves", Reads: true},
	}
}
