package route

import (
	"fmt"
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
