package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/history"
)

// httpWay goes through the gateways, as a buyer's browser.
type httpWay struct {
	client *http.Client
	cfg    Config
}

func newHTTPWay(cfg Config) *httpWay {
	return &httpWay{cfg: cfg, client: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 2 * cfg.Clients, IdleConnTimeout: 30 * time.Second,
			DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		},
	}}
}

func (h *httpWay) close() { h.client.CloseIdleConnections() }

// reply is what the shop and the gateways say in JSON.
type reply struct {
	Value *int64   `json:"value"`
	Items []string `json:"items"`
	Done  any      `json:"done"` // false: certainly not done; "unknown"
	Error string   `json:"error"`
}

// once makes one attempt at one gateway.
func (h *httpWay) once(ctx context.Context, site int, o history.Op, _ action) answer {
	method, path, body := request(o)
	address := h.cfg.Sites[site].Gateway + path + "?" + url.Values{"user": {o.Key}}.Encode()
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return answer{outcome: history.Fail, err: err.Error()}
	}
	req.Host = h.cfg.Host
	req.Header.Set("Content-Type", "application/json")
	req.GetBody = nil // a write is never sent twice by the transport itself
	res, err := h.client.Do(req)
	if err != nil {
		a := answer{outcome: history.Unknown, err: err.Error(), where: other}
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			a.outcome = history.Fail
		}
		return a
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{outcome: history.Unknown, err: err.Error(), where: other}
	}
	return heard(res.StatusCode, raw, o.Kind)
}

func request(o history.Op) (method, path string, body []byte) {
	fields := map[string]any{}
	switch o.Kind {
	case history.Read:
		return http.MethodGet, "/note", nil
	case history.List:
		return http.MethodGet, "/basket", nil
	case history.Append:
		path, fields["item"] = "/basket", strconv.FormatInt(o.Value, 10)
	case history.CAS:
		path, fields["value"], fields["was"] = "/note", o.Value, o.Was
	default:
		path, fields["value"] = "/note", o.Value
	}
	body, _ = json.Marshal(fields) // numbers and digits
	return http.MethodPost, path, body
}

// heard reads an answer as a careful client does: only a success with what was
// asked for is an acknowledgement, and only an answer that says so itself is
// certainly not done.
func heard(status int, raw []byte, kind history.Kind) answer {
	var r reply
	err := json.Unmarshal(raw, &r)
	a := answer{outcome: history.Unknown, err: strconv.Itoa(status) + " " + r.Error, where: other}
	note := kind == history.Read || kind == history.Write || kind == history.CAS
	switch {
	case status == http.StatusConflict && kind == history.CAS && r.Done == false:
		a.outcome = history.OK // it was not what the client thought: seen, and nothing done
	case status == http.StatusOK && err == nil && (note && r.Value != nil || !note && r.Items != nil):
		a.outcome, a.seen = history.OK, func(o *history.Op) { r.tell(o) }
	case r.Done == false, status >= 400 && status < 500:
		a.outcome = history.Fail
	}
	return a
}

// tell notes what a success shows.
func (r *reply) tell(o *history.Op) {
	switch o.Kind {
	case history.Read:
		o.Value = *r.Value
	case history.CAS:
		o.Swapped = true
	case history.Append, history.List:
		o.After = numbers(r.Items)
	}
}
