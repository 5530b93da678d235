package apply

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/atoll-live/atoll/server/dbsync/binlog"
)

// ErrRefused is the answer to a change that cannot be written as it is.
var ErrRefused = binlog.ErrRefused

// Charsets gives the charset of a collation id of the source, "" when unknown.
type Charsets map[uint64]string

// plan says how changes of one source table, in one shape, are written.
type plan struct {
	name    string // quoted, with schema
	fields  []field
	key     []field
	missing []missing
	ordered bool // rows are written one by one, in the order of the source
	insert  string
	upsert  string // what ends an insert that may meet the row
}

// missing is a source column that the target does not have. Changes pass only
// while it holds its default.
type missing struct {
	src    int
	col    *binlog.Column
	known  bool // the default could be read
	preset string
	null   bool // the default is NULL
}

// newPlan matches a source table's columns with the target's by name. Source
// describes the table at the source; it is asked only when the target lacks a
// column.
func newPlan(t *binlog.Table, target *Description, charsets Charsets, source func() (*Description, error)) (*plan, error) {
	p := &plan{name: name(target.Schema) + "." + name(target.Name), ordered: target.OtherUnique || target.References}
	byName := map[string]int{}
	for i := range t.Columns {
		col := &t.Columns[i]
		info := target.Column(col.Name)
		switch {
		case info == nil:
			m, err := missingColumn(i, col, source)
			if err != nil {
				return nil, err
			}
			p.missing = append(p.missing, m)
			continue
		case info.Generated:
			continue
		}
		f, err := newField(i, col, info, charsets)
		if err != nil {
			return nil, fmt.Errorf("%w: table %s.%s: %w", ErrRefused, target.Schema, target.Name, err)
		}
		byName[info.Name] = len(p.fields)
		p.fields = append(p.fields, f)
	}
	if err := p.setKey(t, target, byName); err != nil {
		return nil, err
	}
	p.writeTexts()
	return p, nil
}

func (p *plan) setKey(t *binlog.Table, target *Description, byName map[string]int) error {
	var have []string
	for _, i := range t.Key {
		have = append(have, strings.ToLower(t.Columns[i].Name))
	}
	var want []string
	for _, k := range target.Key {
		want = append(want, strings.ToLower(k))
		if i, ok := byName[k]; ok {
			p.key = append(p.key, p.fields[i])
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if len(have) == 0 || !slices.Equal(have, want) || len(p.key) != len(want) {
		return fmt.Errorf("%w: table %s.%s: its primary key is (%s) at the source and (%s) here (make them equal)",
			ErrRefused, target.Schema, target.Name, strings.Join(have, ","), strings.Join(want, ","))
	}
	return nil
}

func missingColumn(i int, col *binlog.Column, source func() (*Description, error)) (missing, error) {
	m := missing{src: i, col: col}
	d, err := source()
	if err != nil {
		return m, err
	}
	info := d.Column(col.Name)
	if info == nil {
		return m, nil // dropped at the source since: nothing says what its default was
	}
	text := info.Default.String
	m.known = true
	m.null = !info.Default.Valid || strings.EqualFold(text, "NULL")
	if len(text) > 1 && text[0] == '\'' && text[len(text)-1] == '\'' {
		text = strings.ReplaceAll(text[1:len(text)-1], "''", "'")
	}
	m.preset = text
	return m, nil
}

// holds tells whether a value is the default.
func (m *missing) holds(v []byte) bool {
	if v == nil || !m.known || m.null {
		return m.known && m.null && v == nil
	}
	return string(m.col.AppendText(nil, v)) == m.preset
}

func newField(i int, col *binlog.Column, info *ColumnInfo, charsets Charsets) (field, error) {
	f := field{src: i, name: name(info.Name), col: col, pad: col.Fixed()}
	switch info.Type {
	case "uuid":
		f.as = asUUID
		return f, nil
	case "inet6", "inet4":
		f.as = asBytes
		return f, nil
	}
	if len(col.Members) > 0 {
		if err := sameMembers(col.Members, info.FullType); err != nil {
			return f, fmt.Errorf("column %s: %w", info.Name, err)
		}
	}
	switch col.Form() {
	case binlog.Number:
		f.as = asNumber
	case binlog.Time:
		f.as = asTime
	case binlog.Bytes:
		f.as = asBytes
	case binlog.Text:
		f.charset = charsets[col.Collation]
		if f.charset == "" {
			f.charset = info.Charset
		}
		f.as = asOther
		switch f.charset {
		case "utf8mb4":
			f.as = asText
		case "", "binary":
			f.as = asBytes
		}
	}
	return f, nil
}

// sameMembers compares the members of an ENUM or SET, whose values travel as
// numbers. More members at the target's end are fine.
func sameMembers(have []string, fullType string) error {
	_, list, _ := strings.Cut(fullType, "('")
	list = strings.TrimSuffix(list, "')")
	want := strings.Split(list, "','")
	same := len(have) <= len(want)
	for i := 0; same && i < len(have); i++ {
		plain := strings.IndexFunc(have[i]+want[i], func(r rune) bool { return r >= 0x80 }) < 0
		same = !plain || strings.ReplaceAll(want[i], "''", "'") == have[i]
	}
	if !same {
		return fmt.Errorf("its members are not those of the source, in the same order (run the same ALTER TABLE here)")
	}
	return nil
}

func (p *plan) writeTexts() {
	var names, values []string
	for _, f := range p.fields {
		names = append(names, f.name)
		values = append(values, f.name+"=VALUES("+f.name+")")
	}
	p.insert = "INSERT INTO " + p.name + " (" + strings.Join(names, ",") + ") VALUES "
	p.upsert = " ON DUPLICATE KEY UPDATE " + strings.Join(values, ",")
}

// check refuses an image with a value that the target could not hold.
func (p *plan) check(row binlog.Row) error {
	for i := range p.missing {
		m := &p.missing[i]
		if !m.holds(row[m.src]) {
			return fmt.Errorf("%w: table %s has no column %s, and the source wrote something else than its default there (add the column here)",
				ErrRefused, p.name, m.col.Name)
		}
	}
	return nil
}

// loose tells whether the row holds an ENUM's error value, which no literal
// can write in strict mode.
func (p *plan) loose(row binlog.Row) bool {
	for i := range p.fields {
		f := &p.fields[i]
		if f.col.IsEnum() && row[f.src] != nil && bytes.Trim(row[f.src], "\x00") == nil {
			return true
		}
	}
	return false
}

func (p *plan) appendValues(dst []byte, row binlog.Row) []byte {
	dst = append(dst, '(')
	for i := range p.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = p.fields[i].appendSQL(dst, row[p.fields[i].src])
	}
	return append(dst, ')')
}

func (p *plan) appendWhere(dst []byte, row binlog.Row) []byte {
	for i := range p.key {
		if i > 0 {
			dst = append(dst, " AND "...)
		}
		dst = append(append(dst, p.key[i].name...), '=')
		dst = p.key[i].appendSQL(dst, row[p.key[i].src])
	}
	return dst
}

// appendKey writes what tells rows of the table apart, for a map.
func (p *plan) appendKey(dst []byte, row binlog.Row) []byte {
	for i := range p.key {
		v := row[p.key[i].src]
		dst = append(dst, byte(len(v)), byte(len(v)>>8), byte(len(v)>>16))
		dst = append(dst, v...)
	}
	return dst
}
