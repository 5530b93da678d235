package sandbox

import (
	"fmt"
	"path/filepath"
)

// shopSpace is one space of a sandbox: a shop with a rule, a host and a schema
// of its own on the units' servers. The schema and the Database document have
// the space's code as their name.
type shopSpace struct {
	code, rule, host string
	suffix           string // of a kind in the names of its processes
}

var shopSpaces = [SpacesMax]shopSpace{
	{code: SpaceCode, rule: RuleID, host: Host},
	{code: "shop2", rule: "2003", host: "shop2.atoll.test", suffix: "-shop2"},
}

// site is a unit while the layout is being made.
type site struct {
	code   string
	center bool
	number int // from 0
	base   int
	others int // ports taken from portOthers on
	dir    string
	stands []*stand // one a space
}

// stand is what a site has for one space alone: its ways in.
type stand struct {
	space                                      *shopSpace
	site                                       *site
	gateway, gatewayStatus, proxy, proxyStatus int
	apps                                       []app // one a cell
}

// app is the application of a space in one cell.
type app struct {
	cell         string
	name         string // of its process
	port, status int
}

func (s *site) addr(port int) string { return loopback(s.base + port) }

// next is a port of the site's block that nobody has.
func (s *site) next() int {
	s.others++
	return s.base + portOthers + s.others - 1
}

// newSite gives a unit its ports: the first cell of the first space has fixed
// ones.
func (p *plan) newSite(number int) *site {
	s := &site{code: unitCodes[number], center: number == 0, number: number,
		base: p.Options.PortBase + portUnits + number*portsPer, dir: filepath.Join(p.Options.Dir, unitCodes[number])}
	for i := range p.spaces() {
		t := &stand{space: &shopSpaces[i], site: s}
		if i == 0 {
			t.gateway, t.gatewayStatus, t.proxy, t.proxyStatus = s.base+portGateway, s.base+portGatewayStatus, s.base+portProxy, s.base+portProxyStatus
		} else {
			t.gateway, t.gatewayStatus, t.proxy, t.proxyStatus = s.next(), s.next(), s.next(), s.next()
		}
		for n := range p.Options.Cells {
			t.apps = append(t.apps, t.newApp(n, p.Options.Cells))
		}
		s.stands = append(s.stands, t)
	}
	return s
}

// newApp is the application of a cell. In a site with one cell it has the
// site's name.
func (t *stand) newApp(n, cells int) app {
	a := app{cell: fmt.Sprintf("%s-%d", t.site.code, n+1)}
	if n == 0 && t.space.suffix == "" {
		a.port, a.status = t.site.base+portApp, t.site.base+portAppStatus
	} else {
		a.port, a.status = t.site.next(), t.site.next()
	}
	where := t.site.code
	if cells > 1 {
		where = a.cell
	}
	a.name = t.name("app", where)
	return a
}

// name is that of the space's process of a kind, in a unit or in a cell of it.
func (t *stand) name(kind, where string) string { return kind + t.space.suffix + "@" + where }

// dir is where the space's plane of a kind keeps its snapshots.
func (t *stand) dir(kind string) string { return filepath.Join(t.site.dir, kind+t.space.suffix) }

// in is the stand of the same space in another site.
func (t *stand) in(o *site) *stand {
	for _, other := range o.stands {
		if other.space == t.space {
			return other
		}
	}
	panic("a space is not in all sites of its sandbox")
}

// spaces are those of the sandbox.
func (l *Layout) spaces() []shopSpace { return shopSpaces[:l.Options.Spaces] }
