package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/atoll-live/atoll/server/sitedb"
)

// Take makes a server the owner's: the schema of Atoll is there, and what
// former lives of the proxy left running is dead. A statement of theirs that
// waited on a row lock could otherwise commit behind a fence that this life
// acks. It gives how many threads it ended.
func (s *Source) Take(ctx context.Context, o Owner) (int, error) {
	if s.taken.Load() {
		return 0, nil
	}
	for _, text := range sitedb.Statements {
		if err := s.exec(ctx, text); err != nil {
			return 0, fmt.Errorf("create the schema of Atoll: %w", err)
		}
	}
	left, err := s.leftovers(ctx, o)
	if err != nil {
		return 0, err
	}
	for _, m := range left {
		if err := s.SeeGone(ctx, m.Thread); err != nil {
			return 0, fmt.Errorf("end server thread %d of a former life: %w", m.ID, err)
		}
		if err := s.Unmark(Owner{Plane: m.Plane, Incarnation: m.Incarnation}, m.Thread); err != nil {
			return 0, err
		}
	}
	s.taken.Store(true)
	return len(left), nil
}

// Taken says whether Take was done. Only a server whose former threads are
// ended at the start is worth a mark.
func (s *Source) Taken() bool { return s.taken.Load() }

func (s *Source) exec(ctx context.Context, text string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	_, err := s.control.ExecContext(ctx, text, args...)
	return err
}

// leftovers are the server threads of former lives.
func (s *Source) leftovers(ctx context.Context, o Owner) ([]sitedb.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	return sitedb.Marks(ctx, s.control, o.Plane, o.Incarnation)
}

// Join writes a token into the unit's own binlog before the first write of a
// newly listed table. A lane that meets it waits for a snapshot that lists the
// table too, so that it skips no row of it.
func (s *Source) Join(ctx context.Context, space string, epoch int64) error {
	err := s.exec(ctx, "INSERT IGNORE INTO "+sitedb.Schema+".token (space, move, epoch, kind, unit, at) VALUES (?, '', ?, ?, ?, NOW(6))",
		space, epoch, sitedb.TokenJoin, s.Unit)
	if err != nil {
		return fmt.Errorf("write the JOIN token of epoch %d: %w", epoch, err)
	}
	return nil
}

// Version is the version as the server's greeting gives it, by which drivers
// choose their ways.
func (s *Source) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	const collation = 45 // utf8mb4_general_ci
	c, err := s.Connect(ctx, 0, collation)
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", s.Addr, err)
	}
	return c.Version, errors.Join(c.Request([]byte{1}), c.Close())
}
