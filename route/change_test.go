package route

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atoll-live/atoll/space"
)

func inUse(doc *space.Space) *space.Snapshot {
	return &space.Snapshot{Space: "s", Document: doc, Databases: []*space.Database{{
		Metadata: space.Metadata{Name: "db"},
		Spec:     space.DatabaseSpec{Space: "s", Rule: "r", Tables: []space.Table{{Name: "t", Kind: space.TableUnit, Key: "k"}}},
	}}}
}

// Without changes no key has another owner, and a key with another owner is
// named by a change: itself, its bucket or its prefix.
func TestOwnersChangedIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawSpace(t)
		r := &before.Spec.UnitRules[0]
		after := drawSpaceOf(t, r.Modulo+rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "more"))
		if rapid.Bool().Draw(t, "same ranges") && after.Spec.UnitRules[0].Modulo == r.Modulo {
			for i := range r.Units {
				after.Spec.UnitRules[0].Units[i].Ranges = r.Units[i].Ranges
			}
		}
		r = &rapid.SampledFrom([]*space.Space{before, after}).Draw(t, "which").Spec.UnitRules[0]
		if rapid.IntRange(0, 3).Draw(t, "one unit") == 0 {
			r.Units = r.Units[:1]
			r.Units[0].Ranges = nil
		}
		changes, err := OwnersChanged(inUse(before), inUse(after))
		if err != nil {
			t.Fatal(err)
		}
		a, err := Compile(before)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Compile(after)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			for _, key := range []string{fmt.Sprintf("k%02d", i), fmt.Sprint(i)} {
				d, e := a.DecideKey("r", key), b.DecideKey("r", key)
				if d.Unit != e.Unit && !named(changes, d, e) {
					t.Fatalf("key %q goes from %s (%s) to %s (%s), changes %v", key, d.Unit, d.Reason, e.Unit, e.Reason, changes)
				}
			}
		}
	})
}

// named tells whether a change speaks of the key of two decisions.
func named(changes []Change, d, e Decision) bool {
	for _, c := range changes {
		if c.What == "modulo" || Contains(space.KeySet{Buckets: c.Buckets, Keys: c.Keys}, Decision{Key: d.Key, Bucket: d.Bucket, Reason: ByRange}) {
			return true
		}
		if c.Prefix != "" && (c.Prefix == d.Prefix || c.Prefix == e.Prefix) {
			return true
		}
	}
	return false
}

func TestOwnersChangedNothing(t *testing.T) {
	doc := twoUnits(100, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 60}}}, space.UnitRoute{Ranges: []space.Range{{From: 60, To: 100}}})
	other := twoUnits(100, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 50}}}, space.UnitRoute{Ranges: []space.Range{{From: 50, To: 100}}})
	unused := inUse(doc)
	unused.Databases = nil
	for name, c := range map[string]struct {
		before, after *space.Snapshot
		want          int
	}{
		"the same":             {inUse(doc), inUse(doc), 0},
		"a new space":          {nil, inUse(doc), 0},
		"an unused rule":       {unused, inUse(other), 0},
		"a deleted space":      {inUse(doc), nil, 1},
		"other ranges":         {inUse(doc), inUse(other), 1},
		"no database any more": {inUse(doc), unused, 1},
	} {
		changes, err := OwnersChanged(c.before, c.after)
		if err != nil || len(changes) != c.want {
			t.Errorf("%s: %v %v", name, changes, err)
		}
	}
}

// A move is a change of owners that apply alone would refuse, with exactly the
// move as its mend.
func TestOwnersChangedNamesTheMove(t *testing.T) {
	doc := twoUnits(100, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 60}}}, space.UnitRoute{Ranges: []space.Range{{From: 60, To: 100}}})
	next, err := Switch(doc, &space.Transfer{Rule: "r", From: "a", To: "b", Keys: space.KeySet{Buckets: []space.Range{{From: 30, To: 60}}}})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := OwnersChanged(inUse(doc), inUse(next))
	if err != nil || len(changes) != 1 {
		t.Fatal(changes, err)
	}
	want := "atoll move start --space s --from a --to b --buckets 30-59"
	if c := changes[0]; c.Mend != want || c.Before != "a" || c.After != "b" || FormatBuckets(c.Buckets) != "30-59" {
		t.Errorf("%+v, want %s", c, want)
	}
}

