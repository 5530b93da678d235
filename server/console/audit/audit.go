package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/atoll-live/atoll/server/console/store"
)

// Kept is how many entries Prune leaves, the newest.
const Kept = 10_000

// pruneStep keeps one transaction of Prune small.
const pruneStep = 256

// Entry is one line of the audit log.
type Entry struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Action string    `json:"action"` // apply, move.start, move.abort, plane.forget, …
	Object string    `json:"object"`
	Detail string    `json:"detail,omitempty"`
}

// Op writes an entry as part of the transaction that does what it tells.
// Entries of the same nanosecond, action and object are one.
func Op(e Entry) (store.Op, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return store.Op{}, fmt.Errorf("write the audit log: %w", err)
	}
	return store.Put(store.AuditKey(e.At.UnixNano(), e.Action+" "+e.Object), raw), nil
}

// List returns the newest entries first, at most limit; 0: all that are kept.
func List(ctx context.Context, s store.Store, limit int) ([]Entry, error) {
	l, err := s.List(ctx, store.AuditPrefix, 0)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	items := l.Items
	slices.Reverse(items)
	if limit > 0 && len(items) > limit {
		items = items[:limit]
	}
	entries := make([]Entry, len(items))
	for i, it := range items {
		if err := json.Unmarshal(it.Value, &entries[i]); err != nil {
			return nil, fmt.Errorf("read the audit log: %s: %w", it.Key, err)
		}
	}
	return entries, nil
}

// Prune deletes all but the newest keys under a prefix whose key order is the
// order of time.
func Prune(ctx context.Context, s store.Store, prefix string, kept int) error {
	l, err := s.Keys(ctx, prefix)
	if err != nil {
		return fmt.Errorf("prune %s: %w", prefix, err)
	}
	old := l.Items[:max(0, len(l.Items)-kept)]
	for step := range slices.Chunk(old, pruneStep) {
		var t store.Txn
		for _, it := range step {
			t.Then = append(t.Then, store.Delete(it.Key))
		}
		if _, err := s.Commit(ctx, t); err != nil {
			return fmt.Errorf("prune %s: %w", prefix, err)
		}
	}
	return nil
}
