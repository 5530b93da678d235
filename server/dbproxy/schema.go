package dbproxy

import (
	"context"
	"fmt"
	"strings"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/space"
)

// readTables asks the server for what a proof depends on: the types of the
// key columns and the unique indexes. Trouble names listed tables and key
// columns that the server does not have; nothing of such a table is proven
// until they are there.
func readTables(ctx context.Context, s *source, d *space.Database, center bool) (tables map[string]prove.Table, trouble []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	if err := checkLexing(ctx, s); err != nil {
		return nil, nil, err
	}
	columns, err := readColumns(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	uniques, err := readUniques(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	tables = map[string]prove.Table{}
	for _, t := range d.Spec.Tables {
		p := prove.Table{Kind: t.Kind, ReadsOwner: t.Reads == space.ReadsOwner}
		found, ok := columns[t.Name]
		if !ok && (center || t.Kind != space.TableCenter) { // a center table is in the center only
			trouble = append(trouble, fmt.Sprintf("table %s is not in %s", t.Name, s.database))
		}
		if t.Kind == space.TableUnit {
			if p.Key, ok = found[strings.ToLower(t.Key)]; !ok {
				p.Key = prove.Column{Name: t.Key}
				if found != nil {
					trouble = append(trouble, fmt.Sprintf("table %s has no column %s", t.Name, t.Key))
				}
			}
			if u := p.Key.Unfit(); ok && u != nil {
				trouble = append(trouble, fmt.Sprintf("column %s of table %s %s (%s)", t.Key, t.Name, u.What, u.Mend))
			}
			p.UniquesHoldKey = ok
			for _, index := range uniques[t.Name] {
				p.UniquesHoldKey = p.UniquesHoldKey && index[strings.ToLower(t.Key)]
			}
		}
		tables[t.Name] = p
	}
	return tables, trouble, nil
}

// checkLexing refuses a server that reads texts and names in another way than
// the prover.
func checkLexing(ctx context.Context, s *source) error {
	var mode string
	var lower int
	if err := s.control.QueryRowContext(ctx, "SELECT @@GLOBAL.sql_mode, @@GLOBAL.lower_case_table_names").Scan(&mode, &lower); err != nil {
		return fmt.Errorf("read the settings of %s: %w", s.addr, err)
	}
	if lower != 0 {
		return fmt.Errorf("server %s has lower_case_table_names = %d, want 0", s.addr, lower)
	}
	if r := prove.SQLMode(mode); r != nil {
		return fmt.Errorf("server %s: %w", s.addr, r)
	}
	return nil
}

// readColumns gives the columns of all tables, by table and lower-case name.
func readColumns(ctx context.Context, s *source) (map[string]map[string]prove.Column, error) {
	rows, err := s.control.QueryContext(ctx, `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE,
		COALESCE(CHARACTER_MAXIMUM_LENGTH, 0), COALESCE(COLLATION_NAME, ''), EXTRA
		FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ?`, s.database)
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", s.database, err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]map[string]prove.Column{}
	for rows.Next() {
		var table, kind, full, extra string
		var c prove.Column
		if err := rows.Scan(&table, &c.Name, &kind, &full, &c.Length, &c.Collation, &extra); err != nil {
			return nil, fmt.Errorf("read the columns of %s: %w", s.database, err)
		}
		c.Describe(strings.ToLower(kind), strings.ToLower(full))
		extra = strings.ToLower(extra)
		c.AutoIncrement, c.Generated = strings.Contains(extra, "auto_increment"), strings.Contains(extra, "generated")
		if all[table] == nil {
			all[table] = map[string]prove.Column{}
		}
		all[table][strings.ToLower(c.Name)] = c
	}
	return all, rows.Err()
}

// readUniques gives the unique indexes of all tables: for each the columns, in
// lower case, that it holds whole.
func readUniques(ctx context.Context, s *source) (map[string]map[string]map[string]bool, error) {
	rows, err := s.control.QueryContext(ctx, `SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART IS NULL
		FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = ?`, s.database)
	if err != nil {
		return nil, fmt.Errorf("read the indexes of %s: %w", s.database, err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]map[string]map[string]bool{}
	for rows.Next() {
		var table, index, column string
		var whole bool
		if err := rows.Scan(&table, &index, &column, &whole); err != nil {
			return nil, fmt.Errorf("read the indexes of %s: %w", s.database, err)
		}
		if all[table] == nil {
			all[table] = map[string]map[string]bool{}
		}
		if all[table][index] == nil {
			all[table][index] = map[string]bool{}
		}
		if whole {
			all[table][index][strings.ToLower(column)] = true
		}
	}
	return all, rows.Err()
}
