package space

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// broken is the sample with one thing changed, and the problem it must give.
type broken struct {
	name   string
	change func(s *Spec, db *DatabaseSpec)
	path   string // "" when nothing may be wrong
	reason string
}

func (b broken) check(t *testing.T, warning bool) {
	t.Helper()
	docs := mustParse(t, shop(t))
	b.change(&docs[0].Space.Spec, &docs[1].Database.Spec)
	problems := Validate(docs...)
	if b.path == "" {
		if len(problems) > 0 {
			t.Errorf("problems: %v", problems)
		}
		return
	}
	for _, p := range problems {
		if p.Path == b.path && strings.Contains(p.Reason, b.reason) && p.Warning == warning {
			if p.Mend == "" {
				t.Errorf("no mend: %v", p)
			}
			return
		}
	}
	t.Errorf("problems %v, want %s: %s", problems, b.path, b.reason)
}

func TestValidateSpace(t *testing.T) {
	for _, b := range []broken{
		{"nothing", func(*Spec, *DatabaseSpec) {}, "", ""},
		{"no code", func(s *Spec, _ *DatabaseSpec) { s.Code = "" }, "spec.code", "the space code is empty"},
		{"a code that breaks names", func(s *Spec, _ *DatabaseSpec) { s.Code = "a/b" }, "spec.code", "has the character '/'"},
		{"a long code", func(s *Spec, _ *DatabaseSpec) { s.Code = strings.Repeat("x", 101) }, "spec.code", "longer than 100"},

		{"two centers", func(s *Spec, _ *DatabaseSpec) { s.Units[1].Type = Center }, "spec.units[1].type", `units "unit-a" and "unit-b" are both the CENTER`},
		{"a unit twice", func(s *Spec, _ *DatabaseSpec) { s.Units[1].Code = "unit-a" }, "spec.units[1].code", `unit "unit-a" stands already at spec.units[0].code`},
		{"a unit without code", func(s *Spec, _ *DatabaseSpec) { s.Units[1].Code = "" }, "spec.units[1].code", "the unit code is empty"},
		{"a unit named as a lane", func(s *Spec, _ *DatabaseSpec) { s.Units[1].Code = "a>b" }, "spec.units[1].code", "has the character '>'"},
		{"an unknown unit type", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Type = "EDGE" }, "spec.units[0].type", `unknown value "EDGE"`},
		{"no unit type", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Type = "" }, "spec.units[0].type", "nothing is said here"},
		{"an unknown access mode", func(s *Spec, _ *DatabaseSpec) { s.Units[0].AccessMode = "WRITE" }, "spec.units[0].accessMode", `unknown value "WRITE"`},
		{"an unknown access mode of a cell", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Cells[0].AccessMode = "X" }, "spec.units[0].cells[0].accessMode", "unknown value"},
		{"a cell twice", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Cells[1].Code = "a1" }, "spec.units[0].cells[1].code", `cell "a1" stands already`},
		{"a cell without code", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Cells[1].Code = "" }, "spec.units[0].cells[1].code", "the cell code is empty"},
		{"too many units", func(s *Spec, _ *DatabaseSpec) { s.Units = append(s.Units, make([]Unit, MaxUnits)...) }, "spec.units", "units are more than 4096"},

		{"a variable twice", func(s *Spec, _ *DatabaseSpec) { s.Variables = append(s.Variables, s.Variables[0]) }, "spec.variables[1].name", `variable "user" stands already`},
		{"a source twice", func(s *Spec, _ *DatabaseSpec) { s.Variables[0].Sources[1].Name = "byQuery" }, "spec.variables[0].sources[1].name", `source "byQuery" stands already`},
		{"an unknown scope", func(s *Spec, _ *DatabaseSpec) { s.Variables[0].Sources[0].Scope = "BODY" }, "spec.variables[0].sources[0].scope", `unknown value "BODY"`},
		{"no scope", func(s *Spec, _ *DatabaseSpec) { s.Variables[0].Sources[0].Scope = "" }, "spec.variables[0].sources[0].scope", "nothing is said"},
		{"no key of a source", func(s *Spec, _ *DatabaseSpec) { s.Variables[0].Sources[0].Key = "" }, "spec.variables[0].sources[0].key", "the key is empty"},
		{"an unknown variable function", func(s *Spec, _ *DatabaseSpec) { s.Variables[0].Sources[0].Func = "f" }, "spec.variables[0].sources[0].func", `unknown function "f"`},
	} {
		t.Run(b.name, func(t *testing.T) { b.check(t, false) })
	}
}

