package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// The sizes that are published, in bytes of JSON. What is larger is refused
// with ErrTooLarge and nothing is written.
const (
	MaxDocument = 1 << 20
	MaxSnapshot = 2 << 20
)

// ErrTooLarge says that a document or a snapshot is over its size.
var ErrTooLarge = errors.New("too large")

// Current is what stands of a space in the store.
type Current struct {
	Snapshot *space.Snapshot // nil before the space's first
	Item     store.Item      // the snapshot's key, for compares
}

// Load reads what stands of a space, linearizably.
func Load(ctx context.Context, s store.Store, code string) (Current, error) {
	it, err := s.Get(ctx, store.SnapshotKey(code))
	if err != nil {
		return Current{}, fmt.Errorf("read the snapshot of %s: %w", code, err)
	}
	return Read(it)
}

// Read decodes a snapshot's key.
func Read(it store.Item) (Current, error) {
	c := Current{Item: it}
	if !it.Exists() {
		return c, nil
	}
	c.Snapshot = new(space.Snapshot)
	if err := json.Unmarshal(it.Value, c.Snapshot); err != nil {
		return c, fmt.Errorf("read the snapshot of %s: %w", store.Name(it.Key), err)
	}
	return c, nil
}

// Epoch is the epoch in force, 0 before the first.
func (c Current) Epoch() int64 {
	if c.Snapshot == nil {
		return 0
	}
	return c.Snapshot.Epoch
}

// Next is a copy to change: all of the snapshot in force, with the next epoch.
// It shares nothing with Current.
func (c Current) Next() (*space.Snapshot, error) {
	next := new(space.Snapshot)
	if c.Snapshot != nil {
		if err := json.Unmarshal(c.Item.Value, next); err != nil {
			return nil, fmt.Errorf("copy the snapshot of %s: %w", c.Snapshot.Space, err)
		}
	}
	next.Epoch = c.Epoch() + 1
	return next, nil
}

// Why is written to history and, unless Action is empty, to the audit log.
type Why struct {
	By, Action, Object, Detail string
	At                         time.Time
}

// Txn is the part of a transaction that puts next in force after current. It
// compares the snapshot's revision, sets next's epoch to the one after
// current's, raises the version of a changed MultiLiveSpace, and writes every
// document that differs together with its history. Callers add their own
// compares and writes and commit it all at once. A next that does not compile
// is refused: no plane could obey it.
func Txn(current Current, next *space.Snapshot, why Why) (store.Txn, error) {
	if next.Document == nil || next.Document.Spec.Code != next.Space {
		return store.Txn{}, fmt.Errorf("publish space %s: its document is missing or of another space", next.Space)
	}
	next.Epoch = current.Epoch() + 1
	t := store.Txn{If: []store.Compare{current.Item.Unchanged()}}
	writes, err := documentWrites(current, next, why)
	if err != nil {
		return store.Txn{}, fmt.Errorf("publish space %s: %w", next.Space, err)
	}
	// Compiled after documentWrites, which touches the version.
	if _, err := route.NewView(next); err != nil {
		return store.Txn{}, fmt.Errorf("publish space %s: %w", next.Space, err)
	}
	raw, err := encode(next, MaxSnapshot, "snapshot of "+next.Space)
	if err != nil {
		return store.Txn{}, err
	}
	t.Then = append(t.Then, writes...)
	t.Then = append(t.Then, store.Put(store.SnapshotKey(next.Space), raw))
	if why.Action != "" {
		op, err := audit.Op(audit.Entry{At: why.At, By: why.By, Action: why.Action, Object: why.Object, Detail: why.Detail})
		if err != nil {
			return store.Txn{}, err
		}
		t.Then = append(t.Then, op)
	}
	return t, nil
}

// document is one document of a snapshot, to be compared and written.
type document struct {
	kind, name string
	body       any
}

func documents(s *space.Snapshot) []document {
	if s == nil {
		return nil
	}
	list := []document{{space.KindSpace, s.Document.Spec.Code, s.Document}}
	for _, db := range s.Databases {
		list = append(list, document{space.KindDatabase, db.Metadata.Name, db})
	}
	return list
}

func documentWrites(current Current, next *space.Snapshot, why Why) ([]store.Op, error) {
	if err := raiseVersion(current, next); err != nil {
		return nil, err
	}
	former := map[string][]byte{}
	for _, d := range documents(current.Snapshot) {
		raw, err := json.Marshal(d.body)
		if err != nil {
			return nil, err
		}
		former[store.DocKey(d.kind, d.name)] = raw
	}
	var ops []store.Op
	for _, d := range documents(next) {
		raw, err := encode(d.body, MaxDocument, d.kind+" "+d.name)
		if err != nil {
			return nil, err
		}
		key := store.DocKey(d.kind, d.name)
		was, had := former[key]
		delete(former, key)
		if had && bytes.Equal(was, raw) {
			continue
		}
		action := "changed"
		if !had {
			action = "created"
		}
		past, err := historyOp(d, next.Epoch, raw, action, why)
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.Put(key, raw), past)
	}
	for key := range former {
		ops = append(ops, store.Delete(key))
	}
	return ops, nil
}

// raiseVersion gives a changed document the version after the former one,
// unless its author has already put a higher one in.
func raiseVersion(current Current, next *space.Snapshot) error {
	if current.Snapshot == nil {
		return nil
	}
	was, is := current.Snapshot.Document, next.Document
	KeepVersion(was, is)
	same, err := SameDocument(was, is)
	if err == nil && !same && is.Spec.Version == was.Spec.Version {
		is.Spec.Version = nextVersion(was.Spec.Version)
	}
	return err
}

// KeepVersion gives a document the version of its former state unless its own
// is higher: authors need not know the version that the console has come to.
func KeepVersion(was, is *space.Space) {
	if !higherVersion(is.Spec.Version, was.Spec.Version) {
		is.Spec.Version = was.Spec.Version
	}
}

// SameDocument tells whether publishing is over was would change nothing. A
// version that is not higher is no change.
func SameDocument(was, is *space.Space) (bool, error) {
	kept := *is
	KeepVersion(was, &kept)
	return sameJSON(was, &kept)
}

// SameDatabase tells whether publishing is over was would change nothing.
func SameDatabase(was, is *space.Database) (bool, error) { return sameJSON(was, is) }

func sameJSON(a, b any) (bool, error) {
	p, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	q, err := json.Marshal(b)
	return bytes.Equal(p, q), err
}

func encode(v any, limit int, what string) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write the %s: %w", what, err)
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d: %w", what, len(raw), limit, ErrTooLarge)
	}
	return raw, nil
}
