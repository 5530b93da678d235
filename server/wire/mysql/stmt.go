package mysql

import (
	"encoding/binary"
	"fmt"
)

// ValueKind is the shape in which a bound value travels.
type ValueKind byte

// The kinds of values.
const (
	Null     ValueKind = iota
	Int                // Int holds it
	Uint               // Uint holds it
	Text               // Bytes holds it, a character string
	Blob               // Bytes holds it, a binary string
	Float              // not decoded
	LongData           // was sent ahead
	Other              // decimals, dates, times, geometry: not decoded
)

// Value is a bound value, as far as a relay can need it.
type Value struct {
	Kind  ValueKind
	Int   int64
	Uint  uint64
	Bytes []byte // part of the packet
}

// The column types that values are bound as.
const (
	typeDecimal    = 0x00
	typeTiny       = 0x01
	typeShort      = 0x02
	typeLong       = 0x03
	typeFloat      = 0x04
	typeDouble     = 0x05
	typeNull       = 0x06
	typeTimestamp  = 0x07
	typeLongLong   = 0x08
	typeInt24      = 0x09
	typeDate       = 0x0a
	typeTime       = 0x0b
	typeDatetime   = 0x0c
	typeYear       = 0x0d
	typeVarchar    = 0x0f
	typeBit        = 0x10
	typeJSON       = 0xf5
	typeNewDecimal = 0xf6
	typeEnum       = 0xf7
	typeSet        = 0xf8
	typeTinyBlob   = 0xf9
	typeMediumBlob = 0xfa
	typeLongBlob   = 0xfb
	typeBlob       = 0xfc
	typeVarString  = 0xfd
	typeString     = 0xfe
	typeGeometry   = 0xff
)

const (
	executeHead   = 10 // command, id, flags, iteration count
	unsignedFlag  = 0x80
	maxParameters = 1<<16 - 1
)

// Execute is a request to run a prepared statement.
type Execute struct {
	packet []byte
	nulls  []byte
	values []byte // behind the types
	types  []byte // two bytes a parameter: sent now, or remembered
	sent   bool   // the types came with the packet
	params int
}

// ParseExecute reads a request to run a statement that has so many
// parameters. Remembered are the types that came with an earlier execution;
// clients send them once. The packet must stay as it is while the Execute is
// used.
func ParseExecute(p []byte, params int, remembered []byte) (Execute, error) {
	c := cursor{b: p}
	head := c.take(executeHead)
	if c.failed || Command(head[0]) != ComStmtExecute || params > maxParameters {
		return Execute{}, fmt.Errorf("%w: execute", ErrMalformed)
	}
	e := Execute{packet: p, params: params}
	if params == 0 {
		return e, nil // some clients send more here, some do not
	}
	e.nulls = c.take((params + 7) / 8)
	e.types = remembered
	if bound := c.u8(); bound != 0 {
		e.types, e.sent = c.take(2*params), true
	}
	e.values = c.rest()
	if c.failed || len(e.types) != 2*params {
		return Execute{}, fmt.Errorf("%w: types of the parameters", ErrMalformed)
	}
	return e, nil
}

// Types are those in force, to be remembered: two bytes a parameter, part of
// the packet when Sent.
func (e *Execute) Types() []byte { return e.types }

// Sent says whether the types came with the packet.
func (e *Execute) Sent() bool { return e.sent }

// Values decodes the bound values into dst. Long says which parameters were
// sent ahead and so have no value in the packet; nil for none.
func (e *Execute) Values(dst []Value, long []bool) ([]Value, error) {
	c := cursor{b: e.values}
	for i := range e.params {
		var v Value
		switch {
		case i < len(long) && long[i]:
			v.Kind = LongData
		case e.nulls[i/8]&(1<<(i%8)) != 0 || e.types[2*i] == typeNull:
			v.Kind = Null
		default:
			v = c.value(e.types[2*i], e.types[2*i+1]&unsignedFlag != 0)
		}
		dst = append(dst, v)
	}
	if c.failed || len(c.b) != 0 {
		return nil, fmt.Errorf("%w: values of the parameters", ErrMalformed)
	}
	return dst, nil
}

func (c *cursor) value(kind byte, unsigned bool) Value {
	switch kind {
	case typeTiny:
		b := c.u8()
		return integer(int64(int8(b)), uint64(b), unsigned)
	case typeShort, typeYear:
		n := c.u16()
		return integer(int64(int16(n)), uint64(n), unsigned)
	case typeLong, typeInt24:
		n := c.u32()
		return integer(int64(int32(n)), uint64(n), unsigned)
	case typeLongLong:
		n := c.u64()
		return integer(int64(n), n, unsigned)
	case typeVarchar, typeVarString, typeString:
		return Value{Kind: Text, Bytes: c.lenencBytes()}
	case typeTinyBlob, typeMediumBlob, typeLongBlob, typeBlob:
		return Value{Kind: Blob, Bytes: c.lenencBytes()}
	case typeFloat:
		c.take(4)
		return Value{Kind: Float}
	case typeDouble:
		c.take(8)
		return Value{Kind: Float}
	case typeDate, typeDatetime, typeTimestamp, typeTime:
		c.take(int(c.u8()))
		return Value{Kind: Other}
	case typeDecimal, typeNewDecimal, typeBit, typeJSON, typeEnum, typeSet, typeGeometry:
		c.lenencBytes()
		return Value{Kind: Other}
	}
	c.failed = true
	return Value{}
}

func integer(i int64, u uint64, unsigned bool) Value {
	if unsigned {
		return Value{Kind: Uint, Uint: u}
	}
	return Value{Kind: Int, Int: i}
}

// For appends the request as a server gets it: under its own statement id,
// without a cursor, and with the types whether or not the client sent them,
// when typed.
func (e *Execute) For(b []byte, id uint32, typed bool) []byte {
	b = append(b, byte(ComStmtExecute))
	b = binary.LittleEndian.AppendUint32(b, id)
	b = append(append(b, 0), e.packet[6:executeHead]...)
	if e.params == 0 {
		return b
	}
	b = append(b, e.nulls...)
	if typed || e.sent {
		b = append(append(b, 1), e.types...)
	} else {
		b = append(b, 0)
	}
	return append(b, e.values...)
}

// StatementID is the id in a request about a prepared statement.
func StatementID(p []byte) (uint32, error) {
	if len(p) < 5 {
		return 0, fmt.Errorf("%w: statement id", ErrMalformed)
	}
	return binary.LittleEndian.Uint32(p[1:]), nil
}

// SetStatementID puts another id into such a request.
func SetStatementID(p []byte, id uint32) { binary.LittleEndian.PutUint32(p[1:], id) }

// LongDataParameter is the parameter that a piece of long data is for.
func LongDataParameter(p []byte) (int, error) {
	if len(p) < 7 {
		return 0, fmt.Errorf("%w: long data", ErrMalformed)
	}
	return int(binary.LittleEndian.Uint16(p[5:])), nil
}
