package mysql

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed says that a packet does not hold what its kind demands.
var ErrMalformed = errors.New("malformed packet")

// cursor reads a payload from left to right. After the first read past the
// end it stays failed and gives zero values, so that callers check once.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) take(n int) []byte {
	if c.failed || n < 0 || n > len(c.b) {
		c.failed = true
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) u8() byte {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if p := c.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if p := c.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if p := c.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// lenenc reads a length-encoded integer. The NULL mark of text rows is no
// length.
func (c *cursor) lenenc() uint64 {
	switch first := c.u8(); first {
	case 0xfc:
		return uint64(c.u16())
	case 0xfd:
		p := c.take(3)
		if p == nil {
			return 0
		}
		return uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16
	case 0xfe:
		return c.u64()
	case 0xfb, 0xff:
		c.failed = true
		return 0
	default:
		return uint64(first)
	}
}

func (c *cursor) lenencBytes() []byte {
	n := c.lenenc()
	if n > uint64(len(c.b)) {
		c.failed = true
		return nil
	}
	return c.take(int(n))
}

// nul reads up to a zero byte, which is eaten.
func (c *cursor) nul() []byte {
	for i, b := range c.b {
		if b == 0 {
			p := c.take(i)
			c.take(1)
			return p
		}
	}
	c.failed = true
	return nil
}

func (c *cursor) rest() []byte {
	return c.take(len(c.b))
}

func (c *cursor) err() error {
	if c.failed {
		return ErrMalformed
	}
	return nil
}

func appendLenenc(b []byte, n uint64) []byte {
	switch {
	case n < 0xfb:
		return append(b, byte(n))
	case n < 1<<16:
		return append(b, 0xfc, byte(n), byte(n>>8))
	case n < 1<<24:
		return append(b, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(b, 0xfe), n)
}

func appendNul(b []byte, s string) []byte {
	return append(append(b, s...), 0)
}
