package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/gateway"
)

// SiteFlags say where a process of a site stands, and where its console.
type SiteFlags struct {
	Name      string   `help:"Name of the process, the same at every start. By default KIND@UNIT."`
	Unit      string   `required:"" help:"Unit that this process serves."`
	Cell      string   `help:"Cell that this process stands in."`
	Status    string   `placeholder:"HOST:PORT" help:"Address of /ready and /status."`
	Console   []string `required:"" env:"ATOLL_CONSOLE" placeholder:"URL" help:"Console, several in turn."`
	TokenFile string   `placeholder:"FILE" help:"File with the token for the console. Else ATOLL_TOKEN."`
	Data      string   `placeholder:"DIR" help:"Directory where snapshots are kept over a restart."`
}

func (f *SiteFlags) token() (string, error) {
	return (&ConsoleFlags{TokenFile: f.TokenFile}).Token()
}

// siteLog writes what a process of a site has to say to standard error.
func siteLog(out *Output, kind, unit string) *slog.Logger {
	return slog.New(slog.NewTextHandler(out.Stderr, nil)).With("plane", kind, "unit", unit)
}

// GatewayCmd runs the HTTP edge of a unit.
type GatewayCmd struct {
	SiteFlags
	Listen        string        `required:"" placeholder:"HOST:PORT" help:"Address of the public side."`
	Backend       []string      `required:"" sep:"none" placeholder:"[CELL=]URL" help:"Application of this unit, or of one of its cells."`
	Peer          []string      `sep:"none" placeholder:"UNIT=URL" help:"Gateway of another unit, as it is reached from here."`
	Endpoint      []string      `sep:"none" placeholder:"UNIT=URL" help:"Public address of a unit's gateway for X-Live-Endpoint. By default that of --peer, and of --listen."`
	HopSecretFile string        `placeholder:"FILE" help:"Secret that all gateways share, at least 16 bytes. Required with --peer."`
	HoldLimit     int           `default:"10000" help:"Requests held at a time; further ones are refused."`
	AnswerTimeout time.Duration `default:"15s" help:"Longest wait for the header of an answer."`
	BodyLimit     int64         `default:"67108864" help:"Bytes of a request's body."`
}

// Run serves until ctx ends.
func (c *GatewayCmd) Run(ctx context.Context, out *Output) error {
	cfg := gateway.Config{
		Name: c.Name, Unit: c.Unit, Cell: c.Cell, Listen: c.Listen, Consoles: c.Console, Dir: c.Data,
		HoldLimit: c.HoldLimit, AnswerTimeout: c.AnswerTimeout, BodyLimit: c.BodyLimit, Log: siteLog(out, "gateway", c.Unit),
	}
	var errs [5]error
	cfg.Backends, errs[0] = pairs("backend", c.Backend, true)
	cfg.Peers, errs[1] = pairs("peer", c.Peer, false)
	cfg.Endpoints, errs[2] = pairs("endpoint", c.Endpoint, false)
	cfg.Token, errs[3] = c.token()
	secret, err := secretFile("hop-secret-file", c.HopSecretFile)
	cfg.HopSecret, errs[4] = []byte(secret), err
	for _, err := range errs {
		if err != nil {
			return usageError(err)
		}
	}
	g, err := gateway.New(cfg)
	if err != nil {
		return usageError(err)
	}
	return withStatus(ctx, c.Status, g.StatusHandler(), g.Run)
}

// pairs reads flags of the form NAME=URL. A bare URL stands for the empty name
// where that is allowed.
func pairs(flag string, values []string, bare bool) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		name, url, named := strings.Cut(v, "=")
		if strings.Contains(name, "://") {
			name, url, named = "", v, bare
		}
		if !named || name == "" && !bare {
			return nil, fmt.Errorf("--%s %s: want NAME=URL", flag, v)
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("--%s %s: %q is named twice", flag, v, name)
		}
		m[name] = url
	}
	return m, nil
}

// secretFile reads what a flag's file holds but for white space around it,
// "" when there is no file.
func secretFile(flag, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("--%s: %w (name a file that can be read)", flag, err)
	}
	return strings.TrimSpace(string(data)), nil
}
