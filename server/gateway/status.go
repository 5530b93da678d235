package gateway

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/atoll-live/atoll/route"
)

// StatusHandler serves people and supervisors, never clients: /ready, /status
// and /.atoll/explain.
func (g *Gateway) StatusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !g.Ready() {
			http.Error(w, "no snapshot yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { g.writeStatus(w) })
	mux.HandleFunc("GET /.atoll/explain", g.explain)
	return mux
}

func (g *Gateway) writeStatus(w http.ResponseWriter) {
	epochs := map[string]int64{}
	for _, v := range g.gate.now.Load().views {
		epochs[v.Snapshot.Space] = v.Snapshot.Epoch
	}
	peers := map[string]string{}
	for unit, p := range g.peers {
		peers[unit] = "up"
		if why := p.trouble(); why != "" {
			peers[unit] = "down: " + why
		}
	}
	writeJSON(w, map[string]any{
		"name": g.cfg.Name, "unit": g.cfg.Unit, "cell": g.cfg.Cell, "epochs": epochs, "peers": peers, "figures": g.readFigures(),
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// question is a request that nobody sent: explain?host=…&path=…&query=k=v.
type question struct {
	host, path             string
	query, header, cookies map[string]string
}

func (q *question) Host() string              { return q.host }
func (q *question) Path() string              { return q.path }
func (q *question) Query(name string) string  { return q.query[name] }
func (q *question) Header(name string) string { return q.header[http.CanonicalHeaderKey(name)] }
func (q *question) Cookie(name string) string { return q.cookies[name] }

// explain answers what the gateway would do with a request, and why.
func (g *Gateway) explain(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	pairs := func(name string, canonical func(string) string) map[string]string {
		m := map[string]string{}
		for _, p := range values[name] {
			k, v, _ := strings.Cut(p, "=")
			if k = canonical(k); m[k] == "" {
				m[k] = v
			}
		}
		return m
	}
	as := func(s string) string { return s }
	q := &question{host: values.Get("host"), path: values.Get("path"),
		query: pairs("query", as), header: pairs("header", http.CanonicalHeaderKey), cookies: pairs("cookie", as)}
	if q.path == "" {
		q.path = "/"
	}
	view, d := g.gate.now.Load().decide(q)
	writeJSON(w, explanation(view, d))
}

// explanation has the fields of `atoll explain`; absent parts are null.
func explanation(v *route.View, d route.Decision) map[string]any {
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	m := map[string]any{
		"domain": text(d.Domain), "path": text(d.Path), "rule": text(d.Rule), "variable": text(d.Variable), "key": text(d.Key),
		"bucket": nil, "unit": text(d.Unit), "cell": text(d.Cell), "reason": d.Reason, "action": d.Action,
		"epoch": nil, "held": nil, "fenced": nil,
	}
	if d.Bucket >= 0 {
		m["bucket"] = d.Bucket
	}
	if v == nil {
		return m
	}
	m["epoch"] = v.Snapshot.Epoch
	if t := v.Held(d); t != nil {
		m["held"] = t.ID
	}
	if t := v.Fenced(d); t != nil {
		m["fenced"] = t.ID
	}
	return m
}
