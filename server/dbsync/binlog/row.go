package binlog

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// rowsEvent is the frame of one rows event.
type rowsEvent struct {
	op     Op
	body   []byte // of the event, unpacked
	packed bool
	v2     bool
}

// decodeRows cuts a rows event of a wanted table into changes.
func decodeRows(e rowsEvent, t *Table) ([]Change, error) {
	c := &cursor{b: e.body}
	c.take(8)
	if e.v2 {
		c.take(int(c.uint(2)) - 2)
	}
	columns := c.count()
	if columns != len(t.Columns) {
		return nil, fmt.Errorf("rows of %s.%s have %d columns, its table map %d", t.Schema, t.Name, columns, len(t.Columns))
	}
	images := 1
	if e.op == Update {
		images = 2
	}
	for range images {
		if !allSet(c.take((columns+7)/8), columns) {
			return nil, fmt.Errorf("%w: rows of %s.%s are not whole (set binlog_row_image=FULL at the source, for sessions too)", ErrRefused, t.Schema, t.Name)
		}
	}
	if c.err != nil {
		return nil, fmt.Errorf("rows of %s.%s: %w", t.Schema, t.Name, c.err)
	}
	if e.packed {
		raw, err := unpack(c.b)
		if err != nil {
			return nil, fmt.Errorf("unpack rows of %s.%s: %w", t.Schema, t.Name, err)
		}
		c.b = raw
	}
	var out []Change
	for len(c.b) > 0 {
		ch := Change{Table: t, Op: e.op}
		first, err := decodeImage(c, t)
		if err != nil {
			return nil, err
		}
		switch e.op {
		case Insert:
			ch.After = first
		case Delete:
			ch.Before = first
		case Update:
			ch.Before = first
			if ch.After, err = decodeImage(c, t); err != nil {
				return nil, err
			}
		}
		out = append(out, ch)
	}
	return out, nil
}

// unpackedLimit bounds what a packed event may unpack to; a server writes none
// larger than max_allowed_packet.
const unpackedLimit = 1 << 30

// unpack undoes MariaDB's log_bin_compress: a byte with the number of length
// bytes, the length with its big end first, and a zlib stream.
func unpack(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0]&0xf0 != 0x80 {
		return nil, errors.New("unknown kind of packing")
	}
	n := int(b[0] & 7)
	if n == 0 || n > 4 || len(b) < 1+n {
		return nil, errShort
	}
	size := big(b[1 : 1+n])
	if size > unpackedLimit {
		return nil, fmt.Errorf("it would unpack to %d bytes", size)
	}
	r, err := zlib.NewReader(bytes.NewReader(b[1+n:]))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, int64(size)+1))
	if err == nil && uint64(len(out)) != size {
		err = errShort
	}
	return out, err
}

func allSet(bits []byte, n int) bool {
	for i := range n {
		if i/8 >= len(bits) || bits[i/8]&(1<<(i%8)) == 0 {
			return false
		}
	}
	return true
}

func decodeImage(c *cursor, t *Table) (Row, error) {
	nulls := c.take((len(t.Columns) + 7) / 8)
	row := make(Row, len(t.Columns))
	for i := range row {
		if c.err != nil {
			break
		}
		if nulls[i/8]&(1<<(i%8)) != 0 {
			continue
		}
		row[i] = t.Columns[i].cut(c)
	}
	if c.err != nil {
		return nil, fmt.Errorf("row of %s.%s: %w", t.Schema, t.Name, c.err)
	}
	return row, nil
}

// cut takes one value from a row image. A value that is not NULL is never nil.
func (col *Column) cut(c *cursor) []byte {
	n := 0
	switch col.Type {
	case typeTiny, typeYear:
		n = 1
	case typeShort:
		n = 2
	case typeInt24, typeDate:
		n = 3
	case typeLong, typeFloat:
		n = 4
	case typeLongLong, typeDouble:
		n = 8
	case typeDecimal:
		n = decimalSize(int(col.Meta>>8), int(col.Meta&0xff))
	case typeBit:
		n = int(col.Meta>>8) + (int(col.Meta&0xff)+7)/8
	case typeTimestamp2:
		n = 4 + fractionSize(col.Meta)
	case typeDatetime2:
		n = 5 + fractionSize(col.Meta)
	case typeTime2:
		n = 3 + fractionSize(col.Meta)
	case typeEnum, typeSet:
		n = int(col.Meta)
	case typeBlob, typeGeometry:
		n = int(c.uint(int(col.Meta)))
	case typeVarchar, typeVarString, typeString:
		if col.Meta < 256 {
			n = int(c.uint(1))
		} else {
			n = int(c.uint(2))
		}
	}
	if v := c.take(n); v != nil {
		return v
	}
	return []byte{}
}

func fractionSize(decimals uint16) int { return int(decimals+1) / 2 }

var decimalBytes = [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

func decimalSize(precision, scale int) int {
	whole := precision - scale
	if whole < 0 {
		return 0
	}
	return whole/9*4 + decimalBytes[whole%9] + scale/9*4 + decimalBytes[scale%9]
}

// appendDecimal writes a packed decimal as text.
func appendDecimal(dst []byte, v []byte, precision, scale int) []byte {
	if len(v) == 0 {
		return append(dst, '0')
	}
	buf := make([]byte, len(v))
	copy(buf, v)
	var flip byte
	if buf[0]&0x80 == 0 {
		flip = 0xff
		dst = append(dst, '-')
	}
	buf[0] ^= 0x80
	for i := range buf {
		buf[i] ^= flip
	}
	whole := precision - scale
	start := len(dst)
	digits := func(n, width int) {
		var b [8]byte
		copy(b[8-n:], buf[:n])
		buf = buf[n:]
		dst = appendPadded(dst, binary.BigEndian.Uint64(b[:]), width)
	}
	if whole%9 > 0 {
		digits(decimalBytes[whole%9], whole%9)
	}
	for range whole / 9 {
		digits(4, 9)
	}
	lead := start
	for lead < len(dst) && dst[lead] == '0' {
		lead++
	}
	dst = append(dst[:start], dst[lead:]...)
	if len(dst) == start {
		dst = append(dst, '0')
	}
	if scale > 0 {
		dst = append(dst, '.')
		for range scale / 9 {
			digits(4, 9)
		}
		if scale%9 > 0 {
			digits(decimalBytes[scale%9], scale%9)
		}
	}
	return dst
}

func appendPadded(dst []byte, v uint64, width int) []byte {
	var b [20]byte
	i := len(b)
	for v > 0 || width > 0 {
		i--
		b[i] = byte('0' + v%10)
		v /= 10
		width--
	}
	return append(dst, b[i:]...)
}
