package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
)

// Config of one gateway. The zero value of a limit or a time means its
// default.
type Config struct {
	Name     string // plane name, "gateway@unit-a"; made of the unit when empty
	Unit     string
	Cell     string
	Listen   string            // host:port of the public side
	Consoles []string          // console URLs; none: snapshots come by Install only
	Token    string            // for the console
	Dir      string            // where snapshots are kept
	Backends map[string]string // cell → URL of its application; "" is for cells without one
	Peers    map[string]string // other unit → URL at which its gateway is reached from here
	// Endpoints are the public addresses, scheme://host:port, told to clients
	// in X-Live-Endpoint. A unit without one has its peer URL; the own unit
	// has the address that Listen took.
	Endpoints map[string]string
	// HopSecret is shared by all gateways: what one gateway tells another is
	// believed when it is signed by it. Required with Peers.
	HopSecret []byte

	HoldLimit     int           // requests held at a time; beyond it they are refused
	HoldMax       time.Duration // longest hold when the snapshot's settings name none
	InFlightLimit int           // requests served at a time, held ones too
	HeaderLimit   int           // bytes of a request's header
	BodyLimit     int64         // bytes of a request's body
	ReplayLimit   int64         // bodies up to this size are kept until the answer: see DESIGN.md, 421

	DialTimeout   time.Duration // to a backend or a peer
	AnswerTimeout time.Duration // from the request sent to the answer's header
	IdleTimeout   time.Duration // of client connections between requests, and of a body that does not come
	SnapshotWait  time.Duration // how long a request waits for a snapshot that a peer has already
	PeerSilence   time.Duration // a peer that answered no probe for so long is down
	DrainTimeout  time.Duration // for requests in flight when the gateway stops

	Log *slog.Logger
}

// Defaults of Config.
const (
	DefaultHoldLimit     = 10_000
	DefaultHoldMax       = 5 * time.Second
	DefaultInFlightLimit = 20_000
	DefaultHeaderLimit   = 64 << 10
	DefaultBodyLimit     = 64 << 20
	DefaultReplayLimit   = 64 << 10
	DefaultDialTimeout   = 2 * time.Second
	DefaultAnswerTimeout = 15 * time.Second
	DefaultIdleTimeout   = 75 * time.Second
	DefaultSnapshotWait  = time.Second
	DefaultPeerSilence   = 3 * time.Second
	DefaultDrainTimeout  = 5 * time.Second
)

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "gateway@" + c.Unit
	}
	c.HoldLimit = cmp.Or(c.HoldLimit, DefaultHoldLimit)
	c.InFlightLimit = cmp.Or(c.InFlightLimit, DefaultInFlightLimit)
	c.HeaderLimit = cmp.Or(c.HeaderLimit, DefaultHeaderLimit)
	c.BodyLimit = cmp.Or(c.BodyLimit, DefaultBodyLimit)
	c.ReplayLimit = cmp.Or(c.ReplayLimit, DefaultReplayLimit)
	c.HoldMax = cmp.Or(c.HoldMax, DefaultHoldMax)
	c.DialTimeout = cmp.Or(c.DialTimeout, DefaultDialTimeout)
	c.AnswerTimeout = cmp.Or(c.AnswerTimeout, DefaultAnswerTimeout)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	c.SnapshotWait = cmp.Or(c.SnapshotWait, DefaultSnapshotWait)
	c.PeerSilence = cmp.Or(c.PeerSilence, DefaultPeerSilence)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, DefaultDrainTimeout)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate says what is wrong with the configuration, all of it in one line.
func (c Config) Validate() error {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...).Error()) }
	if c.Unit == "" {
		bad("no unit named (use --unit)")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen address %q: %w (use host:port)", c.Listen, err)
	}
	if len(c.Backends) == 0 {
		bad("no backend named (use --backend URL or --backend CELL=URL)")
	}
	for cell, u := range c.Backends {
		if _, err := origin(u); err != nil {
			bad("backend %q: %w", cell, err)
		}
	}
	for unit, u := range c.Peers {
		if _, err := origin(u); err != nil {
			bad("peer %q: %w", unit, err)
		}
		if unit == c.Unit {
			bad("peer %q is this gateway's own unit (name only the others)", unit)
		}
	}
	for unit, u := range c.Endpoints {
		if _, err := origin(u); err != nil {
			bad("endpoint %q: %w", unit, err)
		}
	}
	if len(c.Peers) > 0 && len(c.HopSecret) < minSecret {
		bad("the hop secret has %d bytes, fewer than %d (use --hop-secret-file, the same for all gateways)", len(c.HopSecret), minSecret)
	}
	if c.HoldLimit < 0 || c.InFlightLimit < 0 || c.HeaderLimit < 0 || c.BodyLimit < 0 || c.ReplayLimit < 0 {
		bad("a limit is below zero")
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// minSecret is the shortest hop secret that is not guessed.
const minSecret = 16

// origin parses a URL that names a server and nothing on it.
func origin(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no origin (use http://host:port)", text)
	}
	u.Path = ""
	return u, nil
}
