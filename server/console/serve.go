package console

import (
	"errors"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/server/console/auth"
	"github.com/atoll-live/atoll/server/console/planes"
)

// The limits of the service. A request beyond them is refused.
const (
	maxMessage    = 8 << 20          // bytes of one message
	maxRequests   = 25_000           // at once, streams among them
	bodyTime      = 20 * time.Second // for the whole of a request to come in
	headerTime    = 5 * time.Second
	idleTime      = 2 * time.Minute
	maxHeader     = 64 << 10
	pingAfter     = 5 * time.Second // of silence on a connection
	pingTimeout   = 5 * time.Second
	streamsOfConn = 1000
)

// server serves gRPC, gRPC-Web and Connect, the last also as plain JSON over
// HTTP/1.1, on one port without TLS.
func (c *Console) server(p *parts) *http.Server {
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessage),
		// Compressing a snapshot for each of a thousand planes costs more time
		// in a move than its bytes do.
		connect.WithCompressMinBytes(math.MaxInt32),
	}
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewDocumentsHandler(p.documents, options...))
	path, handler := atollv1connect.NewPlanesHandler(p.planes, options...)
	mux.Handle(path, planes.Bounded(handler))
	if p.mover != nil {
		path, handler = atollv1connect.NewMovesHandler(p.mover, options...)
		mux.Handle(path, planes.Bounded(handler))
	}
	outer := http.NewServeMux()
	outer.HandleFunc("GET /ready", c.serveReady)
	outer.Handle("/", c.admit(mux))
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: outer, Protocols: protocols,
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, MaxConcurrentStreams: streamsOfConn},
	}
}

func (c *Console) serveReady(w http.ResponseWriter, _ *http.Request) {
	if !c.ready.Load() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

// admit lets in who may call, as many as there is room for, and bounds what
// each sends.
func (c *Console) admit(next http.Handler) http.Handler {
	refuse := connect.NewErrorWriter()
	var inside atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer inside.Add(-1)
		if inside.Add(1) > maxRequests {
			_ = refuse.Write(w, r, connect.NewError(connect.CodeUnavailable, errors.New("too many requests at once")))
			return
		}
		by, ok := c.tokens.Check(r)
		if !ok {
			_ = refuse.Write(w, r, connect.NewError(connect.CodeUnauthenticated, errors.New("a valid token is needed (--token-file or ATOLL_TOKEN)")))
			return
		}
		body := &boundedBody{ReadCloser: http.MaxBytesReader(w, r.Body, 2*maxMessage), set: http.NewResponseController(w).SetReadDeadline}
		r = r.WithContext(auth.With(r.Context(), by))
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// boundedBody gives a request's body a time to come in. Once it is in, the
// deadline goes: the connection may carry a long answer.
type boundedBody struct {
	io.ReadCloser
	set     func(time.Time) error
	started bool
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if !b.started {
		b.started = true
		if err := b.set(time.Now().Add(bodyTime)); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.set(time.Time{}) // the connection may be gone, then nothing is to be bounded
	}
	return n, err
}
