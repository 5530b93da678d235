package apply

import (
	"strings"

	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/server/keytext"
)

// KeyText is the key of a value in the log's form, by the column as its server
// describes it. When it is no key, ok is false and the text is for people.
func KeyText(col *binlog.Column, key *keytext.Column, v []byte) (text string, ok bool) {
	var stored []byte
	fixed := col.Fixed() // BINARY and UUID, whose trailing zeros the log cuts
	switch {
	case fixed > 0 && key.Type == keytext.UUID:
		stored = appendUUID(nil, v)
		stored = stored[1 : len(stored)-1] // without quotes
	case fixed > 0:
		stored = append(stored, v...)
		stored = append(stored, make([]byte, max(0, fixed-len(v)))...)
	default:
		stored = col.AppendText(nil, v)
	}
	if text, ok = key.Stored(stored); !ok {
		text = strings.ToValidUTF8(text, "\ufffd")
	}
	return text, ok
}

// KeyColumn is a column as one that holds keys; false when there is none of
// that name.
func (d *Description) KeyColumn(name string) (keytext.Column, bool) {
	c := d.Column(name)
	if c == nil {
		return keytext.Column{}, false
	}
	k := keytext.Column{Name: c.Name, Length: c.Length, Collation: c.Collation, Generated: c.Generated}
	k.Describe(c.Type, c.FullType)
	return k, true
}
