package dbproxy_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The table of docs/clients.md and the tests that it names hold each other:
// no row without a test, no such test without a row, no number that nobody
// sends; and a test of a refused statement takes its number from the row.
const clientsDocument = "../../docs/clients.md"

// clientRow is one row of the table.
type clientRow struct {
	line                  int
	what, happens, number string
	mend                  string
	tests                 []string // TestName or TestName/part
}

const clientsHeader = "| statement or behaviour | what happens | error | mend | test |"

// clientRows are the rows of all tables with the header.
func clientRows(text string) (rows []clientRow, problems []string) {
	inside := false
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == clientsHeader:
			inside = true
			continue
		case !strings.HasPrefix(line, "|"):
			inside = false
		}
		if !inside || strings.HasPrefix(line, "|--") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			problems = append(problems, fmt.Sprintf("line %d has %d cells, want 5", i+1, len(cells)))
			continue
		}
		for c := range cells {
			cells[c] = strings.TrimSpace(cells[c])
		}
		r := clientRow{line: i + 1, what: cells[0], happens: cells[1], number: cells[2], mend: cells[3]}
		for _, m := range regexp.MustCompile("`(Test[^`]+)`").FindAllStringSubmatch(cells[4], -1) {
			r.tests = append(r.tests, m[1])
		}
		rows = append(rows, r)
	}
	return rows, problems
}

var number = regexp.MustCompile(`\b\d{4}\b`)

func (r *clientRow) numbers() (list []int) {
	for _, text := range number.FindAllString(r.number, -1) {
		n, _ := strconv.Atoi(text)
		list = append(list, n)
	}
	return list
}

// clientTests are the tests of some folders: name → texts in its body, among
// which the names of its parts are.
func clientTests(t *testing.T, folders ...string) map[string][]string {
	t.Helper()
	tests := map[string][]string{}
	for _, folder := range folders {
		for _, file := range parsed(t, folder, true) {
			for _, d := range file.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
					tests[fn.Name.Name] = texts(fn)
				}
			}
		}
	}
	return tests
}

// parsed are the Go files of a folder, the tests or the others.
func parsed(t *testing.T, folder string, tests bool) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no Go files in %s: %v", folder, err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") != tests {
			continue
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, raw, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func texts(n ast.Node) []string {
	list := []string{}
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				list = append(list, text)
			}
		}
		return true
	})
	return list
}

// clientNumbers are the numbers that the proxy gives: constants called code…
// or err…, and Code: in its errors.
func clientNumbers(t *testing.T, folders ...string) []int {
	t.Helper()
	var list []int
	take := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.INT {
			n, _ := strconv.Atoi(lit.Value)
			list = append(list, n)
		}
	}
	for _, folder := range folders {
		for _, file := range parsed(t, folder, false) {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					for i, name := range n.Names {
						if regexp.MustCompile("^([cC]ode|err)[A-Z]").MatchString(name.Name) && i < len(n.Values) {
							take(n.Values[i])
						}
					}
				case *ast.KeyValueExpr:
					if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
						take(n.Value)
					}
				}
				return true
			})
		}
	}
	return list
}

// clientProblems is what is wrong with the table.
func clientProblems(text string, tests map[string][]string, numbers []int) []string {
	rows, problems := clientRows(text)
	say := func(r *clientRow, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("line %d (%s): ", r.line, r.what)+fmt.Sprintf(format, args...))
	}
	named := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		if r.what == "" || r.happens == "" || r.number == "" || r.mend == "" {
			say(r, "a cell is empty")
		}
		for _, n := range r.numbers() {
			if !slices.Contains(numbers, n) {
				say(r, "the proxy gives no error %d", n)
			}
		}
		if len(r.tests) == 0 {
			say(r, "it names no test")
		}
		for _, test := range r.tests {
			named[test] = true
			function, part, _ := strings.Cut(test, "/")
			named[function] = true
			switch body, ok := tests[function]; {
			case !ok:
				say(r, "there is no test %s", function)
			case part != "" && !slices.Contains(body, part):
				say(r, "test %s has no part %s", function, part)
			}
		}
	}
	for name := range tests {
		if strings.HasPrefix(name, "TestClients_") && !named[name] {
			problems = append(problems, fmt.Sprintf("test %s is in no row", name))
		}
	}
	slices.Sort(problems)
	return problems
}

func clientsText(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(clientsDocument)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestClientsTable(t *testing.T) {
	text := clientsText(t)
	tests := clientTests(t, ".", "prove", "../wire/mysql", "../dbsync", "../dbsync/apply")
	for _, p := range clientProblems(text, tests, clientNumbers(t, ".", "prove", "../wire/mysql")) {
		t.Error("docs/clients.md: " + p)
	}
	if rows, _ := clientRows(text); len(rows) < 60 {
		t.Errorf("docs/clients.md has %d rows, want 60 or more", len(rows))
	}
}

// documented is the one number that the table gives for a test.
func documented(t *testing.T, test string) uint16 {
	t.Helper()
	rows, _ := clientRows(clientsText(t))
	var all []int
	for _, r := range rows {
		if slices.Contains(r.tests, test) {
			all = append(all, r.numbers()...)
		}
	}
	if len(all) != 1 {
		t.Fatalf("docs/clients.md gives %v for %s, want one number", all, test)
	}
	return uint16(all[0])
}

// TestClientsTableIsChecked is the negative control.
func TestClientsTableIsChecked(t *testing.T) {
	const head = clientsHeader + "\n|---|---|---|---|---|\n"
	tests := map[string][]string{"TestClients_A": {"x", "part"}, "TestOther": {}}
	for name, c := range map[string]struct{ table, want string }{
		"good":                {head + "| a | b | 9603 | c | `TestClients_A/part` |", ""},
		"two tests":           {head + "| a | b | none | c | `TestClients_A`, `TestOther` |", ""},
		"no such test":        {head + "| a | b | 9603 | c | `TestClients_A`, `TestGone` |", "no test TestGone"},
		"no such part":        {head + "| a | b | 9603 | c | `TestClients_A/other` |", "no part other"},
		"no test":             {head + "| a | b | 9603 | c | none |", "names no test"},
		"a number of nobody":  {head + "| a | b | 9699 | c | `TestClients_A` |", "no error 9699"},
		"a second number":     {head + "| a | b | 9603, then 1999 | c | `TestClients_A` |", "no error 1999"},
		"no mend":             {head + "| a | b | 9603 |  | `TestClients_A` |", "cell is empty"},
		"a cell too many":     {head + "| a | b | 9603 | c | d | `TestClients_A` |", "6 cells"},
		"a test without row":  {head + "| a | b | 9603 | c | `TestOther` |", "TestClients_A is in no row"},
		"a table of no rules": {"| a | b |\n|---|---|\n| `TestClients_A` | x |", "TestClients_A is in no row"},
	} {
		got := strings.Join(clientProblems(c.table, tests, []int{9603, 1095}), "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if n := clientNumbers(t, ".", "prove"); !slices.Contains(n, 9601) || !slices.Contains(n, 9606) || !slices.Contains(n, 1095) || slices.Contains(n, 9608) {
		t.Errorf("numbers %v", n)
	}
}
