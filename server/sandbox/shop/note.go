package shop

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-sql-driver/mysql"
)

// note is one number that the shop keeps for a buyer, 0 before the first. It
// is read, written, or written only if it still is what the buyer last saw.
type note struct {
	Value int64  `json:"value"`
	User  string `json:"user"`
	Unit  string `json:"unit"`
}

const (
	selectNote = "SELECT value FROM notes WHERE buyer_id = ?"
	insertNote = "INSERT INTO notes (buyer_id, value) VALUES (?, ?)"
	writeNote  = "UPDATE notes SET value = ? WHERE buyer_id = ?"
	swapNote   = "UPDATE notes SET value = ? WHERE buyer_id = ? AND value = ?"
)

func (s *Shop) getNote(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	n := note{User: u, Unit: s.cfg.Unit}
	n.Value, _, err = s.readNote(ctx, u)
	return http.StatusOK, n, err
}

func (s *Shop) readNote(ctx context.Context, user string) (value int64, there bool, err error) {
	err = s.db.QueryRowContext(ctx, selectNote, user).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return value, err == nil, err
}

func (s *Shop) postNote(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	var body struct {
		Value int64  `json:"value"`
		Was   *int64 `json:"was"` // with it the note is written only if it still is this
	}
	if err := decode(r, &body); err != nil {
		return 0, nil, err
	}
	if err := s.changeNote(ctx, u, body.Value, body.Was); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, note{Value: body.Value, User: u, Unit: s.cfg.Unit}, nil
}

// changeNote writes in one statement. Where that changed nothing it looks why:
// the buyer may have no note yet.
func (s *Shop) changeNote(ctx context.Context, user string, value int64, was *int64) error {
	for range 3 { // what was in the way may be gone when we look for it
		text, args := writeNote, []any{value, user}
		if was != nil {
			text, args = swapNote, []any{value, user, *was}
		}
		changed, err := s.write(ctx, text, args...)
		if err != nil || changed > 0 {
			return err
		}
		now, there, err := s.readNote(ctx, user)
		switch {
		case err != nil:
			return err
		case was != nil && now != *was:
			return &failure{status: http.StatusConflict, text: fmt.Sprintf("the note is %d, not %d; nothing was done", now, *was)}
		case was == nil && there && now == value:
			return nil
		case there:
			continue
		}
		_, err = s.write(ctx, insertNote, user, value)
		var refusal *mysql.MySQLError
		if !errors.As(err, &refusal) || refusal.Number != numberDuplicate {
			return err
		}
	}
	return &failure{status: http.StatusServiceUnavailable, retry: true, text: "other requests change this note all the time; nothing was done"}
}

// write runs one statement that is its own transaction, and tells how many
// rows it changed.
func (s *Shop) write(ctx context.Context, text string, args ...any) (changed int64, err error) {
	err = s.repeat(ctx, func(ctx context.Context) error {
		res, err := s.db.ExecContext(ctx, text, args...)
		if err != nil {
			return &writeError{err}
		}
		changed, err = res.RowsAffected()
		return err
	})
	return changed, err
}
