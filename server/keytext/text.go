package keytext

import (
	"encoding/hex"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Stored is the key of a value as it stands in a row: the digits of an integer,
// the bytes of a text in UTF-8 or ASCII, all bytes of a binary value, the text
// of a UUID. It is false for a value that no proxy lets through as a key:
// nobody can say who owns its row.
func (c *Column) Stored(value []byte) (key string, ok bool) {
	if c.Unfit() != nil {
		return "", false
	}
	switch c.Type {
	case Integer:
		ok = Decimal(value)
	case Text:
		ok = c.IsText(value)
	case Binary:
		if c.Fixed {
			return hex.EncodeToString(value), len(value) == c.Length && 2*len(value) <= MaxBytes
		}
		ok = c.IsText(value)
	case UUID:
		ok = IsUUID(value)
	}
	return string(value), ok && len(value) <= MaxBytes
}

// IsKey says whether a text is that of a key of the column.
func (c *Column) IsKey(text string) bool {
	if c.Type != Binary || !c.Fixed {
		_, ok := c.Stored([]byte(text))
		return ok
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		return false
	}
	again, ok := c.Stored(raw)
	return ok && again == text
}

// Form is what keys of the column look like, for people.
func (c *Column) Form() string {
	switch c.Type {
	case Integer:
		return "a number without leading zeros"
	case Binary:
		if c.Fixed {
			return fmt.Sprintf("all %d bytes", c.Length)
		}
	case UUID:
		return "a UUID in lower case"
	case Text:
		switch how, wide := ComparisonOf(c.Collation); {
		case how == Folding:
			return "a text of a-z 0-9 _ . : @ - alone under collation " + c.Collation
		case !wide:
			return "a text of printable ASCII without a space at its end"
		}
	}
	return "a text of printable characters of the basic plane without a space at its end"
}

// IsText says whether a value is a key of a CHAR, VARCHAR or VARBINARY column:
// characters that the column tells apart and that stand for themselves in
// every session.
func (c *Column) IsText(b []byte) bool {
	if Blank(b) {
		return false
	}
	if c.Type == Binary {
		return Printable(b, true)
	}
	how, wide := ComparisonOf(c.Collation)
	switch how {
	case Exact:
		return Printable(b, wide)
	case Folding:
		return Plain(b)
	}
	return false
}

// Blank says whether a text is empty or ends with a space, which most
// collations do not see.
func Blank(b []byte) bool { return len(b) == 0 || b[len(b)-1] == ' ' }

// Decimal says whether a text is 0|[1-9][0-9]*|-[1-9][0-9]*.
func Decimal(text []byte) bool {
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

// Plain says whether a key has only characters that no known collation calls
// equal.
func Plain(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '.', c == ':', c == '@', c == '-':
		default:
			return false
		}
	}
	return true
}

// Printable says whether all characters are printable ASCII or, when wide,
// other characters of the basic plane: those that utf8mb3 carries as well.
func Printable(b []byte, wide bool) bool {
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

// IsUUID says whether a text is a UUID in lower case, 8-4-4-4-12.
func IsUUID(b []byte) bool {
	if len(b) != 36 {
		return false
	}
	for i, c := range b {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
