package route

import (
	"fmt"
	"strings"

	"github.com/atoll-live/atoll/space"
)

// domain is a compiled live domain.
type domain struct {
	host  string
	paths pathTrie
}

// host is what a host name of a request leads to.
type host struct {
	domain *domain
	unit   string // the unit whose subdomain it is, "" for the main host
}

// path is a compiled path rule.
type path struct {
	text string
	goal goal
	biz  *bizRules
}

// goal is the rule of a path and how its key is read there.
type goal struct {
	rule     *rule
	variable string
	source   source
}

// bizRules picks another rule by the value of a business parameter.
type bizRules struct {
	from    source
	byValue map[string]*goal
}

func (t *Table) addDomain(d *space.Domain) error {
	c := &domain{host: d.Host}
	if err := t.addHost(d.Host, host{domain: c}); err != nil {
		return err
	}
	for i := range d.UnitDomains {
		u := &d.UnitDomains[i]
		if t.unit(u.Unit) == nil {
			return fmt.Errorf("unit domain: unknown unit %q", u.Unit)
		}
		if err := t.addHost(u.HostOf(d), host{domain: c, unit: u.Unit}); err != nil {
			return err
		}
	}
	for i := range d.Paths {
		p, err := t.compilePath(&d.Paths[i])
		if err == nil {
			err = c.paths.add(d.Paths[i].Path, p)
		}
		if err != nil {
			return fmt.Errorf("path %q: %w", d.Paths[i].Path, err)
		}
	}
	return nil
}

func (t *Table) addHost(name string, h host) error {
	name = strings.ToLower(name)
	if name == "" {
		return fmt.Errorf("empty host")
	}
	if _, ok := t.hosts[name]; ok {
		return fmt.Errorf("host %q stands twice", name)
	}
	t.hosts[name] = h
	return nil
}

func (t *Table) compilePath(p *space.Path) (*path, error) {
	g, err := t.compileGoal(p, p.RuleID)
	if err != nil {
		return nil, err
	}
	c := &path{text: p.Path, goal: g}
	if !p.BizVariableEnabled {
		return c, nil
	}
	c.biz = &bizRules{from: source{p.BizVariableScope, p.BizVariableName}, byValue: map[string]*goal{}}
	for _, b := range p.BizVariableRules {
		g, err := t.compileGoal(p, b.RuleID)
		if err != nil {
			return nil, fmt.Errorf("business value %q: %w", b.Value, err)
		}
		c.biz.byValue[b.Value] = &g
	}
	return c, nil
}

// compileGoal resolves a rule id on a path. A custom variable or source that
// the path leaves empty is the rule's.
func (t *Table) compileGoal(p *space.Path, id string) (goal, error) {
	r := t.rules[id]
	if r == nil {
		return goal{}, fmt.Errorf("unknown rule %q", id)
	}
	g := goal{r, r.variable, r.source}
	if !p.CustomVariableSource {
		return g, nil
	}
	name := r.sourceName
	if p.Variable != "" {
		g.variable = p.Variable
	}
	if p.VariableSource != "" {
		name = p.VariableSource
	}
	var err error
	g.source, err = t.source(g.variable, name)
	return g, err
}

// Decide decides a request by domain, path, business parameter, rule and
// variable. A host that no domain has, and a path that no rule has, give
// Reason ByNone and Action Reject. It does not allocate.
func (t *Table) Decide(r Request) Decision {
	d := Decision{Bucket: -1, Reason: ByNone, Action: Reject}
	h, ok := t.findHost(r.Host())
	if !ok {
		return d
	}
	d.Domain = h.domain.host
	p := h.domain.paths.match(r.Path())
	if p == nil {
		return d
	}
	d.Path = p.text
	g := p.choose(r)
	g.rule.decide(&d, g.source.read(r))
	d.Variable = g.variable
	if h.unit != "" {
		g.rule.pin(&d, h.unit)
	}
	return d
}

// choose is the goal of a request: the path's, unless a business value names another.
func (p *path) choose(r Request) *goal {
	if p.biz != nil {
		if g := p.biz.byValue[p.biz.from.read(r)]; g != nil {
			return g
		}
	}
	return &p.goal
}

// pin keeps a request that came by a unit subdomain in that unit when the unit
// owns its key, or when it has no key and the rule would send it to the center
// for want of one. Any other request stays corrected.
func (r *rule) pin(d *Decision, unit string) {
	if d.Key != "" {
		if d.Unit == unit && d.Reason != BySingle {
			d.Reason, d.OwnedBy = BySubdomain, d.Reason
		}
		return
	}
	if d.Reason != ByMissing || r.missing != space.MissingCenter {
		return
	}
	for i := range r.routes {
		route := &r.routes[i]
		if route.unit.code == unit && route.unit.access != space.NoAccess {
			d.Reason = BySubdomain
			route.place(d, Route)
		}
	}
}

// findHost looks a Host header up, without its port and case-blind.
func (t *Table) findHost(name string) (host, bool) {
	name = cutPort(name)
	if h, ok := t.hosts[name]; ok {
		return h, true
	}
	var lower [maxHost]byte
	if len(name) > len(lower) {
		return host{}, false
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	h, ok := t.hosts[string(lower[:len(name)])]
	return h, ok
}

// maxHost is the longest host name that DNS allows, and a bit.
const maxHost = 256

func cutPort(name string) string {
	colon := strings.LastIndexByte(name, ':')
	if colon < 0 || strings.IndexByte(name[colon:], ']') >= 0 {
		return name
	}
	return name[:colon]
}
