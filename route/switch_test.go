package route

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atoll-live/atoll/space"
)

// twoUnits is a space with units a (CENTER) and b and one rule.
func twoUnits(modulo int, a, b space.UnitRoute) *space.Space {
	a.Code, b.Code = "a", "b"
	return &space.Space{APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Spec: space.Spec{
		Code:  "s",
		Units: []space.Unit{{Code: "a", Type: space.Center}, {Code: "b", Type: space.Regular}},
		UnitRules: []space.UnitRule{{
			ID: "r", VariableFunction: space.FunctionBKDR, VariableMissingAction: space.MissingCenter,
			Modulo: modulo, Units: []space.UnitRoute{a, b},
		}},
	}}
}

func canonicalJSON(t interface{ Fatal(...any) }, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSwitchBuckets(t *testing.T) {
	doc := twoUnits(10000, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 6000}}}, space.UnitRoute{Ranges: []space.Range{{From: 6000, To: 10000}}})
	keys, err := Plan(doc, "r", "a", "b", Want{Percent: 30})
	if err != nil {
		t.Fatal(err)
	}
	if got := FormatBuckets(keys.Buckets); got != "3000-5999" {
		t.Fatalf("30 %% of a: %s", got)
	}
	next, err := Switch(doc, &space.Transfer{Rule: "r", From: "a", To: "b", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	units := next.Spec.UnitRules[0].Units
	if got := FormatBuckets(units[0].Ranges) + " " + FormatBuckets(units[1].Ranges); got != "0-2999 3000-9999" {
		t.Errorf("after the switch: %s", got)
	}
	if got := FormatBuckets(doc.Spec.UnitRules[0].Units[0].Ranges); got != "0-5999" {
		t.Errorf("the first document changed: %s", got)
	}
}

func TestSwitchKeys(t *testing.T) {
	// user1 hashes to 8566 of 10000, so b owns it by range; user2 to 8567; 1 to 49.
	ranges := func(u space.UnitRoute, from, to int) space.UnitRoute {
		u.Ranges = []space.Range{{From: from, To: to}}
		return u
	}
	for _, c := range []struct {
		name     string
		a, b     []string // allow lists
		from, to string
		keys     []string
		wantA    []string
		wantB    []string
		left     int // memories written
	}{
		{"by range to the list of the target", nil, nil, "b", "a", []string{"user1"}, []string{"user1"}, nil, 0},
		{"listed key whose bucket is the target's leaves the list", []string{"user1", "user2"}, nil, "a", "b", []string{"user1"}, []string{"user2"}, nil, 0},
		{"sorted lists stay sorted", []string{"x"}, nil, "b", "a", []string{"user1"}, []string{"user1", "x"}, nil, 0},
		{"unsorted lists grow at the end", []string{"x", "b"}, nil, "b", "a", []string{"user1"}, []string{"x", "b", "user1"}, nil, 0},
		{"a key pinned beyond its bucket is remembered", []string{"1"}, nil, "a", "b", []string{"1"}, nil, []string{"1"}, 1},
		{"a place in an unsorted list is remembered", []string{"user2", "user1"}, nil, "a", "b", []string{"user2"}, []string{"user1"}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := twoUnits(10000, ranges(space.UnitRoute{Allows: c.a}, 0, 6000), ranges(space.UnitRoute{Allows: c.b}, 6000, 10000))
			keys, err := Plan(doc, "r", c.from, c.to, Want{Keys: c.keys})
			if err != nil {
				t.Fatal(err)
			}
			next, err := Switch(doc, &space.Transfer{Rule: "r", From: c.from, To: c.to, Keys: keys})
			if err != nil {
				t.Fatal(err)
			}
			units := next.Spec.UnitRules[0].Units
			if !slices.Equal(units[0].Allows, c.wantA) || !slices.Equal(units[1].Allows, c.wantB) {
				t.Errorf("allows %q %q, want %q %q", units[0].Allows, units[1].Allows, c.wantA, c.wantB)
			}
			if n := len(units[0].Left) + len(units[1].Left); n != c.left {
				t.Errorf("%d memories, want %d", n, c.left)
			}
			back, err := Switch(next, &space.Transfer{Rule: "r", From: c.to, To: c.from, Keys: keys})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := canonicalJSON(t, back), canonicalJSON(t, doc); got != want {
				t.Errorf("back again:\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestSwitchRefuses(t *testing.T) {
	doc := twoUnits(100, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 60}}, Prefixes: []string{"p"}}, space.UnitRoute{Ranges: []space.Range{{From: 60, To: 100}}})
	for _, tr := range []space.Transfer{
		{Rule: "x", From: "a", To: "b"},
		{Rule: "r", From: "x", To: "b"},
		{Rule: "r", From: "a", To: "x"},
		{Rule: "r", From: "a", To: "a"},
		{Rule: "r", From: "a", To: "b", Keys: space.KeySet{Buckets: []space.Range{{From: 50, To: 61}}}},
		{Rule: "r", From: "b", To: "a", Keys: space.KeySet{Prefixes: []string{"p"}}},
		{Rule: "r", From: "b", To: "a", Keys: space.KeySet{Keys: []string{"p1"}}},
	} {
		if _, err := Switch(doc, &tr); err == nil {
			t.Errorf("%+v: no error", tr)
		} else {
			t.Log(err)
		}
	}
}

// A share that is less than one bucket is one bucket.
func TestPlanSmallShare(t *testing.T) {
	doc := twoUnits(50, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 50}}}, space.UnitRoute{})
	for percent, want := range map[int]string{1: "49", 3: "49", 4: "48-49", 99: "1-49", 100: "0-49"} {
		keys, err := Plan(doc, "r", "a", "b", Want{Percent: percent})
		if got := FormatBuckets(keys.Buckets); err != nil || got != want {
			t.Errorf("%d %%: %s %v, want %s", percent, got, err, want)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	doc := twoUnits(100, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 60}}, Allows: []string{"k"}}, space.UnitRoute{Ranges: []space.Range{{From: 60, To: 100}}})
	for _, c := range []struct {
		from, to, want string
		w              Want
	}{
		{"b", "a", `plan: unit "b" owns 40 buckets, 41 % of all 100 are 41`, Want{Percent: 41}},
		{"b", "a", `plan: 101 % is not between 1 and 100`, Want{Percent: 101}},
		{"b", "a", `plan: unit "b" does not own key "k", unit "a" does (allow)`, Want{Keys: []string{"k"}}},
		{"b", "a", `plan: unit "b" does not own buckets 58-59`, Want{Buckets: []space.Range{{From: 58, To: 61}}}},
		{"b", "a", `plan: buckets 99-100: rule "r" has buckets 0-99`, Want{Buckets: []space.Range{{From: 99, To: 101}}}},
		{"b", "c", `plan: rule "r" has no unit "c"`, Want{All: true}},
		{"b", "a", `plan: say one of percent, buckets, keys, prefixes or all, not 0 of them`, Want{}},
		{"b", "a", `plan: an empty key names nobody`, Want{Keys: []string{""}}},
	} {
		_, err := Plan(doc, "r", c.from, c.to, c.w)
		if err == nil || err.Error() != c.want {
			t.Errorf("%+v:\n%v, want\n%s", c.w, err, c.want)
		}
	}
}