func TestValidateRule(t *testing.T) {
	const rule = "spec.unitRules[0]"
	for _, b := range []broken{
		{"a rule twice", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[1].ID = "1003" }, "spec.unitRules[1].id", `rule "1003" stands already`},
		{"a rule without id", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[1].ID = "" }, "spec.unitRules[1].id", "the rule id is empty"},
		{"an unknown live type", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].LiveType = "X" }, rule + ".liveType", `unknown value "X"`},
		{"an unknown missing action", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].VariableMissingAction = "X" }, rule + ".variableMissingAction", `unknown value "X"`},
		{"CENTER without a center", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Type = Regular }, rule + ".variableMissingAction", "no unit of the space is the CENTER"},
		{"one region with two units", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].LiveType = OneRegion }, rule + ".liveType", "ONE_REGION_LIVE with 2 units"},
		{"an unknown variable", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Variable = "x" }, rule + ".variable", `unknown variable "x"`},
		{"an unknown source", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].VariableSource = "x" }, rule + ".variableSource", `variable "user" has no source "x"`},
		{"an unknown function", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].VariableFunction = "bkdrhash" }, rule + ".variableFunction", `unknown function "bkdrhash"`},
		{"modulo 0", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Modulo = 0 }, rule + ".modulo", "modulo 0 is not positive"},
		{"a negative modulo", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Modulo = -10000 }, rule + ".modulo", "modulo -10000 is not positive"},
		{"no units", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units = nil }, rule + ".units", "the rule has no unit"},
		{"an unknown unit", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Code = "x" }, rule + ".units[1].code", `unknown unit "x"`},
		{"a unit twice", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Code = "unit-a" }, rule + ".units[1].code", `unit "unit-a" stands already`},

		{"an empty allow", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Allows = []string{""} }, rule + ".units[1].allows[0]", "an empty allow"},
		{"an empty prefix", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Prefixes = []string{"x", ""} }, rule + ".units[1].prefixes[1]", "an empty prefix"},
		{"an allow on two units", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Allows = []string{"vip"} }, rule + ".units[1].allows[0]", `allow "vip" stands already at ` + rule + ".units[0].allows[0]"},
		{"an allow twice", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Allows = []string{"x", "x"} }, rule + ".units[1].allows[1]", `allow "x" stands already`},
		{"a prefix on two units", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Prefixes = []string{"a-"} }, rule + ".units[1].prefixes[0]", `prefix "a-" stands already`},

		{"a gap", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Ranges[0].To = 5990 }, rule + ".units[1].ranges[0]", "buckets 5990 to 5999 belong to nobody"},
		{"a gap at the begin", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Ranges[0].From = 1 }, rule + ".units[0].ranges[0]", "buckets 0 to 0 belong to nobody"},
		{"a gap at the end", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Ranges[0].To = 9999 }, rule + ".units[1].ranges[0]", "buckets 9999 to 9999 belong to nobody"},
		{"no ranges", func(s *Spec, _ *DatabaseSpec) {
			s.UnitRules[0].Units[0].Ranges, s.UnitRules[0].Units[1].Ranges = nil, nil
		}, rule + ".units", "buckets 0 to 9999 belong to nobody"},
		{"an overlap", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Ranges[0].From = 5999 }, rule + ".units[1].ranges[0]", "range [5999,10000) overlaps another"},
		{"an overlap in one unit", func(s *Spec, _ *DatabaseSpec) {
			s.UnitRules[0].Units[0].Ranges = []Range{{0, 6000}, {10, 20}}
		}, rule + ".units[0].ranges[1]", "range [10,20) overlaps another"},
		{"beyond the modulo", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[1].Ranges[0].To = 10001 }, rule + ".units[1].ranges[0].to", "ends beyond the modulo 10000"},
		{"below 0", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Ranges[0].From = -1 }, rule + ".units[0].ranges[0].from", "begins below 0"},
		{"an empty range", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Ranges[0].From = 6000 }, rule + ".units[0].ranges[0]", "is empty"},
		{"a range backwards", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Ranges[0] = Range{6000, 0} }, rule + ".units[0].ranges[0]", "is empty"},
		{"one unit with a gap", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[1].Units[0].Ranges = []Range{{0, 50}} }, "spec.unitRules[1].units[0].ranges[0]", "buckets 50 to 99 belong to nobody"},
		{"one unit with all ranges", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[1].Units[0].Ranges = []Range{{0, 100}} }, "", ""},
		{"ranges in any order", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Ranges = []Range{{3000, 6000}, {0, 3000}} }, "", ""},

		{"an unknown cell", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Cells[0].Code = "x" }, rule + ".units[0].cells[0].code", `unit "unit-a" has no cell "x"`},
		{"a cell of another unit", func(s *Spec, _ *DatabaseSpec) {
			s.UnitRules[0].Units[1].Cells = []CellRoute{{Code: "a1", Weight: 1}}
		}, rule + ".units[1].cells[0].code", `unit "unit-b" has no cell "a1"`},
		{"a cell twice", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Cells[1].Code = "a1" }, rule + ".units[0].cells[1].code", `cell "a1" stands already`},
		{"a negative weight", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Cells[1].Weight = -1 }, rule + ".units[0].cells[1].weight", "weight -1 is negative"},
		{"a cell allow twice", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Cells[0].Allows = []string{"tester"} }, rule + ".units[0].cells[1].allows[0]", `allow "tester" stands already`},
		{"an empty cell prefix", func(s *Spec, _ *DatabaseSpec) { s.UnitRules[0].Units[0].Cells[0].Prefixes = []string{""} }, rule + ".units[0].cells[0].prefixes[0]", "an empty prefix"},
	} {
		t.Run(b.name, func(t *testing.T) { b.check(t, false) })
	}
}

