package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Column types of the binary log, as MySQL numbers them.
const (
	typeTiny       = 1
	typeShort      = 2
	typeLong       = 3
	typeFloat      = 4
	typeDouble     = 5
	typeTimestamp  = 7
	typeLongLong   = 8
	typeInt24      = 9
	typeDate       = 10
	typeTime       = 11
	typeDatetime   = 12
	typeYear       = 13
	typeVarchar    = 15
	typeBit        = 16
	typeTimestamp2 = 17
	typeDatetime2  = 18
	typeTime2      = 19
	typeDecimal    = 246
	typeEnum       = 247
	typeSet        = 248
	typeBlob       = 252
	typeVarString  = 253
	typeString     = 254
	typeGeometry   = 255
)

// CollationBinary is the collation id of columns that hold bytes.
const CollationBinary = 63

// Table is a table as the source had it when it wrote a group.
type Table struct {
	Schema, Name string
	Columns      []Column
	Key          []int // primary key, indexes of Columns; empty: none, or by prefixes of columns
}

// Column is one column of a Table.
type Column struct {
	Name      string
	Type      byte   // ENUM and SET show as themselves
	Meta      uint16 // length, precision or the like, by type
	Unsigned  bool
	Collation uint64   // id at the source; 0: not a text
	Members   []string // of ENUM and SET, in the column's charset
}

// Index is the place of a column, -1 when there is none of this name.
func (t *Table) Index(column string) int {
	for i := range t.Columns {
		if t.Columns[i].Name == column {
			return i
		}
	}
	return -1
}

var errShort = errors.New("event is cut short")

// cursor reads little-endian parts of an event; after the first lack of bytes
// it only gives zeros and says so in err.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) take(n int) []byte {
	if c.err != nil || n < 0 || n > len(c.b) {
		c.err, c.b = errShort, nil
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) uint(n int) uint64 {
	var v uint64
	for i, x := range c.take(n) {
		v |= uint64(x) << (8 * i)
	}
	return v
}

// lenenc reads MySQL's packed integer.
func (c *cursor) lenenc() uint64 {
	first := c.uint(1)
	switch first {
	case 252:
		return c.uint(2)
	case 253:
		return c.uint(3)
	case 254:
		return c.uint(8)
	}
	return first
}

// count reads a packed integer that numbers things of at least one byte each.
func (c *cursor) count() int {
	n := c.lenenc()
	if n > uint64(len(c.b)) {
		c.err, c.b = errShort, nil
		return 0
	}
	return int(n)
}

func (c *cursor) name() []byte {
	s := c.take(int(c.uint(1)))
	c.take(1) // a zero byte
	return s
}

// tableName reads only what a table map event is about.
func tableName(body []byte) (id uint64, schema, name []byte, err error) {
	c := &cursor{b: body}
	id = c.uint(6)
	c.take(2)
	schema, name = c.name(), c.name()
	return id, schema, name, c.err
}

// decodeTable reads a whole table map event.
func decodeTable(body []byte) (*Table, error) {
	c := &cursor{b: body}
	c.take(8)
	t := &Table{Schema: string(c.name()), Name: string(c.name())}
	t.Columns = make([]Column, c.count())
	for i, x := range c.take(len(t.Columns)) {
		t.Columns[i].Type = x
	}
	meta := &cursor{b: c.take(c.count())}
	for i := range t.Columns {
		if err := decodeMeta(&t.Columns[i], meta); err != nil {
			return nil, fmt.Errorf("table %s.%s: column %d: %w", t.Schema, t.Name, i+1, err)
		}
	}
	c.take((len(t.Columns) + 7) / 8) // which may be NULL
	for len(c.b) > 0 && c.err == nil {
		kind := byte(c.uint(1))
		t.decodeOptional(kind, &cursor{b: c.take(c.count())})
	}
	if c.err != nil || meta.err != nil {
		return nil, fmt.Errorf("table %s.%s: %w", t.Schema, t.Name, errShort)
	}
	if len(t.Columns) > 0 && t.Columns[len(t.Columns)-1].Name == "" {
		return nil, fmt.Errorf("%w: table %s.%s: the source writes no column names (set binlog_row_metadata=FULL there)", ErrRefused, t.Schema, t.Name)
	}
	return t, nil
}

