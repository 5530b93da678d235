package space

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func shop(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustParse(t testing.TB, data []byte) []Document {
	t.Helper()
	docs, problems, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return docs
}

func mustJSON(t testing.TB, docs ...Document) string {
	t.Helper()
	data, err := JSON(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseWholeDocument(t *testing.T) {
	docs := mustParse(t, shop(t))
	if len(docs) != 2 || docs[0].String() != "MultiLiveSpace shop" || docs[1].String() != "Database shop" {
		t.Fatalf("documents %v", docs)
	}
	if problems := Validate(docs...); len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	s := docs[0].Space.Spec
	if s.Version != "2023120609580935201" || s.UnitRules[0].ID != "1003" || s.Domains[0].Paths[0].RuleID != "1003" {
		t.Errorf("numbers lost their text: version %s, rule %s, path rule %s", s.Version, s.UnitRules[0].ID, s.Domains[0].Paths[0].RuleID)
	}
	if p := s.Domains[0].Paths[1]; p.BizVariableScope != ScopeHeader || p.BizVariableRules[0].RuleID != "one" {
		t.Errorf("business parameter: %+v", p)
	}
	if got := s.Domains[0].UnitDomains[1].HostOf(&s.Domains[0]); got != "unit-b-shop.example" {
		t.Errorf("default subdomain %s", got)
	}
	if db := docs[1].Database.Spec; db.Sources[1].Port != 3312 || db.Tables[0].Reads != ReadsOwner {
		t.Errorf("database: %+v", db)
	}
}

// JSON and YAML carry the same, whichever way around and however often.
func TestRoundTrip(t *testing.T) {
	docs := mustParse(t, shop(t))
	want := mustJSON(t, docs...)
	for range 2 {
		y, err := YAML(docs...)
		if err != nil {
			t.Fatal(err)
		}
		docs = mustParse(t, y)
		if got := mustJSON(t, docs...); got != want {
			t.Fatalf("after YAML:\n%s\nwant\n%s", got, want)
		}
		docs = mustParse(t, []byte(want))
		if got := mustJSON(t, docs...); got != want {
			t.Fatalf("after JSON:\n%s\nwant\n%s", got, want)
		}
	}
	for _, part := range []string{`"id": "1003"`, `"version": "2023120609580935201"`, `"bizVariableScope": null`, `"resources": []`, `"allows": []`} {
		if !strings.Contains(want, part) {
			t.Errorf("no %s in\n%s", part, want)
		}
	}
}

func TestUnknownFieldsSurvive(t *testing.T) {
	const text = `{"apiVersion":"apaas.cos.com/v2alpha1","kind":"MultiLiveSpace","top":1.50,"metadata":{"name":"m","annotations":{"a":"b"}},
		"spec":{"code":"s","topics":["t"],"units":[{"code":"u","type":"UNIT","decorator":"x","cells":[{"code":"c","role":12345678901234567890}]}],
		"unitRules":[{"id":1,"units":[{"code":"u","failoverUnit":"v","cells":[{"code":"c","hint":true}]}]}],
		"domains":[{"host":"h","id":7,"unitDomains":[{"unit":"u","x":null}],"paths":[{"path":"/","matchType":"PREFIX","bizVariableRules":[{"value":"v","id":9}]}]}],
		"variables":[{"name":"v","note":"<&>","sources":[{"name":"s","y":{"z":[1,"2"]}}]}]}}`
	docs, problems, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) != 13 || len(problems.Errors()) != 0 || len(problems.Strict().Errors()) != 13 {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	out := mustJSON(t, docs...)
	for _, part := range []string{`"top": 1.50`, `"a": "b"`, `"topics"`, `"decorator": "x"`, `"role": 12345678901234567890`, `"failoverUnit": "v"`,
		`"hint": true`, `"id": 7`, `"x": null`, `"matchType": "PREFIX"`, `"id": 9`, `"note": "<&>"`, `"z"`} {
		if !strings.Contains(out, part) {
			t.Errorf("%s is lost in\n%s", part, out)
		}
	}
	y, err := YAML(docs...)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := Parse(y)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustJSON(t, again...); got != out {
		t.Errorf("through YAML:\n%s\nwant\n%s", got, out)
	}
	// encoding/json keeps them as well, wherever the type stands.
	snapshot := Snapshot{Space: "s", Epoch: 7, Document: docs[0].Space, Databases: []*Database{{Extra: map[string]any{"e": "f"}}},
		Moves: []*Transfer{{ID: "m", Keys: KeySet{Keys: []string{"k"}}, FenceEpoch: 3}}}
	first, err := json.Marshal(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(first, &back); err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) || !bytes.Contains(second, []byte("decorator")) || !bytes.Contains(second, []byte(`"e":"f"`)) {
		t.Errorf("snapshot:\n%s\nwant\n%s", second, first)
	}
	unit, err := json.Marshal(back.Document.Spec.Units[0])
	if err != nil || !bytes.Contains(unit, []byte("decorator")) {
		t.Errorf("a unit alone: %s, %v", unit, err)
	}
}

// A field of the type wins over one of the same name in Extra.
func TestExtraDoesNotDouble(t *testing.T) {
	data, err := json.Marshal(Unit{Code: "a", Extra: map[string]any{"code": "b", "z": 1, "k": 2}})
	if want := `{"code":"a","name":"","labels":{},"cells":[],"k":2,"z":1}`; err != nil || string(data) != want {
		t.Errorf("%s %v, want %s", data, err, want)
	}
}

func TestLenientScalars(t *testing.T) {
	docs := mustParse(t, []byte(`
apiVersion: apaas.cos.com/v2alpha1
kind: MultiLiveSpace
metadata: {name: m}
spec:
  workspaceId: 0x10
  code: 007
  version: 12.50
  units:
    - {code: 1, type: center, accessMode: Read, labels: {a: 1, b: true, c: 1.0}}
    - {code: 2, type: Unit, accessMode: read_only}
    - {code: 3, type: Unit, accessMode: READ}
  unitRules:
    - id: 1003
      type: CrossRegionLive
      biz: b
      accessor: s
      function: BKDRHash
      actionWithoutVariable: center
      modulo: "10000"
      unitRoutes:
        - {code: 1, whitelist: [13800138000, 1e3, true], prefix: [a], range: [{from: "0", to: 10000}], cells: [{code: c, ratio: 3}]}
  domains:
    - {host: h, unitFlag: true, subDomainEnabled: "true", subDomains: [], paths: [{path: /, unitRuleId: 1003, variableAccessor: true, accessor: s}]}
  variables:
    - {name: v, accessors: [{name: s, scope: query, key: k, function: ""}]}
`))
	s := docs[0].Space.Spec
	r := s.UnitRules[0]
	u := r.Units[0]
	for _, c := range []struct{ what, got, want string }{
		{"id", s.ID, "0x10"}, {"code", s.Code, "007"}, {"version", s.Version, "12.50"},
		{"type", string(s.Units[0].Type), "CENTER"}, {"mode", string(s.Units[0].AccessMode), "READ_ONLY"},
		{"mode 2", string(s.Units[1].AccessMode), "READ_ONLY"}, {"mode 3", string(s.Units[2].AccessMode), "READ_ONLY"},
		{"labels", s.Units[0].Labels["a"] + s.Units[0].Labels["b"] + s.Units[0].Labels["c"], "1true1.0"},
		{"live type", string(r.LiveType), "CROSS_REGION_LIVE"}, {"business", r.Business, "b"},
		{"source", r.VariableSource, "s"}, {"function", r.VariableFunction, "BKDRHash"}, {"missing", string(r.VariableMissingAction), "CENTER"},
		{"allows", strings.Join(u.Allows, ","), "13800138000,1e3,true"}, {"prefixes", strings.Join(u.Prefixes, ","), "a"},
		{"domain type", string(s.Domains[0].LiveType), "CROSS_REGION_LIVE"}, {"path rule", s.Domains[0].Paths[0].RuleID, "1003"},
		{"path source", s.Domains[0].Paths[0].VariableSource, "s"}, {"scope", string(s.Variables[0].Sources[0].Scope), "QUERY"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
	if r.Modulo != 10000 || u.Ranges[0] != (Range{0, 10000}) || u.Cells[0].Weight != 3 || !s.Domains[0].UnitDomainEnabled {
		t.Errorf("numbers: %+v %+v", r, s.Domains[0])
	}
}

func TestParseForms(t *testing.T) {
	const one = `{"kind":"MultiLiveSpace","spec":{"code":"a"}}`
	const two = `{"kind":"Database","metadata":{"name":"b"}}`
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"one":                  {one, 1},
		"a list":               {"[" + one + "," + two + "]", 2},
		"one after another":    {one + "\n" + two, 2},
		"a byte order mark":    {"\ufeff" + one, 1},
		"YAML documents":       {"kind: Database\n---\n---\nkind: MultiLiveSpace\n", 2},
		"a YAML list":          {"- kind: Database\n- kind: MultiLiveSpace\n", 2},
		"YAML lists":           {"---\n- kind: Database\n---\nkind: Database\n", 2},
		"YAML in braces":       {"{kind: Database, metadata: {name: b}}", 1},
		"an anchor of YAML":    {"kind: MultiLiveSpace\nspec: {units: [&u {code: a}, *u]}\n", 1},
		"JSON with tabs in it": {"{\n\t\"kind\": \"Database\"\n}", 1},
	} {
		t.Run(name, func(t *testing.T) {
			if docs := mustParse(t, []byte(c.text)); len(docs) != c.want {
				t.Errorf("%d documents, want %d", len(docs), c.want)
			}
		})
	}
}

func TestParseRefusesInput(t *testing.T) {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":             {"", "no document"},
		"only comments":       {"# nothing\n---\n", "no document"},
		"half an object":      {`{"kind":`, "line 1"},
		"a JSON key twice":    {"{\"kind\":\"Database\",\n\"kind\":\"Database\"}", `line 2: "kind" stands twice`},
		"a YAML key twice":    {"kind: Database\nspec:\n  a: 1\n  a: 2\n", `line 4: "a" stands twice`},
		"deep JSON":           {`{"kind":"Database","x":` + deep + "}", "inside one another"},
		"deep YAML":           {"kind: Database\nx: " + deep, "inside one another"},
		"a merge key of YAML": {"a: &a {b: c}\nkind: Database\nx: {<<: *a}\n", "field name"},
		"a list as a name":    {"? [a]\n: b\n", "field name"},
		"bytes":               {"\xff\xfe", "UTF-8"},
		"an endless alias":    {"kind: Database\nx: &x [*x]\n", ""},
		"broken YAML":         {"kind: [", "YAML"},
		"too large":           {strings.Repeat(" ", MaxSize) + "{}", "more than"},
		"an alias bomb":       {bomb(), "more than"},
		"binary":              {"kind: Database\nx: !!binary aGk=\n", "binary"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// bomb is a short YAML text that means more than a million values.
func bomb() string {
	var b strings.Builder
	b.WriteString("kind: Database\na: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 7 {
		n := string(rune('0' + i))
		next := string(rune('1' + i))
		b.WriteString("b" + n + ": &a" + next + " [" + strings.Repeat("*a"+n+",", 9) + "*a" + n + "]\n")
	}
	return b.String()
}

func TestParseProblems(t *testing.T) {
	for name, c := range map[string]struct {
		text, path, reason string
		line               int
	}{
		"no kind":            {"spec: {}\n", "kind", "does not say what it is", 1},
		"an unknown kind":    {"a: 1\nkind: Pod\n", "kind", `unknown kind "Pod"`, 2},
		"no object":          {"- 3\n", "", "a document is an object", 1},
		"a list for text":    {"kind: Database\nspec:\n  space: [a]\n", "spec.space", "wants text, not a list", 3},
		"text for a list":    {"kind: Database\nspec:\n  tables: orders\n", "spec.tables", "wants a list, not text", 3},
		"a list for object":  {"kind: Database\nspec: []\n", "spec", "wants an object, not a list", 2},
		"text for a number":  {"kind: Database\nspec:\n  sources:\n    - {unit: a}\n    - port: many\n", "spec.sources[1].port", `wants a whole number, not "many"`, 5},
		"a part of a number": {"kind: Database\nspec: {sources: [{port: 1.5}]}\n", "spec.sources[0].port", `wants a whole number, not "1.5"`, 2},
		"a huge number":      {"kind: Database\nspec: {sources: [{port: 99999999999}]}\n", "spec.sources[0].port", "is not between", 2},
		"text for truth":     {"kind: MultiLiveSpace\nspec: {domains: [{unitDomainEnabled: maybe}]}\n", "spec.domains[0].unitDomainEnabled", "wants true or false", 2},
		"an alias twice":     {"kind: MultiLiveSpace\nspec: {unitRules: [{units: [{prefix: [a], prefixes: [b]}]}]}\n", "spec.unitRules[0].units[0].prefixes", "are the same field", 2},
		"unknown in a range": {"kind: MultiLiveSpace\nspec: {unitRules: [{units: [{ranges: [{from: 0, upTo: 1}]}]}]}\n", "spec.unitRules[0].units[0].ranges[0].upTo", "unknown field", 2},
		"labels as a list":   {"kind: MultiLiveSpace\nspec: {units: [{labels: [a]}]}\n", "spec.units[0].labels", "wants an object", 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems, err := Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			wrong := problems.Errors()
			if len(wrong) != 1 || wrong[0].Path != c.path || !strings.Contains(wrong[0].Reason, c.reason) || wrong[0].Line != c.line {
				t.Errorf("problems %+v, want %s in line %d: %s", wrong, c.path, c.line, c.reason)
			}
		})
	}
}

func TestRead(t *testing.T) {
	d, err := Read([]byte(`{"kind":"MultiLiveSpace","spec":{"code":"s","x":1}}`))
	if err != nil || d.Name() != "s" || d.Space.Spec.Extra["x"] != json.Number("1") {
		t.Errorf("%v %v", d, err)
	}
	for _, text := range []string{`[{"kind":"Database"},{"kind":"Database"}]`, `{"kind":"Pod"}`, `{`} {
		if _, err := Read([]byte(text)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
	var s Space
	if err := json.Unmarshal([]byte(`{"spec":{"units":"a"}}`), &s); err == nil {
		t.Error("text was taken for a list")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(shop(f))
	f.Add([]byte(`[{"kind":"MultiLiveSpace","spec":{"code":"s","x":[1,{"y":null}]}}]`))
	f.Add([]byte("kind: Database\nspec: &a {tables: [{name: 0x1}]}\n---\n- kind: Database\n  spec: {sources: []}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, _, err := Parse(data)
		if err != nil || len(docs) == 0 {
			return
		}
		Validate(docs...)
		first, err := JSON(docs...)
		if err != nil {
			t.Fatal(err)
		}
		again, problems, err := Parse(first)
		if err != nil || len(problems.Errors()) > 0 {
			t.Fatalf("what was written cannot be read: %v %v\n%s", err, problems, first)
		}
		if second := mustJSON(t, again...); second != string(first) {
			t.Fatalf("JSON\n%s\nbecame\n%s", first, second)
		}
		y, err := YAML(docs...)
		if err != nil {
			t.Fatal(err)
		}
		again, problems, err = Parse(y)
		if err != nil || len(problems.Errors()) > 0 {
			t.Fatalf("YAML that was written cannot be read: %v %v\n%s", err, problems, y)
		}
		if second := mustJSON(t, again...); second != string(first) {
			t.Fatalf("YAML\n%s\nof\n%s\nbecame\n%s", y, first, second)
		}
	})
}

// Texts that YAML could read as something else come back as they were.
func TestYAMLKeepsOddTexts(t *testing.T) {
	odd := []string{"<<", "~", "null", "true", "yes", "on", "1", "0x10", "1e3", ".inf", "-", "?", "- a", "a: b", "#", "", " ", "a ", "\n", "a\nb\n", "\t",
		"\u0000", "\u0085", "\u2028", "\ufeff", "2026-11-21", "1_000", "0o17", "017", "!x", "&x", "*x", "%", "@", "`", "{}", "[]", "'", `"`, "\\", "12:30:45", "=", "|", ">"}
	extra := map[string]any{}
	for _, text := range odd {
		extra[text] = text
	}
	for _, n := range []string{"1E400", "-0", "1.50", "12345678901234567890123", "1e-7", "0"} {
		extra["n"+n] = json.Number(n)
	}
	d := Document{Space: &Space{Kind: KindSpace, Spec: Spec{Code: "s", UnitRules: []UnitRule{{Units: []UnitRoute{{Allows: odd}}}}, Extra: extra}}}
	y, err := YAML(d)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Read(y)
	if err != nil {
		t.Fatalf("%v in\n%s", err, y)
	}
	if got, want := mustJSON(t, back), mustJSON(t, d); got != want {
		t.Errorf("%s\nbecame\n%s\nby\n%s", want, got, y)
	}
}