func TestValidateDomain(t *testing.T) {
	const domain = "spec.domains[0]"
	for _, b := range []broken{
		{"no host", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Host = "" }, domain + ".host", "the host is empty"},
		{"a host with a port", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Host = "shop:80" }, domain + ".host", "is no host name"},
		{"a host with a wildcard", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Host = "*.shop" }, domain + ".host", "is no host name"},
		{"a host twice", func(s *Spec, _ *DatabaseSpec) {
			s.Domains = append(s.Domains, Domain{Host: "SHOP.example"})
		}, "spec.domains[1].host", `host "SHOP.example" stands already in MultiLiveSpace shop`},
		{"a subdomain that is a host", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].UnitDomains[0].Host = "shop.example" }, domain + ".unitDomains[0].host", "stands already"},
		{"an unknown live type", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].LiveType = "X" }, domain + ".liveType", `unknown value "X"`},
		{"an unknown correction", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].CorrectionType = "REDIRECT" }, domain + ".correctionType", `unknown value "REDIRECT"`},
		{"an unknown unit", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].UnitDomains[0].Unit = "x" }, domain + ".unitDomains[0].unit", `unknown unit "x"`},
		{"a unit twice", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].UnitDomains[1].Unit = "unit-a" }, domain + ".unitDomains[1].unit", "stands already"},
		{"a path without slash", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].Path = "gate" }, domain + ".paths[1].path", `path "gate" does not begin with /`},
		{"an empty path", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].Path = "" }, domain + ".paths[1].path", "does not begin with /"},
		{"a path twice", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].Path = "//" }, domain + ".paths[1].path", `path "/" stands already`},
		{"an unknown rule", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[0].RuleID = "9" }, domain + ".paths[0].ruleId", `unknown rule "9"`},
		{"no rule", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[0].RuleID = "" }, domain + ".paths[0].ruleId", `unknown rule ""`},
		{"an unknown custom variable", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].Variable = "x" }, domain + ".paths[1].variable", `unknown variable "x"`},
		{"an unknown custom source", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].VariableSource = "x" }, domain + ".paths[1].variableSource", `has no source "x"`},
		{"a custom source alone", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].Variable = "" }, "", ""},
		{"an unused custom variable", func(s *Spec, _ *DatabaseSpec) {
			s.Domains[0].Paths[1].CustomVariableSource, s.Domains[0].Paths[1].Variable = false, "x"
		}, "", ""},
		{"no business scope", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].BizVariableScope = "" }, domain + ".paths[1].bizVariableScope", "nothing is said"},
		{"no business name", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].BizVariableName = "" }, domain + ".paths[1].bizVariableName", "has no name"},
		{"an unknown business rule", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].Paths[1].BizVariableRules[0].RuleID = "9" }, domain + ".paths[1].bizVariableRules[0].ruleId", `unknown rule "9"`},
		{"a business value twice", func(s *Spec, _ *DatabaseSpec) {
			p := &s.Domains[0].Paths[1]
			p.BizVariableRules = append(p.BizVariableRules, p.BizVariableRules[0])
		}, domain + ".paths[1].bizVariableRules[1].value", `value "one" stands already`},
		{"one region with two units", func(s *Spec, _ *DatabaseSpec) { s.Domains[0].LiveType = OneRegion }, domain + ".paths[0].ruleId", `the domain is ONE_REGION_LIVE and rule "1003" has 2 units`},
	} {
		t.Run(b.name, func(t *testing.T) { b.check(t, false) })
	}
}