// drawSpace draws a rule over units a, b and c with lists of any order.
func drawSpace(t *rapid.T) *space.Space {
	return drawSpaceOf(t, rapid.IntRange(3, 60).Draw(t, "modulo"))
}

func drawSpaceOf(t *rapid.T, modulo int) *space.Space {
	doc := &space.Space{Spec: space.Spec{Code: "s"}}
	rule := space.UnitRule{ID: "r", VariableFunction: space.FunctionBKDR, Modulo: modulo}
	owner := rapid.SliceOfN(rapid.IntRange(0, 2), modulo, modulo).Draw(t, "owners")
	keyOwner := map[string]int{}
	for i := range 14 {
		keyOwner[fmt.Sprintf("k%02d", i)] = rapid.IntRange(0, 4).Draw(t, "key owner") // 3, 4: in no list
	}
	prefixOwner := map[string]int{}
	for _, p := range []string{"k", "k0", "k1", "k00", "k11"} {
		prefixOwner[p] = rapid.IntRange(0, 4).Draw(t, "prefix owner")
	}
	for i, code := range []string{"a", "b", "c"} {
		doc.Spec.Units = append(doc.Spec.Units, space.Unit{Code: code, Type: space.Regular})
		u := space.UnitRoute{Code: code, Allows: ownedBy(t, keyOwner, i), Prefixes: ownedBy(t, prefixOwner, i)}
		for b, o := range owner {
			if o == i {
				u.Ranges = addRanges(u.Ranges, []space.Range{{From: b, To: b + 1}})
			}
		}
		rule.Units = append(rule.Units, u)
	}
	doc.Spec.UnitRules = []space.UnitRule{rule}
	return doc
}

func ownedBy(t *rapid.T, owner map[string]int, i int) []string {
	var list []string
	for entry, o := range owner {
		if o == i {
			list = append(list, entry)
		}
	}
	slices.Sort(list)
	if len(list) < 2 || rapid.Bool().Draw(t, "sorted") {
		return list
	}
	return rapid.Permutation(list).Draw(t, "list")
}