func decodeMeta(col *Column, c *cursor) error {
	switch col.Type {
	case typeString, typeDecimal: // big end first
		m := c.take(2)
		if m == nil {
			return errShort
		}
		col.Meta = binary.BigEndian.Uint16(m)
		if col.Type == typeString {
			decodeStringMeta(col)
		}
	case typeVarchar, typeVarString, typeBit:
		col.Meta = uint16(c.uint(2))
	case typeBlob, typeGeometry, typeFloat, typeDouble, typeTime2, typeDatetime2, typeTimestamp2:
		col.Meta = uint16(c.uint(1))
	case typeTiny, typeShort, typeInt24, typeLong, typeLongLong, typeDate, typeYear:
	case typeTimestamp, typeTime, typeDatetime:
		return fmt.Errorf("%w: a time in the format before MySQL 5.6 (run ALTER TABLE … FORCE)", ErrRefused)
	default:
		return fmt.Errorf("%w: type %d cannot be carried (JSON of MySQL, VECTOR and COMPRESSED columns cannot)", ErrRefused, col.Type)
	}
	return nil
}

// decodeStringMeta undoes the trick by which lengths above 255 share two bits
// with the real type.
func decodeStringMeta(col *Column) {
	high, low := byte(col.Meta>>8), col.Meta&0xff
	if high&0x30 != 0x30 {
		col.Meta = low | uint16((high&0x30)^0x30)<<4
		high |= 0x30
	} else {
		col.Meta = low
	}
	if high == typeEnum || high == typeSet {
		col.Type = high
	}
}

// Kinds of optional metadata.
const (
	metaSign           = 1
	metaDefaultCharset = 2
	metaColumnCharset  = 3
	metaNames          = 4
	metaSetMembers     = 5
	metaEnumMembers    = 6
	metaKey            = 8
)

func (t *Table) decodeOptional(kind byte, c *cursor) {
	switch kind {
	case metaSign:
		t.decodeSigns(c.b)
	case metaDefaultCharset:
		collation := c.lenenc()
		texts := t.pick(isText)
		for _, i := range texts {
			t.Columns[i].Collation = collation
		}
		for len(c.b) > 0 {
			i, other := c.lenenc(), c.lenenc()
			if i < uint64(len(texts)) {
				t.Columns[texts[i]].Collation = other
			}
		}
	case metaColumnCharset:
		for _, i := range t.pick(isText) {
			t.Columns[i].Collation = c.lenenc()
		}
	case metaNames:
		for i := range t.Columns {
			t.Columns[i].Name = string(c.take(int(c.uint(1))))
		}
	case metaSetMembers:
		t.decodeMembers(typeSet, c)
	case metaEnumMembers:
		t.decodeMembers(typeEnum, c)
	case metaKey:
		for len(c.b) > 0 {
			if i := c.lenenc(); i < uint64(len(t.Columns)) {
				t.Key = append(t.Key, int(i))
			}
		}
	}
}

func (t *Table) pick(is func(*Column) bool) []int {
	var out []int
	for i := range t.Columns {
		if is(&t.Columns[i]) {
			out = append(out, i)
		}
	}
	return out
}

func isText(c *Column) bool {
	switch c.Type {
	case typeString, typeVarString, typeVarchar, typeBlob, typeGeometry:
		return true
	}
	return false
}

func isNumber(c *Column) bool {
	switch c.Type {
	case typeTiny, typeShort, typeInt24, typeLong, typeLongLong, typeDecimal, typeFloat, typeDouble, typeYear:
		return true
	}
	return false
}

func (t *Table) decodeSigns(bits []byte) {
	for n, i := range t.pick(isNumber) {
		if n/8 < len(bits) {
			t.Columns[i].Unsigned = bits[n/8]&(0x80>>(n%8)) != 0
		}
	}
}

func (t *Table) decodeMembers(kind byte, c *cursor) {
	for _, i := range t.pick(func(c *Column) bool { return c.Type == kind }) {
		members := make([]string, c.count())
		for n := range members {
			members[n] = string(c.take(c.count()))
		}
		t.Columns[i].Members = members
	}
}

// tables remembers decoded table maps, since each group repeats them.
type tables struct {
	byID map[uint64]*tableMap // of the statement that is being read
	seen map[string]*tableMap // body without its id → decoded
}

type tableMap struct {
	wanted bool
	schema string
	name   string
	table  *Table // wanted ones only
}

// seenLimit bounds what is remembered; beyond it all is forgotten and learned
// again, which costs a little time and nothing else.
const seenLimit = 4096

func (ts *tables) add(body []byte, wants func(schema, name string) bool) error {
	id, schema, name, err := tableName(body)
	if err != nil {
		return fmt.Errorf("read table map: %w", err)
	}
	key := body[6:]
	m := ts.seen[string(key)]
	if m == nil {
		m = &tableMap{schema: string(schema), name: string(name)}
		m.wanted = wants(m.schema, m.name)
		if m.wanted {
			if m.table, err = decodeTable(bytes.Clone(body)); err != nil {
				return fmt.Errorf("read table map: %w", err)
			}
		}
		if len(ts.seen) >= seenLimit {
			clear(ts.seen)
		}
		ts.seen[string(key)] = m
	}
	ts.byID[id] = m
	return nil
}
