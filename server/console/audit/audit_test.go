package audit

import (
	"context"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/console/store"
)

func TestListAndPrune(t *testing.T) {
	s, ctx := store.NewMemory(), context.Background()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const many = pruneStep*2 + 10
	for i := range many {
		op, err := Op(Entry{At: start.Add(time.Duration(i) * time.Second), By: "ann", Action: "apply", Object: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := List(ctx, s, 2)
	if err != nil || len(list) != 2 || !list[0].At.Equal(start.Add((many-1)*time.Second)) || !list[1].At.Before(list[0].At) {
		t.Fatalf("newest first: %+v, %v", list, err)
	}
	if err := Prune(ctx, s, store.AuditPrefix, 5); err != nil {
		t.Fatal(err)
	}
	list, err = List(ctx, s, 0)
	if err != nil || len(list) != 5 || !list[4].At.Equal(start.Add((many-5)*time.Second)) {
		t.Fatalf("after pruning: %+v, %v", list, err)
	}
	if err := Prune(ctx, s, store.AuditPrefix, 5); err != nil {
		t.Fatal(err)
	}
}