func TestValidateDatabase(t *testing.T) {
	shards := func(db *DatabaseSpec, first, second []Range) {
		db.Sources = append(db.Sources, db.Sources[1])
		db.Sources[2].Port++
		db.Sources[1].Buckets, db.Sources[2].Buckets = first, second
	}
	for _, b := range []broken{
		{"an unknown space", func(_ *Spec, db *DatabaseSpec) { db.Space = "x" }, "spec.space", `unknown space "x"`},
		{"an unknown rule", func(_ *Spec, db *DatabaseSpec) { db.Rule = "9" }, "spec.rule", `space "shop" has no rule "9"`},
		{"no rule for unit tables", func(_ *Spec, db *DatabaseSpec) { db.Rule = "" }, "spec.rule", `has no rule ""`},
		{"no rule and no unit tables", func(_ *Spec, db *DatabaseSpec) { db.Rule, db.Tables = "", db.Tables[1:] }, "", ""},
		{"an unknown unit", func(_ *Spec, db *DatabaseSpec) { db.Sources[1].Unit = "x" }, "spec.sources[1].unit", `unknown unit "x"`},
		{"no host", func(_ *Spec, db *DatabaseSpec) { db.Sources[1].Host = "" }, "spec.sources[1].host", "the host is empty"},
		{"port 0", func(_ *Spec, db *DatabaseSpec) { db.Sources[1].Port = 0 }, "spec.sources[1].port", "port 0"},
		{"port 65536", func(_ *Spec, db *DatabaseSpec) { db.Sources[1].Port = 65536 }, "spec.sources[1].port", "port 65536"},
		{"no schema", func(_ *Spec, db *DatabaseSpec) { db.Sources[1].Database = "" }, "spec.sources[1].database", "the database is empty"},
		{"a source twice", func(_ *Spec, db *DatabaseSpec) { db.Sources[1].Port = 3311 }, "spec.sources[1]", `source "127.0.0.1:3311/shop" stands already`},
		{"two sources of a unit without buckets", func(_ *Spec, db *DatabaseSpec) { shards(db, []Range{{0, 10000}}, nil) }, "spec.sources[2].buckets", "has 2 sources and this one has no buckets"},
		{"shards with a gap", func(_ *Spec, db *DatabaseSpec) { shards(db, []Range{{0, 5000}}, []Range{{5001, 10000}}) }, "spec.sources[2].buckets[0]", "buckets 5000 to 5000 belong to nobody"},
		{"shards that overlap", func(_ *Spec, db *DatabaseSpec) { shards(db, []Range{{0, 5000}}, []Range{{4999, 10000}}) }, "spec.sources[2].buckets[0]", "overlaps"},
		{"shards", func(_ *Spec, db *DatabaseSpec) { shards(db, []Range{{0, 5000}}, []Range{{5000, 10000}}) }, "", ""},
		{"a bad default kind", func(_ *Spec, db *DatabaseSpec) { db.DefaultKind = TableUnit }, "spec.defaultKind", `unknown value "unit"`},
		{"no default kind", func(_ *Spec, db *DatabaseSpec) { db.DefaultKind = "" }, "", ""},
		{"a table without name", func(_ *Spec, db *DatabaseSpec) { db.Tables[0].Name = "" }, "spec.tables[0].name", "the table has no name"},
		{"a table twice", func(_ *Spec, db *DatabaseSpec) { db.Tables[1].Name = "orders" }, "spec.tables[1].name", `table "orders" stands already`},
		{"an unknown kind", func(_ *Spec, db *DatabaseSpec) { db.Tables[1].Kind = "local" }, "spec.tables[1].kind", `unknown value "local"`},
		{"no kind", func(_ *Spec, db *DatabaseSpec) { db.Tables[1].Kind = "" }, "spec.tables[1].kind", "nothing is said"},
		{"a unit table without key", func(_ *Spec, db *DatabaseSpec) { db.Tables[0].Key = "" }, "spec.tables[0].key", `unit table "orders" has no key column`},
		{"a key on a center table", func(_ *Spec, db *DatabaseSpec) { db.Tables[2].Key = "id" }, "spec.tables[2].key", "is no unit table"},
		{"bad reads", func(_ *Spec, db *DatabaseSpec) { db.Tables[0].Reads = "local" }, "spec.tables[0].reads", `unknown value "local"`},
		{"reads of a center table", func(_ *Spec, db *DatabaseSpec) { db.Tables[2].Reads = ReadsOwner }, "spec.tables[2].reads", "it has no owner"},
		{"a center table without a center", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Type = Regular }, "spec.tables[2].kind", "has no CENTER"},
		{"a center-unit table without a center", func(s *Spec, _ *DatabaseSpec) { s.Units[0].Type = Regular }, "spec.tables[1].kind", "has no CENTER"},
		{"default center without a center", func(s *Spec, db *DatabaseSpec) {
			s.Units[0].Type, db.DefaultKind = Regular, TableCenter
		}, "spec.defaultKind", "has no CENTER"},
	} {
		t.Run(b.name, func(t *testing.T) { b.check(t, false) })
	}
}

