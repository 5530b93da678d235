package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"

	"connectrpc.com/connect"
	"github.com/go-sql-driver/mysql"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/sandbox"
	"github.com/atoll-live/atoll/server/sandbox/audit"
	"github.com/atoll-live/atoll/server/sandbox/load"
	"github.com/atoll-live/atoll/space"
)

// rule is the unit rule of the space, for a load that must know which of its
// buyers a move carries.
type rule struct {
	id       string
	modulo   int
	document *space.Space
	database *space.Database
	table    *route.Table
}

func fetchRule(ctx context.Context, c *console.Client, code, id string) (*rule, error) {
	r := &rule{id: id, document: new(space.Space), database: new(space.Database)}
	for kind, into := range map[string]any{space.KindSpace: r.document, space.KindDatabase: r.database} {
		res, err := c.Documents().Get(ctx, connect.NewRequest(&atollv1.GetRequest{Kind: kind, Name: code}))
		if err != nil {
			return nil, fmt.Errorf("get %s %s of the console: %w", kind, code, err)
		}
		if len(res.Msg.GetDocuments()) != 1 {
			return nil, fmt.Errorf("the console has %d of %s %s, not one", len(res.Msg.GetDocuments()), kind, code)
		}
		if err := json.Unmarshal(res.Msg.GetDocuments()[0], into); err != nil {
			return nil, fmt.Errorf("decode %s %s: %w", kind, code, err)
		}
	}
	for _, u := range r.document.Spec.UnitRules {
		if u.ID == id {
			r.modulo = u.Modulo
		}
	}
	if r.modulo == 0 {
		return nil, fmt.Errorf("space %q has no rule %q", code, id)
	}
	var err error
	r.table, err = route.Compile(r.document)
	return r, err
}

func (r *rule) bucket(key string) int { return r.table.DecideKey(r.id, key).Bucket }

// moving tells of a key whether a move of movePercent of all buckets out of the
// first unit will carry it: those with the highest numbers.
func (r *rule) moving(info *sandbox.Info) func(string) bool {
	from := info.Units[0].Code
	top := 0
	for _, u := range r.document.Spec.UnitRules {
		if u.ID != r.id {
			continue
		}
		for _, route := range u.Units {
			for _, one := range route.Ranges {
				if route.Code == from {
					top = max(top, one.To)
				}
			}
		}
	}
	bottom := top - r.modulo*movePercent/100
	return func(key string) bool { b := r.bucket(key); return b >= bottom && b < top }
}

func (r *rule) inBuckets(text string) (func(string) bool, error) {
	ranges, err := route.ParseBuckets(text)
	if err != nil {
		return nil, err
	}
	return func(key string) bool {
		b := r.bucket(key)
		for _, one := range ranges {
			if b >= one.From && b < one.To {
				return true
			}
		}
		return false
	}, nil
}

// synced are the tables that lanes carry.
func (r *rule) synced() []string {
	var out []string
	for _, t := range r.database.Spec.Tables {
		if t.Kind == space.TableUnit || t.Kind == space.TableCenterUnit {
			out = append(out, t.Name)
		}
	}
	return out
}

func (r *rule) keyColumns() map[string]string {
	out := map[string]string{}
	for _, t := range r.database.Spec.Tables {
		if t.Kind == space.TableUnit {
			out[t.Name] = t.Key
		}
	}
	return out
}

func addr(e sandbox.ServerInfo) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

func dsn(e sandbox.ServerInfo) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", addr(e), e.User, e.Password, e.Database
	return c
}

func sites(info *sandbox.Info) []load.Site {
	var out []load.Site
	for _, u := range info.Units {
		out = append(out, load.Site{Unit: u.Code, Gateway: u.Gateway, DSN: dsn(u.DBProxy).FormatDSN()})
	}
	return out
}

func openSides(info *sandbox.Info) ([]audit.Side, error) {
	var out []audit.Side
	for _, u := range info.Units {
		c := dsn(u.Database)
		c.InterpolateParams = true
		c.Logger = log.New(io.Discard, "", 0) // what fails comes back as an error, too
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, fmt.Errorf("open the database of %s: %w", u.Code, err)
		}
		out = append(out, audit.Side{Unit: u.Code, DB: sql.OpenDB(connector), Addr: addr(u.Database), User: u.Database.User, Pass: u.Database.Password})
	}
	return out, nil
}

func (r *run) closeSides() {
	for _, s := range r.sides {
		_ = s.DB.Close()
	}
}

// productIDs are what buyers choose from.
func productIDs(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT product_id FROM products ORDER BY product_id LIMIT 100")
	if err != nil {
		return nil, fmt.Errorf("read products: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