// drawPlan draws a move that Plan accepts, nil when the unit owns nothing.
func drawPlan(t *rapid.T, doc *space.Space) *space.Transfer {
	codes := rapid.Permutation([]string{"a", "b", "c"}).Draw(t, "units")
	table, err := Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var owned []string
	for i := range 14 {
		if key := fmt.Sprintf("k%02d", i); table.DecideKey("r", key).Unit == codes[0] {
			owned = append(owned, key)
		}
	}
	from := &doc.Spec.UnitRules[0].Units[routeOf(&doc.Spec.UnitRules[0], codes[0])]
	var want Want
	switch rapid.IntRange(0, 4).Draw(t, "way") {
	case 0:
		want.Percent = rapid.IntRange(1, 100).Draw(t, "percent")
	case 1:
		want.Buckets = highest(from.Ranges, rapid.IntRange(1, 60).Draw(t, "buckets"))
	case 2:
		for _, key := range owned {
			if rapid.Bool().Draw(t, "moves") {
				want.Keys = append(want.Keys, key)
			}
		}
	case 3:
		want.Prefixes = from.Prefixes
	default:
		want.All = true
	}
	keys, err := Plan(doc, "r", codes[0], codes[1], want)
	if err != nil {
		return nil
	}
	return &space.Transfer{Rule: "r", From: codes[0], To: codes[1], Keys: keys}
}

// reverse is the move that takes back another.
func reverse(t *space.Transfer) *space.Transfer {
	return &space.Transfer{Rule: t.Rule, From: t.To, To: t.From, Keys: t.Keys}
}

// A move and its reverse leave the document as it was. In between exactly the
// keys of the move have another owner.
func TestSwitchAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := drawSpace(t)
		tr := drawPlan(t, doc)
		if tr == nil {
			return
		}
		next, err := Switch(doc, tr)
		if err != nil {
			t.Fatal(err)
		}
		checkOwners(t, doc, next, tr)
		back, err := Switch(next, reverse(tr))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := canonicalJSON(t, back), canonicalJSON(t, doc); got != want {
			t.Fatalf("back from\n%s\ngot\n%s\nby %+v", want, got, tr)
		}
	})
}

// Moves one after another, and their reverses from the last to the first, end
// with the entries of the beginning, and each step moves its own keys alone.
func TestSwitchChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := drawSpace(t)
		first := canonicalJSON(t, inOrder(doc))
		var steps []*space.Transfer
		for range rapid.IntRange(1, 4).Draw(t, "moves") {
			if tr := drawPlan(t, doc); tr != nil {
				doc = mustSwitch(t, doc, tr)
				steps = append(steps, tr)
			}
		}
		for _, step := range slices.Backward(steps) {
			doc = mustSwitch(t, doc, reverse(step))
		}
		if got := canonicalJSON(t, inOrder(doc)); got != first {
			t.Fatalf("back at\n%s\nfrom\n%s", got, first)
		}
	})
}

// inOrder is a copy of a document without what decides nothing: the order of
// its lists, and remembered places.
func inOrder(doc *space.Space) *space.Space {
	d := *doc
	d.Spec.UnitRules = slices.Clone(d.Spec.UnitRules)
	r := &d.Spec.UnitRules[0]
	r.Units = slices.Clone(r.Units)
	for i := range r.Units {
		u := &r.Units[i]
		u.Allows, u.Prefixes, u.Left = sorted(u.Allows), sorted(u.Prefixes), nil
	}
	return &d
}

func mustSwitch(t *rapid.T, doc *space.Space, tr *space.Transfer) *space.Space {
	next, err := Switch(doc, tr)
	if err != nil {
		t.Fatal(err)
	}
	checkOwners(t, doc, next, tr)
	return next
}

func checkOwners(t *rapid.T, before, after *space.Space, tr *space.Transfer) {
	a, err := Compile(before)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Compile(after)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"x", "other", "K00", "k"}
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("k%02d", i), fmt.Sprint(i))
	}
	for _, key := range keys {
		d, e := a.DecideKey("r", key), b.DecideKey("r", key)
		want := d.Unit
		if Contains(tr.Keys, d) {
			want = tr.To
		}
		if e.Unit != want {
			t.Fatalf("key %q: owner %s after %+v, want %s", key, e.Unit, tr, want)
		}
		if Contains(tr.Keys, d) != Contains(tr.Keys, e) {
			t.Fatalf("key %q: in the move before %v and after %v: %+v", key, Contains(tr.Keys, d), Contains(tr.Keys, e), tr)
		}
	}
}
