package route

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/atoll-live/atoll/space"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into the scripts of testdata; read the diff before you accept it")

// TestScripts runs testdata/*.txt. A script is a list of steps:
//
//	command name=value …
//	input lines, as the command wants them
//	----
//	the answer, up to an empty line
//
// Lines that begin with # are remarks. The commands are methods of script.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { runScript(t, file) })
	}
}

type step struct {
	line    int
	before  []string // remarks and empty lines
	command string
	input   []string
	want    []string
}

func readScript(t *testing.T, file string) []step {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	var steps []step
	for i := 0; i < len(lines); {
		s := step{}
		for ; i < len(lines) && (lines[i] == "" || lines[i][0] == '#'); i++ {
			s.before = append(s.before, lines[i])
		}
		if i == len(lines) {
			break
		}
		s.line, s.command = i+1, lines[i]
		for i++; i < len(lines) && lines[i] != "----"; i++ {
			s.input = append(s.input, lines[i])
		}
		for i++; i < len(lines) && lines[i] != ""; i++ {
			s.want = append(s.want, lines[i])
		}
		steps = append(steps, s)
	}
	return steps
}

func runScript(t *testing.T, file string) {
	steps := readScript(t, file)
	sc := &script{t: t}
	var out strings.Builder
	for _, s := range steps {
		answer := sc.run(s)
		for _, b := range s.before {
			out.WriteString(b + "\n")
		}
		out.WriteString(strings.Join(append([]string{s.command}, s.input...), "\n") + "\n----\n" + answer + "\n")
		if want := strings.Join(s.want, "\n"); answer != want && !*rewrite {
			t.Errorf("%s:%d: %s\n%s\nwant\n%s", file, s.line, s.command, answer, want)
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// script is the state of a running script.
type script struct {
	t     *testing.T
	text  string // YAML of the space
	docs  []space.Document
	table *Table
	moved *space.Transfer
}

func (sc *script) run(s step) string {
	name, rest, _ := strings.Cut(s.command, " ")
	args := arguments(rest)
	var answer string
	var err error
	switch name {
	case "space":
		answer, err = sc.space(strings.Join(s.input, "\n"))
	case "request":
		answer = sc.request(args)
	case "key":
		answer = sc.key(args)
	case "explain":
		answer = sc.explain(args)
	case "plan":
		answer, err = sc.plan(args)
	case "switch":
		answer, err = sc.change(false)
	case "back":
		answer, err = sc.change(true)
	case "edit":
		answer, err = sc.edit(s.input)
	default:
		sc.t.Fatalf("line %d: unknown command %q", s.line, name)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return answer
}

// arguments reads name=value pairs; a value in quotes may hold blanks.
func arguments(text string) map[string]string {
	args := map[string]string{}
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			args[text] = ""
			break
		}
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			args[name], _ = strconv.Unquote(quoted)
			text = rest[len(quoted):]
			continue
		}
		args[name], text, _ = strings.Cut(rest, " ")
	}
	return args
}

// space reads the space of the script, and the databases that follow it.
func (sc *script) space(text string) (string, error) {
	docs, err := read(text)
	if err != nil {
		return "", err
	}
	sc.text, sc.docs = text, docs
	sc.table, err = Compile(docs[0].Space)
	return "ok", err
}

func read(text string) ([]space.Document, error) {
	docs, problems, err := space.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	problems = append(problems, space.Validate(docs...)...)
	return docs, problems.Err()
}

// httpRequest makes a request of host, path, and q.NAME, h.NAME, c.NAME.
func httpRequest(args map[string]string) Request {
	parts := map[string]Values{"q": {}, "h": {}, "c": {}}
	for name, value := range args {
		if kind, key, ok := strings.Cut(name, "."); ok {
			parts[kind][key] = value
		}
	}
	return NewRequest(args["host"], args["path"], parts["q"], parts["h"], parts["c"])
}

func (sc *script) request(args map[string]string) string {
	return describe(sc.table.Decide(httpRequest(args)))
}

func (sc *script) key(args map[string]string) string {
	return describe(sc.table.DecideKey(args["rule"], args["key"]))
}

// describe tells what a decision says, absent parts left out.
func describe(d Decision) string {
	parts := []string{string(d.Action)}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	add("unit", d.Unit)
	add("cell", d.Cell)
	add("reason", string(d.Reason))
	add("owned-by", string(d.OwnedBy))
	add("prefix", d.Prefix)
	add("domain", d.Domain)
	add("path", d.Path)
	add("rule", d.Rule)
	add("variable", d.Variable)
	add("key", d.Key)
	if d.Bucket >= 0 {
		add("bucket", strconv.Itoa(d.Bucket))
	}
	return strings.Join(parts, " ")
}

func (sc *script) explain(args map[string]string) string {
	if rule, ok := args["rule"]; ok {
		e, err := ExplainKey(sc.table, rule, args["key"])
		if err != nil {
			return "error: " + err.Error()
		}
		return strings.Join(e.Steps, "\n")
	}
	return strings.Join(Explain(sc.table, httpRequest(args)).Steps, "\n")
}

func (sc *script) plan(args map[string]string) (string, error) {
	var want Want
	var err error
	for name, value := range args {
		switch name {
		case "percent":
			want.Percent, err = strconv.Atoi(value)
		case "buckets":
			want.Buckets, err = ParseBuckets(value)
		case "keys":
			want.Keys = strings.Split(value, ",")
		case "prefixes":
			want.Prefixes = strings.Split(value, ",")
		case "all":
			want.All = true
		}
		if err != nil {
			return "", err
		}
	}
	keys, err := Plan(sc.docs[0].Space, args["rule"], args["from"], args["to"], want)
	if err != nil {
		return "", err
	}
	sc.moved = &space.Transfer{Rule: args["rule"], From: args["from"], To: args["to"], Keys: keys}
	return fmt.Sprintf("buckets [%s] keys %q prefixes %q", FormatBuckets(keys.Buckets), keys.Keys, keys.Prefixes), nil
}

// change makes the planned move, or its reverse, and tells the rule.
func (sc *script) change(back bool) (string, error) {
	t := sc.moved
	if back {
		t = reverse(t)
	}
	next, err := Switch(sc.docs[0].Space, t)
	if err != nil {
		return "", err
	}
	sc.docs[0].Space = next
	if sc.table, err = Compile(next); err != nil {
		return "", err
	}
	var lines []string
	for _, r := range next.Spec.UnitRules {
		if r.ID != t.Rule {
			continue
		}
		for _, u := range r.Units {
			line := fmt.Sprintf("%s: ranges [%s] allows %q prefixes %q", u.Code, FormatBuckets(u.Ranges), u.Allows, u.Prefixes)
			if len(u.Left) > 0 {
				line += fmt.Sprintf(" left %v", u.Left)
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// edit replaces text of the documents, "old => new" on a line each, and tells
// which owners that would change.
func (sc *script) edit(edits []string) (string, error) {
	text := sc.text
	for _, e := range edits {
		e = strings.ReplaceAll(e, `\n`, "\n")
		old, replacement, ok := strings.Cut(e, " => ")
		if !ok {
			old, replacement = strings.TrimSuffix(e, " =>"), ""
		}
		if strings.Count(text, old) != 1 {
			sc.t.Fatalf("edit: %q stands %d times in the documents", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	docs, err := read(text)
	if err != nil {
		return "", err
	}
	changes, err := OwnersChanged(snapshotOf(sc.docs), snapshotOf(docs))
	if err != nil {
		return "", err
	}
	if len(changes) == 0 {
		return "no owner changes", nil
	}
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n"), nil
}

func snapshotOf(docs []space.Document) *space.Snapshot {
	s := &space.Snapshot{Epoch: 1}
	for _, d := range docs {
		if d.Space != nil {
			s.Space, s.Document = d.Space.Spec.Code, d.Space
		} else {
			s.Databases = append(s.Databases, d.Database)
		}
	}
	return s
}
