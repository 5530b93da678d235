package mover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/server/pause"
)

// A watch that lost an event would never say so: everything is listed anew now
// and then.
const (
	relistEvery = 30 * time.Second
	retryMin    = 20 * time.Millisecond
	retryMax    = time.Second
)

// moveKey is a key under store.MovePrefix, taken apart.
type moveKey struct {
	space string
	what  string // active | id | abort
	id    string // of id and abort
}

func parseMoveKey(key string) (k moveKey, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, store.MovePrefix), "/")
	for i, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil {
			return k, false
		}
		parts[i] = text
	}
	switch {
	case len(parts) == 2 && parts[1] == "active":
		return moveKey{space: parts[0], what: "active"}, true
	case len(parts) == 3 && (parts[1] == "id" || parts[1] == "abort"):
		return moveKey{space: parts[0], what: parts[1], id: parts[2]}, true
	}
	return k, false
}

// wishKey is /atoll/move/<space>/abort/<id>: who wants the move aborted. It
// goes with the move's last write.
func wishKey(space, id string) string {
	return store.MoveSpacePrefix(space) + "abort/" + url.PathEscape(id)
}

// idPrefix lists the moves of a space, oldest first.
func idPrefix(space string) string { return store.MoveSpacePrefix(space) + "id/" }

// follow keeps this console's knowledge of moves a few milliseconds behind the
// store, until ctx ends.
func (m *Mover) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := m.followOnce(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("moves are not followed, trying again", "err", err)
			pause.For(ctx, retryMax)
		}
	}
}

func (m *Mover) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relistEvery)
	defer cancel()
	revision, err := m.list(ctx)
	if err != nil {
		return err
	}
	m.rereadPlanes()
	moves := m.cfg.Store.Watch(ctx, store.MovePrefix, revision+1)
	planes := m.cfg.Store.Watch(ctx, store.PlanePrefix, revision+1)
	for {
		select {
		case c, ok := <-moves:
			if !ok || c.Err != nil {
				return c.Err
			}
			for _, e := range c.Events {
				m.take(e)
			}
		case c, ok := <-planes:
			if !ok || c.Err != nil {
				return c.Err
			}
			m.rereadPlanes()
		}
	}
}

// list reads the moves that are not over, and the wishes to abort them.
func (m *Mover) list(ctx context.Context) (int64, error) {
	keys, err := m.cfg.Store.Keys(ctx, store.MovePrefix)
	if err != nil {
		return 0, fmt.Errorf("list the moves: %w", err)
	}
	for _, it := range keys.Items {
		k, ok := parseMoveKey(it.Key)
		if !ok || k.what == "id" {
			continue
		}
		read, err := m.cfg.Store.Get(ctx, it.Key)
		if err != nil {
			return 0, fmt.Errorf("list the moves: %w", err)
		}
		if read.Exists() && k.what == "active" {
			id := string(read.Value)
			if read, err = m.cfg.Store.Get(ctx, store.MoveKey(k.space, id)); err != nil {
				return 0, fmt.Errorf("list the moves: %w", err)
			}
		}
		if read.Exists() {
			m.take(store.Event{Item: read})
		}
	}
	select {
	case <-m.filled:
	default:
		close(m.filled)
	}
	return keys.Revision, nil
}

// take learns what the store says of one key.
func (m *Mover) take(e store.Event) {
	k, ok := parseMoveKey(e.Item.Key)
	switch {
	case !ok || k.what == "active":
	case k.what == "abort":
		m.wish(k.id, string(e.Item.Value), e.Deleted)
	case e.Deleted: // dropped from the history
	default:
		s, err := decode(e.Item)
		if err != nil {
			m.cfg.Log.Error("move in the store is not readable", "key", e.Item.Key, "err", err)
			return
		}
		m.keep(s, e.Item.Revision)
	}
}

func (m *Mover) wish(id, by string, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if gone || m.moves[id].state.Phase.Over() {
		delete(m.wishes, id)
		return
	}
	m.wishes[id] = by
	if d := m.drivers[id]; d != nil {
		d.wakeUp()
	}
}

// rereadPlanes makes every driver read the registered planes again.
func (m *Mover) rereadPlanes() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.drivers {
		d.stale = true
		d.wakeUp()
	}
}

var errNoMove = errors.New("no such move")

func decode(it store.Item) (move.State, error) {
	if !it.Exists() {
		return move.State{}, errNoMove
	}
	var s move.State
	if err := json.Unmarshal(it.Value, &s); err != nil {
		return s, fmt.Errorf("read move %s: %w", store.Name(it.Key), err)
	}
	return s, nil
}
