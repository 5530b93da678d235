package main

import (
	"context"
	"time"

	"github.com/atoll-live/atoll/server/dbproxy"
)

// DBProxyCmd runs the MySQL edge of a unit.
type DBProxyCmd struct {
	SiteFlags
	Space         string        `default:"shop" help:"Code of the space."`
	Database      string        `default:"shop" help:"Name of the Database document that is served."`
	Listen        string        `required:"" placeholder:"HOST:PORT" help:"Address for applications."`
	User          string        `required:"" help:"What applications log in with."`
	PasswordFile  string        `required:"" placeholder:"FILE" help:"File with the password of --user."`
	Reach         []string      `sep:"none" placeholder:"UNIT=HOST:PORT" help:"Address that reaches the database of a unit from here, instead of the Database's own."`
	FenceWait     time.Duration `default:"3s" help:"How long a statement outside a transaction waits for a fence to go."`
	ParkedMax     int           `default:"1000" help:"Statements that wait at a time; further ones get 9602."`
	ConnectionMax int           `default:"4096" help:"Clients at a time; further ones get 1040."`
}

// Run serves until ctx ends.
func (c *DBProxyCmd) Run(ctx context.Context, out *Output) error {
	reach, err := pairs("reach", c.Reach, false)
	if err != nil {
		return usageError(err)
	}
	token, err := c.token()
	if err != nil {
		return usageError(err)
	}
	password, err := secretFile("password-file", c.PasswordFile)
	if err != nil {
		return usageError(err)
	}
	name := c.Name
	if name == "" {
		name = "dbproxy@" + c.Unit
	}
	limits := dbproxy.DefaultLimits()
	limits.FenceWait, limits.ParkedMax, limits.Connections = c.FenceWait, c.ParkedMax, c.ConnectionMax
	p, err := dbproxy.New(dbproxy.Config{
		Plane: name, Unit: c.Unit, Space: c.Space, Database: c.Database, Listen: c.Listen, User: c.User, Password: password,
		Reach: reach, Consoles: c.Console, Token: token, Dir: c.Data, Limits: limits, Log: siteLog(out, "dbproxy", c.Unit),
	})
	if err != nil {
		return usageError(err)
	}
	return withStatus(ctx, c.Status, p.StatusHandler(), p.Run)
}