// What an accepted document changes of lists must not change which keys lie in
// the sets of ended moves, or MovesCut names the move.
func TestMovesCutIsComplete(t *testing.T) {
	cut, kept := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		before := drawSpace(t)
		m := drawPlan(t, before)
		if m == nil {
			return
		}
		m.Outcome, m.FenceEpoch = space.OutcomeSwitched, 1
		before, err := Switch(before, m)
		if err != nil {
			t.Fatal(err)
		}
		after := redundant(t, before)
		s := inUse(before)
		s.Moves = []*space.Transfer{m}
		if changes, err := OwnersChanged(s, inUse(after)); err != nil || len(changes) > 0 {
			t.Fatal(changes, err)
		}
		list, err := MovesCut(s, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			cut++
			return
		}
		kept++
		a, err := Compile(before)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Compile(after)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			for _, key := range []string{fmt.Sprintf("k%02d", i), fmt.Sprint(i)} {
				d, e := a.DecideKey("r", key), b.DecideKey("r", key)
				if Contains(m.Keys, d) != Contains(m.Keys, e) {
					t.Fatalf("key %q was in %+v by %s, and is by %s", key, m.Keys, d.Reason, e.Reason)
				}
			}
		}
	})
	if cut == 0 || kept == 0 {
		t.Errorf("%d documents cut the set of a move, %d do not: the test has lost its teeth", cut, kept)
	}
}

// redundant changes the lists of a document so that every key keeps its owner.
func redundant(t *rapid.T, doc *space.Space) *space.Space {
	table, err := Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	next := *doc
	r := doc.Spec.UnitRules[0]
	r.Units = slices.Clone(r.Units)
	listed := map[string]bool{}
	for i := range r.Units {
		for _, key := range r.Units[i].Allows {
			listed[key] = true
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "more") {
		key := fmt.Sprintf("k%02d", rapid.IntRange(0, 39).Draw(t, "key"))
		if i := routeOf(&r, table.DecideKey("r", key).Unit); i >= 0 && !listed[key] {
			r.Units[i].Allows = append(slices.Clone(r.Units[i].Allows), key)
			listed[key] = true
		}
	}
	next.Spec.UnitRules = []space.UnitRule{r}
	return &next
}

func TestOwnersChangedOfSources(t *testing.T) {
	doc := twoUnits(100, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 60}}}, space.UnitRoute{Ranges: []space.Range{{From: 60, To: 100}}})
	doc.Spec.Units[0].Type = space.Center
	doc.Spec.Units = append(doc.Spec.Units, space.Unit{Code: "idle", Type: space.Regular})
	at := func(unit, host string, buckets ...space.Range) space.DataSource {
		return space.DataSource{Unit: unit, Host: host, Port: 3306, Database: "shop", Buckets: buckets}
	}
	all := []space.DataSource{at("a", "h1"), at("b", "h2"), at("idle", "h3")}
	shards := []space.DataSource{at("a", "h1"), at("b", "h2", space.Range{From: 0, To: 50}), at("b", "h3", space.Range{From: 50, To: 100})}
	for _, c := range []struct {
		name          string
		before, after []space.DataSource
		want          string // "" for no change
	}{
		{"the same in another order", all, []space.DataSource{all[2], all[1], all[0]}, ""},
		{"another server", all, []space.DataSource{all[0], at("b", "h9"), all[2]}, ""},
		{"another account", all, []space.DataSource{all[0], {Unit: "b", Host: "H2", Port: 3306, Database: "shop", User: "u"}, all[2]}, ""},
		{"a new unit's", all[:2], all, ""},
		{"gone, without keys", all, all[:2], ""},
		{"gone, with keys", all, []space.DataSource{all[0], all[2]},
			`database "db": sources of unit b would go from h2:3306/shop to nothing (move its keys away first: atoll move start --space s --from b --to UNIT --all)`},
		{"swapped", all, []space.DataSource{at("a", "h2"), at("b", "h1"), all[2]},
			`database "db": sources of unit a would go from h1:3306/shop to h2:3306/shop (keep them: the rows there are those of unit b)`},
		{"shards in another order", shards, []space.DataSource{shards[2], shards[0], shards[1]}, ""},
		{"shards cut otherwise", shards, []space.DataSource{shards[0], at("b", "h2", space.Range{From: 0, To: 40}), at("b", "h3", space.Range{From: 40, To: 100})},
			`database "db": sources of unit b would go from h2:3306/shop (buckets 0-49), h3:3306/shop (buckets 50-99) to h2:3306/shop (buckets 0-39), h3:3306/shop (buckets 40-99) (keep them: rows do not follow their buckets from shard to shard)`},
	} {
		before, after := inUse(doc), inUse(doc)
		before.Databases[0].Spec.Sources, after.Databases[0].Spec.Sources = c.before, c.after
		changes, err := OwnersChanged(before, after)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(changes) > 0 {
			got = changes[0].String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for text, want := range map[string]string{"alice,bob-1": "alice,bob-1", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "": "''", "ü": "'ü'"} {
		if got := shellWord(text); got != want {
			t.Errorf("%q as a word: %s, want %s", text, got, want)
		}
	}
}
