package mysql

import (
	"errors"
	"fmt"
)

// Kind is how an answer, or a part of one, ends.
type Kind byte

// The kinds of ends.
const (
	EndOK  Kind = iota // an OK packet: nothing came before it, or it ends a result set
	EndEOF             // an EOF packet that ends a result set
	EndERR             // an ERR packet, alone or in place of the rest
)

// Terminal is the last packet of an answer. Its payload is not passed on by
// the relay: whoever reads it decides what the client gets in its place.
type Terminal struct {
	Kind    Kind
	OK      OK           // EndOK, EndEOF: status and warnings at least
	Err     *ServerError // EndERR
	Payload []byte       // good until the connection is read again
	Rows    bool         // a result set came before it
}

// Response reads one answer of a server.
type Response struct {
	src   *Conn
	caps  Capabilities
	first []byte // nil once it was passed on
	rows  bool
}

// ErrLocalFile says that the server asked for a file of the client.
var ErrLocalFile = errors.New("the server asked for a local file")

// maxColumns is what servers allow, several times over.
const maxColumns = 1 << 16

// ReadResponse waits for the first packet of the answer to a request that was
// written to src.
func ReadResponse(src *Conn, caps Capabilities) (*Response, error) {
	src.extendRead()
	p, err := src.ReadPacket()
	if err != nil {
		return nil, whole(err)
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("%w: empty answer", ErrMalformed)
	}
	if p[0] == firstLocalFile {
		return nil, ErrLocalFile
	}
	return &Response{src: src, caps: caps, first: p}, nil
}

// Stream passes the answer on to dst without its last packet, which it
// returns. With dst nil the answer is read and dropped. An error of dst comes
// wrapped as ClientError: the server's answer is then not read to its end.
func (r *Response) Stream(dst *Conn) (Terminal, error) {
	for {
		t, err := r.one(dst)
		if err != nil || t.Kind == EndERR || !t.OK.Status.Has(StatusMoreResults) {
			return t, err
		}
		if dst != nil {
			if err := dst.WritePacket(t.Payload); err != nil {
				return t, &ClientError{err}
			}
		}
		next, err := readNext(r.src, dst)
		if err != nil {
			return t, err
		}
		if len(next) == 0 || next[0] == firstLocalFile {
			return t, ErrMalformed
		}
		r.first = next
	}
}

// ClientError is a failure to write to the one who asked.
type ClientError struct{ Err error }

func (e *ClientError) Error() string { return "write to client: " + e.Err.Error() }
func (e *ClientError) Unwrap() error { return e.Err }

// one passes on one OK, ERR or result set, without its end.
func (r *Response) one(dst *Conn) (Terminal, error) {
	p := r.first
	r.first = nil
	switch p[0] {
	case firstOK:
		ok, err := parseOK(p)
		return Terminal{Kind: EndOK, OK: ok, Payload: p, Rows: r.rows}, err
	case firstERR:
		e, err := parseError(p)
		return Terminal{Kind: EndERR, Err: e, Payload: p, Rows: r.rows}, err
	}
	r.rows = true
	c := cursor{b: p}
	columns := c.lenenc()
	if c.failed || len(c.b) != 0 || columns == 0 || columns > maxColumns {
		return Terminal{}, fmt.Errorf("%w: column count", ErrMalformed)
	}
	if dst != nil {
		if err := dst.WritePacket(p); err != nil {
			return Terminal{}, &ClientError{err}
		}
	}
	if err := relayColumns(dst, r.src, r.caps, int(columns)); err != nil {
		return Terminal{}, err
	}
	return relayRows(dst, r.src, r.caps)
}

// relayColumns passes on n column definitions and the EOF behind them.
func relayColumns(dst, src *Conn, caps Capabilities, n int) error {
	if caps&CapDeprecateEOF == 0 {
		n++
	}
	for range n {
		first, length, err := peekFrame(dst, src)
		if err != nil {
			return err
		}
		if length == 0 || first == firstERR {
			return fmt.Errorf("%w: column definition", ErrMalformed)
		}
		if err := copyPacket(dst, src, length); err != nil {
			return err
		}
	}
	return nil
}

// relayRows passes on rows up to the packet that ends them.
func relayRows(dst, src *Conn, caps Capabilities) (Terminal, error) {
	for {
		first, length, err := peekFrame(dst, src)
		if err != nil {
			return Terminal{}, err
		}
		if endsRows(first, length, caps) {
			p, err := src.ReadPacket()
			if err != nil {
				return Terminal{}, err
			}
			t, err := parseEnd(p, caps)
			t.Rows = true
			return t, err
		}
		if err := copyPacket(dst, src, length); err != nil {
			return Terminal{}, err
		}
	}
}

// endsRows tells the end from a row: a row may begin with 0xfe too, but only
// when its first value is 16 MB or longer.
func endsRows(first byte, length int, caps Capabilities) bool {
	switch {
	case length == 0:
		return false
	case first == firstERR:
		return true
	case caps&CapDeprecateEOF == 0:
		return first == firstEOF && length < 9
	}
	return first == firstEOF && length < maxFrame
}

