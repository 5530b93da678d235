package shop

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// bodyMax bounds what a client sends.
const bodyMax = 16 << 10

// handler serves what the gateway passes on.
func (s *Shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /product", s.serve(s.getProduct))
	mux.HandleFunc("POST /order", s.serve(s.postOrder))
	mux.HandleFunc("POST /order/pay", s.serve(s.postPay))
	mux.HandleFunc("GET /order", s.serve(s.getOrder))
	mux.HandleFunc("GET /orders", s.serve(s.getOrders))
	mux.HandleFunc("GET /note", s.serve(s.getNote))
	mux.HandleFunc("POST /note", s.serve(s.postNote))
	mux.HandleFunc("GET /basket", s.serve(s.getBasket))
	mux.HandleFunc("POST /basket", s.serve(s.postBasket))
	mux.HandleFunc("/", s.serve(func(context.Context, *http.Request) (int, any, error) {
		return 0, nil, &failure{status: http.StatusNotFound, text: "the shop has no such page"}
	}))
	return mux
}

// call answers one request with a status and a body, or an error.
type call func(context.Context, *http.Request) (int, any, error)

// serve bounds a call and writes its answer. The work does not end with the
// client's connection: what was begun is finished, or not, by the database.
func (s *Shop) serve(c call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.figures.requests.Add(1)
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			s.fail(w, &failure{status: http.StatusServiceUnavailable, retry: true, text: "the shop serves as many requests as it may"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.Patience)
		defer cancel()
		status, body, err := c(ctx, r)
		if err != nil {
			s.fail(w, explain(err, s.owner(r.URL.Query().Get("user"))))
			return
		}
		write(w, status, body)
	}
}

func (s *Shop) fail(w http.ResponseWriter, f *failure) {
	s.figures.failed.Add(1)
	if f.unknown {
		s.figures.unknown.Add(1)
	}
	if f.retry {
		w.Header().Set("Retry-After", "1")
	}
	write(w, f.status, f.body())
}

func write(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil { // none of our bodies can fail
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n'))
}

// user reads the buyer of a request.
func user(r *http.Request) (string, error) {
	u := r.URL.Query().Get("user")
	if u == "" || len(u) > textMax {
		return "", badRequest("user: want 1 to %d characters", textMax)
	}
	return u, nil
}

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	if err := d.Decode(into); err != nil {
		return badRequest("body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("body: more than one JSON value")
	}
	return nil
}

// product is one product as clients see it; the price is in cents.
type product struct {
	ID      string    `json:"product"`
	Name    string    `json:"name"`
	Price   int64     `json:"price"`
	Updated time.Time `json:"updated_at"`
}

const productColumns = "product_id, name, price_cents, updated_at"

func (s *Shop) getProduct(ctx context.Context, r *http.Request) (int, any, error) {
	if id := r.URL.Query().Get("id"); id != "" {
		var p product
		err := s.db.QueryRowContext(ctx, "SELECT "+productColumns+" FROM products WHERE product_id = ?", id).Scan(&p.ID, &p.Name, &p.Price, &p.Updated)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil, &failure{status: http.StatusNotFound, text: fmt.Sprintf("no product %q", id)}
		}
		return http.StatusOK, p, err
	}
	rows, err := s.db.QueryContext(ctx, "SELECT "+productColumns+" FROM products ORDER BY product_id LIMIT 100")
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = rows.Close() }()
	all := []product{}
	for rows.Next() {
		var p product
		if err := rows.Scan(&p.ID, &p.Name, &p.Price, &p.Updated); err != nil {
			return 0, nil, err
		}
		all = append(all, p)
	}
	return http.StatusOK, map[string]any{"products": all, "unit": s.cfg.Unit}, rows.Err()
}

func (s *Shop) postOrder(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	var p placement
	if err := decode(r, &p); err != nil {
		return 0, nil, err
	}
	o, fresh, err := s.place(ctx, u, p)
	if err != nil {
		return 0, nil, err
	}
	if fresh {
		s.figures.placed.Add(1)
		return http.StatusCreated, o, nil
	}
	s.figures.again.Add(1)
	return http.StatusOK, o, nil
}

func (s *Shop) postPay(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	var body struct {
		ID string `json:"order_id"`
	}
	if err := decode(r, &body); err != nil {
		return 0, nil, err
	}
	o, err := s.pay(ctx, u, body.ID)
	if err != nil {
		return 0, nil, err
	}
	s.figures.paid.Add(1)
	return http.StatusOK, o, nil
}

func (s *Shop) getOrder(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	o, err := s.find(ctx, u, r.URL.Query().Get("id"))
	return http.StatusOK, o, err
}

func (s *Shop) getOrders(ctx context.Context, r *http.Request) (int, any, error) {
	u, err := user(r)
	if err != nil {
		return 0, nil, err
	}
	all, err := s.list(ctx, u)
	return http.StatusOK, map[string]any{"orders": all, "user": u, "unit": s.cfg.Unit}, err
}
