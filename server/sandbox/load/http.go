package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/atoll-live/atoll/server/pause"
)

// httpClient is a buyer's browser: it knows every gateway and takes any, as a
// name server without knowledge of units would give it.
type httpClient struct {
	client   *http.Client
	gateways []string
	host     string
}

func newHTTPClient(cfg Config) *httpClient {
	h := &httpClient{host: cfg.Host, client: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 512, MaxConnsPerHost: 2048, IdleConnTimeout: 30 * time.Second,
			DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		},
	}}
	for _, s := range cfg.Sites {
		h.gateways = append(h.gateways, s.Gateway)
	}
	return h
}

func (h *httpClient) close() { h.client.CloseIdleConnections() }

// answer is what the shop and the gateways say in JSON.
type answer struct {
	OrderID string `json:"order_id"`
	Status  string `json:"status"`
	Done    any    `json:"done"` // false: certainly not done; "unknown"
	Error   string `json:"error"`
}

// send makes one request to one gateway. Status 0 with sent false means that
// nothing left this machine.
func (h *httpClient) send(ctx context.Context, method, path string, query url.Values, body any, rng *rand.Rand) (status int, a answer, sent bool, err error) {
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, a, false, err
		}
		payload = bytes.NewReader(raw)
	}
	gateway := h.gateways[rng.IntN(len(h.gateways))]
	req, err := http.NewRequestWithContext(ctx, method, gateway+path+"?"+query.Encode(), payload)
	if err != nil {
		return 0, a, false, err
	}
	req.Host = h.host
	req.Header.Set("Content-Type", "application/json")
	req.GetBody = nil // a write is never sent twice by the transport itself
	res, err := h.client.Do(req)
	if err != nil {
		var op *net.OpError
		dialed := !errors.As(err, &op) || op.Op != "dial"
		return 0, a, dialed, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return res.StatusCode, a, true, err
	}
	_ = json.Unmarshal(raw, &a) // lists and foreign errors leave it empty
	return res.StatusCode, a, true, nil
}

func (h *httpClient) browse(ctx context.Context, key string, rng *rand.Rand) {
	_, _, _, _ = h.send(ctx, http.MethodGet, "/product", url.Values{"user": {key}}, nil, rng)
}

// place posts an order once and says what the client then knows.
func (h *httpClient) place(ctx context.Context, l *Ledger, o order, clientID string, _ int) attempt {
	status, a, sent, err := h.send(ctx, http.MethodPost, "/order", url.Values{"user": {o.key}},
		map[string]any{"client_id": clientID, "product": o.product, "qty": o.qty}, o.rng)
	outcome := httpOutcome(status, a, sent, err)
	if outcome == NotDone {
		l.Count(func(c *Counts) { c.HTTPRefused++ })
	}
	if outcome != Acked {
		l.Sample(fmt.Sprintf("POST /order: %d %s %v", status, a.Error, err))
	}
	return attempt{outcome: outcome, orderID: a.OrderID, again: 20 * time.Millisecond}
}

// httpOutcome reads an answer as a careful client does: only a success with
// an order id is an acknowledgement, and only an answer that says so itself,
// or a connection that was never made, is certainly not done.
func httpOutcome(status int, a answer, sent bool, err error) Outcome {
	switch {
	case err != nil && !sent:
		return NotDone
	case err != nil:
		return Unknown
	case (status == http.StatusCreated || status == http.StatusOK) && a.OrderID != "":
		return Acked
	case a.Done == false:
		return NotDone
	case status >= 400 && status < 500:
		return NotDone
	default:
		return Unknown
	}
}

// pay pays an order, repeating while the outcome is unknown: paying twice is
// the same payment.
func (h *httpClient) pay(ctx context.Context, l *Ledger, key, id string, rng *rand.Rand) bool {
	limit := time.Now().Add(orderPatience)
	for ctx.Err() == nil && time.Now().Before(limit) {
		status, a, _, err := h.send(ctx, http.MethodPost, "/order/pay", url.Values{"user": {key}}, map[string]any{"order_id": id}, rng)
		if err == nil && (status == http.StatusOK || status == http.StatusCreated) {
			l.Pay(id)
			return true
		}
		if status == http.StatusNotFound {
			l.Count(func(c *Counts) { c.Reads++; c.StaleReads++ })
			l.Sample(fmt.Sprintf("POST /order/pay of an acknowledged order: 404 %s", a.Error))
			return false
		}
		if a.Done == false {
			l.Count(func(c *Counts) { c.HTTPRefused++ })
		}
		l.Sample(fmt.Sprintf("POST /order/pay: %d %s %v", status, a.Error, err))
		pause.For(ctx, 20*time.Millisecond)
	}
	return false
}

// check reads an order that was acknowledged before, through any gateway. An
// answer without it, or with less than was acknowledged, is a stale read.
func (h *httpClient) check(ctx context.Context, l *Ledger, key, id string, paid bool, rng *rand.Rand) {
	for range 5 {
		status, a, _, err := h.send(ctx, http.MethodGet, "/order", url.Values{"user": {key}, "id": {id}}, nil, rng)
		switch {
		case err == nil && status == http.StatusOK:
			stale := a.OrderID != id || paid && a.Status != "paid"
			l.Count(func(c *Counts) {
				c.Reads++
				if stale {
					c.StaleReads++
				}
			})
			if stale {
				l.Sample(fmt.Sprintf("GET /order: stale, wanted %s paid=%v, got %s %s", id, paid, a.OrderID, a.Status))
			}
			return
		case err == nil && status == http.StatusNotFound:
			l.Count(func(c *Counts) { c.Reads++; c.StaleReads++ })
			l.Sample(fmt.Sprintf("GET /order of an acknowledged order: 404 %s", a.Error))
			return
		}
		l.Count(func(c *Counts) { c.ReadErrors++ })
		l.Sample(fmt.Sprintf("GET /order: %d %s %v", status, a.Error, err))
		pause.For(ctx, 50*time.Millisecond)
	}
}
