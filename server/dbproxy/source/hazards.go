package source

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/space"
)

// hazards collects what the server would do beside a statement: triggers,
// cascades, views, and engines that cannot roll back. The proof sees only the
// text, so tables that have such a thing are not written through the proxy.
type hazards struct {
	*Source
	listed map[string]prove.Table
	synced map[string]bool   // names of unit and center-unit tables, lower case
	where  string            // the databases that statements can reach; {} stands for the column
	files  map[string]string // names in InnoDB's dictionary → database and table
	found  map[string]prove.Hazard
}

// Hazards reads what the server does by itself with the tables of a Database
// document.
func (s *Source) Hazards(ctx context.Context, d *space.Database) (map[string]prove.Hazard, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	all := &Tables{Listed: map[string]prove.Table{}}
	for _, t := range d.Spec.Tables {
		all.Listed[t.Name] = prove.Table{Kind: t.Kind}
	}
	return s.hazards(ctx, d, all)
}

func (s *Source) hazards(ctx context.Context, d *space.Database, all *Tables) (map[string]prove.Hazard, error) {
	h := &hazards{Source: s, listed: all.Listed, synced: map[string]bool{}, files: map[string]string{}, found: map[string]prove.Hazard{}}
	for _, t := range d.Spec.Tables {
		if t.Kind == space.TableUnit || t.Kind == space.TableCenterUnit {
			h.synced[strings.ToLower(t.Name)] = true
		}
	}
	h.where = "{} = '" + strings.ReplaceAll(strings.ReplaceAll(s.Database, `\`, `\\`), "'", "''") + "'"
	if d.Spec.DefaultKind == space.TableLocal {
		h.where = "{} NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys', 'atoll')"
	}
	for _, read := range []func(context.Context) error{h.readTables, h.readViews, h.readTriggers} {
		if err := read(ctx); err != nil {
			return nil, fmt.Errorf("read what the server does by itself in %s: %w", s.Database, err)
		}
	}
	err := h.readCascades(ctx)
	var refused *driver.MySQLError
	switch {
	case errors.As(err, &refused):
		all.Trouble = append(all.Trouble, fmt.Sprintf("foreign keys are not looked at: %v (grant PROCESS to the account of the source)", err))
	case err != nil:
		return nil, fmt.Errorf("read the foreign keys: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(all.Listed)) {
		if z, ok := h.found[prove.Qualified(s.Database, name)]; ok {
			all.Trouble = append(all.Trouble, "writes of table "+name+" are refused: "+z.What+" ("+z.Mend+")")
		}
	}
	return h.found, nil
}

// add keeps the first hazard of a table, and what any of them says of reads.
func (h *hazards) add(table string, z prove.Hazard) {
	if old, ok := h.found[table]; ok {
		old.Reads = old.Reads || z.Reads
		z = old
	}
	h.found[table] = z
}

// kind is the kind of a listed table, "" when it is not listed.
func (h *hazards) kind(database, table string) space.TableKind {
	if database != h.Database {
		return ""
	}
	return h.listed[table].Kind
}

// each asks a view of information_schema about the databases in reach.
func (h *hazards) each(ctx context.Context, query, column string, row func(*sql.Rows) error) error {
	rows, err := h.control.QueryContext(ctx, query+" WHERE "+strings.ReplaceAll(h.where, "{}", column))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (h *hazards) readTables(ctx context.Context) error {
	return h.each(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE = 'VIEW', IFNULL(ENGINE, ''),
		CONCAT(CAST(CONVERT(TABLE_SCHEMA USING filename) AS BINARY), '/', CAST(CONVERT(TABLE_NAME USING filename) AS BINARY))
		FROM information_schema.TABLES`, "TABLE_SCHEMA", func(rows *sql.Rows) error {
		var database, table, engine, file string
		var view bool
		if err := rows.Scan(&database, &table, &view, &engine, &file); err != nil {
			return err
		}
		name := prove.Qualified(database, table)
		h.files[file] = name
		if !view && engine != "InnoDB" && h.kind(database, table) == space.TableUnit {
			h.add(name, prove.Hazard{Rule: "engine", What: "table " + table + " is of engine " + engine + ", which cannot roll back",
				Mend: "ALTER TABLE … ENGINE=InnoDB on each unit's server"})
		}
		return nil
	})
}

func (h *hazards) readViews(ctx context.Context) error {
	return h.each(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, IFNULL(VIEW_DEFINITION, '') FROM information_schema.VIEWS", "TABLE_SCHEMA", func(rows *sql.Rows) error {
		var database, view, text string
		if err := rows.Scan(&database, &view, &text); err != nil {
			return err
		}
		h.add(prove.Qualified(database, view), prove.Hazard{
			Rule: "view", What: view + " is a view, behind which no proof sees the rows", Mend: "name the tables themselves",
			Reads: text == "" || prove.Calls(text), // without the right to see it, it may call anything
		})
		return nil
	})
}

// readTriggers finds the triggers of unit tables, whatever they do, since they
// can set the key; and those of other tables that may write synced ones.
func (h *hazards) readTriggers(ctx context.Context) error {
	names := func(word string) bool { return h.synced[strings.ToLower(word)] }
	return h.each(ctx, "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS",
		"EVENT_OBJECT_SCHEMA", func(rows *sql.Rows) error {
			var database, table, trigger, body string
			if err := rows.Scan(&database, &table, &trigger, &body); err != nil {
				return err
			}
			if h.kind(database, table) == space.TableUnit || prove.Touches(body, names) {
				h.add(prove.Qualified(database, table), prove.Hazard{
					Rule: "trigger", What: "trigger " + trigger + " of table " + table + " may write rows that no proof sees",
					Mend: "drop it on each unit's server, and do its work in the application",
				})
			}
			return nil
		})
}

// readCascades finds the tables whose changes change rows of synced tables by
// foreign keys, over other tables too. It asks InnoDB's dictionary: the
// standard view opens every table of the server.
func (h *hazards) readCascades(ctx context.Context) error {
	const effects = 1 | 2 | 4 | 8 // ON DELETE and ON UPDATE, CASCADE and SET NULL
	rows, err := h.control.QueryContext(ctx, "SELECT CAST(FOR_NAME AS BINARY), CAST(REF_NAME AS BINARY) FROM information_schema.INNODB_SYS_FOREIGN WHERE TYPE & ? <> 0", effects)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var cascades [][2]string // child, parent
	for rows.Next() {
		var child, parent string
		if err := rows.Scan(&child, &parent); err != nil {
			return err
		}
		if child, parent = h.files[child], h.files[parent]; child != "" && parent != "" {
			cascades = append(cascades, [2]string{child, parent})
		}
	}
	h.follow(cascades)
	return rows.Err()
}

// follow goes from the synced tables to all whose changes reach them.
func (h *hazards) follow(cascades [][2]string) {
	reaches := map[string]bool{}
	for table := range h.listed {
		reaches[prove.Qualified(h.Database, table)] = h.synced[strings.ToLower(table)]
	}
	for again := true; again; {
		again = false
		for _, c := range cascades {
			child, parent := c[0], c[1]
			if !reaches[child] {
				continue
			}
			again = again || !reaches[parent]
			reaches[parent] = true
			h.add(parent, prove.Hazard{
				Rule: "cascade", What: "a foreign key of " + child + " changes rows of it that no proof sees when rows of " + parent + " change",
				Mend: "make the foreign key RESTRICT on each unit's server",
			})
		}
	}
}
