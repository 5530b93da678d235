package prove

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// keyed is a key column with the place it stands in, for canonical keys and
// the texts of refusals.
type keyed struct {
	table  string
	column Column
}

func (k *keyed) name() string { return "column " + k.column.Name + " of table " + k.table }

// place is where a value meets the key column.
type place struct {
	literal  bool // written in the text, not bound
	inserted bool // of an INSERT or REPLACE, not of a condition
	listed   bool // compared in a list or a row, where servers may compare as floating point
	narrow   bool // Session.Narrow
}

// canonical is the one text of a key, whatever way it was given. Two values
// that the column's type and collation call equal have the same canonical
// text, or one of them none.
func (k *keyed) canonical(v Param, at place) (string, *Refusal) {
	if k.column.Generated {
		return "", unprovable("key column", k.name()+" is computed from other columns, which any statement may change",
			"use a column of its own")
	}
	switch v.Kind {
	case ParamNull:
		return "", unprovable("key is NULL", k.name()+" is given as NULL", "give it a value")
	case ParamLongData:
		return "", unprovable("key type", k.name()+" was sent as long data", "bind it as a string or an integer")
	case ParamFloat, ParamOther:
		return "", unprovable("key type", k.name()+" is given as neither a string nor an integer", "bind it as "+k.wanted())
	}
	switch k.column.Type {
	case Integer:
		return k.integer(v, at)
	case Text:
		return k.text(v, at)
	case Binary:
		return k.binary(v, at)
	case UUID:
		return k.uuid(v)
	}
	return "", unprovable("key column", k.name()+" has a type whose keys cannot be compared safely",
		"use an integer, CHAR, VARCHAR, BINARY, VARBINARY or UUID column")
}

func (k *keyed) wanted() string {
	switch k.column.Type {
	case Integer:
		return "an integer"
	case Binary:
		return "bytes"
	}
	return "a string"
}

// integer is the canonical decimal: 0, or digits without a leading 0, after
// a minus when below 0.
func (k *keyed) integer(v Param, at place) (string, *Refusal) {
	var key string
	var fits bool
	switch v.Kind {
	case ParamInt:
		key, fits = strconv.FormatInt(v.Int, 10), k.column.holds(v.Int)
	case ParamUint:
		key, fits = strconv.FormatUint(v.Uint, 10), k.column.holdsUnsigned(v.Uint)
	case ParamBytes:
		return "", unprovable("key type", k.name()+" is an integer and is given as bytes", "bind it as an integer")
	default:
		if !decimal(v.Bytes) {
			return "", unprovable("key form", k.name()+" is an integer and its text is not canonical decimal",
				"write it as an integer, without leading zeros, signs, blanks or fractions")
		}
		key, fits = string(v.Bytes), k.column.holdsDecimal(string(v.Bytes))
		if at.listed && !floats(key) {
			return "", unprovable("key range", "a text compared in a list or row with "+k.name()+" is beyond 2^53, where servers compare inexactly",
				"give it as an integer")
		}
	}
	if !fits {
		return "", unprovable("key range", "the key is out of the range of "+k.name(), "use a value that the column holds")
	}
	if at.inserted && k.column.AutoIncrement && key == "0" {
		return "", unprovable("key range", k.name()+" is AUTO_INCREMENT, so an inserted 0 becomes another value",
			"insert the key itself")
	}
	return key, nil
}

// floats says whether no other integer has the same floating point number.
func floats(key string) bool {
	const limit = 1 << 53
	n, err := strconv.ParseInt(key, 10, 64)
	return err == nil && n > -limit && n < limit
}

