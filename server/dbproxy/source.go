package dbproxy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/wire/mysql"
	"github.com/atoll-live/atoll/space"
)

// source is one unit's server, as this proxy reaches it. Besides the
// connections of sessions it holds a few of its own, by which it marks, kills
// and asks; these carry no statement of a client.
type source struct {
	unit     string
	addr     string
	database string
	user     string
	password string
	control  *sql.DB
	marks    marks
	taken    atomic.Bool // see Proxy.take
}

const (
	controlConnections = 8
	controlLimit       = 5 * time.Second // one exchange on a control connection
)

// newSource connects to nothing yet. The password file is read now, where the
// proxy runs.
func newSource(s *space.DataSource, reach map[string]string) (*source, error) {
	addr := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if other, ok := reach[s.Unit]; ok {
		addr = other
	}
	src := &source{unit: s.Unit, addr: addr, database: s.Database, user: s.User}
	if s.PasswordFile != "" {
		raw, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("password of the source of unit %q: %w", s.Unit, err)
		}
		src.password = strings.TrimRight(string(raw), "\r\n")
	}
	c := driver.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr = src.user, src.password, "tcp", addr
	c.Timeout, c.ReadTimeout, c.WriteTimeout = controlLimit, controlLimit, controlLimit
	c.InterpolateParams = true
	c.Logger = log.New(io.Discard, "", 0) // failures come back as errors
	connector, err := driver.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("source of unit %q: %w", s.Unit, err)
	}
	src.control = sql.OpenDB(connector)
	src.control.SetMaxOpenConns(controlConnections)
	src.control.SetMaxIdleConns(2)
	return src, nil
}

func (s *source) close() { _ = s.control.Close() }

// same says whether the other is the same server, entered the same way.
func (s *source) same(o *source) bool {
	return s != nil && o != nil && s.addr == o.addr && s.database == o.database && s.user == o.user && s.password == o.password
}

// thread is one server thread. A thread id alone may have been given out
// again since; with the host, the client's address as the server shows it, it
// is not.
type thread struct {
	id   uint32
	host string
}

// connect opens a connection for a session.
func (s *source) connect(ctx context.Context, caps mysql.Capabilities, collation byte) (*mysql.Server, error) {
	return mysql.Dial(ctx, s.addr, mysql.Login{
		User: s.user, Password: s.password, Database: s.database, Capabilities: caps, Collation: collation,
	})
}

// erNoSuchThread is the server's answer to a KILL that comes too late.
const erNoSuchThread = 1094

// killQuery ends the statement that the thread runs now.
func (s *source) killQuery(ctx context.Context, t thread) error {
	return s.kill(ctx, "KILL QUERY "+strconv.FormatUint(uint64(t.id), 10))
}

func (s *source) kill(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	_, err := s.control.ExecContext(ctx, text)
	var e *driver.MySQLError
	if errors.As(err, &e) && e.Number == erNoSuchThread {
		return nil
	}
	return err
}

// alive says whether the server still has the thread. A server takes a thread
// off the list only after it has rolled back, or committed, what the thread
// had open.
func (s *source) alive(ctx context.Context, t thread) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	var n int
	err := s.control.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = ? AND HOST = ?", t.id, t.host).Scan(&n)
	return n > 0, err
}

// Polling of a thread that was killed.
const (
	goneEvery = 10 * time.Millisecond
	killAgain = 500 * time.Millisecond
	retryMin  = 50 * time.Millisecond
	retryMax  = time.Second
)

// seeGone kills a thread and returns nil when it was seen gone. While the
// server cannot be asked it goes on trying, until ctx ends.
func (s *source) seeGone(ctx context.Context, t thread) error {
	var killed time.Time
	retry := retryMin
	for {
		there, err := s.alive(ctx, t)
		if err == nil && !there {
			return nil
		}
		if err == nil && time.Since(killed) > killAgain {
			killed = time.Now()
			err = s.kill(ctx, "KILL CONNECTION "+strconv.FormatUint(uint64(t.id), 10))
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
