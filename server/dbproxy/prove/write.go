package prove

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// insert proves INSERT and REPLACE: every row of a unit table gives its key
// as a constant, and no row of another key can be hit.
func (a *analyzer) insert(n *ast.InsertStmt) {
	r := a.target(n.Table)
	if r == nil {
		return
	}
	s := &scope{}
	if n.Select != nil {
		a.query(n.Select, nil)
	}
	for _, row := range n.Lists {
		for _, e := range row {
			a.visit(e, s)
		}
	}
	for _, d := range n.OnDuplicate {
		a.visit(d.Expr, s)
	}
	if r.unit != nil {
		a.insertUnit(n, r)
	}
}

// target is the one table that an INSERT or LOAD DATA writes.
func (a *analyzer) target(from *ast.TableRefsClause) *ref {
	if from != nil && from.TableRefs != nil && from.TableRefs.Right == nil {
		if ts, ok := from.TableRefs.Left.(*ast.TableSource); ok {
			if t, ok := ts.Source.(*ast.TableName); ok {
				r := a.named(t)
				a.writes(r)
				return r
			}
		}
	}
	a.refuse(unprovable("target", "the written table cannot be found", "name one table"))
	return nil
}

func (a *analyzer) insertUnit(n *ast.InsertStmt, r *ref) {
	if n.Select != nil {
		a.refuse(unprovable("INSERT SELECT", "the keys of the rows inserted into table "+r.table+" come from a query",
			"read the rows and insert them as constants"))
		return
	}
	if (n.IsReplace || len(n.OnDuplicate) > 0) && !r.unit.UniquesHoldKey {
		a.refuse(unprovable("unique index without key",
			"REPLACE and ON DUPLICATE KEY UPDATE could change a row of another key: a unique index of table "+r.table+" does not hold "+r.column.column.Name,
			"add the key to every unique index, or use INSERT and UPDATE"))
		return
	}
	a.keepsKey(n.OnDuplicate, []*ref{r})
	at := keyPosition(n.Columns, r.column)
	if at < 0 {
		a.refuse(unprovable("no key", "the column list of the INSERT does not hold "+r.column.name()+" once", "name the columns, and the key among them"))
		return
	}
	if len(n.Lists) == 0 {
		a.refuse(unprovable("no key", "the INSERT into table "+r.table+" has no rows", "give rows of constants"))
		return
	}
	for _, row := range n.Lists {
		if len(row) != len(n.Columns) {
			a.refuse(unprovable("no key", "a row of the INSERT into table "+r.table+" has not one value for each column", "give all values"))
			return
		}
		s, why := a.source(row[at], r.column, place{inserted: true})
		if why != nil {
			a.refuse(why)
			return
		}
		r.sources = append(r.sources, s)
	}
	r.proven = true
}

// keyPosition is where the key stands in a column list, or -1 when it is not
// there, or not once.
func keyPosition(columns []*ast.ColumnName, k *keyed) int {
	at := -1
	for i, c := range columns {
		if !isKey(c.Name.O, k) {
			continue
		}
		if at >= 0 {
			return -1
		}
		at = i
	}
	return at
}

// keepsKey refuses assignments that would give a row another key.
func (a *analyzer) keepsKey(list []*ast.Assignment, targets []*ref) {
	for _, set := range list {
		for _, r := range targets {
			if r.unit != nil && mayBeKey(set.Column.Name.O, r.column) {
				a.refuse(unprovable("key changed", "the statement sets "+r.column.name(), "delete the row and insert it again"))
			}
		}
	}
}

func (a *analyzer) update(n *ast.UpdateStmt) {
	s := &scope{}
	a.with(n.With, s)
	a.rows(n.TableRefs, n.Where, s)
	a.visit(node(n.Where), s)
	for _, set := range n.List {
		a.visit(set.Expr, s)
		targets := a.assigned(set.Column, s)
		a.keepsKey([]*ast.Assignment{set}, targets)
		for _, r := range targets {
			a.writes(r)
		}
	}
	a.order(n.Order, n.Limit, s)
	a.writesWith(n.With)
}

// assigned are the tables that an assignment may write: all, when the column
// has no qualifier and there are several.
func (a *analyzer) assigned(c *ast.ColumnName, s *scope) []*ref {
	var list []*ref
	for _, r := range s.refs {
		if r.base && (c.Table.O == "" || r.alias == c.Table.O) {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		a.refuse(unprovable("target", "the table of an assigned column cannot be found", "qualify the column as the FROM clause names its table"))
	}
	return list
}

func (a *analyzer) delete(n *ast.DeleteStmt) {
	s := &scope{}
	a.with(n.With, s)
	a.rows(n.TableRefs, n.Where, s)
	a.visit(node(n.Where), s)
	a.order(n.Order, n.Limit, s)
	a.writesWith(n.With)
	if !n.IsMultiTable {
		for _, r := range s.refs {
			a.writes(r)
		}
		return
	}
	if n.Tables == nil || len(n.Tables.Tables) == 0 {
		a.refuse(unprovable("target", "the written table cannot be found", "name one table"))
		return
	}
	for _, t := range n.Tables.Tables {
		a.deleted(t, s)
	}
}

// deleted marks the table that a multi-table DELETE names.
func (a *analyzer) deleted(t *ast.TableName, s *scope) {
	var found *ref
	for _, r := range s.refs {
		if !strings.EqualFold(r.alias, t.Name.O) {
			continue
		}
		if found != nil || r.alias != t.Name.O || !r.base || t.Schema.O != "" && t.Schema.O != r.schema {
			found = nil
			break
		}
		found = r
	}
	if found == nil {
		a.refuse(unprovable("target", "a table to delete from is not one of the FROM clause", "name it as the FROM clause does"))
		return
	}
	a.writes(found)
}

// writesWith refuses WITH before a write of unit tables: only MySQL has it.
func (a *analyzer) writesWith(w *ast.WithClause) {
	if w != nil && len(a.refs) > 0 {
		a.refuse(unprovable("WITH in a write", "the statement writes through a WITH clause", "read the rows first"))
	}
}

func (a *analyzer) loadData(n *ast.LoadDataStmt) {
	r := a.named(n.Table)
	a.writes(r)
	a.plan.Class = Write
	a.plan.LocalInfile = n.FileLocRef == ast.FileLocClient
	for _, set := range n.ColumnAssignments {
		a.visit(set.Expr, &scope{})
	}
	if r.unit != nil {
		a.refuse(unprovable("LOAD DATA", "the keys of the rows loaded into table "+r.table+" are in a file", "insert the rows as constants"))
	}
}

// returns proves the fields of a RETURNING clause, given as a SELECT of
// nothing but fields.
func (a *analyzer) returns(n ast.StmtNode) bool {
	q, ok := n.(*ast.SelectStmt)
	if !ok || q.Fields == nil || q.From != nil || q.Where != nil || q.GroupBy != nil || q.Having != nil || q.OrderBy != nil ||
		q.Limit != nil || q.LockInfo != nil || q.SelectIntoOpt != nil || q.With != nil || len(q.WindowSpecs) > 0 || q.Distinct {
		return false
	}
	a.visit(q.Fields, &scope{})
	return true
}
