package dbproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/wire/mysql"
)

// Config of one Proxy. Zero values of the limits mean the defaults.
type Config struct {
	Plane       string // name of the plane, stable over restarts: "dbproxy@unit-a"
	Incarnation string // new at every start; made when empty
	Unit        string
	Space       string
	Database    string // metadata.name of the Database that is served

	Listen   string            // host:port for applications
	User     string            // what applications log in with
	Password string            //
	Reach    map[string]string // unit → host:port to dial in place of its source's address

	Consoles []string // URLs; none: snapshots come by Install and Renew alone
	Token    string   // bearer token for the consoles, "" for none
	Dir      string   // where snapshots are kept, "" keeps none

	Limits Limits
	Log    *slog.Logger
	Clock  func() time.Duration // boot time; console.Boottime when nil
}

// Limits bound what a Proxy holds and waits for.
type Limits struct {
	FenceWait  time.Duration // a statement outside a transaction waits so long for a fence to go; then 9602
	ParkedMax  int           // statements that wait at a time; one more gets 9602
	ParkedSize int64         // bytes of their packets; what goes beyond gets 9602

	Connections int           // clients at a time; one more gets error 1040
	Statements  int           // prepared statements of a connection; one more gets error 1461
	Packet      int           // bytes of a client's packet, and of all texts a connection has prepared; a longer packet ends it
	Handshake   time.Duration // of a client, and of the proxy at a server; then the connection ends
	Backend     time.Duration // silence of a server within a statement; then the connection ends
	Center      time.Duration // silence of the center's server within a write that goes there; then the connection ends
	Client      time.Duration // a client that takes nothing of its answer; then the connection ends

	// End is how long a fence gives a statement to answer its KILL QUERY, and
	// a commit to end by itself; then the server thread is killed.
	End time.Duration
}

// DefaultLimits are good for a site of some thousand connections.
func DefaultLimits() Limits {
	return Limits{
		FenceWait: 3 * time.Second, ParkedMax: 1000, ParkedSize: 64 << 20,
		Connections: 4096, Statements: 16382, Packet: mysql.DefaultPacket,
		Handshake: 10 * time.Second, Backend: 10 * time.Minute, Center: 15 * time.Second, Client: time.Minute,
		End: 300 * time.Millisecond,
	}
}

// defaultFenceDeadline stands in for a snapshot that names none.
const defaultFenceDeadline = 400 * time.Millisecond

func (l *Limits) fill() {
	d := DefaultLimits()
	for _, p := range []struct{ got, def *time.Duration }{
		{&l.FenceWait, &d.FenceWait}, {&l.Handshake, &d.Handshake}, {&l.Backend, &d.Backend}, {&l.Center, &d.Center}, {&l.Client, &d.Client}, {&l.End, &d.End},
	} {
		if *p.got == 0 {
			*p.got = *p.def
		}
	}
	for _, p := range []struct{ got, def *int }{
		{&l.ParkedMax, &d.ParkedMax}, {&l.Connections, &d.Connections}, {&l.Statements, &d.Statements}, {&l.Packet, &d.Packet},
	} {
		if *p.got == 0 {
			*p.got = *p.def
		}
	}
	if l.ParkedSize == 0 {
		l.ParkedSize = d.ParkedSize
	}
}

// Validate says what is missing or wrong.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range []struct{ name, value string }{
		{"plane", c.Plane}, {"unit", c.Unit}, {"space", c.Space}, {"database", c.Database},
		{"listen", c.Listen}, {"user", c.User}, {"password", c.Password},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s: empty", f.name))
		}
	}
	l := c.Limits
	for _, d := range []time.Duration{l.FenceWait, l.Handshake, l.Backend, l.Center, l.Client, l.End} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("limit %v: below zero", d))
		}
	}
	for _, n := range []int64{int64(l.ParkedMax), l.ParkedSize, int64(l.Connections), int64(l.Statements), int64(l.Packet)} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("limit %d: below zero", n))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) fill() {
	c.Limits.fill()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = console.Boottime
	}
}
