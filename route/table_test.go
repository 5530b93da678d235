package route

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atoll-live/atoll/space"
)

// naive is the owner of a key by the words of the documents' rules, one by one.
func naive(r *space.UnitRule, key string) string {
	if len(r.Units) == 1 {
		return r.Units[0].Code
	}
	best, owner := "", ""
	bucket := BKDRHash(key, r.Modulo)
	for _, u := range r.Units {
		if slices.Contains(u.Allows, key) {
			return u.Code
		}
		for _, p := range u.Prefixes {
			if strings.HasPrefix(key, p) && len(p) > len(best) {
				best, owner = p, u.Code
			}
		}
	}
	if best != "" {
		return owner
	}
	for _, u := range r.Units {
		for _, g := range u.Ranges {
			if g.From <= bucket && bucket < g.To {
				return u.Code
			}
		}
	}
	return ""
}

func TestDecideKeyAgainstWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := drawSpace(t)
		table, err := Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			key := rapid.StringMatching(`k?[01]{0,3}[a-k]?`).Draw(t, "key")
			if key == "" {
				continue
			}
			if got, want := table.DecideKey("r", key).Unit, naive(&doc.Spec.UnitRules[0], key); got != want {
				t.Fatalf("key %q: %q, want %q", key, got, want)
			}
		}
	})
}

// A modulo too large for a table is decided the same by search.
func TestRangesWithoutTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var spans []span
		at := 0
		for i := range rapid.IntRange(1, 20).Draw(t, "spans") {
			from := at + rapid.IntRange(0, 3).Draw(t, "gap")
			at = from + rapid.IntRange(1, 5).Draw(t, "length")
			spans = append(spans, span{from, at, uint16(i)})
		}
		small, err := newRanges(append([]span(nil), spans...), at+3)
		if err != nil {
			t.Fatal(err)
		}
		big, err := newRanges(append([]span(nil), spans...), tableModulo+1)
		if err != nil {
			t.Fatal(err)
		}
		if small.table == nil || big.table != nil {
			t.Fatal("the table is at the wrong one")
		}
		for b := range at + 3 {
			i, ok := small.find(b)
			j, also := big.find(b)
			if ok != also || ok && i != j {
				t.Fatalf("bucket %d: %d %v by table, %d %v by search", b, i, ok, j, also)
			}
		}
	})
}

