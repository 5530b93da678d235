package source

import (
	"context"
	"database/sql"
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

	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/server/wire/mysql"
	"github.com/atoll-live/atoll/space"
)

// Source is one unit's server, as this proxy reaches it. Besides the
// connections of sessions it holds a few of its own, by which it marks, kills
// and asks; these carry no statement of a client.
type Source struct {
	Unit     string
	Addr     string
	Database string

	user     string
	password string
	control  *sql.DB
	marks    marks
	taken    atomic.Bool // see Take
}

const (
	controlConnections = 8
	controlLimit       = 5 * time.Second // one exchange on a control connection
)

// New connects to nothing yet. Reach has, by unit, the host:port to dial in
// place of the source's address. The password file is read now, where the
// proxy runs.
func New(s *space.DataSource, reach map[string]string) (*Source, error) {
	addr := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if other, ok := reach[s.Unit]; ok {
		addr = other
	}
	src := &Source{Unit: s.Unit, Addr: addr, Database: s.Database, user: s.User}
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

// Close ends the connections that are not of sessions.
func (s *Source) Close() { _ = s.control.Close() }

// Same says whether the other is the same server, entered the same way.
func (s *Source) Same(o *Source) bool {
	return s.Addr == o.Addr && s.Database == o.Database && s.user == o.user && s.password == o.password
}

// Connect opens a connection for a session.
func (s *Source) Connect(ctx context.Context, caps mysql.Capabilities, collation byte) (*mysql.Server, error) {
	return mysql.Dial(ctx, s.Addr, mysql.Login{
		User: s.user, Password: s.password, Database: s.Database, Capabilities: caps, Collation: collation,
	})
}

// KillQuery ends the statement that the thread runs now.
func (s *Source) KillQuery(ctx context.Context, t sitedb.Thread) error {
	return t.KillQuery(ctx, s.control)
}

// SeeGone kills a thread and returns nil when it was seen gone. While the
// server cannot be asked it goes on trying, until ctx ends.
func (s *Source) SeeGone(ctx context.Context, t sitedb.Thread) error {
	return t.SeeGone(ctx, s.control)
}
