package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The headers of Atoll. Those of a client's request are removed; between
// gateways they are believed when headerPeer signs them.
const (
	headerPrefix   = "X-Live-"
	headerUnit     = "X-Live-Unit"
	headerCell     = "X-Live-Cell"
	headerEpoch    = "X-Live-Epoch"
	headerEndpoint = "X-Live-Endpoint"
	headerSpace    = "X-Live-Space"
	headerHop      = "X-Live-Hop"
	headerPeer     = "X-Live-Peer"
)

// maxHops is how often a request may be passed on between gateways.
const maxHops = 2

// passage is what a request brings from the gateway that passed it on. The
// zero passage is that of a client.
type passage struct {
	unit  string // of the gateway that passed it on
	hop   int    // gateways that passed it on
	epoch int64  // at which the first of them admitted it
}

// errUnsigned says that a request claims to come from a gateway and does not
// prove it. To serve it as a client's would let gateways with different
// secrets pass it around for ever.
var errUnsigned = errors.New("the request claims to come from a gateway and is not signed by our hop secret")

// receive reads the passage and removes every X-Live header.
func receive(r *http.Request, secret []byte) (passage, error) {
	mark, hop, epoch := r.Header.Get(headerPeer), r.Header.Get(headerHop), r.Header.Get(headerEpoch)
	stripLive(r.Header)
	if mark == "" {
		return passage{}, nil
	}
	unit, mac, _ := strings.Cut(mark, " ")
	sum, err := hex.DecodeString(mac)
	if err != nil || len(secret) == 0 || !hmac.Equal(sum, sign(secret, unit, hop, epoch, r.Method, r.Host, r.RequestURI)) {
		return passage{}, errUnsigned
	}
	p := passage{unit: unit}
	p.hop, err = strconv.Atoi(hop)
	if err == nil {
		p.epoch, err = strconv.ParseInt(epoch, 10, 64)
	}
	if err != nil || p.hop < 1 {
		return passage{}, errUnsigned
	}
	return p, nil
}

// send writes the passage to a request for a peer.
func (p passage) send(out *http.Request, secret []byte) {
	stripLive(out.Header)
	hop, epoch := strconv.Itoa(p.hop), strconv.FormatInt(p.epoch, 10)
	out.Header.Set(headerHop, hop)
	out.Header.Set(headerEpoch, epoch)
	sum := sign(secret, p.unit, hop, epoch, out.Method, out.Host, out.URL.RequestURI())
	out.Header.Set(headerPeer, p.unit+" "+hex.EncodeToString(sum))
}

// sign covers what a passage says and the request it belongs to, each part
// with its length, so that no two requests have the same text.
func sign(secret []byte, parts ...string) []byte {
	mac := hmac.New(sha256.New, secret)
	for _, p := range parts {
		_, _ = io.WriteString(mac, strconv.Itoa(len(p))+":"+p)
	}
	return mac.Sum(nil)
}

func stripLive(h http.Header) {
	for name := range h {
		if len(name) >= len(headerPrefix) && strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
			delete(h, name)
		}
	}
}

// reading is an HTTP request as package route reads it.
type reading struct {
	r     *http.Request
	query url.Values // parsed at the first use
}

func (q *reading) Host() string { return q.r.Host }
func (q *reading) Path() string { return q.r.URL.Path }

func (q *reading) Query(name string) string {
	if q.query == nil {
		q.query = q.r.URL.Query()
	}
	return q.query.Get(name)
}

func (q *reading) Header(name string) string { return q.r.Header.Get(name) }

func (q *reading) Cookie(name string) string {
	c, err := q.r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// safe tells whether a method changes nothing, so that it is never held.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
