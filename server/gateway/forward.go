package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// target is where a request goes: the application of this unit, or a peer.
type target struct {
	peer     *peer     // nil: the application
	backends []backend // tried in turn while nothing was sent
}

// backend is one application server, or a peer's gateway.
type backend struct {
	cell string
	url  *url.URL
}

// errMisdirected is the 421 of the application, on its way to a second attempt.
var errMisdirected = errors.New("the application says that it is not the owner of the key")

// pass sends the request and copies the answer. It is true when the answer was
// a 421 and the request shall be decided and sent again.
func (x *exchange) pass(to *target, mayRepeat bool) (again bool) {
	mayRepeat = mayRepeat && to.peer == nil && x.repeatable()
	t := &tripper{x: x, to: to, transport: x.g.transport}
	if to.peer != nil {
		x.g.figures.forwarded.Add(1)
	}
	proxy := httputil.ReverseProxy{
		Transport:  t,
		BufferPool: &buffers,
		ErrorLog:   x.g.errorLog,
		Rewrite:    func(p *httputil.ProxyRequest) { x.rewrite(p, to) },
		ModifyResponse: func(res *http.Response) error {
			if mayRepeat && res.StatusCode == http.StatusMisdirectedRequest {
				return errMisdirected
			}
			x.relabel(res.Header, to)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, errMisdirected) {
				again = true
				return
			}
			x.refuse(x.failure(to, err, t.sent.Load()))
		},
	}
	proxy.ServeHTTP(x.w, x.r)
	return again
}

// rewrite makes the request that is sent: same host, path and query.
func (x *exchange) rewrite(p *httputil.ProxyRequest, to *target) {
	p.SetURL(to.backends[0].url)
	p.Out.Host = p.In.Host
	if x.from.hop > 0 { // what a gateway says of its client is kept
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
			p.Out.Header[name] = p.In.Header[name]
		}
	} else {
		p.SetXForwarded()
	}
	if x.kept != nil {
		p.Out.Body = io.NopCloser(bytes.NewReader(x.kept))
		p.Out.Header.Del("Expect") // the body is here already
	}
	stripLive(p.Out.Header)
	if to.peer == nil {
		x.label(p.Out.Header)
		p.Out.Header.Del(headerEndpoint)
		return
	}
	next := passage{unit: x.g.cfg.Unit, hop: x.from.hop + 1, epoch: x.from.epoch}
	if x.from.hop == 0 {
		next.epoch = x.view.Snapshot.Epoch
	}
	next.send(p.Out, x.g.cfg.HopSecret)
}

// relabel puts our labels on the application's answer. A peer labels its own.
func (x *exchange) relabel(h http.Header, to *target) {
	if to.peer != nil && h.Get(headerUnit) != "" {
		return
	}
	stripLive(h)
	x.label(h)
}

// failure says why no answer came. Sent tells whether any byte of the request
// may have left.
func (x *exchange) failure(to *target, err error, sent bool) *refusal {
	x.g.figures.failed.Add(1)
	who := "the application of unit " + x.g.cfg.Unit
	if to.peer != nil {
		who = fmt.Sprintf("the gateway of unit %q, which owns the key,", x.d.Unit)
	}
	var tooLarge *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &tooLarge):
		return &refusal{status: http.StatusRequestEntityTooLarge, unknown: sent,
			text: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit), mend: "send less"}
	case x.r.Context().Err() != nil:
		return &refusal{status: http.StatusBadGateway, unknown: sent, text: "the client went away", mend: "try again"}
	case !sent:
		return &refusal{status: http.StatusServiceUnavailable, retry: true,
			text: who + " cannot be reached", mend: "try again; nothing was sent"}
	case errors.As(err, &network) && network.Timeout():
		return &refusal{status: http.StatusGatewayTimeout, unknown: true,
			text: who + " did not answer in time", mend: "ask whether it was done before you send it again"}
	}
	return &refusal{status: http.StatusBadGateway, unknown: true,
		text: who + " broke the connection before it answered", mend: "ask whether it was done before you send it again"}
}

// tripper sends to the first backend that takes a connection, and notes
// whether anything may have been sent.
type tripper struct {
	x         *exchange
	to        *target
	transport *http.Transport
	sent      atomic.Bool
}

// RoundTrip goes on to the next backend only while no connection was had: an
// unsafe request whose bytes may have left is never sent again.
func (t *tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.sent.Store(true) }}
	ctx := httptrace.WithClientTrace(r.Context(), trace)
	var err error
	for _, b := range t.to.backends {
		out := r.WithContext(ctx)
		u := *r.URL
		u.Scheme, u.Host = b.url.Scheme, b.url.Host
		out.URL = &u
		out.Body = t.x.unclosed(r.Body)
		var res *http.Response
		res, err = t.transport.RoundTrip(out)
		if err == nil {
			t.x.cell = b.cell
			return res, nil
		}
		if t.sent.Load() || ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, err
}

// unclosed keeps the transport from closing a body that another backend may
// yet be sent; ReverseProxy closes it in the end. Of its own accord the
// transport repeats an unsafe request only if it has no body and carries an
// Idempotency-Key; such a request is given a body that is empty.
func (x *exchange) unclosed(body io.ReadCloser) io.ReadCloser {
	if body != nil && body != http.NoBody {
		return io.NopCloser(body)
	}
	if x.r.Header["Idempotency-Key"] == nil && x.r.Header["X-Idempotency-Key"] == nil {
		return body
	}
	return io.NopCloser(strings.NewReader(""))
}

// newTransport makes the connection pools, one for each backend and peer.
// Idle connections are dropped before a server with common settings drops
// them, since a request that meets a closing connection has an unknown end.
func newTransport(c Config) *http.Transport {
	dialer := &net.Dialer{Timeout: c.DialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    c.DialTimeout,
		MaxIdleConns:           2048,
		MaxIdleConnsPerHost:    512,
		MaxConnsPerHost:        2048, // further requests wait for one, at most as many as InFlightLimit
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  c.AnswerTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true,
	}
}

// buffers are for copying bodies.
var buffers bufferPool

type bufferPool struct{ p sync.Pool }

const bufferSize = 32 << 10

func (b *bufferPool) Get() []byte {
	if s, ok := b.p.Get().(*[]byte); ok {
		return *s
	}
	return make([]byte, bufferSize)
}

func (b *bufferPool) Put(s []byte) { b.p.Put(&s) }
