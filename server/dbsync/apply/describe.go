package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Querier is a pool or one connection.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Description is a table as a server has it now.
type Description struct {
	Schema, Name string
	Columns      []ColumnInfo
	Key          []string // primary key columns, in its order
	OtherUnique  bool     // it has a unique key beside the primary key
	References   bool     // a foreign key stands on it or points to it
	troubles     []trouble
}

// ColumnInfo is one column of a Description.
type ColumnInfo struct {
	Name      string
	Type      string // "bigint", "enum"
	FullType  string // "bigint(20) unsigned", "enum('a','b')"
	Charset   string // "" when it holds no characters
	Collation string // likewise
	Length    int    // of characters or bytes, 0 when it holds none
	Default   sql.NullString
	Nullable  bool
	Generated bool
}

// trouble is something about a table that a lane cannot live with.
type trouble struct {
	text       string
	targetOnly bool
}

// ErrNoTable is the answer when a server has no such table.
var ErrNoTable = errors.New("no such table")

// Describe reads a table of a server; ErrNoTable when there is none.
func Describe(ctx context.Context, q Querier, schema, table string) (*Description, error) {
	all, err := DescribeAll(ctx, q, schema, []string{table})
	if err != nil {
		return nil, err
	}
	if all[table] == nil {
		return nil, fmt.Errorf("describe table %s.%s: %w", schema, table, ErrNoTable)
	}
	return all[table], nil
}

// DescribeAll reads some tables of one schema, in as many round trips as one
// takes. A table that is not there is not in the answer.
func DescribeAll(ctx context.Context, q Querier, schema string, tables []string) (map[string]*Description, error) {
	r := &describer{schema: schema, found: map[string]*Description{}}
	for _, t := range tables {
		r.in = append(r.in, quoted(t))
	}
	if len(tables) == 0 {
		return r.found, nil
	}
	for _, read := range []func(context.Context, Querier) error{r.readTables, r.readColumns, r.readKeys, r.readForeignKeys, r.readTriggers} {
		if err := read(ctx, q); err != nil {
			return nil, fmt.Errorf("describe tables of %s: %w", schema, err)
		}
	}
	for _, d := range r.found {
		d.checkKey()
	}
	return r.found, nil
}

// describer reads several tables at a time.
type describer struct {
	schema string
	in     []string // names as literals
	found  map[string]*Description
}

// scanner reads a row whose first column is the table's name.
type scanner func(into ...any) (*Description, error)

// rows asks a view of information_schema about the tables.
func (r *describer) rows(ctx context.Context, q Querier, query string, row func(scan scanner) error) error {
	query = strings.NewReplacer("{schema}", quoted(r.schema), "{tables}", strings.Join(r.in, ",")).Replace(query)
	return each(ctx, q, query, func(rows *sql.Rows) error {
		return row(func(into ...any) (*Description, error) {
			var name string
			if err := rows.Scan(append([]any{&name}, into...)...); err != nil {
				return nil, err
			}
			if r.found[name] == nil {
				return new(Description), nil // it came between two questions
			}
			return r.found[name], nil
		})
	})
}

func (d *Description) bad(format string, args ...any) {
	d.troubles = append(d.troubles, trouble{text: fmt.Sprintf(format, args...)})
}

func (r *describer) readTables(ctx context.Context, q Querier) error {
	return each(ctx, q, "SELECT TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE,'') FROM information_schema.TABLES WHERE TABLE_SCHEMA="+quoted(r.schema)+" AND TABLE_NAME IN ("+strings.Join(r.in, ",")+")", func(rows *sql.Rows) error {
		d := &Description{Schema: r.schema}
		var kind, engine string
		if err := rows.Scan(&d.Name, &kind, &engine); err != nil {
			return err
		}
		r.found[d.Name] = d
		if kind != "BASE TABLE" {
			d.bad("it is a %s (list ordinary tables only)", strings.ToLower(kind))
		} else if engine != "InnoDB" {
			d.bad("its engine is %s, which has no transactions (ALTER TABLE … ENGINE=InnoDB)", engine)
		}
		return nil
	})
}

func (r *describer) readColumns(ctx context.Context, q Querier) error {
	return r.rows(ctx, q, `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IFNULL(CHARACTER_SET_NAME,''), IFNULL(COLLATION_NAME,''),
		IFNULL(CHARACTER_MAXIMUM_LENGTH,0), COLUMN_DEFAULT, IS_NULLABLE='YES', IFNULL(GENERATION_EXPRESSION,'')<>''
		FROM information_schema.COLUMNS WHERE TABLE_SCHEMA={schema} AND TABLE_NAME IN ({tables}) ORDER BY TABLE_NAME, ORDINAL_POSITION`,
		func(scan scanner) error {
			var c ColumnInfo
			d, err := scan(&c.Name, &c.Type, &c.FullType, &c.Charset, &c.Collation, &c.Length, &c.Default, &c.Nullable, &c.Generated)
			if err != nil {
				return err
			}
			if strings.Contains(c.FullType, "COMPRESSED") {
				d.bad("column %s is COMPRESSED, which the binary log shows in no readable form (drop the attribute)", c.Name)
			}
			d.Columns = append(d.Columns, c)
			return nil
		})
}

