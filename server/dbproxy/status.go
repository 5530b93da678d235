package dbproxy

import (
	"encoding/json"
	"net/http"
)

// StatusHandler serves people and supervisors, never applications: /ready is
// 200 once the proxy serves, /status tells its epoch, fences and figures.
func (p *Proxy) StatusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !p.Ready() {
			http.Error(w, "no snapshot yet, or the unit's server is not reached", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { p.writeStatus(w) })
	return mux
}

func (p *Proxy) writeStatus(w http.ResponseWriter) {
	status := map[string]any{"name": p.cfg.Plane, "unit": p.cfg.Unit, "space": p.cfg.Space, "database": p.cfg.Database, "lease": p.leaseHolds()}
	if v := p.guard.View(); v != nil {
		status["epoch"] = v.Snapshot.Epoch
	}
	open := map[string]int{}
	for _, f := range p.guard.Fences() {
		open[f.Transfer.ID] = len(f.Open)
	}
	status["fences"] = open
	if t := p.trouble.Load(); t != nil {
		status["trouble"] = *t
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(status)
}