func parseEnd(p []byte, caps Capabilities) (Terminal, error) {
	if p[0] == firstERR {
		e, err := parseError(p)
		return Terminal{Kind: EndERR, Err: e, Payload: p}, err
	}
	if caps&CapDeprecateEOF == 0 {
		ok, err := parseEOF(p)
		return Terminal{Kind: EndEOF, OK: ok, Payload: p}, err
	}
	ok, err := parseOK(p)
	return Terminal{Kind: EndOK, OK: ok, Payload: p}, err
}

// readNext reads a packet behind the first one of an answer.
func readNext(src, dst *Conn) ([]byte, error) {
	if _, _, err := peekFrame(dst, src); err != nil {
		return nil, err
	}
	return src.ReadPacket()
}

// peekFrame looks at the next frame. Before it has to wait for the server it
// sends on what dst holds, so that slow results flow.
func peekFrame(dst, src *Conn) (first byte, length int, err error) {
	if src.r.Buffered() < 5 {
		if dst != nil && dst.w.Buffered() > 0 {
			if err := dst.Flush(); err != nil {
				return 0, 0, &ClientError{err}
			}
		}
		src.extendRead()
	}
	h, err := src.r.Peek(4)
	if err != nil {
		return 0, 0, whole(err)
	}
	length = frameLength(h)
	if length == 0 {
		return 0, 0, nil
	}
	if h, err = src.r.Peek(5); err != nil {
		return 0, 0, whole(err)
	}
	return h[4], length, nil
}

// copyPacket passes on a packet whose first frame has the given length.
func copyPacket(dst, src *Conn, length int) error {
	for {
		if err := copyFrame(dst, src); err != nil {
			return err
		}
		if length < maxFrame {
			return nil
		}
		var err error
		if _, length, err = peekFrame(dst, src); err != nil {
			return err
		}
	}
}

func copyFrame(dst, src *Conn) error {
	n, err := src.readHeader()
	if err != nil {
		return whole(err)
	}
	if dst != nil {
		if err := dst.writeHeader(n); err != nil {
			return &ClientError{err}
		}
	}
	for n > 0 {
		if src.r.Buffered() == 0 {
			src.extendRead()
			if _, err := src.r.Peek(1); err != nil {
				return whole(err)
			}
		}
		part, err := src.r.Peek(min(n, src.r.Buffered()))
		if err != nil {
			return whole(err)
		}
		if dst != nil {
			dst.extendWrite()
			if _, err := dst.w.Write(part); err != nil {
				return &ClientError{err}
			}
		}
		n -= len(part)
		if _, err := src.r.Discard(len(part)); err != nil {
			return whole(err)
		}
	}
	return nil
}

// Prepared is the head of the answer to a prepare.
type Prepared struct {
	ID      uint32
	Columns int
	Params  int
}

// RelayPrepare reads the answer to a prepare and passes it on to dst with the
// statement id id; with dst nil it is dropped. A refusal comes as
// *ServerError and is not passed on.
func RelayPrepare(dst, src *Conn, caps Capabilities, id uint32) (Prepared, error) {
	src.extendRead()
	p, err := src.ReadPacket()
	if err != nil {
		return Prepared{}, whole(err)
	}
	if len(p) > 0 && p[0] == firstERR {
		e, err := parseError(p)
		if err != nil {
			return Prepared{}, err
		}
		return Prepared{}, e
	}
	c := cursor{b: p}
	status := c.u8()
	head := Prepared{ID: c.u32(), Columns: int(c.u16()), Params: int(c.u16())}
	if c.failed || status != firstOK {
		return Prepared{}, fmt.Errorf("%w: answer to prepare", ErrMalformed)
	}
	if dst != nil {
		out := append([]byte(nil), p...)
		out[1], out[2], out[3], out[4] = byte(id), byte(id>>8), byte(id>>16), byte(id>>24)
		if err := dst.WritePacket(out); err != nil {
			return head, &ClientError{err}
		}
	}
	for _, n := range []int{head.Params, head.Columns} {
		if n == 0 {
			continue
		}
		if err := relayColumns(dst, src, caps, n); err != nil {
			return head, err
		}
	}
	if dst != nil {
		if err := dst.Flush(); err != nil {
			return head, &ClientError{err}
		}
	}
	return head, nil
}

// RelayFieldList passes on the answer to a field list: column definitions up
// to an EOF or ERR, which it returns unsent.
func RelayFieldList(dst, src *Conn, caps Capabilities) (Terminal, error) {
	src.extendRead()
	return relayRows(dst, src, caps)
}

// SetStatus puts other status flags into an OK or EOF packet.
func (t *Terminal) SetStatus(s Status) {
	if t.Kind == EndERR {
		return
	}
	t.OK.Status = s
	at := 3 // EOF: behind the warnings
	if t.Kind == EndOK {
		c := cursor{b: t.Payload[1:]}
		c.lenenc()
		c.lenenc()
		at = len(t.Payload) - len(c.b)
	}
	t.Payload[at], t.Payload[at+1] = byte(s), byte(s>>8)
}
