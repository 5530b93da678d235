package wan

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// cutForMax bounds a cut that heals by itself.
const cutForMax = time.Hour

// cuts holds why links are cut: a site, a pair of sites, or a link by name. A
// link is open only when no reason to cut it is left.
type cuts struct {
	mu     sync.Mutex
	sites  map[string]bool
	pairs  map[[2]string]bool
	links  map[string]bool
	timers map[order]*time.Timer // of cuts that heal by themselves
}

func newCuts() *cuts {
	return &cuts{sites: map[string]bool{}, pairs: map[[2]string]bool{}, links: map[string]bool{}, timers: map[order]*time.Timer{}}
}

func pairOf(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

func (c *cuts) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.timers {
		t.Stop()
	}
	clear(c.timers)
}

// order is one call of the control API. Exactly one of Unit, Between and Link
// is set, or none of them to heal everything.
type order struct {
	unit    string
	between [2]string
	link    string
}

func (c *cuts) cut(o order) {
	switch {
	case o.unit != "":
		c.sites[o.unit] = true
	case o.link != "":
		c.links[o.link] = true
	default:
		c.pairs[o.between] = true
	}
}

// heal takes a reason away. Healing a unit also takes away what was said of
// single links and pairs of it, but not that the other end's site is cut.
func (c *cuts) heal(o order, links []*link) {
	switch {
	case o == order{}:
		clear(c.sites)
		clear(c.pairs)
		clear(c.links)
	case o.link != "":
		delete(c.links, o.link)
	case o.unit == "":
		delete(c.pairs, o.between)
	default:
		delete(c.sites, o.unit)
		for p := range c.pairs {
			if p[0] == o.unit || p[1] == o.unit {
				delete(c.pairs, p)
			}
		}
		for _, l := range links {
			if l.From == o.unit || l.To == o.unit {
				delete(c.links, l.Name)
			}
		}
	}
}

func (c *cuts) shut(l *link) bool {
	return c.sites[l.From] || c.sites[l.To] || c.pairs[pairOf(l.From, l.To)] || c.links[l.Name]
}

// set carries an order out and moves every gate to where it then belongs. A
// cut that heals by itself does so after heals; a later order about the same
// links replaces that time.
func (r *Relay) set(o order, cut bool, heals time.Duration) {
	c := r.cuts
	c.mu.Lock()
	defer c.mu.Unlock()
	r.setLocked(o, cut)
	if t := c.timers[o]; t != nil {
		t.Stop()
		delete(c.timers, o)
	}
	if !cut || heals == 0 {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(heals, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.timers[o] == t { // else a later order came in between
			delete(c.timers, o)
			r.setLocked(o, false)
		}
	})
	c.timers[o] = t
}

func (r *Relay) setLocked(o order, cut bool) {
	if cut {
		r.cuts.cut(o)
	} else {
		r.cuts.heal(o, r.links)
	}
	for _, l := range r.links {
		l.gate.set(r.cuts.shut(l))
	}
}

// Cut stalls all links of a site.
func (r *Relay) Cut(site string) error { return r.ask(order{unit: site}, true, 0) }

// Heal lets the links of a site go on, all links when site is "".
func (r *Relay) Heal(site string) error { return r.ask(order{unit: site}, false, 0) }

func (r *Relay) ask(o order, cut bool, heals time.Duration) error {
	if o != (order{}) && !slices.ContainsFunc(r.links, o.meets) {
		return fmt.Errorf("no link of %s; there are %s", o, strings.Join(r.sites(), ", "))
	}
	r.set(o, cut, heals)
	r.log.Info("links changed", "of", o.String(), "cut", cut, "for", heals.String())
	return nil
}

func (o order) meets(l *link) bool {
	switch {
	case o.unit != "":
		return l.From == o.unit || l.To == o.unit
	case o.link != "":
		return l.Name == o.link
	default:
		return pairOf(l.From, l.To) == o.between
	}
}

