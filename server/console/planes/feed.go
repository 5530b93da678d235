package planes

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/space"
)

// How the feed keeps up. Watches are listed anew now and then, since a watch
// that lost an event would never say so.
const (
	relistEvery  = 30 * time.Second
	relistPause  = 200 * time.Millisecond
	relistAttend = 5 * time.Second
)

// published is one space's snapshot as the store has it.
type published struct {
	space    string
	epoch    int64
	revision int64
	raw      []byte
	ttl      time.Duration // settings.fenceTTL
}

// feed is the console's copy of all snapshots and registered planes, a few
// milliseconds behind the store. What must not be stale is read from the store
// itself; the feed is for waking streams and for what they carry.
type feed struct {
	store store.Store
	log   *slog.Logger

	mu        sync.Mutex
	snapshots map[string]published
	planes    map[string]store.PlaneRecord
	seen      int64         // revision up to which planes is complete
	changed   chan struct{} // closed and replaced at each change
	ready     chan struct{} // closed once filled
	filled    bool
}

func newFeed(s store.Store, log *slog.Logger) *feed {
	return &feed{
		store: s, log: log,
		snapshots: map[string]published{}, planes: map[string]store.PlaneRecord{},
		changed: make(chan struct{}), ready: make(chan struct{}),
	}
}

// run keeps the feed until ctx ends.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.follow(ctx); err != nil && ctx.Err() == nil {
			f.log.Warn("snapshots are not followed, trying again", "err", err)
			pause.For(ctx, relistPause)
		}
	}
}

// follow lists everything and then watches, until it is time to list again.
func (f *feed) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relistEvery)
	defer cancel()
	listing, stop := context.WithTimeout(ctx, relistAttend)
	defer stop()
	snapshots, err := f.store.List(listing, store.SnapshotPrefix, 0)
	if err != nil {
		return err
	}
	planes, revision, err := store.Planes(listing, f.store)
	if err != nil {
		return err
	}
	f.fill(snapshots.Items, planes, revision)
	fromSnapshots := f.store.Watch(ctx, store.SnapshotPrefix, snapshots.Revision+1)
	fromPlanes := f.store.Watch(ctx, store.PlanePrefix, revision+1)
	for {
		select {
		case c, ok := <-fromSnapshots:
			if !ok || c.Err != nil {
				return c.Err
			}
			f.takeSnapshots(c)
		case c, ok := <-fromPlanes:
			if !ok || c.Err != nil {
				return c.Err
			}
			f.takePlanes(c)
		}
	}
}

func (f *feed) fill(snapshots []store.Item, planes []store.PlaneRecord, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range snapshots {
		f.putLocked(it)
	}
	f.planes = make(map[string]store.PlaneRecord, len(planes))
	for _, p := range planes {
		f.planes[p.Plane.GetName()] = p
	}
	f.seen = max(f.seen, revision)
	if !f.filled {
		f.filled = true
		close(f.ready)
	}
	f.wakeLocked()
}

// putLocked keeps the highest epoch seen of each space, whatever the store
// says later: planes must never be offered a lower one.
func (f *feed) putLocked(it store.Item) {
	p, err := decodePublished(it)
	if err != nil {
		f.log.Error("snapshot in the store is not readable", "key", it.Key, "err", err)
		return
	}
	old, had := f.snapshots[p.space]
	if had && (p.revision <= old.revision || p.epoch <= old.epoch) {
		if p.epoch < old.epoch {
			f.log.Error("store holds a lower epoch than before", "space", p.space, "epoch", p.epoch, "before", old.epoch)
		}
		return
	}
	f.snapshots[p.space] = p
}

func decodePublished(it store.Item) (published, error) {
	var s struct {
		Space    string         `json:"space"`
		Epoch    int64          `json:"epoch"`
		Settings space.Settings `json:"settings"`
	}
	if err := json.Unmarshal(it.Value, &s); err != nil {
		return published{}, fmt.Errorf("decode snapshot: %w", err)
	}
	return published{space: s.Space, epoch: s.Epoch, revision: it.Revision, raw: it.Value, ttl: s.Settings.FenceTTL}, nil
}

func (f *feed) takeSnapshots(c store.Changes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range c.Events {
		if !e.Deleted {
			f.putLocked(e.Item)
		}
	}
	f.wakeLocked()
}

func (f *feed) takePlanes(c store.Changes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range c.Events {
		if e.Deleted {
			delete(f.planes, store.Name(e.Item.Key))
			continue
		}
		p, err := store.ReadPlane(e.Item)
		if err != nil {
			f.log.Error("registered plane is not readable", "key", e.Item.Key, "err", err)
			continue
		}
		f.planes[p.Plane.GetName()] = p
	}
	f.seen = max(f.seen, c.Revision)
	f.wakeLocked()
}

func (f *feed) wakeLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// change is closed at the next change after this call.
func (f *feed) change() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// awaitFilled waits for the first list of the store.
func (f *feed) awaitFilled(ctx context.Context) error {
	select {
	case <-f.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newer lists the snapshots above the epochs held, by space code, and all
// space codes there are.
func (f *feed) newer(held map[string]int64) (list []published, spaces []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for code, p := range f.snapshots {
		spaces = append(spaces, code)
		if p.epoch > held[code] {
			list = append(list, p)
		}
	}
	sort.Strings(spaces)
	sort.Slice(list, func(i, j int) bool { return list[i].space < list[j].space })
	return list, spaces
}

// at is the snapshot of a space if the feed has exactly this revision of it.
func (f *feed) at(space string, revision int64) (published, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.snapshots[space]
	return p, ok && p.revision == revision
}

// replaced tells whether a registration, read at a revision, is no longer the
// one that stands.
func (f *feed) replaced(name, incarnation string, revision int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen < revision {
		return false
	}
	p, ok := f.planes[name]
	return !ok || p.Plane.GetIncarnation() != incarnation
}
