package dbsync

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// server is one unit's database server and the account, as a plane here
// reaches it.
type server struct {
	Addr, User, PasswordFile string
}

// table is a synced table as one lane carries it.
type table struct {
	Space, Rule string
	Kind        space.TableKind
	Key         string // sharding key column, unit tables only
	From, To    string // schema at the source, schema at the target
	Name        string
}

// laneSpec is all that a lane must be started anew for when it changes.
type laneSpec struct {
	Name, Origin   string
	Source, Target server
	Spaces         []string // sorted
	Tables         []table  // sorted by schema and name
}

// laneName is "source>target".
func laneName(from, to string) string { return from + ">" + to }

// catalog is what the snapshots in force want of this plane.
type catalog struct {
	home     *server // the own unit's server, nil when no Database has one
	lanes    map[string]*laneSpec
	troubles []string
}

// newCatalog reads all snapshots together: a lane carries every space whose
// databases lie on its two servers.
func newCatalog(unit string, reach map[string]string, views []*route.View) *catalog {
	c := &catalog{lanes: map[string]*laneSpec{}}
	servers := map[string]server{} // unit → its server
	for _, v := range views {
		for _, db := range v.Snapshot.Databases {
			c.add(unit, reach, servers, v, db)
		}
	}
	for _, l := range c.lanes {
		slices.Sort(l.Spaces)
		l.Spaces = slices.Compact(l.Spaces)
		slices.SortFunc(l.Tables, func(a, b table) int {
			return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Space, b.Space))
		})
		for i := 1; i < len(l.Tables); i++ {
			if a, b := l.Tables[i-1], l.Tables[i]; a.From == b.From && a.Name == b.Name {
				c.troubles = append(c.troubles, fmt.Sprintf("table %s.%s of %s is listed twice (list it in one Database)", b.From, b.Name, l.Origin))
			}
		}
	}
	return c
}

func (c *catalog) add(unit string, reach map[string]string, servers map[string]server, v *route.View, db *space.Database) {
	sources := map[string]*space.DataSource{}
	for i := range db.Spec.Sources {
		s := &db.Spec.Sources[i]
		if sources[s.Unit] != nil {
			c.troubles = append(c.troubles, fmt.Sprintf("database %s: unit %s has several sources: shards are not synced yet", db.Metadata.Name, s.Unit))
			continue
		}
		sources[s.Unit] = s
	}
	home := sources[unit]
	if home == nil {
		return
	}
	for _, u := range slices.Sorted(maps.Keys(sources)) {
		s := sources[u]
		at := reached(reach, s)
		if old, ok := servers[u]; ok && old != at {
			c.troubles = append(c.troubles, fmt.Sprintf("database %s: unit %s has another server or account than in an earlier database: one server a unit is synced", db.Metadata.Name, u))
			return
		}
		servers[u] = at
	}
	here := servers[unit]
	c.home = &here
	for _, u := range slices.Sorted(maps.Keys(sources)) {
		if u == unit {
			continue
		}
		name := laneName(u, unit)
		l := c.lanes[name]
		if l == nil {
			l = &laneSpec{Name: name, Origin: u, Source: servers[u], Target: here}
			c.lanes[name] = l
		}
		l.Spaces = append(l.Spaces, v.Snapshot.Space)
		l.Tables = append(l.Tables, carried(v, db, sources[u], home)...)
	}
}

// reached is a source's server as a plane here reaches it.
func reached(reach map[string]string, s *space.DataSource) server {
	at := server{Addr: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), User: s.User, PasswordFile: s.PasswordFile}
	if r, ok := reach[s.Unit]; ok {
		at.Addr = r
	}
	return at
}

// carried lists the tables that go from one source to another: unit tables
// always, center-unit tables from the center only, center tables never.
func carried(v *route.View, db *space.Database, from, to *space.DataSource) []table {
	var out []table
	for _, t := range db.Spec.Tables {
		if t.Kind == space.TableUnit || t.Kind == space.TableCenterUnit && from.Unit == v.Center() {
			out = append(out, table{Space: v.Snapshot.Space, Rule: db.Spec.Rule, Kind: t.Kind, Key: t.Key,
				From: from.Database, To: to.Database, Name: t.Name})
		}
	}
	return out
}
