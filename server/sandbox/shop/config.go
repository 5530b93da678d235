package shop

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// IDs gives order ids whose lowest bits are the bucket of the buyer. It is
// safe for concurrent use.
type IDs interface {
	Next(bucket int) (int64, error)
	Ready() bool
}

// Config of one application process. The zero value of a limit or a time
// means its default.
type Config struct {
	Name     string // plane name, "app@unit-a"; made of the unit when empty
	Unit     string
	Cell     string
	Listen   string   // host:port for the gateway
	Status   string   // host:port of /ready and /status; "" serves none
	Consoles []string // none: snapshots come by Install only
	Token    string
	Dir      string // where snapshots are kept
	DSN      string // of the unit's dbproxy, for go-sql-driver/mysql
	Space    string // space code; "" is the only space that the console has
	Rule     string // unit rule of the buyers; "" is that of the Database with the DSN's name
	Center   *bool  // run the workers of the center: prices and stock; nil: while the space says that Unit is its center
	IDs      IDs

	Patience      time.Duration // for one request, its repeats included
	RepeatFor     time.Duration // how long a transaction that was rolled back is repeated
	InFlightLimit int           // requests served at a time; further ones are refused
	PoolLimit     int           // connections to the proxy
	PriceEvery    time.Duration // between two price changes
	StockEvery    time.Duration // between two looks for new orders

	Log *slog.Logger
}

// Defaults of Config.
const (
	DefaultPatience      = 6 * time.Second
	DefaultRepeatFor     = 2500 * time.Millisecond
	DefaultInFlightLimit = 2000
	DefaultPoolLimit     = 64
	DefaultPriceEvery    = 100 * time.Millisecond
	DefaultStockEvery    = 500 * time.Millisecond
)

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "app@" + c.Unit
	}
	c.Patience = cmp.Or(c.Patience, DefaultPatience)
	c.RepeatFor = cmp.Or(c.RepeatFor, DefaultRepeatFor)
	c.InFlightLimit = cmp.Or(c.InFlightLimit, DefaultInFlightLimit)
	c.PoolLimit = cmp.Or(c.PoolLimit, DefaultPoolLimit)
	c.PriceEvery = cmp.Or(c.PriceEvery, DefaultPriceEvery)
	c.StockEvery = cmp.Or(c.StockEvery, DefaultStockEvery)
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
	if _, err := c.driver(); err != nil {
		bad("%w", err)
	}
	if c.IDs == nil {
		bad("no source of ids")
	}
	if c.Patience < 0 || c.RepeatFor < 0 || c.InFlightLimit < 0 || c.PoolLimit < 0 || c.PriceEvery < 0 || c.StockEvery < 0 {
		bad("a limit is below zero")
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// driver is the DSN with the limits of time that an application needs: without
// them a proxy that says nothing would keep a request for ever.
func (c Config) driver() (*mysql.Config, error) {
	d, err := mysql.ParseDSN(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("data source name: %w (use user:password@tcp(host:port)/database)", err)
	}
	if d.DBName == "" {
		return nil, errors.New("data source name: no database (use user:password@tcp(host:port)/database)")
	}
	d.ParseTime, d.Loc = true, time.UTC
	if d.Timeout == 0 {
		d.Timeout = 2 * time.Second
	}
	if d.ReadTimeout == 0 {
		d.ReadTimeout = 10 * time.Second
	}
	if d.WriteTimeout == 0 {
		d.WriteTimeout = 5 * time.Second
	}
	return d, nil
}
