package compare

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/keytext"
)

// chunkRows is how many rows are read at a time.
const chunkRows = 2000

// Side is a table in one database.
type Side struct {
	DB     *sql.DB
	Schema string
}

// Table is what to compare.
type Table struct {
	A, B Side
	Name string
	Key  string                // sharding key column, "" for none
	Pick func(key string) bool // the keys to compare; rows without a key are left out. nil for all rows
	// Keys, when not nil, are all keys that Pick takes, so that others need not
	// be read.
	Keys []string
	// Enough ends the comparison once so many rows differ; zero: it never does.
	Enough int
}

// Result counts rows of a comparison.
type Result struct {
	Rows      int64    // compared
	Different int64    // on one side only, or unlike, after the time was over
	More      bool     // there may be more of them: the comparison ended at Enough
	First     []string // primary keys of some that differ, for people
	// Odd are the primary keys of some rows whose key has a form that no proxy
	// lets through; OddRows counts them, on both sides.
	Odd     []string
	OddRows int64
}

// firstLimit bounds what a Result shows.
const firstLimit = 10

// row is one row as a server shows it: its primary key, its sharding key and a
// digest of all columns that both sides have.
type row struct {
	pk     []string // values as SQL reads them, see pkColumns
	key    string   // "" for none
	odd    bool     // the key has a form that no proxy lets through
	digest string
}

// Run compares the rows by chunks of the primary key. Rows that differ are
// read again until they are equal or patience is over: rows on their way are
// no difference.
func Run(ctx context.Context, t Table, patience time.Duration) (Result, error) {
	c, err := prepare(ctx, t)
	if err != nil {
		return Result{}, fmt.Errorf("compare table %s: %w", t.Name, err)
	}
	for {
		open, err := c.scan(ctx)
		if err == nil {
			open, err = c.settle(ctx, open, patience)
		}
		if err != nil {
			return Result{Rows: c.rows}, fmt.Errorf("compare table %s: %w", t.Name, err)
		}
		if len(open) > 0 || c.over {
			res := Result{Rows: c.rows, Different: int64(len(open)), More: !c.over, Odd: c.odd, OddRows: c.oddRows}
			for _, pk := range open[:min(len(open), firstLimit)] {
				res.First = append(res.First, shown(pk))
			}
			return res, nil
		}
	}
}

// settle reads rows that differ again until they are equal or patience is over,
// and gives those that still differ.
func (c *comparison) settle(ctx context.Context, open [][]string, patience time.Duration) ([][]string, error) {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for len(open) > 0 && time.Now().Before(deadline) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		var err error
		if open, err = c.again(ctx, open); err != nil {
			return nil, err
		}
	}
	return open, nil
}

// comparison is a table with the expressions that read it.
type comparison struct {
	Table
	pk     []string // quoted names
	show   []string // expressions that give them as literals
	digest string
	key    string
	column keytext.Column // of the sharding key
	where  string         // restricts to Keys

	rows    int64    // compared so far
	from    []string // primary key of the last of them
	over    bool     // all are
	odd     []string
	oddRows int64
}

