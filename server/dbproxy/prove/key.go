package prove

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/atoll-live/atoll/server/keytext"
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
	if u := k.column.Unfit(); u != nil {
		return "", unprovable(u.Rule, k.name()+" "+u.What, u.Mend)
	}
	switch v.Kind {
	case ParamNull:
		return "", unprovable("key is NULL", k.name()+" is given as NULL", "give it a value")
	case ParamLongData:
		return "", unprovable("key type", k.name()+" was sent as long data", "bind it as a string or an integer")
	case ParamFloat, ParamOther:
		return "", unprovable("key type", k.name()+" is given as neither a string nor an integer", "bind it as "+k.wanted())
	}
	key, why := k.valued(v, at)
	if why == nil && len(key) > keytext.MaxBytes {
		why = unprovable("key length", "the key for "+k.name()+" is longer than "+strconv.Itoa(keytext.MaxBytes)+" bytes", "use shorter keys")
	}
	return key, why
}

func (k *keyed) valued(v Param, at place) (string, *Refusal) {
	switch k.column.Type {
	case Integer:
		return k.integer(v, at)
	case Text:
		return k.text(v, at)
	case Binary:
		return k.binary(v, at)
	default:
		return k.uuid(v)
	}
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
		key, fits = strconv.FormatInt(v.Int, 10), k.column.Holds(v.Int)
	case ParamUint:
		key, fits = strconv.FormatUint(v.Uint, 10), k.column.HoldsUnsigned(v.Uint)
	case ParamBytes:
		return "", unprovable("key type", k.name()+" is an integer and is given as bytes", "bind it as an integer")
	default:
		if !keytext.Decimal(v.Bytes) {
			return "", unprovable("key form", k.name()+" is an integer and its text is not canonical decimal",
				"write it as an integer, without leading zeros, signs, blanks or fractions")
		}
		key, fits = string(v.Bytes), k.column.HoldsDecimal(string(v.Bytes))
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

// text is the key itself: characters that the column keeps as they are and
// that its collation tells apart.
func (k *keyed) text(v Param, at place) (string, *Refusal) {
	if v.Kind != ParamString && v.Kind != ParamBytes {
		return "", unprovable("key type", k.name()+" is text and is given as an integer, which the server casts",
			"give it as a string")
	}
	how, wide := keytext.ComparisonOf(k.column.Collation)
	b := v.Bytes
	if keytext.Blank(b) {
		return "", unprovable("key form", "the key for "+k.name()+" is empty or ends with a space", "use another key")
	}
	if how == keytext.Folding && !keytext.Plain(b) {
		return "", unprovable("key form",
			fmt.Sprintf("the collation %s of %s calls keys with capitals or other characters than a-z 0-9 _ . : @ - equal to others",
				k.column.Collation, k.name()),
			"use a binary collation, or lower-case keys")
	}
	if !keytext.Printable(b, wide && !at.narrow) {
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

// binary is the bytes: in lower-case hexadecimal for BINARY(n), which pads
// with zero bytes, so that only keys of the whole length are one text; as they
// are for VARBINARY, which holds texts that are compared byte by byte.
func (k *keyed) binary(v Param, at place) (string, *Refusal) {
	b := v.Bytes
	if v.Kind != ParamString && v.Kind != ParamBytes {
		return "", unprovable("key type", k.name()+" is binary and is given as an integer", "bind it as bytes")
	}
	if (at.literal || at.narrow && v.Kind == ParamString) && !keytext.Printable(b, false) {
		return "", unprovable("key form", "the literal for "+k.name()+" holds other bytes than printable ASCII",
			"bind it as a parameter")
	}
	switch {
	case k.column.Fixed && len(b) != k.column.Length:
		return "", unprovable("key length", "the key has not the whole length of "+k.name()+", which pads with zero bytes",
			"give all bytes")
	case k.column.Fixed:
		return hex.EncodeToString(b), nil
	case keytext.Blank(b):
		return "", unprovable("key form", "the key for "+k.name()+" is empty or ends with a space", "use another key")
	case !k.column.IsText(b):
		return "", unprovable("key form", "the key for "+k.name()+" holds other bytes than those of printable characters",
			"use texts in UTF-8, or BINARY(n) for other bytes")
	case len(b) > k.column.Length:
		return "", k.tooLong()
	}
	return string(b), nil
}

// uuid is the lower-case form with dashes, 8-4-4-4-12.
func (k *keyed) uuid(v Param) (string, *Refusal) {
	if v.Kind != ParamString || !keytext.IsUUID(v.Bytes) {
		return "", unprovable("key form", k.name()+" is a UUID and its text is not lower-case 8-4-4-4-12",
			"write it so")
	}
	return string(v.Bytes), nil
}
