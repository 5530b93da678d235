package mover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/auth"
	"github.com/atoll-live/atoll/server/console/store"
)

// How long Abort waits for the move to end or to be past it, and how often
// Follow speaks.
const (
	abortPatience = 15 * time.Second
	followEvery   = time.Second           // even when nothing changes: times go on
	followPause   = 50 * time.Millisecond // at least, between answers of one phase
)

var errStopping = connect.NewError(connect.CodeUnavailable, errors.New("console is stopping"))

// Status answers with one move.
func (m *Mover) Status(ctx context.Context, r *connect.Request[atollv1.MoveIDRequest]) (*connect.Response[atollv1.MoveResponse], error) {
	s, err := m.find(ctx, r.Msg.GetId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&atollv1.MoveResponse{Move: m.render(s)}), nil
}

// find is a move as this console sees it, or as the store has it.
func (m *Mover) find(ctx context.Context, id string) (move.State, error) {
	if s, ok := m.see(id); ok {
		return s, nil
	}
	keys, err := m.cfg.Store.Keys(ctx, store.MovePrefix)
	if err != nil {
		return move.State{}, storeError(err)
	}
	for _, it := range keys.Items {
		if k, ok := parseMoveKey(it.Key); !ok || k.what != "id" || k.id != id {
			continue
		}
		read, err := m.cfg.Store.Get(ctx, it.Key)
		if err != nil {
			return move.State{}, storeError(err)
		}
		s, err := decode(read)
		if errors.Is(err, errNoMove) {
			break
		}
		if err != nil {
			return s, connect.NewError(connect.CodeInternal, err)
		}
		return s, nil
	}
	return move.State{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no move %q", id))
}

// List answers with the moves of a space, or of all, the newest first.
func (m *Mover) List(ctx context.Context, r *connect.Request[atollv1.ListMovesRequest]) (*connect.Response[atollv1.ListMovesResponse], error) {
	limit := int(r.Msg.GetLimit())
	if limit <= 0 || limit > listMax {
		limit = listMax
	}
	prefix := store.MovePrefix
	if r.Msg.GetSpace() != "" {
		prefix = idPrefix(r.Msg.GetSpace())
	}
	keys, err := m.cfg.Store.Keys(ctx, prefix)
	if err != nil {
		return nil, storeError(err)
	}
	items := slices.DeleteFunc(keys.Items, func(it store.Item) bool {
		k, ok := parseMoveKey(it.Key)
		return !ok || k.what != "id"
	})
	// Ids begin with the time, so the newest of all spaces come first.
	slices.SortFunc(items, func(a, b store.Item) int { return int(b.Created - a.Created) })
	answer := &atollv1.ListMovesResponse{}
	for _, it := range items[:min(limit, len(items))] {
		k, _ := parseMoveKey(it.Key)
		s, ok := m.see(k.id)
		if !ok {
			read, err := m.cfg.Store.Get(ctx, it.Key)
			if err != nil {
				return nil, storeError(err)
			}
			if s, err = decode(read); err != nil {
				continue // dropped meanwhile, or not readable, which follow has logged
			}
		}
		answer.Moves = append(answer.Moves, m.render(s))
	}
	return connect.NewResponse(answer), nil
}

// Abort asks for the move to end with the old owner, and answers once it has,
// or once it can no longer. The wish is written down first, so that it holds
// whichever console leads.
func (m *Mover) Abort(ctx context.Context, r *connect.Request[atollv1.MoveIDRequest]) (*connect.Response[atollv1.MoveResponse], error) {
	id := r.Msg.GetId()
	s, err := m.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := mayAbort(s); err != nil {
		return nil, err
	}
	if !s.Phase.Over() {
		if err := m.wishAbort(ctx, s, auth.By(ctx)); err != nil {
			return nil, err
		}
	}
	patience := time.NewTimer(abortPatience)
	defer patience.Stop()
	for {
		changed := m.progressed()
		if s, err = m.find(ctx, id); err != nil {
			return nil, err
		}
		if s.Phase == move.Aborted {
			return connect.NewResponse(&atollv1.MoveResponse{Move: m.render(s)}), nil
		}
		if err := mayAbort(s); err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-patience.C:
			return nil, connect.NewError(connect.CodeDeadlineExceeded, fmt.Errorf("move %s is to be aborted, and still in %s after %v: no console drives it now", id, s.Phase, abortPatience))
		case <-m.stopped:
			return nil, errStopping
		case <-ctx.Done():
			return nil, storeError(ctx.Err())
		}
	}
}

// mayAbort is nil for a move that can still end with the old owner, or has.
func mayAbort(s move.State) error {
	switch {
	case s.Phase == move.Aborted:
		return nil
	case s.Phase.Over():
		return connect.NewError(connect.CodeAborted, fmt.Errorf("move %s is %s already", s.ID, stateOf(s)))
	case s.Phase.Committed():
		return connect.NewError(connect.CodeAborted, fmt.Errorf("move %s has switched: it only goes on (move the keys back from %s to %s when it is done)", s.ID, s.To, s.From))
	}
	return nil
}

// wishAbort writes the wish down as long as the move is active.
func (m *Mover) wishAbort(ctx context.Context, s move.State, by string) error {
	for {
		active, err := m.cfg.Store.Get(ctx, store.ActiveMoveKey(s.Space))
		if err != nil {
			return storeError(err)
		}
		if string(active.Value) != s.ID {
			return nil // over meanwhile
		}
		note, err := audit.Op(audit.Entry{At: m.now(), By: by, Action: "move.abort", Object: s.ID})
		if err != nil {
			return connect.NewError(connect.CodeInternal, err)
		}
		_, err = m.cfg.Store.Commit(ctx, store.Txn{
			If:   []store.Compare{active.Unchanged()},
			Then: []store.Op{store.Put(wishKey(s.Space, s.ID), []byte(by)), note},
		})
		switch {
		case err == nil:
			m.wish(s.ID, by, false)
			return nil
		case !errors.Is(err, store.ErrConflict):
			return storeError(err)
		}
	}
}

// Follow streams a move each time it changes, and ends with its last state.
func (m *Mover) Follow(ctx context.Context, r *connect.Request[atollv1.MoveIDRequest], out *connect.ServerStream[atollv1.MoveResponse]) error {
	return m.stream(ctx, r.Msg.GetId(), out.Send)
}

func (m *Mover) stream(ctx context.Context, id string, send func(*atollv1.MoveResponse) error) error {
	var last *atollv1.Move
	var lastAt time.Time
	for {
		changed := m.progressed()
		s, err := m.find(ctx, id)
		if err != nil {
			return err
		}
		answer := m.render(s)
		wait := followEvery
		switch since := m.cfg.Clock().Sub(lastAt); {
		case last != nil && !s.Phase.Over() && last.GetPhase() == answer.GetPhase() && last.GetState() == answer.GetState() && since < followPause:
			wait = followPause - since // changes within a phase come together
		case last == nil || !proto.Equal(last, answer):
			if err := send(&atollv1.MoveResponse{Move: answer}); err != nil {
				return err
			}
			last, lastAt = answer, m.cfg.Clock()
		}
		if s.Phase.Over() {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-changed:
		case <-t.C:
		case <-m.stopped:
			err = errStopping
		case <-ctx.Done():
			err = storeError(ctx.Err())
		}
		t.Stop()
		if err != nil {
			return err
		}
	}
}