// decimal says whether a text is 0|[1-9][0-9]*|-[1-9][0-9]*.
func decimal(text []byte) bool {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
		if len(digits) > 0 && digits[0] == '0' {
			return false
		}
	}
	if len(digits) == 0 || digits[0] == '0' && len(digits) > 1 {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func (c *Column) holds(n int64) bool {
	if c.Unsigned {
		return n >= 0 && c.holdsUnsigned(uint64(n))
	}
	limit := int64(1) << (c.Bits - 1) // for 64 bits it wraps to the least number, and no int64 is out of range
	return c.Bits >= 64 || n >= -limit && n < limit
}

func (c *Column) holdsUnsigned(n uint64) bool {
	if !c.Unsigned {
		return n <= math.MaxInt64 && c.holds(int64(n))
	}
	return c.Bits >= 64 || n < 1<<c.Bits
}

func (c *Column) holdsDecimal(text string) bool {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return c.holds(n)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return err == nil && c.holdsUnsigned(n)
}

// text is the key itself: characters that the column keeps as they are and
// that its collation tells apart.
func (k *keyed) text(v Param, at place) (string, *Refusal) {
	if v.Kind != ParamString && v.Kind != ParamBytes {
		return "", unprovable("key type", k.name()+" is text and is given as an integer, which the server casts",
			"give it as a string")
	}
	how, wide := comparisonOf(k.column.Collation)
	if how == unknownComparison {
		return "", unprovable("key collation",
			fmt.Sprintf("%s has collation %s, under which different keys may be equal", k.name(), k.column.Collation),
			"use a binary collation such as utf8mb4_bin")
	}
	b := v.Bytes
	if len(b) == 0 || b[len(b)-1] == ' ' {
		return "", unprovable("key form", "the key for "+k.name()+" is empty or ends with a space", "use another key")
	}
	if how == foldingComparison && !plainKey(b) {
		return "", unprovable("key form",
			fmt.Sprintf("the collation %s of %s calls keys with capitals or other characters than a-z 0-9 _ . : @ - equal to others",
				k.column.Collation, k.name()),
			"use a binary collation, or lower-case keys")
	}
	if !printable(b, wide && !at.narrow) {
		return "", unprovable("key form", "the key for "+k.name()+" holds control characters or such that the session or the column cannot carry",
			"use printable characters, with utf8mb4 in the session and the column")
	}
	if utf8.RuneCount(b) > k.column.Length {
		return "", k.tooLong()
	}
	return string(b), nil
}

func (k *keyed) tooLong() *Refusal {
	return unprovable("key length", "the key is longer than "+k.name(), "use a key that the column holds")
}

// plainKey says whether a key has only characters that no known collation
// calls equal.
func plainKey(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '.', c == ':', c == '@', c == '-':
		default:
			return false
		}
	}
	return true
}

// printable says whether all characters are printable ASCII or, when wide,
// other characters of the basic plane: those that utf8mb3 carries as well.
func printable(b []byte, wide bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r < utf8.RuneSelf:
			if r < ' ' || r == 0x7f {
				return false
			}
		case !wide, r == utf8.RuneError, r > 0xffff, unicode.IsControl(r):
			return false
		}
		b = b[n:]
	}
	return true
}

// binary is the bytes in lower-case hexadecimal. BINARY(n) pads with zero
// bytes, so that only keys of the whole length are one text.
func (k *keyed) binary(v Param, at place) (string, *Refusal) {
	if v.Kind != ParamString && v.Kind != ParamBytes {
		return "", unprovable("key type", k.name()+" is binary and is given as an integer", "bind it as bytes")
	}
	if (at.literal || at.narrow && v.Kind == ParamString) && !printable(v.Bytes, false) {
		return "", unprovable("key form", "the literal for "+k.name()+" holds other bytes than printable ASCII",
			"bind it as a parameter")
	}
	if k.column.Fixed && len(v.Bytes) != k.column.Length {
		return "", unprovable("key length", "the key has not the whole length of "+k.name()+", which pads with zero bytes",
			"give all bytes")
	}
	if len(v.Bytes) == 0 {
		return "", unprovable("key form", "the key for "+k.name()+" is empty", "use another key")
	}
	if len(v.Bytes) > k.column.Length {
		return "", k.tooLong()
	}
	return hex.EncodeToString(v.Bytes), nil
}

// uuid is the lower-case form with dashes, 8-4-4-4-12.
func (k *keyed) uuid(v Param) (string, *Refusal) {
	ok := v.Kind == ParamString && len(v.Bytes) == 36
	for i := 0; ok && i < len(v.Bytes); i++ {
		c := v.Bytes[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			ok = c == '-'
		} else {
			ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		}
	}
	if !ok {
		return "", unprovable("key form", k.name()+" is a UUID and its text is not lower-case 8-4-4-4-12",
			"write it so")
	}
	return string(v.Bytes), nil
}
