package mysql

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// ErrTooLarge says that a packet is longer than the connection takes.
var ErrTooLarge = errors.New("packet too large")

const bufferSize = 16 << 10

// Conn frames one connection. One goroutine reads and writes it at a time.
type Conn struct {
	nc    net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	seq   byte
	max   int
	keep  []byte // payload of the packet read last, reused while it is small
	limit time.Duration

	readUntil, writeUntil time.Time // deadlines that are set now
}

// NewConn frames nc. It takes packets up to MaxBeforeAuth until SetMax.
func NewConn(nc net.Conn) *Conn {
	return &Conn{nc: nc, r: bufio.NewReaderSize(nc, bufferSize), w: bufio.NewWriterSize(nc, bufferSize), max: MaxBeforeAuth}
}

// SetMax sets the longest payload that ReadPacket takes.
func (c *Conn) SetMax(n int) { c.max = n }

// SetLimit bounds how long one read or write may hang; zero means for ever.
// A read that waits for a request is bounded by SetReadDeadline alone.
func (c *Conn) SetLimit(d time.Duration) { c.limit = d }

// SetDeadline bounds all reads and writes until it is called again; the zero
// time takes the bound away.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readUntil, c.writeUntil = time.Time{}, time.Time{}
	return c.nc.SetDeadline(t)
}

// Close closes the connection. It may be called from any goroutine.
func (c *Conn) Close() error { return c.nc.Close() }

// LocalAddr and RemoteAddr are the ends of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Restart begins a new exchange: the next packet, whoever sends it, is
// number 0.
func (c *Conn) Restart() { c.seq = 0 }

// ReadRequest waits, without a bound, for the first packet of a new exchange.
// Once it has begun to come the limit holds.
func (c *Conn) ReadRequest() ([]byte, error) {
	c.Restart()
	if !c.readUntil.IsZero() {
		c.readUntil = time.Time{}
		if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
			return nil, err
		}
	}
	return c.ReadPacket()
}

// ReadPacket reads a packet and joins its frames. The payload is good until
// the next call.
func (c *Conn) ReadPacket() ([]byte, error) {
	n, err := c.readHeader()
	if err != nil {
		return nil, err
	}
	if n > c.max {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, n)
	}
	p, err := c.readInto(c.keep[:0], n)
	for err == nil && n == maxFrame {
		c.extendRead()
		if n, err = c.readHeader(); err != nil {
			return nil, whole(err)
		}
		if len(p)+n > c.max {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, c.max)
		}
		p, err = c.readInto(p, n)
	}
	if err != nil {
		return nil, err
	}
	if cap(p) <= bufferSize {
		c.keep = p
	}
	return p, nil
}

// readInto appends n bytes. It grows by what has come, so that a length which
// a peer only claims costs no memory.
func (c *Conn) readInto(p []byte, n int) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		if c.r.Buffered() < n {
			c.extendRead()
		}
		k := min(n, step)
		at := len(p)
		if cap(p)-at < k {
			grown := make([]byte, at, max(2*cap(p), at+k))
			copy(grown, p)
			p = grown
		}
		p = p[:at+k]
		if _, err := io.ReadFull(c.r, p[at:]); err != nil {
			return nil, whole(err)
		}
		n -= k
	}
	return p, nil
}

// readHeader reads the header of a frame and checks its number.
func (c *Conn) readHeader() (int, error) {
	h, err := c.r.Peek(4)
	if err != nil {
		if len(h) > 0 {
			err = whole(err)
		}
		return 0, err
	}
	n, seq := frameLength(h), h[3]
	_, _ = c.r.Discard(4)
	if seq != c.seq {
		return 0, fmt.Errorf("%w: packet number %d, want %d", ErrMalformed, seq, c.seq)
	}
	c.seq++
	return n, nil
}

func frameLength(h []byte) int { return int(h[0]) | int(h[1])<<8 | int(h[2])<<16 }

// whole tells an end inside a packet from one between packets.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// WritePacket splits a payload into frames and puts it into the buffer.
func (c *Conn) WritePacket(p []byte) error {
	for {
		n := min(len(p), maxFrame)
		if err := c.writeHeader(n); err != nil {
			return err
		}
		if _, err := c.w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if n < maxFrame {
			return nil
		}
	}
}

func (c *Conn) writeHeader(n int) error {
	c.extendWrite()
	h := [4]byte{byte(n), byte(n >> 8), byte(n >> 16), c.seq}
	c.seq++
	_, err := c.w.Write(h[:])
	return err
}

// Flush sends what was written.
func (c *Conn) Flush() error {
	c.extendWrite()
	return c.w.Flush()
}

// Send writes a packet and flushes.
func (c *Conn) Send(p []byte) error {
	if err := c.WritePacket(p); err != nil {
		return err
	}
	return c.Flush()
}

// Request begins a new exchange with a request and flushes it.
func (c *Conn) Request(p []byte) error {
	c.Restart()
	return c.Send(p)
}

// extendWrite moves the write deadline on. A deadline costs a system call's
// worth of time, so it is moved only when an eighth of it is used up.
func (c *Conn) extendWrite() {
	if c.limit > 0 {
		if until, ok := later(c.writeUntil, c.limit); ok {
			c.writeUntil = until
			_ = c.nc.SetWriteDeadline(until)
		}
	}
}

func (c *Conn) extendRead() {
	if c.limit > 0 {
		if until, ok := later(c.readUntil, c.limit); ok {
			c.readUntil = until
			_ = c.nc.SetReadDeadline(until)
		}
	}
}

func later(until time.Time, limit time.Duration) (time.Time, bool) {
	now := time.Now()
	if until.Sub(now) > limit-limit/8 {
		return until, false
	}
	return now.Add(limit), true
}

// Idle says whether a connection on which nothing is expected is still as it
// should be. A server that ends a connection for its own reasons closes it, or
// says why without having been asked. It may be called while another goroutine
// waits, but not while one reads.
func (c *Conn) Idle() bool {
	if c.r.Buffered() > 0 {
		return false
	}
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && quiet
}
