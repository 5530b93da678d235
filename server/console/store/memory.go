package store

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"
)

func isConflict(err error) bool  { return errors.Is(err, ErrConflict) }
func isCompacted(err error) bool { return errors.Is(err, ErrCompacted) }

// Memory is a Store for tests: one process, nothing on disk, its whole past
// kept. Its leases end only by Revoke or EndLeases.
type Memory struct {
	mu        sync.Mutex
	revision  int64
	compacted int64
	items     map[string]memoryItem
	log       []memoryEvent
	leases    map[int64]*memoryLease
	granted   int64
	wake      chan struct{} // closed and replaced at each write
	down      bool
}

type memoryItem struct {
	Item
	lease int64
}

type memoryEvent struct {
	revision int64
	Event
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store. Like etcd's, its first revision is 1.
func NewMemory() *Memory {
	return &Memory{revision: 1, items: map[string]memoryItem{}, leases: map[int64]*memoryLease{}, wake: make(chan struct{})}
}

// SetDown makes every request fail with ErrUnavailable, as without a quorum,
// until it is called with false. Watches are silent meanwhile.
func (m *Memory) SetDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
	m.wakeLocked()
}

// Compact forgets what came before a revision.
func (m *Memory) Compact(revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.compacted = revision
}

// EndLeases lets every lease time out, as if their holders had been paused.
func (m *Memory) EndLeases() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leases {
		m.endLocked(l)
	}
}

func (m *Memory) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.down {
		return ErrUnavailable
	}
	return nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) (Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return Item{}, fmt.Errorf("get %s: %w", key, err)
	}
	if it, ok := m.items[key]; ok {
		return it.Item, nil
	}
	return Item{Key: key}, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix string, revision int64) (Listing, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return Listing{}, fmt.Errorf("list %s: %w", prefix, err)
	}
	if revision == 0 {
		revision = m.revision
	}
	if revision < m.compacted {
		return Listing{}, fmt.Errorf("list %s at %d: %w", prefix, revision, ErrCompacted)
	}
	found := map[string]Item{}
	for _, e := range m.log {
		if e.revision > revision {
			break
		}
		if !strings.HasPrefix(e.Item.Key, prefix) {
			continue
		}
		if e.Deleted {
			delete(found, e.Item.Key)
		} else {
			found[e.Item.Key] = e.Item
		}
	}
	l := Listing{Revision: revision}
	for _, it := range found {
		l.Items = append(l.Items, it)
	}
	sort.Slice(l.Items, func(i, j int) bool { return l.Items[i].Key < l.Items[j].Key })
	return l, nil
}

// Keys implements Store.
func (m *Memory) Keys(ctx context.Context, prefix string) (Listing, error) {
	l, err := m.List(ctx, prefix, 0)
	for i := range l.Items {
		l.Items[i].Value = nil
	}
	return l, err
}

// Commit implements Store.
func (m *Memory) Commit(ctx context.Context, t Txn) (int64, error) {
	if err := t.check(); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	for _, c := range t.If {
		if m.items[c.Key].Revision != c.Revision {
			return 0, fmt.Errorf("commit: %w", &ConflictError{Key: c.Key})
		}
	}
	for _, op := range t.Then {
		if op.Lease != 0 && m.leases[op.Lease] == nil {
			return 0, fmt.Errorf("commit %s: lease is not there", op.Key)
		}
	}
	m.writeLocked(t.Then)
	return m.revision, nil
}

// writeLocked gives all operations one revision, and none when they change
// nothing, as etcd does.
func (m *Memory) writeLocked(ops []Op) {
	next := m.revision + 1
	wrote := false
	for _, op := range ops {
		old, had := m.items[op.Key]
		if op.Delete {
			if had {
				delete(m.items, op.Key)
				m.log = append(m.log, memoryEvent{next, Event{Item: Item{Key: op.Key, Revision: next}, Deleted: true}})
				wrote = true
			}
			continue
		}
		it := Item{Key: op.Key, Value: append([]byte(nil), op.Value...), Revision: next, Created: next}
		if had {
			it.Created = old.Created
		}
		m.items[op.Key] = memoryItem{it, op.Lease}
		m.log = append(m.log, memoryEvent{next, Event{Item: it}})
		wrote = true
	}
	if wrote {
		m.revision = next
		m.wakeLocked()
	}
}

func (m *Memory) wakeLocked() {
	close(m.wake)
	m.wake = make(chan struct{})
}

// Watch implements Store.
func (m *Memory) Watch(ctx context.Context, prefix string, from int64) <-chan Changes {
	out := make(chan Changes)
	go func() {
		defer close(out)
		for {
			c, wake := m.since(prefix, from)
			if len(c.Events) > 0 || c.Err != nil {
				select {
				case out <- c:
				case <-ctx.Done():
					return
				}
				if c.Err != nil {
					return
				}
			}
			from = max(from, c.Revision+1)
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (m *Memory) since(prefix string, from int64) (Changes, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from < m.compacted {
		return Changes{Err: fmt.Errorf("watch %s from %d: %w", prefix, from, ErrCompacted)}, m.wake
	}
	if m.down {
		return Changes{Revision: from - 1}, m.wake
	}
	c := Changes{Revision: m.revision}
	start := sort.Search(len(m.log), func(i int) bool { return m.log[i].revision >= from })
	for _, e := range m.log[start:] {
		if strings.HasPrefix(e.Item.Key, prefix) {
			c.Events = append(c.Events, e.Event)
		}
	}
	return c, m.wake
}

type memoryLease struct {
	m    *Memory
	id   int64
	done chan struct{}
}

// Grant implements Store.
func (m *Memory) Grant(ctx context.Context, _ time.Duration) (Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	m.granted++
	l := &memoryLease{m: m, id: m.granted, done: make(chan struct{})}
	m.leases[l.id] = l
	return l, nil
}

func (m *Memory) endLocked(l *memoryLease) {
	if m.leases[l.id] == nil {
		return
	}
	delete(m.leases, l.id)
	close(l.done)
	var ops []Op
	for key, it := range m.items {
		if it.lease == l.id {
			ops = append(ops, Delete(key))
		}
	}
	m.writeLocked(ops)
}

func (l *memoryLease) ID() int64             { return l.id }
func (l *memoryLease) Done() <-chan struct{} { return l.done }

func (l *memoryLease) Revoke(context.Context) error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.endLocked(l)
	return nil
}