// A table stands in one Database: two would say two things of its rows.
func TestValidateOneDatabaseATable(t *testing.T) {
	const table = "spec.tables[0].name"
	for _, c := range []struct {
		name   string
		change func(first, second *DatabaseSpec)
		path   string // "" when nothing may be wrong
		reason string
	}{
		{"another table of the schema", func(_, _ *DatabaseSpec) {}, "", ""},
		{"the same table", func(_, db *DatabaseSpec) { db.Tables[0].Name = "orders" }, table, `table "orders" of 127.0.0.1:3311/shop is listed in Database shop as well`},
		{"the same table by another unit", func(_, db *DatabaseSpec) {
			db.Tables[0].Name = "orders"
			db.Sources[0].Unit, db.Sources[1].Unit = "unit-b", "unit-a"
		}, table, "is listed in Database shop as well"},
		{"the same table of another schema", func(_, db *DatabaseSpec) {
			db.Tables[0].Name, db.Sources[0].Database, db.Sources[1].Database = "orders", "other", "other"
		}, "", ""},
		{"local where another lists", func(_, db *DatabaseSpec) { db.DefaultKind = TableLocal }, "spec.defaultKind", `table "orders" of 127.0.0.1:3311/shop is listed in Database shop and would be a local table here`},
		{"listed where another is local", func(first, _ *DatabaseSpec) { first.DefaultKind = TableLocal }, table, `table "bills" of 127.0.0.1:3312/shop is a local table by the defaultKind of Database shop`},
	} {
		docs := mustParse(t, shop(t))
		second := *docs[1].Database
		second.Metadata.Name = "second"
		second.Spec.Sources, second.Spec.Tables = slices.Clone(second.Spec.Sources), []Table{{Name: "bills", Kind: TableUnit, Key: "k"}}
		c.change(&docs[1].Database.Spec, &second.Spec)
		problems := Validate(docs[0], docs[1], Document{Database: &second})
		found := c.path == "" && len(problems) == 0
		for _, p := range problems {
			found = found || p.Path == c.path && strings.Contains(p.Reason, c.reason) && p.Mend != "" && p.Document == "Database second"
		}
		if !found {
			t.Errorf("%s: problems %v, want %s: %s", c.name, problems, c.path, c.reason)
		}
	}
}

