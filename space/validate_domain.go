package space

import (
	"strings"
)

// domain validates one live domain.
func (c *spaceCheck) domain(at *place, d *Domain) {
	c.host(at.field("host"), d.Host)
	choice(c.reporter, at.field("liveType"), d.LiveType, "", CrossRegion, OneRegion)
	if t := strings.ToUpper(d.CorrectionType); t != "" && t != "UPSTREAM" {
		c.refuse(at.field("correctionType"), "write UPSTREAM", "unknown value %q", d.CorrectionType)
	}
	units := seen{}
	for i := range d.UnitDomains {
		u := &d.UnitDomains[i]
		at := at.field("unitDomains").item(i)
		if c.spec.unit(u.Unit) == nil {
			c.refuse(at.field("unit"), "define it under units", "unknown unit %q", u.Unit)
		}
		units.check(c.reporter, at.field("unit"), "unit", u.Unit)
		c.host(at.field("host"), u.HostOf(d))
	}
	paths := seen{}
	for i := range d.Paths {
		p := &d.Paths[i]
		at := at.field("paths").item(i)
		c.path(at, p)
		paths.check(c.reporter, at.field("path"), "path", segments(p.Path))
		if r := c.spec.rule(p.RuleID); r != nil && d.LiveType == OneRegion && len(r.Units) > 1 {
			c.refuse(at.field("ruleId"), "use a rule with one unit, or make the domain CROSS_REGION_LIVE",
				"the domain is ONE_REGION_LIVE and rule %q has %d units", p.RuleID, len(r.Units))
		}
	}
}

// segments is a path as it is matched: slashes between its segments alone, and
// every wildcard alike.
func segments(path string) string {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, p := range parts {
		if len(p) > 2 && p[0] == '{' && p[len(p)-1] == '}' {
			parts[i] = "*"
		}
	}
	return "/" + strings.Join(parts, "/")
}

// maxHost is the longest name that DNS allows.
const maxHost = 253

// host checks a host and that no other domain of any space has it.
func (c *spaceCheck) host(at *place, host string) {
	if host == "" {
		c.refuse(at, "name it", "the host is empty")
		return
	}
	if i := strings.IndexFunc(host, notInHost); i >= 0 || len(host) > maxHost {
		c.refuse(at, "write a plain host name, without scheme, port or wildcard", "%q is no host name", host)
		return
	}
	lower := strings.ToLower(host)
	if other, ok := c.all.hosts[lower]; ok {
		c.refuse(at, "one host belongs to one domain of one space", "host %q stands already in %s", host, other)
		return
	}
	c.all.hosts[lower] = c.document
}

func notInHost(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r))
}

// path validates one path rule.
func (c *spaceCheck) path(at *place, p *Path) {
	if !strings.HasPrefix(p.Path, "/") {
		c.refuse(at.field("path"), "write /"+p.Path, "path %q does not begin with /", p.Path)
	}
	rule := c.ruleOf(at, p.RuleID)
	if p.CustomVariableSource && rule != nil {
		variable, source := rule.Variable, rule.VariableSource
		if p.Variable != "" {
			variable = p.Variable
		}
		if p.VariableSource != "" {
			source = p.VariableSource
		}
		c.source(at, variable, source)
	}
	if !p.BizVariableEnabled {
		return
	}
	choice(c.reporter, at.field("bizVariableScope"), p.BizVariableScope, ScopeQuery, ScopeHeader, ScopeCookie)
	if p.BizVariableName == "" {
		c.refuse(at.field("bizVariableName"), "name the parameter", "the business parameter is enabled and has no name")
	}
	values := seen{}
	for i, b := range p.BizVariableRules {
		at := at.field("bizVariableRules").item(i)
		values.check(c.reporter, at.field("value"), "value", b.Value)
		c.ruleOf(at, b.RuleID)
	}
}

// ruleOf checks the rule that a path or a business value names.
func (c *spaceCheck) ruleOf(at *place, id string) *UnitRule {
	r := c.spec.rule(id)
	if r == nil {
		c.refuse(at.field("ruleId"), "define it under unitRules", "unknown rule %q", id)
	}
	return r
}
