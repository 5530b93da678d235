package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/store"
)

// HistoryKept is how many states of a document are kept, the newest.
const HistoryKept = 50

// Past is one published state of a document.
type Past struct {
	Epoch    int64           `json:"epoch"`
	At       time.Time       `json:"at"`
	By       string          `json:"by"`
	Action   string          `json:"action"` // created | changed, and what changed it
	Document json.RawMessage `json:"document"`
	Revision int64           `json:"-"` // of the store
}

func historyOp(d document, epoch int64, raw []byte, action string, why Why) (store.Op, error) {
	if why.Action != "" {
		action += " by " + why.Action
	}
	past, err := json.Marshal(Past{Epoch: epoch, At: why.At, By: why.By, Action: action, Document: raw})
	if err != nil {
		return store.Op{}, fmt.Errorf("write the history of %s %s: %w", d.kind, d.name, err)
	}
	return store.Put(store.HistoryKey(d.kind, d.name, epoch), past), nil
}

// History returns the published states of a document, the newest first, at
// most limit; 0: all that are kept.
func History(ctx context.Context, s store.Store, kind, name string, limit int) ([]Past, error) {
	l, err := s.List(ctx, store.HistoryDocPrefix(kind, name), 0)
	if err != nil {
		return nil, fmt.Errorf("read the history of %s %s: %w", kind, name, err)
	}
	slices.Reverse(l.Items)
	if limit > 0 && len(l.Items) > limit {
		l.Items = l.Items[:limit]
	}
	list := make([]Past, len(l.Items))
	for i, it := range l.Items {
		if err := json.Unmarshal(it.Value, &list[i]); err != nil {
			return nil, fmt.Errorf("read the history of %s %s: %w", kind, name, err)
		}
		list[i].Revision = it.Revision
	}
	return list, nil
}

// PruneHistory deletes all but the newest HistoryKept states of each document.
func PruneHistory(ctx context.Context, s store.Store) error {
	l, err := s.Keys(ctx, store.HistoryPrefix)
	if err != nil {
		return fmt.Errorf("prune the history: %w", err)
	}
	states := map[string]int{} // of a document, by the prefix of their keys
	for _, it := range l.Items {
		states[it.Key[:strings.LastIndexByte(it.Key, '/')+1]]++
	}
	for prefix, n := range states {
		if n <= HistoryKept {
			continue
		}
		if err := audit.Prune(ctx, s, prefix, HistoryKept); err != nil {
			return err
		}
	}
	return nil
}
