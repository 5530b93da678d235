package store

import (
	"context"
	"fmt"
	"time"
)

// Leadership is won by Campaign. A leader puts Compare into every transaction
// that only the leader may write; that, and not Done, keeps a paused former
// leader from writing.
type Leadership struct {
	key      string
	revision int64
	lease    Lease
}

// Campaign waits until this member leads the election and returns its
// leadership. id names the member, and no two live processes may have the same
// one: a key with its own id is of its former life and is taken over at once,
// so a restart need not wait for the old lease. It returns an error only when
// ctx ends or the store fails.
func Campaign(ctx context.Context, s Store, election, id string, ttl time.Duration) (*Leadership, error) {
	lease, err := s.Grant(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("campaign for %s: %w", election, err)
	}
	key := LeaderKey(election)
	for {
		l, seen, err := tryLead(ctx, s, key, id, lease)
		if err == nil && l == nil {
			err = awaitChange(ctx, s, key, seen, lease)
		}
		if err != nil {
			// The lease ends by itself if this does not reach the store.
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = lease.Revoke(stop)
			cancel()
			return nil, fmt.Errorf("campaign for %s: %w", election, err)
		}
		if l != nil {
			return l, nil
		}
	}
}

// tryLead takes the key if it is free or of the member's former life; else it
// returns the revision at which somebody else was seen to hold it.
func tryLead(ctx context.Context, s Store, key, id string, lease Lease) (*Leadership, int64, error) {
	held, err := s.Get(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	if held.Exists() && string(held.Value) != id {
		return nil, held.Revision, nil
	}
	op := Put(key, []byte(id))
	op.Lease = lease.ID()
	revision, err := s.Commit(ctx, Txn{If: []Compare{held.Unchanged()}, Then: []Op{op}})
	switch {
	case isConflict(err):
		return tryLead(ctx, s, key, id, lease)
	case err != nil:
		return nil, 0, err
	}
	return &Leadership{key: key, revision: revision, lease: lease}, 0, nil
}

// awaitChange returns when the key was written after the revision seen.
func awaitChange(ctx context.Context, s Store, key string, seen int64, lease Lease) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := s.Watch(watching, key, seen+1)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lease.Done():
			return fmt.Errorf("lease of the candidate ended: %w", ErrUnavailable)
		case c, ok := <-changes:
			switch {
			case !ok:
				return ctx.Err()
			case isCompacted(c.Err):
				return nil // much has happened since: look again
			case c.Err != nil:
				return c.Err
			}
			for _, e := range c.Events {
				if e.Item.Key == key {
					return nil
				}
			}
		}
	}
}

// Compare holds as long as no other member, and no later life of this one,
// has won the election.
func (l *Leadership) Compare() Compare { return Compare{Key: l.key, Revision: l.revision} }

// Term only rises from one leadership to the next: the fencing token.
func (l *Leadership) Term() int64 { return l.revision }

// Done is closed when the leadership has ended or may have.
func (l *Leadership) Done() <-chan struct{} { return l.lease.Done() }

// Resign gives the leadership up, so that another member wins at once.
func (l *Leadership) Resign(ctx context.Context) error {
	if err := l.lease.Revoke(ctx); err != nil {
		return fmt.Errorf("resign: %w", err)
	}
	return nil
}

// Leader is the id of the member that leads an election, "" when none does.
func Leader(ctx context.Context, s Store, election string) (string, error) {
	held, err := s.Get(ctx, LeaderKey(election))
	if err != nil {
		return "", fmt.Errorf("read the leader of %s: %w", election, err)
	}
	return string(held.Value), nil
}
