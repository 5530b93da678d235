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

// Describe reads a table of a server.
func Describe(ctx context.Context, q Querier, schema, table string) (*Description, error) {
	d := &Description{Schema: schema, Name: table}
	for _, read := range []func(context.Context, Querier) error{d.readTable, d.readColumns, d.readKeys, d.readForeignKeys, d.readTriggers} {
		if err := read(ctx, q); err != nil {
			return nil, fmt.Errorf("describe table %s.%s: %w", schema, table, err)
		}
	}
	return d, nil
}

func (d *Description) bad(format string, args ...any) {
	d.troubles = append(d.troubles, trouble{text: fmt.Sprintf(format, args...)})
}

func (d *Description) readTable(ctx context.Context, q Querier) error {
	var kind string
	var engine sql.NullString
	err := q.QueryRowContext(ctx, "SELECT TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA=? AND TABLE_NAME=?", d.Schema, d.Name).Scan(&kind, &engine)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoTable
	}
	if err != nil {
		return err
	}
	if kind != "BASE TABLE" {
		d.bad("it is a %s (list ordinary tables only)", strings.ToLower(kind))
	} else if engine.String != "InnoDB" {
		d.bad("its engine is %s, which has no transactions (ALTER TABLE … ENGINE=InnoDB)", engine.String)
	}
	return nil
}

func (d *Description) readColumns(ctx context.Context, q Querier) error {
	return each(ctx, q, `SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IFNULL(CHARACTER_SET_NAME,''), COLUMN_DEFAULT, IS_NULLABLE='YES',
		IFNULL(GENERATION_EXPRESSION,'')<>'' FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=? AND TABLE_NAME=? ORDER BY ORDINAL_POSITION`,
		[]any{d.Schema, d.Name}, func(rows *sql.Rows) error {
			var c ColumnInfo
			if err := rows.Scan(&c.Name, &c.Type, &c.FullType, &c.Charset, &c.Default, &c.Nullable, &c.Generated); err != nil {
				return err
			}
			if strings.Contains(c.FullType, "COMPRESSED") {
				d.bad("column %s is COMPRESSED, which the binary log shows in no readable form (drop the attribute)", c.Name)
			}
			d.Columns = append(d.Columns, c)
			return nil
		})
}

func (d *Description) readKeys(ctx context.Context, q Querier) error {
	err := each(ctx, q, `SELECT INDEX_NAME, IFNULL(COLUMN_NAME,''), SUB_PART IS NOT NULL FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA=? AND TABLE_NAME=? AND NON_UNIQUE=0 ORDER BY INDEX_NAME, SEQ_IN_INDEX`,
		[]any{d.Schema, d.Name}, func(rows *sql.Rows) error {
			var index, column string
			var prefix bool
			if err := rows.Scan(&index, &column, &prefix); err != nil {
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
	if err == nil && len(d.Key) == 0 {
		d.bad("it has no primary key (ALTER TABLE … ADD PRIMARY KEY)")
	}
	for _, k := range d.Key {
		if c := d.Column(k); c != nil && c.Generated {
			d.bad("column %s of its primary key is generated (use a stored value)", k)
		}
	}
	return err
}

func (d *Description) readForeignKeys(ctx context.Context, q Querier) error {
	return each(ctx, q, `SELECT CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS
		WHERE (CONSTRAINT_SCHEMA=? AND TABLE_NAME=?) OR (UNIQUE_CONSTRAINT_SCHEMA=? AND REFERENCED_TABLE_NAME=?)`,
		[]any{d.Schema, d.Name, d.Schema, d.Name}, func(rows *sql.Rows) error {
			var name, onUpdate, onDelete string
			if err := rows.Scan(&name, &onUpdate, &onDelete); err != nil {
				return err
			}
			d.References = true
			for _, rule := range []string{onUpdate, onDelete} {
				if rule == "CASCADE" || rule == "SET NULL" || rule == "SET DEFAULT" {
					d.bad("foreign key %s does %s, whose effect is not in the binary log (make it RESTRICT)", name, rule)
					break
				}
			}
			return nil
		})
}

func (d *Description) readTriggers(ctx context.Context, q Querier) error {
	return each(ctx, q, "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA=? AND EVENT_OBJECT_TABLE=?",
		[]any{d.Schema, d.Name}, func(rows *sql.Rows) error {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			d.troubles = append(d.troubles, trouble{targetOnly: true, text: fmt.Sprintf(
				"trigger %s would fire again on rows that already hold its effect (drop it here, or do its work in the application)", name)})
			return nil
		})
}

func each(ctx context.Context, q Querier, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
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
	if key != "" && d.Column(key) == nil {
		out = append(out, fmt.Sprintf("table %s.%s: it has no column %s, which the Database names as its key (add it, or mend the Database)", d.Schema, d.Name, key))
	}
	return out
}

// CheckSource says what keeps a server's binary log from being carried, each
// with the variable and its mend.
func CheckSource(ctx context.Context, q Querier) ([]string, error) {
	want := map[string]string{"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}
	var out []string
	found := 0
	err := each(ctx, q, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin','binlog_format','binlog_row_image','binlog_row_metadata')", nil, func(rows *sql.Rows) error {
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
	err := each(ctx, q, "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL", nil, c.scan)
	if err != nil {
		return nil, fmt.Errorf("read collations: %w", err)
	}
	// Collations that serve several charsets are listed here only, from 10.10 on.
	_ = each(ctx, q, "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL", nil, c.scan)
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