func TestValidateWarns(t *testing.T) {
	for _, b := range []broken{
		{"a rule without a variable", func(s *Spec, _ *DatabaseSpec) {
			s.UnitRules[1].Variable, s.UnitRules[1].VariableSource = "", ""
		}, "spec.unitRules[1].variable", "no request has a key"},
		{"no weight at all", func(s *Spec, _ *DatabaseSpec) {
			for i := range s.UnitRules[0].Units[0].Cells {
				s.UnitRules[0].Units[0].Cells[i].Weight = 0
			}
		}, "spec.unitRules[0].units[0].cells", "no cell has a weight"},
		{"one cell code in two units", func(s *Spec, _ *DatabaseSpec) { s.Units[1].Cells = []Cell{{Code: "a1"}} }, "spec.units[1].cells[0].code", `unit "unit-a" has a cell "a1" as well`},
		{"a unit without a source", func(_ *Spec, db *DatabaseSpec) { db.Sources = db.Sources[:1] }, "spec.sources", `unit "unit-b" of rule "1003" has no source`},
	} {
		t.Run(b.name, func(t *testing.T) { b.check(t, true) })
	}
}

func TestValidateDocuments(t *testing.T) {
	docs := mustParse(t, shop(t))
	other := mustParse(t, shop(t))
	problems := Validate(append(docs, other...)...)
	for _, want := range []string{
		"MultiLiveSpace shop: there are two documents MultiLiveSpace shop",
		"Database shop: there are two documents Database shop",
	} {
		if !contains(problems, want) {
			t.Errorf("no %q in %v", want, problems)
		}
	}
	other[0].Space.Spec.Code = "second"
	other[0].Space.Spec.Units[1].Labels = map[string]string{"region": "elsewhere"}
	other[0].Space.Spec.Units[0].Type, other[0].Space.Spec.Units[1].Type = Regular, Center
	problems = Validate(docs[0], other[0])
	for _, want := range []string{
		`MultiLiveSpace second: spec.domains[0].host: host "shop.example" stands already in MultiLiveSpace shop`,
		`MultiLiveSpace second: spec.domains[0].unitDomains[0].host: host "a.shop.example" stands already in MultiLiveSpace shop`,
		`MultiLiveSpace second: spec.units[1].labels: unit "unit-b" has other labels in MultiLiveSpace shop`,
		`MultiLiveSpace second: spec.units[1].type: unit "unit-b" is CENTER here and UNIT in MultiLiveSpace shop`,
	} {
		if !contains(problems, want) {
			t.Errorf("no %q in %v", want, problems)
		}
	}
	if len(problems.Warnings()) != 3 {
		t.Errorf("warnings %v", problems.Warnings())
	}
	for _, version := range []string{"v1", ""} {
		docs[0].Space.APIVersion = version
		p := Validate(docs...)
		if len(p) != 1 || p[0].Path != "apiVersion" || p[0].Warning != (version == "") {
			t.Errorf("format %q: %v", version, p)
		}
	}
	if p := Validate(Document{}); len(p) != 1 {
		t.Errorf("an empty document: %v", p)
	}
}

