package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// refusal is an answer of the gateway itself.
type refusal struct {
	status int
	text   string // what is wrong
	mend   string // what to do about it
	retry  bool   // the same request may do better in a second
	// unknown says that the request was sent and not answered, so that it may
	// have been done. Every other refusal means: certainly not done.
	unknown bool
}

// refusalBody is a refusal as clients see it.
type refusalBody struct {
	Error string `json:"error"`
	Mend  string `json:"mend"`
	Owner string `json:"owner,omitempty"` // unit that owns the key
	Retry bool   `json:"retry,omitempty"`
	Done  any    `json:"done,omitempty"` // false or "unknown"; only for methods that change something
}

// refuse answers with a refusal.
func (x *exchange) refuse(no *refusal) {
	g := x.g
	g.figures.refused.Add(1)
	body := refusalBody{Error: no.text, Mend: no.mend, Owner: x.d.Unit, Retry: no.retry}
	if !x.safe {
		body.Done = false
		if no.unknown {
			body.Done = "unknown"
		}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		raw = []byte(`{"error":"refused","mend":""}`)
	}
	h := x.w.Header()
	x.label(h)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(raw)+1))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if no.retry {
		h.Set("Retry-After", "1")
	}
	x.w.WriteHeader(no.status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(append(raw, '\n'))
	}
}

// label says on an answer who owns the key and by which epoch. Where nothing
// was decided it is the unit that answers.
func (x *exchange) label(h http.Header) {
	unit, cell := x.d.Unit, x.d.Cell
	if unit == "" {
		unit, cell = x.g.cfg.Unit, x.g.cfg.Cell
	}
	if x.cell != "" {
		cell = x.cell
	}
	epoch := int64(0)
	if x.view != nil {
		epoch = x.view.Snapshot.Epoch
		h.Set(headerSpace, x.view.Snapshot.Space)
	}
	h.Set(headerUnit, unit)
	h.Set(headerCell, cell)
	h.Set(headerEpoch, strconv.FormatInt(epoch, 10))
	if e := x.g.endpoint(unit); e != "" {
		h.Set(headerEndpoint, e)
	}
}
