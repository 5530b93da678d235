package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

func TestNextVersion(t *testing.T) {
	for was, want := range map[string]string{
		"": "1", "0": "1", "1": "2", "9": "10", "009": "010", "099": "100", "999": "1000",
		"v1": "v2", "2024.9": "2024.10", "draft": "draft.1", "draft.1": "draft.2",
		"99999999999999999999": "100000000000000000000",
	} {
		if got := nextVersion(was); got != want {
			t.Errorf("after %q comes %q, want %q", was, got, want)
		}
	}
}

func TestHigherVersion(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"2", "1", true}, {"10", "9", true}, {"1", "1", false}, {"1", "2", false}, {"", "", false},
		{"1", "", true}, {"", "1", false}, {"002", "1", true}, {"01", "1", false}, {"v3", "v2", true},
		{"v3", "2", false}, {"x", "1", false}, {"3", "x", false}, {"1", "0", true}, {"00", "0", false},
	} {
		if got := higherVersion(c.a, c.b); got != c.want {
			t.Errorf("%q higher than %q: %v", c.a, c.b, got)
		}
	}
}

func testSpace(version string, units ...string) *space.Space {
	d := &space.Space{APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"}}
	d.Spec.Code, d.Spec.Version = "shop", version
	for _, u := range units {
		d.Spec.Units = append(d.Spec.Units, space.Unit{Code: u, Type: space.Regular})
	}
	return d
}

func commit(t *testing.T, s store.Store, c Current, next *space.Snapshot, why Why) Current {
	t.Helper()
	txn, err := Txn(c, next, why)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(context.Background(), txn); err != nil {
		t.Fatal(err)
	}
	c, err = Load(context.Background(), s, next.Space)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func load(t *testing.T, s store.Store) Current {
	t.Helper()
	c, err := Load(context.Background(), s, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func next(t *testing.T, c Current) *space.Snapshot {
	t.Helper()
	n, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTxn_PublishesOneStepAfterAnother(t *testing.T) {
	s, ctx := store.NewMemory(), context.Background()
	c := load(t, s)
	if c.Epoch() != 0 || c.Snapshot != nil {
		t.Fatalf("of an unknown space: %+v", c)
	}
	why := Why{By: "ann", Action: "apply", Object: "shop", At: time.Now().UTC()}
	n := next(t, c)
	n.Space, n.Document = "shop", testSpace("7", "unit-a")
	c = commit(t, s, c, n, why)
	if c.Epoch() != 1 || c.Snapshot.Document.Spec.Version != "7" {
		t.Fatalf("first: epoch %d version %s", c.Epoch(), c.Snapshot.Document.Spec.Version)
	}

	n = next(t, c)
	n.Document.Spec.Units[0].Name = "A"
	if c.Snapshot.Document.Spec.Units[0].Name != "" {
		t.Fatal("the copy shares with what it was made of")
	}
	former := c
	why.At = why.At.Add(time.Second)
	c = commit(t, s, c, n, why)
	if c.Epoch() != 2 || c.Snapshot.Document.Spec.Version != "8" {
		t.Fatalf("changed: epoch %d version %s", c.Epoch(), c.Snapshot.Document.Spec.Version)
	}
	stale, err := Txn(former, next(t, former), why)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, stale); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("published over a snapshot not seen: %v", err)
	}

	// The epoch is not the caller's to choose.
	n = next(t, c)
	n.Epoch = 99
	if _, err := Txn(c, n, Why{}); err != nil || n.Epoch != 3 {
		t.Fatalf("epoch %d, %v", n.Epoch, err)
	}

	// What a move does: a new snapshot of the same documents has no history.
	n = next(t, c)
	n.Moves = []*space.Transfer{{ID: "m1", Hold: true}}
	c = commit(t, s, c, n, Why{})
	if c.Epoch() != 3 || c.Snapshot.Document.Spec.Version != "8" || len(c.Snapshot.Moves) != 1 {
		t.Fatalf("held: %+v", c.Snapshot)
	}
	past, err := History(ctx, s, space.KindSpace, "shop", 0)
	if err != nil || len(past) != 2 || past[0].Epoch != 2 || past[0].Action != "changed by apply" || past[1].Action != "created by apply" {
		t.Fatalf("history: %+v, %v", past, err)
	}
	log, err := audit.List(ctx, s, 0)
	if err != nil || len(log) != 2 || log[0].By != "ann" {
		t.Fatalf("audit: %+v, %v", log, err)
	}
	it, err := s.Get(ctx, store.DocKey(space.KindSpace, "shop"))
	if err != nil || !strings.Contains(string(it.Value), `"version":"8"`) {
		t.Fatalf("document: %s, %v", it.Value, err)
	}
}

func TestTxn_Refuses(t *testing.T) {
	big := testSpace("1", "unit-a")
	big.Spec.Name = strings.Repeat("x", MaxDocument)
	broken := testSpace("1", "unit-a")
	broken.Spec.UnitRules = []space.UnitRule{{ID: "1", VariableFunction: "BKDRHash", Modulo: -5, Units: []space.UnitRoute{{Code: "unit-a"}}}}
	other := testSpace("1", "unit-a")
	other.Spec.Code = "another"
	many := &space.Snapshot{Space: "shop", Document: testSpace("1", "unit-a")}
	for i := range 4 {
		db := &space.Database{Kind: space.KindDatabase, Metadata: space.Metadata{Name: fmt.Sprint(i)}}
		db.Spec.Space, db.Spec.Rule = "shop", strings.Repeat("x", MaxSnapshot/3)
		many.Databases = append(many.Databases, db)
	}
	for name, c := range map[string]struct {
		next *space.Snapshot
		want string
	}{
		"no document":      {&space.Snapshot{Space: "shop"}, "missing"},
		"another's":        {&space.Snapshot{Space: "shop", Document: other}, "another space"},
		"large document":   {&space.Snapshot{Space: "shop", Document: big}, "at most 1048576"},
		"large snapshot":   {many, "at most 2097152"},
		"does not compile": {&space.Snapshot{Space: "shop", Document: broken}, "modulo"},
	} {
		_, err := Txn(Current{Item: store.Item{Key: store.SnapshotKey("shop")}}, c.next, Why{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if strings.HasPrefix(name, "large") && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v is not ErrTooLarge", name, err)
		}
	}
}

func TestPrune(t *testing.T) {
	s, ctx := store.NewMemory(), context.Background()
	for i := range HistoryKept + 7 {
		ops := []store.Op{store.Put(store.HistoryKey("Database", "shop", int64(i)), []byte("{}"))}
		if i < 3 {
			ops = append(ops, store.Put(store.HistoryKey("Database", "small", int64(i)), []byte("{}")))
		}
		if _, err := s.Commit(ctx, store.Txn{Then: ops}); err != nil {
			t.Fatal(err)
		}
	}
	if err := PruneHistory(ctx, s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"shop": HistoryKept, "small": 3} {
		l, err := s.Keys(ctx, store.HistoryDocPrefix("Database", name))
		if err != nil || len(l.Items) != want {
			t.Errorf("%s: %d states, want %d, %v", name, len(l.Items), want, err)
		}
		if name == "shop" && l.Items[0].Key != store.HistoryKey("Database", "shop", 7) {
			t.Errorf("the oldest left is %s", l.Items[0].Key)
		}
	}
}
