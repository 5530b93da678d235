package gateway

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// bound puts the limits of size and time on the body of a request.
func (x *exchange) bound() *refusal {
	g := x.g
	if x.r.ContentLength > g.cfg.BodyLimit {
		return &refusal{status: http.StatusRequestEntityTooLarge,
			text: fmt.Sprintf("the body is larger than %d bytes", g.cfg.BodyLimit), mend: "send less"}
	}
	if x.r.Body == nil || x.r.Body == http.NoBody {
		return nil
	}
	x.r.Body = http.MaxBytesReader(x.w, &timedBody{
		ReadCloser: x.r.Body, control: http.NewResponseController(x.w), limit: g.cfg.IdleTimeout,
	}, g.cfg.BodyLimit)
	return nil
}

// keep reads a small body of an unsafe request that goes to the application,
// so that it can be sent again after a 421. It is read only now: a request
// that is held costs no memory for its body.
func (x *exchange) keep(to *target) *refusal {
	n := x.r.ContentLength
	if to.peer != nil || x.kept != nil || x.safe || n <= 0 || n > x.g.cfg.ReplayLimit {
		return nil
	}
	raw, err := io.ReadAll(x.r.Body)
	if err != nil || int64(len(raw)) != n {
		return &refusal{status: http.StatusBadRequest, text: "the body did not arrive whole", mend: "send it again"}
	}
	x.kept = raw
	return nil
}

// repeatable tells whether the request can be sent a second time.
func (x *exchange) repeatable() bool {
	return x.kept != nil || x.r.ContentLength == 0
}

// timedBody gives up on a body of which nothing comes for a while. The limit
// ends with the body: the server watches the connection from then on.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	limit   time.Duration
}

func (b *timedBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.limit)) // a connection without deadlines has no limit
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