func (o order) String() string {
	switch {
	case o.unit != "":
		return o.unit
	case o.link != "":
		return o.link
	case o.between != [2]string{}:
		return o.between[0] + " and " + o.between[1]
	default:
		return "all sites"
	}
}

func (r *Relay) sites() []string {
	var s []string
	for _, l := range r.links {
		s = append(s, l.From, l.To)
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// LinkStatus is one link as GET /links shows it.
type LinkStatus struct {
	Link
	Cut         bool  `json:"cut"`
	DelayMs     int64 `json:"delay_ms"`    // one way
	Connections int   `json:"connections"` // now
	Total       int64 `json:"total"`       // since the start
	Failed      int64 `json:"failed"`      // target not reached
	Bytes       int64 `json:"bytes"`       // delivered, both directions
}

// Links shows every link in the order of the config.
func (r *Relay) Links() []LinkStatus {
	all := make([]LinkStatus, 0, len(r.links))
	for _, l := range r.links {
		s := LinkStatus{Link: l.Link, Cut: l.gate.isShut(), DelayMs: l.delay.Load() / int64(time.Millisecond), Connections: int(l.open.Load()),
			Total: l.total.Load(), Failed: l.failed.Load(), Bytes: l.bytes.Load()}
		s.Listen = r.Addr(l.Name)
		all = append(all, s)
	}
	return all
}

// slow adds to the delay of one link, each way. Half of the round trip stays
// below it; zero restores it.
func (r *Relay) slow(name string, by time.Duration) error {
	i := slices.IndexFunc(r.links, func(l *link) bool { return l.Name == name })
	if i < 0 {
		return fmt.Errorf("no link %s", name)
	}
	r.links[i].delay.Store(int64(r.cfg.rtt()/2 + by))
	r.log.Info("link slowed", "link", name, "by", by.String())
	return nil
}

// handler serves GET /ready, GET /links, and POST /cut and /heal with one of
// unit=U, between=U,V or link=NAME; a cut may carry for=DURATION, after which
// it heals by itself, and a heal without any of them heals everything. POST
// /slow?link=NAME&by=DURATION adds to the delay of one link.
func (r *Relay) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
	})
	mux.HandleFunc("GET /links", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.Links())
	})
	change := func(cut bool) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			o, heals, err := parseOrder(req, cut)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if err := r.ask(o, cut, heals); err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux.HandleFunc("POST /cut", change(true))
	mux.HandleFunc("POST /heal", change(false))
	mux.HandleFunc("POST /slow", r.serveSlow)
	return mux
}

func (r *Relay) serveSlow(w http.ResponseWriter, req *http.Request) {
	by, err := time.ParseDuration(req.URL.Query().Get("by"))
	if err != nil || by < 0 || by > rttMax {
		http.Error(w, fmt.Sprintf("by=%q is not a duration up to %v", req.URL.Query().Get("by"), rttMax), http.StatusBadRequest)
		return
	}
	if err := r.slow(req.URL.Query().Get("link"), by); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func parseOrder(req *http.Request, cut bool) (order, time.Duration, error) {
	var o order
	q := req.URL.Query()
	given := 0
	if o.unit = q.Get("unit"); o.unit != "" {
		given++
	}
	if o.link = q.Get("link"); o.link != "" {
		given++
	}
	if text := q.Get("between"); text != "" {
		a, b, ok := strings.Cut(text, ",")
		if !ok || a == "" || b == "" || a == b {
			return o, 0, fmt.Errorf("between=%q is not two sites with a comma", text)
		}
		o.between = pairOf(a, b)
		given++
	}
	if given > 1 || (given == 0 && cut) {
		return o, 0, fmt.Errorf("want one of unit=, between= and link=, %d given", given)
	}
	text := q.Get("for")
	if text == "" || !cut {
		return o, 0, nil
	}
	heals, err := time.ParseDuration(text)
	if err != nil || heals <= 0 || heals > cutForMax {
		return o, 0, fmt.Errorf("for=%q is not a duration up to %v", text, cutForMax)
	}
	return o, heals, nil
}
