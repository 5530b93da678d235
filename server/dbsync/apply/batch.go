package apply

import (
	"bytes"

	"github.com/atoll-live/atoll/server/dbsync/binlog"
)

// Limits of one statement; more rows make more statements.
const (
	statementRows  = 512
	statementBytes = 1 << 20
)

// statement is one SQL statement of a batch.
type statement struct {
	sql  []byte
	must bool // it must meet exactly one row
	p    *plan
	ch   *binlog.Change // of an ordered table: what it does, for the careful way
}

// batch turns changes into statements. Rows of a table that has no other
// unique key and no foreign key are merged: only the last state of each row is
// written, deletes first. That is the same to everybody who looks, since the
// batch is one transaction. Other tables keep the order of the source.
type batch struct {
	merged  map[*Description]*merge
	order   []*merge
	ordered []statement
}

type merge struct {
	p    *plan
	rows map[string]*state
	list []*state
}

// state is what a batch leaves of one row.
type state struct {
	p     *plan
	image binlog.Row
	gone  bool
}

func newBatch() *batch { return &batch{merged: map[*Description]*merge{}} }

func (b *batch) add(p *plan, d *Description, ch *binlog.Change) error {
	if err := p.check(ch.Image()); err != nil {
		return err
	}
	if p.ordered {
		b.ordered = append(b.ordered, p.single(ch))
		return nil
	}
	m := b.merged[d]
	if m == nil {
		m = &merge{p: p, rows: map[string]*state{}}
		b.merged[d] = m
		b.order = append(b.order, m)
	}
	if ch.Before != nil && ch.After != nil && !p.sameKey(ch.Before, ch.After) {
		m.set(p, ch.Before, true)
	}
	m.set(p, ch.Image(), ch.After == nil)
	return nil
}

func (p *plan) sameKey(a, b binlog.Row) bool {
	for i := range p.key {
		if !bytes.Equal(a[p.key[i].src], b[p.key[i].src]) {
			return false
		}
	}
	return true
}

func (m *merge) set(p *plan, row binlog.Row, gone bool) {
	var buf [64]byte
	key := p.appendKey(buf[:0], row)
	s := m.rows[string(key)]
	if s == nil {
		s = &state{}
		m.rows[string(key)] = s
		m.list = append(m.list, s)
	}
	s.p, s.image, s.gone = p, row, gone
}

// statements writes the batch out.
func (b *batch) statements() []statement {
	var out []statement
	for _, m := range b.order {
		out = m.deletes(out)
		out = m.upserts(out)
	}
	return append(out, b.ordered...)
}

func (m *merge) deletes(out []statement) []statement {
	var sql []byte
	n := 0
	for _, s := range m.list {
		if !s.gone {
			continue
		}
		if n == statementRows || len(sql) > statementBytes {
			out, sql, n = append(out, statement{sql: sql}), nil, 0
		}
		if n == 0 {
			sql = append(sql, "DELETE FROM "+s.p.name+" WHERE "...)
		} else {
			sql = append(sql, " OR "...)
		}
		sql = s.p.appendWhere(sql, s.image)
		n++
	}
	if n > 0 {
		out = append(out, statement{sql: sql})
	}
	return out
}

func (m *merge) upserts(out []statement) []statement {
	var sql []byte
	var open *plan // of the statement that is being written
	n := 0
	flush := func() {
		if n > 0 {
			out = append(out, statement{sql: append(sql, open.upsert...)})
		}
		sql, n, open = nil, 0, nil
	}
	for _, s := range m.list {
		if s.gone {
			continue
		}
		if s.p.loose(s.image) {
			one := append([]byte(loosely), s.p.insert...)
			one = append(s.p.appendValues(one, s.image), s.p.upsert...)
			out = append(out, statement{sql: one})
			continue
		}
		// The columns may differ within a table, when it was altered in between.
		if n == statementRows || len(sql) > statementBytes || open != nil && open.insert != s.p.insert {
			flush()
		}
		if n == 0 {
			open = s.p
			sql = append(sql, s.p.insert...)
		} else {
			sql = append(sql, ',')
		}
		sql = s.p.appendValues(sql, s.image)
		n++
	}
	flush()
	return out
}

// loosely lets one statement write the error value of an ENUM.
const loosely = "SET STATEMENT sql_mode='" + looseMode + "' FOR "

// single is the statement of one change of an ordered table.
func (p *plan) single(ch *binlog.Change) statement {
	s := statement{p: p, ch: ch}
	if ch.After != nil && p.loose(ch.After) {
		s.sql = append(s.sql, loosely...)
	}
	switch ch.Op {
	case binlog.Insert:
		s.sql = p.appendValues(append(s.sql, p.insert...), ch.After)
	case binlog.Update:
		s.sql = p.appendUpdate(s.sql, ch.Before, ch.After)
		s.must = true
	case binlog.Delete:
		s.sql = append(s.sql, "DELETE FROM "+p.name+" WHERE "...)
		s.sql = p.appendWhere(s.sql, ch.Before)
	}
	return s
}

func (p *plan) appendUpdate(dst []byte, where, to binlog.Row) []byte {
	dst = append(dst, "UPDATE "+p.name+" SET "...)
	for i := range p.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, p.fields[i].name...), '=')
		dst = p.fields[i].appendSQL(dst, to[p.fields[i].src])
	}
	return p.appendWhere(append(dst, " WHERE "...), where)
}