func TestCompileRefuses(t *testing.T) {
	type change func(*space.Spec)
	rule := func(f func(*space.UnitRule)) change { return func(s *space.Spec) { f(&s.UnitRules[0]) } }
	for want, f := range map[string]change{
		"both the center":           func(s *space.Spec) { s.Units[1].Type = space.Center },
		`unit "a" stands twice`:     func(s *space.Spec) { s.Units[1].Code = "a" },
		`rule "r" stands twice`:     func(s *space.Spec) { s.UnitRules = append(s.UnitRules, s.UnitRules[0]) },
		"is not positive":           rule(func(r *space.UnitRule) { r.Modulo = 0 }),
		"unknown function":          rule(func(r *space.UnitRule) { r.VariableFunction = "" }),
		"unknown variable":          rule(func(r *space.UnitRule) { r.Variable = "x" }),
		`unknown unit "x"`:          rule(func(r *space.UnitRule) { r.Units[0].Code = "x" }),
		`rule "r": unit "b" stands`: rule(func(r *space.UnitRule) { r.Units[0].Code = "b" }),
		"overlaps":                  rule(func(r *space.UnitRule) { r.Units[0].Ranges[0].To = 61 }),
		"not inside":                rule(func(r *space.UnitRule) { r.Units[1].Ranges[0].To = 101 }),
		"empty or not inside":       rule(func(r *space.UnitRule) { r.Units[0].Ranges[0].To = 0 }),
		`allow "k" stands twice`:    rule(func(r *space.UnitRule) { r.Units[1].Allows = []string{"k"} }),
		`prefix "p" stands twice`:   rule(func(r *space.UnitRule) { r.Units[1].Prefixes = []string{"p"} }),
		"empty prefix":              rule(func(r *space.UnitRule) { r.Units[1].Prefixes = []string{""} }),
		`has no cell "x"`:           rule(func(r *space.UnitRule) { r.Units[1].Cells = []space.CellRoute{{Code: "x"}} }),
		"unknown rule":              func(s *space.Spec) { s.Domains = []space.Domain{{Host: "h", Paths: []space.Path{{Path: "/"}}}} },
		"host \"h\" stands twice":   func(s *space.Spec) { s.Domains = []space.Domain{{Host: "h"}, {Host: "H"}} },
		"empty host":                func(s *space.Spec) { s.Domains = []space.Domain{{}} },
		"unit domain: unknown unit": func(s *space.Spec) {
			s.Domains = []space.Domain{{Host: "h", UnitDomains: []space.UnitDomain{{Unit: "x"}}}}
		},
		"means the same as": func(s *space.Spec) {
			s.Domains = []space.Domain{{Host: "h", Paths: []space.Path{{Path: "/{a}", RuleID: "r"}, {Path: "/*/", RuleID: "r"}}}}
		},
	} {
		doc := twoUnits(100,
			space.UnitRoute{Allows: []string{"k"}, Prefixes: []string{"p"}, Ranges: []space.Range{{From: 0, To: 60}}},
			space.UnitRoute{Ranges: []space.Range{{From: 60, To: 100}}})
		f(&doc.Spec)
		if _, err := Compile(doc); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, err := Compile(nil); err == nil {
		t.Error("no document was compiled")
	}
}

func cellTable(t testing.TB, weights ...int) *Table {
	t.Helper()
	doc := twoUnits(100, space.UnitRoute{}, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 100}}})
	for i, w := range weights {
		code := fmt.Sprintf("c%d", i)
		doc.Spec.Units[1].Cells = append(doc.Spec.Units[1].Cells, space.Cell{Code: code})
		doc.Spec.UnitRules[0].Units[1].Cells = append(doc.Spec.UnitRules[0].Units[1].Cells, space.CellRoute{Code: code, Weight: w})
	}
	table, err := Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Weights decide how many keys a cell gets; a key stays in its cell when the
// weight of another one goes down.
func TestCellWeights(t *testing.T) {
	const keys = 20_000
	before := cellTable(t, 40, 40, 20, 0)
	after := cellTable(t, 40, 40, 0, 0)
	got := map[string]int{}
	for i := range keys {
		key := fmt.Sprint(i)
		d := before.DecideKey("r", key)
		if again := before.DecideKey("r", key); again.Cell != d.Cell {
			t.Fatalf("key %s: cell %s, then %s", key, d.Cell, again.Cell)
		}
		got[d.Cell]++
		if moved := after.DecideKey("r", key).Cell; d.Cell != "c2" && moved != d.Cell || moved == "c2" {
			t.Fatalf("key %s went from %s to %s when c2 was drained", key, d.Cell, moved)
		}
	}
	for cell, share := range map[string]float64{"c0": 0.4, "c1": 0.4, "c2": 0.2, "c3": 0} {
		if off := math.Abs(float64(got[cell])/keys - share); off > 0.015 {
			t.Errorf("cell %s has %d of %d keys, want %.0f %%", cell, got[cell], keys, 100*share)
		}
	}
}

func TestNoCellMayServe(t *testing.T) {
	table := cellTable(t, 0, 0)
	if d := table.DecideKey("r", "k"); d.Unit != "b" || d.Cell != "" || d.Action != Reject || d.Reason != ByRange {
		t.Errorf("all weights 0: %+v", d)
	}
	if got := table.UnitAccess("b"); got != space.ReadWrite {
		t.Errorf("access of b: %s", got)
	}
	if got := table.UnitAccess("x") + table.CellAccess("r", "b", "x") + table.CellAccess("r", "x", "c0"); got != "NONENONENONE" {
		t.Errorf("access of unknown places: %s", got)
	}
	if got := table.CellAccess("r", "b", "c0"); got != space.ReadWrite {
		t.Errorf("access of c0: %s", got)
	}
	if table.Modulo("r") != 100 || table.Modulo("x") != 0 || table.Center() != "a" {
		t.Errorf("modulo %d %d, center %q", table.Modulo("r"), table.Modulo("x"), table.Center())
	}
}

