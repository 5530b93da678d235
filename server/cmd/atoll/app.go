package main

import (
	"context"
	"errors"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-live/atoll/server/ids"
	"github.com/atoll-live/atoll/server/sandbox/shop"
)

// AppCmd runs the demo shop of a unit.
type AppCmd struct {
	SiteFlags
	Listen       string        `required:"" placeholder:"HOST:PORT" help:"Address for the gateway."`
	DSN          string        `name:"dsn" env:"ATOLL_APP_DSN" placeholder:"USER:PASSWORD@tcp(HOST:PORT)/DATABASE" help:"Database proxy of the unit, in one. Better given by ATOLL_APP_DSN than for all to see."`
	DBProxy      string        `name:"dbproxy" placeholder:"HOST:PORT" help:"Database proxy of the unit, with the three flags that follow."`
	User         string        `help:"User at the database proxy."`
	PasswordFile string        `placeholder:"FILE" help:"File with the password at the database proxy."`
	Database     string        `default:"shop" help:"Database at the proxy."`
	Space        string        `help:"Space of the shop. By default the one that has a Database of the same name."`
	Rule         string        `help:"Unit rule of the buyers. By default that of the Database."`
	Center       *bool         `negatable:"" help:"Run the workers of the center, prices and stock. By default where the space has its center."`
	IDReserve    time.Duration `name:"id-reserve" default:"10m" help:"How far ahead time for ids is reserved: for so long orders are placed while no console answers."`
}

// dsn is the data source name, made of its parts when it is not given in one.
func (c *AppCmd) dsn() (string, error) {
	if c.DSN != "" {
		return c.DSN, nil
	}
	if c.DBProxy == "" {
		return "", errors.New("no database (give --dsn, or --dbproxy with --user and --password-file)")
	}
	m := mysql.NewConfig()
	m.Net, m.Addr, m.User, m.DBName = "tcp", c.DBProxy, c.User, c.Database
	var err error
	if m.Passwd, err = secretFile("password-file", c.PasswordFile); err != nil {
		return "", err
	}
	return m.FormatDSN(), nil
}

// Run serves until ctx ends.
func (c *AppCmd) Run(ctx context.Context, out *Output) error {
	log := siteLog(out, "app", c.Unit)
	token, err := c.token()
	if err != nil {
		return err
	}
	dsn, err := c.dsn()
	if err != nil {
		return usageError(err)
	}
	worker, err := ids.New(ids.Config{Unit: c.Unit, Consoles: c.Console, Token: token, Reserve: c.IDReserve, Log: log})
	if err != nil {
		return usageError(err)
	}
	app, err := shop.New(shop.Config{
		Name: c.Name, Unit: c.Unit, Cell: c.Cell, Listen: c.Listen, Status: c.Status, Consoles: c.Console, Token: token, Dir: c.Data,
		DSN: dsn, Space: c.Space, Rule: c.Rule, Center: c.Center, IDs: worker, Log: log,
	})
	if err != nil {
		return usageError(err)
	}
	group, ctx := errgroup.WithContext(ctx)
	ended := errors.New("ended")
	group.Go(func() error { return worker.Run(ctx) })
	group.Go(func() error {
		if err := app.Run(ctx); err != nil {
			return err
		}
		return ended // and the worker with it
	})
	if err := group.Wait(); !errors.Is(err, ended) {
		return err
	}
	return nil
}
