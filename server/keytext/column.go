package keytext

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Type is the type of a key column, as far as the text of keys depends on it.
type Type uint8

// The types of key columns. A column of another type has Type 0: no key of it
// can be known.
const (
	Integer Type = iota + 1 // TINYINT … BIGINT: Bits and Unsigned say which
	Text                    // CHAR, VARCHAR: Length in characters, Collation
	Binary                  // BINARY (Fixed), VARBINARY: Length in bytes
	UUID                    // MariaDB's UUID
)

// MaxBytes is the longest text of a key. Longer keys could not be kept whole
// where they are written down beside rows.
const MaxBytes = 512

// Column is a key column as the server describes it.
type Column struct {
	Name          string // as in the table; compared case-blind
	Type          Type
	Bits          int    // Integer: 8, 16, 24, 32 or 64
	Unsigned      bool   // Integer
	AutoIncrement bool   // Integer: an inserted 0 becomes another value, so it is refused
	Generated     bool   // computed from other columns: no key of it can be known
	Length        int    // Text: characters; Binary: bytes
	Fixed         bool   // CHAR, BINARY
	Collation     string // Text: such as utf8mb4_bin, utf8mb4_general_ci
}

// Describe fills in what information_schema says of a column's type: its
// DATA_TYPE and COLUMN_TYPE, in lower case.
func (c *Column) Describe(dataType, columnType string) {
	bits := map[string]int{"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
	switch dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		c.Type, c.Bits, c.Unsigned = Integer, bits[dataType], strings.Contains(columnType, "unsigned")
	case "char", "varchar":
		c.Type, c.Fixed = Text, dataType == "char"
	case "binary", "varbinary":
		c.Type, c.Fixed = Binary, dataType == "binary"
	case "uuid":
		c.Type = UUID
	}
}

// Unfit is why no key of a column can be known.
type Unfit struct{ Rule, What, Mend string }

// Unfit says why a column cannot be a key column, nil when it can.
func (c *Column) Unfit() *Unfit {
	switch {
	case c.Generated:
		return &Unfit{"key column", "is computed from other columns, which any statement may change", "use a column of its own"}
	case c.Type == 0:
		return &Unfit{"key column", "has a type whose keys cannot be compared safely",
			"use an integer, CHAR, VARCHAR, BINARY, VARBINARY or UUID column"}
	case c.Type == Text:
		if how, _ := ComparisonOf(c.Collation); how == Unknown {
			return &Unfit{"key collation", fmt.Sprintf("has collation %s, under which different keys may be equal", c.Collation),
				"use a binary collation such as utf8mb4_bin"}
		}
	}
	return nil
}

// Alike says whether two columns, of one table in two units, call the same
// keys equal and give them the same texts.
func (c *Column) Alike(o *Column) bool {
	return c.Type == o.Type && c.Fixed == o.Fixed && c.Generated == o.Generated && strings.EqualFold(c.Collation, o.Collation) &&
		(c.Type != Binary || !c.Fixed || c.Length == o.Length)
}

// Holds says whether an integer column can hold a number.
func (c *Column) Holds(n int64) bool {
	if c.Unsigned {
		return n >= 0 && c.HoldsUnsigned(uint64(n))
	}
	limit := int64(1) << (c.Bits - 1) // for 64 bits it wraps to the least number, and no int64 is out of range
	return c.Bits >= 64 || n >= -limit && n < limit
}

// HoldsUnsigned says whether an integer column can hold a number.
func (c *Column) HoldsUnsigned(n uint64) bool {
	if !c.Unsigned {
		return n <= math.MaxInt64 && c.Holds(int64(n))
	}
	return c.Bits >= 64 || n < 1<<c.Bits
}

// HoldsDecimal says whether an integer column can hold the number of a
// canonical decimal.
func (c *Column) HoldsDecimal(text string) bool {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return c.Holds(n)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return err == nil && c.HoldsUnsigned(n)
}