// largeSpace has a rule with 10,000 entries and a domain with 1,000 paths.
func largeSpace() *space.Space {
	a := space.UnitRoute{Ranges: []space.Range{{From: 0, To: 6000}}, Cells: []space.CellRoute{{Code: "a1", Weight: 60}, {Code: "a2", Weight: 40}}}
	b := space.UnitRoute{Ranges: []space.Range{{From: 6000, To: 10000}}}
	for i := range 2500 {
		a.Allows = append(a.Allows, fmt.Sprintf("list-a%d", i))
		b.Allows = append(b.Allows, fmt.Sprintf("list-b%d", i))
		a.Prefixes = append(a.Prefixes, fmt.Sprintf("prefix-a%d-", i))
		b.Prefixes = append(b.Prefixes, fmt.Sprintf("prefix-b%d-", i))
	}
	doc := twoUnits(10000, a, b)
	s := &doc.Spec
	s.Units[0].Cells = []space.Cell{{Code: "a1"}, {Code: "a2"}}
	s.Variables = []space.Variable{{Name: "user", Sources: []space.Source{{Name: "q", Scope: space.ScopeQuery, Key: "user"}}}}
	s.UnitRules[0].Variable, s.UnitRules[0].VariableSource = "user", "q"
	d := space.Domain{Host: "shop.test", UnitDomains: []space.UnitDomain{{Unit: "b"}}}
	for i := range 1000 {
		d.Paths = append(d.Paths, space.Path{Path: fmt.Sprintf("/svc%d/{id}/do", i), RuleID: "r"})
	}
	d.Paths = append(d.Paths, space.Path{Path: "/", RuleID: "r"})
	s.Domains = []space.Domain{d}
	return doc
}

// fixed is a request without maps, so that only Decide is measured.
type fixed struct{ host, path, user string }

func (f *fixed) Host() string         { return f.host }
func (f *fixed) Path() string         { return f.path }
func (f *fixed) Query(string) string  { return f.user }
func (f *fixed) Header(string) string { return "" }
func (f *fixed) Cookie(string) string { return "" }

var keysOfAllKinds = []string{"user1", "4711", "list-a77", "list-b2499", "prefix-a12-x", "prefix-b2499-", "prefix-a99999-", "Ωmega"}

func TestDecisionsDoNotAllocate(t *testing.T) {
	table, err := Compile(largeSpace())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOfAllKinds {
		if n := testing.AllocsPerRun(100, func() { table.DecideKey("r", key) }); n != 0 {
			t.Errorf("DecideKey of %q: %v allocations", key, n)
		}
		for _, host := range []string{"shop.test", "Shop.Test:8443", "b-shop.test", "other.test"} {
			r := Request(&fixed{host, "/svc77/4/do/it", key})
			if n := testing.AllocsPerRun(100, func() { table.Decide(r) }); n != 0 {
				t.Errorf("Decide of %q at %s: %v allocations", key, host, n)
			}
		}
	}
	view, err := NewView(&space.Snapshot{Document: largeSpace(), Moves: []*space.Transfer{{Rule: "r", Hold: true, Fenced: true, Keys: space.KeySet{Keys: []string{"user1"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		d := view.DecideKey("r", "user1")
		if view.Held(d) == nil || view.Fenced(d) == nil {
			t.Fatal("user1 moves")
		}
	}); n != 0 {
		t.Errorf("Held and Fenced: %v allocations", n)
	}
}

func BenchmarkDecideKey(b *testing.B) {
	table, err := Compile(largeSpace())
	if err != nil {
		b.Fatal(err)
	}
	for _, key := range []string{"user1", "list-a77", "prefix-b2499-x", "Ωmega"} {
		b.Run(key, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.DecideKey("r", key)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	table, err := Compile(largeSpace())
	if err != nil {
		b.Fatal(err)
	}
	for _, host := range []string{"shop.test", "Shop.Test:8443"} {
		b.Run(host, func(b *testing.B) {
			r := Request(&fixed{host, "/svc77/4/do/it", "user1"})
			b.ReportAllocs()
			for b.Loop() {
				table.Decide(r)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	doc := largeSpace()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(doc); err != nil {
			b.Fatal(err)
		}
	}
}
