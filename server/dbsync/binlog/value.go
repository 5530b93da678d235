package binlog

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// Form says how the text of a value is to be read.
type Form byte

// The forms.
const (
	Number Form = iota // decimal digits, sign, exponent: SQL text as it stands
	Time               // a date or a time, in UTC where it has a zone
	Text               // characters in the column's charset
	Bytes              // no characters
)

// Form is the form of the column's values.
func (col *Column) Form() Form {
	switch col.Type {
	case typeDate, typeTime2, typeDatetime2, typeTimestamp2:
		return Time
	case typeString, typeVarString, typeVarchar, typeBlob, typeGeometry:
		if col.Collation == 0 || col.Collation == CollationBinary {
			return Bytes
		}
		return Text
	}
	return Number
}

// Fixed is the length of a binary column that the log cuts trailing zeros
// from, 0 for other columns.
func (col *Column) Fixed() int {
	if col.Type == typeString && col.Form() == Bytes {
		return int(col.Meta)
	}
	return 0
}

// IsEnum tells whether values are numbers of members.
func (col *Column) IsEnum() bool { return col.Type == typeEnum }

// AppendText writes a value that is not NULL as text: numbers in decimal, ENUM
// by the member's number, SET and BIT as their bits in decimal, times as SQL
// writes them, texts and bytes as they are (without cut zeros).
func (col *Column) AppendText(dst, v []byte) []byte {
	switch col.Type {
	case typeTiny, typeShort, typeInt24, typeLong, typeLongLong:
		return col.appendInt(dst, v)
	case typeEnum, typeSet:
		return strconv.AppendUint(dst, little(v), 10)
	case typeBit:
		return strconv.AppendUint(dst, big(v), 10)
	case typeFloat:
		f := math.Float32frombits(uint32(little(v)))
		return appendFloat(dst, float64(f))
	case typeDouble:
		return appendFloat(dst, math.Float64frombits(little(v)))
	case typeYear:
		if y := little(v); y > 0 {
			return strconv.AppendUint(dst, y+1900, 10)
		}
		return append(dst, "0000"...)
	case typeDecimal:
		return appendDecimal(dst, v, int(col.Meta>>8), int(col.Meta&0xff))
	case typeDate:
		d := little(v)
		return appendDate(dst, d>>9, d>>5&15, d&31)
	case typeTime2:
		return appendTime(dst, v, col.Meta)
	case typeDatetime2:
		return appendDatetime(dst, v, col.Meta)
	case typeTimestamp2:
		return appendTimestamp(dst, v, col.Meta)
	}
	return append(dst, v...)
}

func little(v []byte) uint64 {
	var b [8]byte
	copy(b[:], v)
	return binary.LittleEndian.Uint64(b[:])
}

func big(v []byte) uint64 {
	var b [8]byte
	copy(b[8-min(8, len(v)):], v)
	return binary.BigEndian.Uint64(b[:])
}

func (col *Column) appendInt(dst, v []byte) []byte {
	u := little(v)
	if col.Unsigned {
		return strconv.AppendUint(dst, u, 10)
	}
	shift := 64 - 8*len(v)
	return strconv.AppendInt(dst, int64(u<<shift)>>shift, 10)
}

// appendFloat keeps the exponent, so that SQL reads a double and not a
// decimal, and a negative zero stays one.
func appendFloat(dst []byte, f float64) []byte {
	return strconv.AppendFloat(dst, f, 'e', -1, 64)
}

func appendDate(dst []byte, year, month, day uint64) []byte {
	dst = append(appendPadded(dst, year, 4), '-')
	dst = append(appendPadded(dst, month, 2), '-')
	return appendPadded(dst, day, 2)
}

func appendClock(dst []byte, hour, minute, second uint64) []byte {
	dst = append(appendPadded(dst, hour, 2), ':')
	dst = append(appendPadded(dst, minute, 2), ':')
	return appendPadded(dst, second, 2)
}

// appendFraction writes the decimals of a second from their stored form, which
// holds an even number of digits.
func appendFraction(dst []byte, v uint64, decimals uint16) []byte {
	if decimals == 0 {
		return dst
	}
	if decimals%2 == 1 {
		v /= 10
	}
	return appendPadded(append(dst, '.'), v, int(decimals))
}

func appendTime(dst, v []byte, decimals uint16) []byte {
	bits := 8 * fractionSize(decimals)
	n := int64(big(v)) - int64(1)<<(23+bits)
	if n < 0 {
		n = -n
		dst = append(dst, '-')
	}
	whole := uint64(n) >> bits
	dst = appendClock(dst, whole>>12&0x3ff, whole>>6&0x3f, whole&0x3f)
	return appendFraction(dst, uint64(n)&(1<<bits-1), decimals)
}

func appendDatetime(dst, v []byte, decimals uint16) []byte {
	if len(v) < 5 {
		return append(dst, "0000-00-00 00:00:00"...)
	}
	n := big(v[:5]) - 0x8000000000
	months := n >> 22
	dst = append(appendDate(dst, months/13, months%13, n>>17&31), ' ')
	dst = appendClock(dst, n>>12&31, n>>6&63, n&63)
	return appendFraction(dst, big(v[5:]), decimals)
}

func appendTimestamp(dst, v []byte, decimals uint16) []byte {
	if len(v) < 4 {
		return append(dst, "0000-00-00 00:00:00"...)
	}
	seconds := big(v[:4])
	if seconds == 0 {
		dst = append(dst, "0000-00-00 00:00:00"...)
	} else {
		dst = time.Unix(int64(seconds), 0).UTC().AppendFormat(dst, time.DateTime)
	}
	return appendFraction(dst, big(v[4:]), decimals)
}