func contains(problems Problems, text string) bool {
	for _, p := range problems {
		if strings.HasPrefix(p.String(), text) {
			return true
		}
	}
	return false
}

// Problems of a document that was read name the line, also of a field that
// another alias stands for.
func TestProblemLines(t *testing.T) {
	text := strings.Replace(string(shop(t)), "prefixes: [b-]", "prefix:\n            - b-\n            - a-", 1)
	docs := mustParse(t, []byte(text))
	docs[0].File = "shop.yaml"
	problems := Validate(docs...)
	if len(problems) != 1 {
		t.Fatal(problems)
	}
	p := problems[0]
	line := strings.Split(text, "\n")[p.Line-1]
	if p.File != "shop.yaml" || strings.TrimSpace(line) != "- a-" {
		t.Errorf("%+v names the line %q", p, line)
	}
	if got := fmt.Sprint(problems.Err()); !strings.Contains(got, "prefixes[1]") {
		t.Errorf("as one error: %s", got)
	}
}

func TestDiff(t *testing.T) {
	a := mustParse(t, shop(t))[0]
	b := mustParse(t, shop(t))[0]
	if d, err := Diff(a, b); err != nil || len(d) > 0 {
		t.Fatalf("equal documents: %v %v", d, err)
	}
	s := &b.Space.Spec
	s.Units[1].AccessMode = ReadOnly
	s.UnitRules[0].Units[0].Allows = []string{"vip", "vip2"}
	s.UnitRules[0].Units[1].Ranges = nil
	s.Units[0].Cells = s.Units[0].Cells[1:]
	s.Domains[0].Paths[0], s.Domains[0].Paths[1] = s.Domains[0].Paths[1], s.Domains[0].Paths[0]
	s.Extra = map[string]any{"x": 1}
	d, err := Diff(a, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, one := range d {
		got = append(got, one.Path+" "+one.Before+" "+one.After)
	}
	want := []string{
		`spec.units[unit-a].cells[a1] {"accessMode":"READ_WRITE","code":"a1","labels":{"zone":"zone1"},"name":"a1"} `,
		`spec.units[unit-b].accessMode "READ_WRITE" "READ_ONLY"`,
		`spec.domains[shop.example].paths ["/","/gate"] ["/gate","/"]`,
		`spec.unitRules[1003].units[unit-a].allows ["vip"] ["vip","vip2"]`,
		`spec.unitRules[1003].units[unit-b].ranges [{"from":6000,"to":10000}] []`,
		`spec.x  1`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("differences\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d, err := Diff(Document{}, a); err != nil || len(d) != 1 || d[0].Before != "" {
		t.Errorf("a new document: %v %v", d, err)
	}
	if d, err := Diff(a, Document{}); err != nil || len(d) != 1 || d[0].After != "" {
		t.Errorf("a deleted document: %v %v", d, err)
	}
}

// A space with 10,000 entries in its rules is read and validated in well under
// a second.
func BenchmarkLargeSpace(b *testing.B) {
	docs := mustParse(b, shop(b))
	u := &docs[0].Space.Spec.UnitRules[0].Units[0]
	for i := range 5000 {
		u.Allows = append(u.Allows, fmt.Sprintf("user%d", i))
		u.Prefixes = append(u.Prefixes, fmt.Sprintf("prefix%d-", i))
	}
	data, err := YAML(docs...)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := Parse(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("validate", func(b *testing.B) {
		for b.Loop() {
			if p := Validate(docs...); len(p) > 0 {
				b.Fatal(p)
			}
		}
	})
}
