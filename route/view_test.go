package route

import (
	"testing"

	"github.com/atoll-live/atoll/space"
)

func TestContains(t *testing.T) {
	keys := space.KeySet{Buckets: []space.Range{{From: 10, To: 20}}, Keys: []string{"k"}, Prefixes: []string{"p-"}}
	for name, c := range map[string]struct {
		d    Decision
		want bool
	}{
		"bucket":                  {Decision{Key: "x", Bucket: 10, Reason: ByRange}, true},
		"bucket behind":           {Decision{Key: "x", Bucket: 20, Reason: ByRange}, false},
		"bucket, by a list":       {Decision{Key: "x", Bucket: 10, Reason: ByAllow}, false},
		"bucket, by a prefix":     {Decision{Key: "x", Bucket: 10, Reason: ByPrefix, Prefix: "q-"}, false},
		"prefix":                  {Decision{Key: "p-1", Bucket: 99, Reason: ByPrefix, Prefix: "p-"}, true},
		"begins so, by a list":    {Decision{Key: "p-1", Bucket: 99, Reason: ByAllow}, false},
		"name by a list":          {Decision{Key: "k", Bucket: 99, Reason: ByAllow}, true},
		"name by a bucket":        {Decision{Key: "k", Bucket: 99, Reason: ByRange}, true},
		"pinned, by a bucket":     {Decision{Key: "x", Bucket: 10, Reason: BySubdomain, OwnedBy: ByRange}, true},
		"pinned, by a list":       {Decision{Key: "x", Bucket: 10, Reason: BySubdomain, OwnedBy: ByAllow}, false},
		"no key":                  {Decision{Bucket: -1, Reason: ByMissing}, false},
		"no key, on a subdomain":  {Decision{Bucket: -1, Reason: BySubdomain}, false},
		"nobody's bucket":         {Decision{Key: "x", Bucket: 10, Reason: ByNone}, false},
		"the only unit's bucket":  {Decision{Key: "x", Bucket: 10, Reason: BySingle}, false},
		"other key, other bucket": {Decision{Key: "y", Bucket: 5, Reason: ByRange}, false},
	} {
		if got := Contains(keys, c.d); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		c.d.Rule = "r"
		m := &space.Transfer{ID: "m", Rule: "r", Keys: keys, Hold: true}
		doc := twoUnits(100, space.UnitRoute{}, space.UnitRoute{})
		v, err := NewView(&space.Snapshot{Document: doc, Moves: []*space.Transfer{m}})
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Held(c.d) == m; got != c.want {
			t.Errorf("%s: held %v", name, got)
		}
		if v.Fenced(c.d) != nil {
			t.Errorf("%s: fenced by a hold", name)
		}
		c.d.Rule = "other"
		if v.Held(c.d) != nil {
			t.Errorf("%s: held by the move of another rule", name)
		}
	}
}

func TestViewHoldsAndFences(t *testing.T) {
	doc := twoUnits(100, space.UnitRoute{Ranges: []space.Range{{From: 0, To: 100}}}, space.UnitRoute{})
	all := space.KeySet{Buckets: []space.Range{{From: 0, To: 100}}}
	over := &space.Transfer{ID: "over", Rule: "r", Keys: all, Outcome: space.OutcomeSwitched}
	held := &space.Transfer{ID: "held", Rule: "r", Keys: all, Hold: true}
	fenced := &space.Transfer{ID: "fenced", Rule: "r", Keys: all, Hold: true, Fenced: true}
	for _, c := range []struct {
		moves      []*space.Transfer
		hold, stop *space.Transfer
	}{
		{nil, nil, nil},
		{[]*space.Transfer{over}, nil, nil},
		{[]*space.Transfer{over, held}, held, nil},
		{[]*space.Transfer{over, fenced}, fenced, fenced},
	} {
		v, err := NewView(&space.Snapshot{Document: doc, Moves: c.moves})
		if err != nil {
			t.Fatal(err)
		}
		d := v.DecideKey("r", "1")
		if v.Held(d) != c.hold || v.Fenced(d) != c.stop {
			t.Errorf("%d moves: held %v, fenced %v", len(c.moves), v.Held(d), v.Fenced(d))
		}
	}
	if _, err := NewView(&space.Snapshot{}); err == nil {
		t.Error("a snapshot without a document was compiled")
	}
}