func prepare(ctx context.Context, t Table) (*comparison, error) {
	a, err := apply.Describe(ctx, t.A.DB, t.A.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	b, err := apply.Describe(ctx, t.B.DB, t.B.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	if len(a.Key) == 0 || !slices.Equal(a.Key, b.Key) {
		return nil, fmt.Errorf("the primary keys differ: (%s) and (%s)", strings.Join(a.Key, ","), strings.Join(b.Key, ","))
	}
	c := &comparison{Table: t, key: "''", where: "TRUE"}
	for _, k := range a.Key {
		c.pk = append(c.pk, quote(k))
		c.show = append(c.show, literal(a.Column(k)))
	}
	var parts []string
	for i := range a.Columns {
		if col := &a.Columns[i]; b.Column(col.Name) != nil {
			parts = append(parts, "IFNULL("+canonical(col)+",'-')")
		}
	}
	c.digest = "MD5(CONCAT_WS(','," + strings.Join(parts, ",") + "))"
	if t.Key != "" {
		var ok bool
		if c.column, ok = a.KeyColumn(t.Key); !ok {
			return nil, fmt.Errorf("it has no column %s", t.Key)
		}
		c.keys()
	}
	return c, nil
}

// keys makes the expressions of the sharding key: its value as Stored reads
// it, and the rows of Keys.
func (c *comparison) keys() {
	name := quote(c.Key)
	value, literal := "CONVERT("+name+" USING utf8mb4)", apply.Quote
	switch c.column.Type {
	case keytext.Integer:
		value = "CONVERT(" + name + "+0 USING utf8mb4)" // ZEROFILL shows itself otherwise
		literal = func(key string) string { return key }
	case keytext.Binary:
		value = name
		if c.column.Fixed {
			literal = func(key string) string { return "X" + apply.Quote(key) }
		}
	}
	c.key = "IFNULL(" + value + ",'')"
	if c.Table.Keys == nil {
		return
	}
	list := []string{"NULL"}
	for _, k := range c.Table.Keys {
		if c.column.IsKey(k) {
			list = append(list, literal(k))
		}
	}
	c.where = name + " IN (" + strings.Join(list, ",") + ")"
}

func quote(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// canonical shows a value in one way only, whatever the column's charset.
func canonical(c *apply.ColumnInfo) string {
	if bytesOnly(c) {
		return "HEX(" + quote(c.Name) + ")"
	}
	return "HEX(CONVERT(" + quote(c.Name) + " USING utf8mb4))"
}

func bytesOnly(c *apply.ColumnInfo) bool {
	switch c.Type {
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit", "geometry", "point", "linestring", "polygon",
		"multipoint", "multilinestring", "multipolygon", "geometrycollection":
		return true
	}
	return false
}

// literal gives a primary key column as text that SQL reads back as the same
// value, so that it can stand in a later statement.
func literal(c *apply.ColumnInfo) string {
	n := quote(c.Name)
	switch {
	case c.Charset != "" && c.Type != "enum" && c.Type != "set":
		return "CONCAT('_" + c.Charset + " X''',HEX(" + n + "),'''')"
	case c.Type == "enum" || c.Type == "set" || c.Type == "bit":
		return "CAST(" + n + "+0 AS CHAR)"
	case bytesOnly(c):
		return "CONCAT('X''',HEX(" + n + "),'''')"
	}
	return "QUOTE(" + n + ")"
}

// scan reads on where the last one ended, and gives the primary keys that
// differ: of all rows that are left, or until there are enough.
func (c *comparison) scan(ctx context.Context) ([][]string, error) {
	var open [][]string
	for !c.over && (c.Enough == 0 || len(open) < c.Enough) {
		a, last, err := c.read(ctx, c.A, c.after(c.from), chunkRows)
		if err != nil {
			return nil, err
		}
		b, full, err := c.read(ctx, c.B, c.after(c.from)+c.until(last), 2*chunkRows)
		if err != nil {
			return nil, err
		}
		if full != nil {
			// B has many more rows here than A: the chunk ends where they were cut.
			last = full
			if a, _, err = c.read(ctx, c.A, c.after(c.from)+c.until(last), 0); err != nil {
				return nil, err
			}
		}
		n, diff := unlike(a, b)
		c.rows += n
		c.note(a)
		c.note(b)
		open = append(open, diff...)
		c.from, c.over = last, last == nil
	}
	return open, nil
}

// note counts the rows whose key has a form that no proxy lets through.
func (c *comparison) note(rows map[string]row) {
	var odd []string
	for _, r := range rows {
		if r.odd {
			c.oddRows++
			odd = append(odd, shown(r.pk))
		}
	}
	slices.SortFunc(odd, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, pk := range odd {
		if len(c.odd) < firstLimit && !slices.Contains(c.odd, pk) {
			c.odd = append(c.odd, pk)
		}
	}
}

// until is the condition for rows up to a primary key, nil for all.
func (c *comparison) until(last []string) string {
	if last == nil {
		return ""
	}
	return " AND NOT (" + c.after(last) + ")"
}

// after is the condition for rows beyond a primary key.
func (c *comparison) after(pk []string) string {
	if pk == nil {
		return "TRUE"
	}
	var any []string
	for i := range c.pk {
		var all []string
		for k := range i {
			all = append(all, c.pk[k]+"="+pk[k])
		}
		all = append(all, c.pk[i]+">"+pk[i])
		any = append(any, "("+strings.Join(all, " AND ")+")")
	}
	return "(" + strings.Join(any, " OR ") + ")"
}

// shownLimit is how much of one value is shown.
const shownLimit = 60

// shown is a primary key for people, and text in it as text.
func shown(pk []string) string {
	parts := make([]string, len(pk))
	for i, v := range pk {
		if digits, ok := strings.CutPrefix(v, "_utf8mb4 X'"); ok {
			if raw, err := hex.DecodeString(strings.TrimSuffix(digits, "'")); err == nil {
				v = apply.Quote(string(raw))
			}
		}
		if r := []rune(v); len(r) > shownLimit {
			v = string(r[:shownLimit]) + "…"
		}
		parts[i] = v
	}
	return strings.Join(parts, ",")
}

func (c *comparison) is(pk []string) string {
	var all []string
	for i := range c.pk {
		all = append(all, c.pk[i]+"="+pk[i])
	}
	return "(" + strings.Join(all, " AND ") + ")"
}

// read gives the picked rows of a side; last is the last row's primary key when
// the limit was met, picked or not.
func (c *comparison) read(ctx context.Context, s Side, where string, limit int) (map[string]row, []string, error) {
	q := "SELECT " + c.digest + "," + c.key + "," + strings.Join(c.show, ",") + " FROM " + quote(s.Schema) + "." + quote(c.Name) +
		" WHERE " + c.where + " AND " + where + " ORDER BY " + strings.Join(c.pk, ",")
	if limit > 0 {
		q += fmt.Sprintf(" LIMIT %d", limit)
	}
	rows, err := s.DB.QueryContext(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	out := map[string]row{}
	var last []string
	n := 0
	for rows.Next() {
		r := row{pk: make([]string, len(c.pk))}
		into := []any{&r.digest, &r.key}
		for i := range r.pk {
			into = append(into, &r.pk[i])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, nil, err
		}
		n++
		last = r.pk
		if r.key != "" {
			text, ok := c.column.Stored([]byte(r.key))
			r.key, r.odd = text, !ok
		}
		if c.Pick == nil || r.key != "" && !r.odd && c.Pick(r.key) {
			out[strings.Join(r.pk, "\x00")] = r
		}
	}
	if limit == 0 || n < limit {
		last = nil
	}
	return out, last, rows.Err()
}

// unlike counts the rows of both sides and lists those that differ, in an order
// that is good for people.
func unlike(a, b map[string]row) (n int64, diff [][]string) {
	for id, r := range a {
		n++
		if b[id].digest != r.digest {
			diff = append(diff, r.pk)
		}
	}
	for id, r := range b {
		if _, both := a[id]; !both {
			n++
			diff = append(diff, r.pk)
		}
	}
	slices.SortFunc(diff, func(a, b []string) int {
		return slices.CompareFunc(a, b, func(x, y string) int { return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) })
	})
	return n, diff
}

// again reads rows that differed once more and gives those that still do.
func (c *comparison) again(ctx context.Context, open [][]string) ([][]string, error) {
	var still [][]string
	for part := range slices.Chunk(open, 500) {
		var any []string
		for _, pk := range part {
			any = append(any, c.is(pk))
		}
		where := "(" + strings.Join(any, " OR ") + ")"
		a, _, err := c.read(ctx, c.A, where, 0)
		if err != nil {
			return nil, err
		}
		b, _, err := c.read(ctx, c.B, where, 0)
		if err != nil {
			return nil, err
		}
		_, diff := unlike(a, b)
		still = append(still, diff...)
	}
	return still, nil
}
