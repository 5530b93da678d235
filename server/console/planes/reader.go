package planes

import (
	"context"
	"fmt"
	"sync"

	"github.com/atoll-live/atoll/server/console/store"
)

// reader reads the revisions of all snapshots linearizably, for many reports
// with one read: whoever asks is answered by a read that began after he asked.
type reader struct {
	store store.Store
	wake  chan struct{}

	mu   sync.Mutex
	next *flight // not begun yet; nil: nobody waits
}

type flight struct {
	done      chan struct{}
	revisions map[string]int64 // space → revision of its snapshot
	err       error
}

func newReader(s store.Store) *reader {
	return &reader{store: s, wake: make(chan struct{}, 1)}
}

// run reads for whoever waits, until ctx ends.
func (r *reader) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		r.mu.Lock()
		f := r.next
		r.next = nil // who comes from here on waits for another read
		r.mu.Unlock()
		if f != nil {
			f.read(ctx, r.store)
			close(f.done)
		}
	}
}

func (f *flight) read(ctx context.Context, s store.Store) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	l, err := s.Keys(ctx, store.SnapshotPrefix)
	if err != nil {
		f.err = fmt.Errorf("read the epochs in force: %w", err)
		return
	}
	f.revisions = make(map[string]int64, len(l.Items))
	for _, it := range l.Items {
		f.revisions[store.Name(it.Key)] = it.Revision
	}
}

// read returns the revisions as they stood at some moment after this call.
func (r *reader) read(ctx context.Context) (map[string]int64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &flight{done: make(chan struct{})}
	}
	f := r.next
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	select {
	case <-f.done:
		return f.revisions, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read the epochs in force: %w", ctx.Err())
	}
}
