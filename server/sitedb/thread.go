package sitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Thread is one server thread. A thread id alone may have been given out
// again since; with the host, the client's address as the server shows it, it
// is not.
type Thread struct {
	ID   uint32
	Host string
}

// Mark is a server thread with the life of the proxy that it belongs to.
type Mark struct {
	Thread
	Plane, Incarnation string
}

// Marks lists the threads of a proxy's lives, all but one; an empty incarnation
// leaves none out.
func Marks(ctx context.Context, db *sql.DB, plane, but string) ([]Mark, error) {
	rows, err := db.QueryContext(ctx, "SELECT incarnation, thread, host FROM "+Schema+".session WHERE plane = ? AND incarnation <> ?", plane, but)
	if err != nil {
		return nil, fmt.Errorf("find server threads of %s: %w", plane, err)
	}
	defer func() { _ = rows.Close() }()
	var all []Mark
	for rows.Next() {
		m := Mark{Plane: plane}
		if err := rows.Scan(&m.Incarnation, &m.ID, &m.Host); err != nil {
			return nil, fmt.Errorf("find server threads of %s: %w", plane, err)
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

// Drop forgets a mark.
func (m Mark) Drop(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "DELETE FROM "+Schema+".session WHERE plane = ? AND incarnation = ? AND thread = ? AND host = ?",
		m.Plane, m.Incarnation, m.ID, m.Host)
	if err != nil {
		return fmt.Errorf("forget server thread %d of %s: %w", m.ID, m.Plane, err)
	}
	return nil
}

// alive says whether the server still has the thread. A server takes a thread
// off the list only after it has rolled back, or committed, what the thread
// had open.
func (t Thread) alive(ctx context.Context, db *sql.DB) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeLimit)
	defer cancel()
	var n int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = ? AND HOST = ?", t.ID, t.Host).Scan(&n)
	return n > 0, err
}

// erNoSuchThread is the server's answer to a KILL that comes too late.
const erNoSuchThread = 1094

// KillQuery ends the statement that the thread runs now.
func (t Thread) KillQuery(ctx context.Context, db *sql.DB) error { return t.kill(ctx, db, "QUERY") }

func (t Thread) kill(ctx context.Context, db *sql.DB, what string) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeLimit)
	defer cancel()
	_, err := db.ExecContext(ctx, "KILL "+what+" "+strconv.FormatUint(uint64(t.ID), 10))
	var e *mysql.MySQLError
	if errors.As(err, &e) && e.Number == erNoSuchThread {
		return nil
	}
	return err
}

// Polling of a thread that was killed.
const (
	exchangeLimit = 5 * time.Second // one exchange with the server
	goneEvery     = 10 * time.Millisecond
	killAgain     = 500 * time.Millisecond
	retryMin      = 50 * time.Millisecond
	retryMax      = time.Second
)

// SeeGone kills a thread and returns nil when it was seen gone. While the
// server cannot be asked it goes on trying, until ctx ends.
func (t Thread) SeeGone(ctx context.Context, db *sql.DB) error {
	var killed time.Time
	retry := retryMin
	for {
		there, err := t.alive(ctx, db)
		if err == nil && !there {
			return nil
		}
		if err == nil && time.Since(killed) > killAgain {
			killed = time.Now()
			err = t.kill(ctx, db, "CONNECTION")
		}
		wait := goneEvery
		if err != nil {
			wait, retry = retry, min(2*retry, retryMax)
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}
