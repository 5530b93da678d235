package route

import (
	"fmt"
	"net/textproto"

	"github.com/atoll-live/atoll/space"
)

// Explanation is a decision for people and scripts. Its JSON form is a
// contract: absent parts are null.
type Explanation struct {
	Domain   *string  `json:"domain"`
	Path     *string  `json:"path"`
	Rule     *string  `json:"rule"`
	Variable *string  `json:"variable"`
	Key      *string  `json:"key"`
	Bucket   *int     `json:"bucket"`
	Unit     *string  `json:"unit"`
	Cell     *string  `json:"cell"`
	Reason   Reason   `json:"reason"`
	Action   Action   `json:"action"`
	Epoch    *int64   `json:"epoch"` // set by who knows it
	Steps    []string `json:"steps"` // how the decision came about, in sentences
}

// Explain decides a request and says how the decision came about.
func Explain(t *Table, r Request) Explanation {
	d := t.Decide(r)
	e := explanation(d)
	e.request(t, r, &d)
	return e
}

// ExplainKey decides a key by a rule and says how the decision came about. The
// empty key is decided as a request without one. An unknown rule is an error.
func ExplainKey(t *Table, id, key string) (Explanation, error) {
	r := t.rules[id]
	if r == nil {
		return Explanation{}, fmt.Errorf("unknown rule %q", id)
	}
	d := Decision{Bucket: -1, Reason: ByNone, Action: Reject}
	r.decide(&d, key)
	e := explanation(d)
	e.decided(r, &d)
	return e, nil
}

func explanation(d Decision) Explanation {
	e := Explanation{
		Domain: orNull(d.Domain), Path: orNull(d.Path), Rule: orNull(d.Rule), Variable: orNull(d.Variable),
		Key: orNull(d.Key), Unit: orNull(d.Unit), Cell: orNull(d.Cell), Reason: d.Reason, Action: d.Action,
	}
	if d.Bucket >= 0 {
		e.Bucket = &d.Bucket
	}
	return e
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (e *Explanation) say(sentence string, args ...any) {
	e.Steps = append(e.Steps, fmt.Sprintf(sentence, args...))
}

func (e *Explanation) request(t *Table, r Request, d *Decision) {
	h, ok := t.findHost(r.Host())
	switch {
	case !ok:
		e.say("host %s belongs to no domain of the space", cutPort(r.Host()))
		return
	case h.unit != "":
		e.say("host %s is the subdomain of domain %s in unit %s", cutPort(r.Host()), d.Domain, h.unit)
	default:
		e.say("host %s is domain %s", cutPort(r.Host()), d.Domain)
	}
	p := h.domain.paths.match(r.Path())
	if p == nil {
		e.say("path %s has no rule", r.Path())
		return
	}
	e.say("path %s matches %s", r.Path(), p.text)
	g := p.choose(r)
	if p.biz != nil {
		value := p.biz.from.read(r)
		if p.biz.byValue[value] != nil {
			e.say("business parameter %s is %q: it names rule %s", p.biz.from, value, d.Rule)
		} else {
			e.say("business parameter %s is %q: no rule of its own", p.biz.from, value)
		}
	}
	if d.Key == "" {
		e.say("variable %s, read from %s, is missing", d.Variable, g.source)
	} else {
		e.say("variable %s, read from %s, is the key %q", d.Variable, g.source, d.Key)
	}
	e.decided(g.rule, d)
	if h.unit == "" || d.Reason == BySubdomain {
		return
	}
	if d.Key != "" && d.Unit != h.unit {
		e.say("unit %s does not own the key: the request is corrected", h.unit)
	} else if d.Unit != h.unit && d.Unit != "" {
		e.say("unit %s may not serve the request: it is corrected", h.unit)
	}
}

// String says where a source reads, for people.
func (s source) String() string {
	switch s.scope {
	case space.ScopeQuery:
		return "query parameter " + s.key
	case space.ScopeHeader:
		return "header " + s.key
	case space.ScopeCookie:
		return "cookie " + s.key
	}
	return "nowhere"
}

// decided tells the rule's part.
func (e *Explanation) decided(r *rule, d *Decision) {
	if d.Key != "" {
		e.say("rule %s: the bucket of the key is %d of %d", r.id, d.Bucket, r.modulo)
	}
	reason := d.Reason
	if reason == BySubdomain {
		reason = d.OwnedBy
	}
	switch reason {
	case BySingle:
		e.say("rule %s has one unit, %s", r.id, d.Unit)
	case ByAllow:
		e.say("the allow list of unit %s names the key", d.Unit)
	case ByPrefix:
		e.say("prefix %q of unit %s is the longest that begins the key", d.Prefix, d.Unit)
	case ByRange:
		e.say("the bucket lies in a range of unit %s", d.Unit)
	case ByMissing:
		if d.Action == Reject && d.Unit == "" {
			e.say("rule %s rejects requests without a key", r.id)
		} else {
			e.say("rule %s sends requests without a key to the center, unit %s", r.id, d.Unit)
		}
	case ByNone:
		e.say("no unit owns the bucket")
	}
	if d.Reason == BySubdomain {
		e.say("the subdomain pins unit %s", d.Unit)
	}
	e.placed(d)
}

func (e *Explanation) placed(d *Decision) {
	switch {
	case d.Unit == "":
	case d.Action == Reject:
		e.say("unit %s, or every cell of it that may serve the key, has no access: the request is rejected", d.Unit)
	case d.Cell != "":
		e.say("cell %s of unit %s serves it", d.Cell, d.Unit)
	default:
		e.say("unit %s has no cells", d.Unit)
	}
}

// Values are the parts of a request as people give them, by name.
type Values map[string]string

// NewRequest is a Request made of values. Header names are case-blind.
func NewRequest(host, path string, query, header, cookie Values) Request {
	canonical := Values{}
	for name, value := range header {
		canonical[textproto.CanonicalMIMEHeaderKey(name)] = value
	}
	return &given{host, path, query, canonical, cookie}
}

type given struct {
	host, path            string
	query, header, cookie Values
}

func (g *given) Host() string             { return g.host }
func (g *given) Path() string             { return g.path }
func (g *given) Query(name string) string { return g.query[name] }
func (g *given) Header(name string) string {
	return g.header[textproto.CanonicalMIMEHeaderKey(name)]
}
func (g *given) Cookie(name string) string { return g.cookie[name] }
