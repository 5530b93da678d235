package source

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/space"
)

// Tables are what a proof depends on, as the server has it.
type Tables struct {
	Listed  map[string]prove.Table  // by name: types of key columns, unique indexes
	Hazards map[string]prove.Hazard // by database and name
	Trouble []string                // for the operator
}

// Same says whether a proof would find no difference.
func (t *Tables) Same(o *Tables) bool {
	return maps.Equal(t.Listed, o.Listed) && maps.Equal(t.Hazards, o.Hazards)
}

// Tables reads the tables of a Database document. Trouble names listed tables
// and key columns that the server does not have, of which nothing is proven
// until they are there, and tables that must not be written.
func (s *Source) Tables(ctx context.Context, d *space.Database, center bool) (*Tables, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	if err := s.checkLexing(ctx); err != nil {
		return nil, err
	}
	columns, err := s.readColumns(ctx)
	if err != nil {
		return nil, err
	}
	uniques, err := s.readUniques(ctx)
	if err != nil {
		return nil, err
	}
	all := &Tables{Listed: map[string]prove.Table{}}
	for i := range d.Spec.Tables {
		t := &d.Spec.Tables[i]
		found, ok := columns[t.Name]
		if !ok && (center || t.Kind != space.TableCenter) { // a center table is in the center only
			all.Trouble = append(all.Trouble, fmt.Sprintf("table %s is not in %s", t.Name, s.Database))
		}
		p, trouble := listed(t, found, uniques[t.Name])
		all.Listed[t.Name] = p
		all.Trouble = append(all.Trouble, trouble...)
	}
	if all.Hazards, err = s.hazards(ctx, d, all); err != nil {
		return nil, err
	}
	return all, nil
}

// listed is one table as the prover knows it.
func listed(t *space.Table, columns map[string]prove.Column, uniques map[string]map[string]bool) (prove.Table, []string) {
	p := prove.Table{Kind: t.Kind, ReadsOwner: t.Reads == space.ReadsOwner}
	if t.Kind != space.TableUnit {
		return p, nil
	}
	key, ok := columns[strings.ToLower(t.Key)]
	if p.Key = key; !ok {
		p.Key = prove.Column{Name: t.Key}
	}
	p.UniquesHoldKey = ok
	for _, index := range uniques {
		p.UniquesHoldKey = p.UniquesHoldKey && index[strings.ToLower(t.Key)]
	}
	switch unfit := p.Key.Unfit(); {
	case columns != nil && !ok:
		return p, []string{fmt.Sprintf("table %s has no column %s", t.Name, t.Key)}
	case ok && unfit != nil:
		return p, []string{fmt.Sprintf("column %s of table %s %s (%s)", t.Key, t.Name, unfit.What, unfit.Mend)}
	}
	return p, nil
}

// checkLexing refuses a server that reads texts and names in another way than
// the prover.
func (s *Source) checkLexing(ctx context.Context) error {
	var mode string
	var lower int
	if err := s.control.QueryRowContext(ctx, "SELECT @@GLOBAL.sql_mode, @@GLOBAL.lower_case_table_names").Scan(&mode, &lower); err != nil {
		return fmt.Errorf("read the settings of %s: %w", s.Addr, err)
	}
	if lower != 0 {
		return fmt.Errorf("server %s has lower_case_table_names = %d, want 0", s.Addr, lower)
	}
	if r := prove.SQLMode(mode); r != nil {
		return fmt.Errorf("server %s: %w", s.Addr, r)
	}
	return nil
}

// readColumns gives the columns of all tables, by table and lower-case name.
func (s *Source) readColumns(ctx context.Context) (map[string]map[string]prove.Column, error) {
	rows, err := s.control.QueryContext(ctx, `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE,
		COALESCE(CHARACTER_MAXIMUM_LENGTH, 0), COALESCE(COLLATION_NAME, ''), EXTRA
		FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ?`, s.Database)
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", s.Database, err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]map[string]prove.Column{}
	for rows.Next() {
		var table, kind, full, extra string
		var c prove.Column
		if err := rows.Scan(&table, &c.Name, &kind, &full, &c.Length, &c.Collation, &extra); err != nil {
			return nil, fmt.Errorf("read the columns of %s: %w", s.Database, err)
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
func (s *Source) readUniques(ctx context.Context) (map[string]map[string]map[string]bool, error) {
	rows, err := s.control.QueryContext(ctx, `SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART IS NULL
		FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = ?`, s.Database)
	if err != nil {
		return nil, fmt.Errorf("read the indexes of %s: %w", s.Database, err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]map[string]map[string]bool{}
	for rows.Next() {
		var table, index, column string
		var whole bool
		if err := rows.Scan(&table, &index, &column, &whole); err != nil {
			return nil, fmt.Errorf("read the indexes of %s: %w", s.Database, err)
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
