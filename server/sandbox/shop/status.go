package shop

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

func (s *Shop) listenStatus() (net.Listener, error) {
	if s.cfg.Status == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", s.cfg.Status)
	if err != nil {
		return nil, fmt.Errorf("app: %w (choose another --status, or end what has the port)", err)
	}
	return l, nil
}

// statusHandler serves people and supervisors, never clients.
func (s *Shop) statusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if why := s.unready(r.Context()); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		epochs := map[string]int64{}
		for code, v := range s.book.Load().views {
			epochs[code] = v.Snapshot.Epoch
		}
		pool := s.db.Stats()
		write(w, http.StatusOK, map[string]any{
			"name": s.cfg.Name, "unit": s.cfg.Unit, "cell": s.cfg.Cell, "epochs": epochs, "figures": s.figures.read(),
			"unready": s.unready(r.Context()), "connections": pool.OpenConnections, "connections_in_use": pool.InUse,
		})
	})
	return mux
}

// unready says why an order could not be placed now, "" when it could.
func (s *Shop) unready(ctx context.Context) string {
	b := s.book.Load()
	if b.mine == nil || b.mine.Modulo(b.rule) == 0 {
		return "the rule of the users is not known yet"
	}
	if !s.cfg.IDs.Ready() {
		return "no ids are reserved yet"
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := s.db.PingContext(ctx); err != nil {
		return "the database does not answer: " + err.Error()
	}
	return ""
}