func (r *describer) readKeys(ctx context.Context, q Querier) error {
	return r.rows(ctx, q, `SELECT TABLE_NAME, INDEX_NAME, IFNULL(COLUMN_NAME,''), SUB_PART IS NOT NULL FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA={schema} AND TABLE_NAME IN ({tables}) AND NON_UNIQUE=0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`,
		func(scan scanner) error {
			var index, column string
			var prefix bool
			d, err := scan(&index, &column, &prefix)
			if err != nil {
				return err
			}
			switch {
			case index != "PRIMARY":
				d.OtherUnique = true
			case prefix:
				d.bad("its primary key holds only the start of column %s (make the key whole)", column)
			default:
				d.Key = append(d.Key, column)
			}
			return nil
		})
}

func (d *Description) checkKey() {
	if len(d.Key) == 0 {
		d.bad("it has no primary key (ALTER TABLE … ADD PRIMARY KEY)")
	}
	for _, k := range d.Key {
		if c := d.Column(k); c != nil && c.Generated {
			d.bad("column %s of its primary key is generated (use a stored value)", k)
		}
	}
}

// Bits of a foreign key's type in InnoDB's own view of it.
const foreignEffects = 1 | 2 | 4 | 8 // ON DELETE and ON UPDATE, CASCADE and SET NULL

// readForeignKeys asks InnoDB's dictionary. The standard view opens every
// table of the server for this question, and has been seen to crash MariaDB
// 10.11 while others did the same.
func (r *describer) readForeignKeys(ctx context.Context, q Querier) error {
	for _, end := range []string{"FOR_NAME", "REF_NAME"} {
		var names []string
		for _, t := range r.in {
			names = append(names, "SELECT "+t+" AS tbl, CONCAT(CAST(CONVERT("+quoted(r.schema)+" USING filename) AS BINARY),'/',CAST(CONVERT("+t+" USING filename) AS BINARY)) AS file")
		}
		err := r.rows(ctx, q, "SELECT t.tbl, f.ID, f.TYPE FROM information_schema.INNODB_SYS_FOREIGN f JOIN ("+strings.Join(names, " UNION ALL ")+") t ON CAST(f."+end+" AS BINARY)=t.file",
			func(scan scanner) error {
				var id string
				var kind int64
				d, err := scan(&id, &kind)
				if err != nil {
					return err
				}
				d.References = true
				if kind&foreignEffects != 0 {
					d.bad("foreign key %s changes rows of another table, which the binary log does not show (make it RESTRICT)", id)
				}
				return nil
			})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *describer) readTriggers(ctx context.Context, q Querier) error {
	return r.rows(ctx, q, "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA={schema} AND EVENT_OBJECT_TABLE IN ({tables})",
		func(scan scanner) error {
			var name string
			d, err := scan(&name)
			if err != nil {
				return err
			}
			d.troubles = append(d.troubles, trouble{targetOnly: true, text: fmt.Sprintf(
				"trigger %s would fire again on rows that already hold its effect (drop it here, or do its work in the application)", name)})
			return nil
		})
}

func each(ctx context.Context, q Querier, query string, row func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Column is the column of a name, nil when there is none.
func (d *Description) Column(name string) *ColumnInfo {
	if i := slices.IndexFunc(d.Columns, func(c ColumnInfo) bool { return strings.EqualFold(c.Name, name) }); i >= 0 {
		return &d.Columns[i]
	}
	return nil
}

// Troubles says what keeps the table from being synced, each with its mend.
// Key is the sharding key column, "" when it needs none.
func (d *Description) Troubles(key string, target bool) []string {
	var out []string
	for _, t := range d.troubles {
		if target || !t.targetOnly {
			out = append(out, fmt.Sprintf("table %s.%s: %s", d.Schema, d.Name, t.text))
		}
	}
	if key == "" {
		return out
	}
	c, ok := d.KeyColumn(key)
	if !ok {
		return append(out, fmt.Sprintf("table %s.%s: it has no column %s, which the Database names as its key (add it, or mend the Database)", d.Schema, d.Name, key))
	}
	if u := c.Unfit(); u != nil {
		out = append(out, fmt.Sprintf("table %s.%s: its key %s is a %s and %s (%s)", d.Schema, d.Name, key, d.Column(key).FullType, u.What, u.Mend))
	}
	return out
}

// CheckSource says what keeps a server's binary log from being carried, each
// with the variable and its mend.
func CheckSource(ctx context.Context, q Querier) ([]string, error) {
	want := map[string]string{"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}
	var out []string
	found := 0
	err := each(ctx, q, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin','binlog_format','binlog_row_image','binlog_row_metadata')", func(rows *sql.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		found++
		if value != want[name] {
			out = append(out, fmt.Sprintf("%s is %s at the source (set it to %s there, also in its configuration file)", name, value, want[name]))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read variables of the source: %w", err)
	}
	if found < len(want) {
		out = append(out, "the source is older than MariaDB 10.5: it has no binlog_row_metadata (upgrade it)")
	}
	slices.Sort(out)
	return out, nil
}

// LoadCharsets reads which charset each collation of a server belongs to.
func LoadCharsets(ctx context.Context, q Querier) (Charsets, error) {
	c := Charsets{}
	err := each(ctx, q, "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL", c.scan)
	if err != nil {
		return nil, fmt.Errorf("read collations: %w", err)
	}
	// Collations that serve several charsets are listed here only, from 10.10 on.
	_ = each(ctx, q, "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL", c.scan)
	return c, nil
}

func (c Charsets) scan(rows *sql.Rows) error {
	var id uint64
	var charset string
	if err := rows.Scan(&id, &charset); err != nil {
		return err
	}
	c[id] = charset
	return nil
}
