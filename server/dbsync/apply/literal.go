package apply

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/atoll-live/atoll/server/dbsync/binlog"
)

// writer says how the values of one column become SQL.
type writer byte

const (
	asNumber writer = iota
	asTime
	asText  // utf8mb4, the connection's own charset
	asOther // another charset: hex with an introducer
	asBytes
	asUUID
)

// field is one column as a statement writes it.
type field struct {
	src     int    // place in the source's row
	name    string // quoted
	col     *binlog.Column
	as      writer
	charset string // for asOther
	pad     int    // length of a binary column whose zeros the log cuts
}

// appendSQL writes a value as a literal.
func (f *field) appendSQL(dst, v []byte) []byte {
	if v == nil {
		return append(dst, "NULL"...)
	}
	switch f.as {
	case asNumber:
		return f.col.AppendText(dst, v)
	case asTime:
		return append(f.col.AppendText(append(dst, '\''), v), '\'')
	case asText:
		return appendQuoted(dst, v)
	case asUUID:
		return appendUUID(dst, v)
	case asOther:
		dst = append(append(append(dst, '_'), f.charset...), ' ')
		if len(v) == 0 {
			return append(dst, "''"...)
		}
		return hex.AppendEncode(append(dst, "0x"...), v)
	}
	dst = append(dst, "_binary"...)
	if len(v) < f.pad {
		v = append(append(make([]byte, 0, f.pad), v...), make([]byte, f.pad-len(v))...)
	}
	return appendQuoted(dst, v)
}

// appendQuoted writes a string literal for a session without
// NO_BACKSLASH_ESCAPES whose charset is utf8mb4.
func appendQuoted(dst, v []byte) []byte {
	dst = append(dst, '\'')
	for _, b := range v {
		switch b {
		case '\'', '\\':
			dst = append(dst, '\\', b)
		case 0:
			dst = append(dst, '\\', '0')
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '\'')
}

func quoted(s string) string { return string(appendQuoted(nil, []byte(s))) }

func name(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// appendUUID writes the text of a UUID. The log holds its bytes in the order of
// the text, without trailing zeros.
func appendUUID(dst, v []byte) []byte {
	var u [16]byte
	copy(u[:], v)
	return fmt.Appendf(dst, "'%x-%x-%x-%x-%x'", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// Quote makes a string literal for a session that Open made.
func Quote(s string) string { return quoted(s) }
