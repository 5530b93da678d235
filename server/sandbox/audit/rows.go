package audit

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/pause"
)

// Difference is one row that the sides do not agree on.
type Difference struct {
	Table string `json:"table"`
	Row   string `json:"row"` // primary key, for people
	What  string `json:"what"`
}

// tableRows are the rows of one table by primary key, each as one string in
// which every column's exact bytes stand.
type tableRows map[string]string

// Rows compares every row and column of the tables on all sides. Rows that
// differ are read again until they agree or until the patience ends, since a
// lane may still carry what changed during the first reading.
func Rows(ctx context.Context, sides []Side, tables []string, patience time.Duration) (compared int, different []Difference, err error) {
	for _, table := range tables {
		n, d, err := compareTable(ctx, sides, table, patience)
		if err != nil {
			return compared, different, err
		}
		compared += n
		different = append(different, d...)
	}
	return compared, different, nil
}

func compareTable(ctx context.Context, sides []Side, table string, patience time.Duration) (int, []Difference, error) {
	pk, err := primaryKey(ctx, sides[0].DB, table)
	if err != nil {
		return 0, nil, err
	}
	var all []tableRows
	for _, s := range sides {
		rows, err := readRows(ctx, s.DB, table, pk, nil)
		if err != nil {
			return 0, nil, fmt.Errorf("read %s of %s: %w", table, s.Unit, err)
		}
		all = append(all, rows)
	}
	keys := union(all)
	suspects := differing(all, keys)
	for limit := time.Now().Add(patience); len(suspects) > 0 && time.Now().Before(limit); {
		pause.For(ctx, 100*time.Millisecond)
		for i, s := range sides {
			again, err := readRows(ctx, s.DB, table, pk, suspects)
			if err != nil {
				return 0, nil, fmt.Errorf("read %s of %s again: %w", table, s.Unit, err)
			}
			all[i] = again
		}
		suspects = differing(all, suspects)
	}
	var out []Difference
	for _, key := range suspects {
		out = append(out, Difference{Table: table, Row: strings.Join(decodeKey(key), ","), What: describe(sides, all, key)})
	}
	return len(keys), out, nil
}

func describe(sides []Side, all []tableRows, key string) string {
	var absent []string
	for i, s := range sides {
		if _, ok := all[i][key]; !ok {
			absent = append(absent, s.Unit)
		}
	}
	if len(absent) > 0 {
		return "absent in " + strings.Join(absent, ", ")
	}
	return "columns differ"
}

func union(all []tableRows) []string {
	keys := map[string]struct{}{}
	for _, rows := range all {
		for k := range rows {
			keys[k] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

func differing(all []tableRows, keys []string) []string {
	var out []string
	for _, k := range keys {
		first, ok := all[0][k]
		for _, rows := range all[1:] {
			row, there := rows[k]
			if there != ok || row != first {
				out = append(out, k)
				break
			}
		}
	}
	return out
}

func primaryKey(ctx context.Context, db *sql.DB, table string) ([]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT column_name FROM information_schema.key_column_usage
		WHERE table_schema = DATABASE() AND table_name = ? AND constraint_name = 'PRIMARY' ORDER BY ordinal_position`, table)
	if err != nil {
		return nil, fmt.Errorf("primary key of %s: %w", table, err)
	}
	defer func() { _ = rows.Close() }()
	var pk []string
	for rows.Next() {
		var c string
		if err := rows.Scan(&c); err != nil {
			return nil, err
		}
		pk = append(pk, c)
	}
	if len(pk) == 0 && rows.Err() == nil {
		return nil, fmt.Errorf("table %s has no primary key: its rows cannot be compared", table)
	}
	return pk, rows.Err()
}

// suspectsAtOnce bounds one reading of rows that differed.
const suspectsAtOnce = 500

// readRows reads a whole table, or the rows of the given keys.
func readRows(ctx context.Context, db *sql.DB, table string, pk, keys []string) (tableRows, error) {
	out := tableRows{}
	if keys == nil {
		return out, readInto(ctx, db, out, pk, "SELECT * FROM `"+table+"`")
	}
	for chunk := range slices.Chunk(keys, suspectsAtOnce) {
		tuple := "(" + strings.TrimSuffix(strings.Repeat("?,", len(pk)), ",") + ")"
		var args []any
		for _, k := range chunk {
			for _, v := range decodeKey(k) {
				args = append(args, v)
			}
		}
		query := "SELECT * FROM `" + table + "` WHERE (`" + strings.Join(pk, "`,`") + "`) IN (" +
			strings.TrimSuffix(strings.Repeat(tuple+",", len(chunk)), ",") + ")"
		if err := readInto(ctx, db, out, pk, query, args...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func readInto(ctx context.Context, db *sql.DB, out tableRows, pk []string, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]sql.RawBytes, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		var key, row []byte
		for i, c := range columns {
			row = appendValue(row, []byte(c))
			row = appendValue(row, values[i])
			if slices.Contains(pk, c) {
				key = appendValue(key, values[i])
			}
		}
		out[string(key)] = string(row)
	}
	return rows.Err()
}

// appendValue writes a value so that no two lists of values read alike; NULL
// is told from the empty string.
func appendValue(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}

func decodeKey(key string) []string {
	var out []string
	for b := []byte(key); len(b) > 0; {
		n, w := binary.Varint(b)
		b = b[w:]
		n = max(n, 0)
		out = append(out, string(b[:n]))
		b = b[n:]
	}
	return out
}
