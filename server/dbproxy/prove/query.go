package prove

import (
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// query proves a SELECT, VALUES, TABLE, or a union of them, inside the scope
// of the query around it.
func (a *analyzer) query(n ast.Node, parent *scope) {
	switch q := n.(type) {
	case *ast.SelectStmt:
		a.selects(q, parent)
	case *ast.SetOprStmt:
		s := &scope{parent: parent}
		a.with(q.With, s)
		a.union(q.SelectList, s)
		a.order(q.OrderBy, q.Limit, s)
	case *ast.SetOprSelectList:
		a.union(q, parent)
	case *ast.SubqueryExpr:
		a.query(q.Query, parent)
	default:
		a.refuse(unprovable("query", "a part of the query is of a kind that cannot be proven", "write it as SELECT"))
	}
}

func (a *analyzer) union(list *ast.SetOprSelectList, parent *scope) {
	if list == nil {
		return
	}
	s := &scope{parent: parent}
	a.with(list.With, s)
	for _, q := range list.Selects {
		a.query(q, s)
	}
	a.order(list.OrderBy, list.Limit, s)
}

func (a *analyzer) order(by *ast.OrderByClause, limit *ast.Limit, s *scope) {
	if by != nil {
		a.visit(by, s)
	}
	if limit != nil {
		a.visit(limit, s)
	}
}

// with proves common table expressions and makes their names known. One that
// hides a listed table is refused: servers differ in where a name is seen.
func (a *analyzer) with(w *ast.WithClause, s *scope) {
	if w == nil {
		return
	}
	for _, c := range w.CTEs {
		if a.schema.names(c.Name.O) {
			a.refuse(unprovable("hidden table", "a WITH query is called like the listed table "+c.Name.O, "give it another name"))
			return
		}
		if w.IsRecursive {
			s.ctes = append(s.ctes, c.Name.O)
		}
		a.query(c.Query, s)
		if !w.IsRecursive {
			s.ctes = append(s.ctes, c.Name.O)
		}
	}
}

func (a *analyzer) selects(q *ast.SelectStmt, parent *scope) {
	s := &scope{parent: parent}
	a.with(q.With, s)
	if q.SelectIntoOpt != nil {
		a.refuse(unprovable("SELECT INTO", "the rows would be written to a file of the server", "read the rows and write them where they belong"))
		return
	}
	if q.LockInfo != nil && q.LockInfo.LockType != ast.SelectLockNone {
		a.locks = true
	}
	if q.SelectStmtOpts != nil && q.SelectStmtOpts.CalcFoundRows {
		a.plan.Pins |= PinFoundRows
	}
	a.rows(q.From, q.Where, s)
	for _, n := range []ast.Node{node(q.Fields), node(q.Where), node(q.GroupBy), node(q.Having)} {
		a.visit(n, s)
	}
	for _, row := range q.Lists {
		a.visit(row, s)
	}
	for i := range q.WindowSpecs {
		a.visit(&q.WindowSpecs[i], s)
	}
	a.order(q.OrderBy, q.Limit, s)
}

// node is nil for a nil pointer of any node type.
func node[T interface {
	comparable
	ast.Node
}](n T) ast.Node {
	var none T
	if n == none {
		return nil
	}
	return n
}

// rows collects the tables of a FROM clause and proves the rows of them that
// pass it and the WHERE clause.
func (a *analyzer) rows(from *ast.TableRefsClause, where ast.ExprNode, s *scope) {
	if from == nil || from.TableRefs == nil {
		return
	}
	_, known := a.from(from.TableRefs, s)
	if where != nil {
		c := condition{a: a, scope: s, visible: s.refs, bare: true, proves: s.refs}
		known.and(c.read(where))
	}
	known.close()
	for _, k := range known.keys {
		k.ref.proven, k.ref.sources = true, k.sources
	}
	a.conditions(from.TableRefs, s)
}

// from adds the tables of a FROM clause to the scope and returns them with
// what their ON and USING say.
func (a *analyzer) from(n ast.ResultSetNode, s *scope) ([]*ref, facts) {
	switch n := n.(type) {
	case *ast.Join:
		return a.join(n, s)
	case *ast.TableSource:
		if j, ok := n.Source.(*ast.Join); ok {
			return a.from(j, s)
		}
		r := a.table(n, s)
		s.refs = append(s.refs, r)
		return []*ref{r}, facts{}
	}
	a.refuse(unprovable("query", "a part of the FROM clause cannot be proven", "write it as tables and joins"))
	return nil, facts{}
}

func (a *analyzer) join(n *ast.Join, s *scope) ([]*ref, facts) {
	left, known := a.from(n.Left, s)
	if n.Right == nil {
		return left, known
	}
	right, more := a.from(n.Right, s)
	known.and(more)
	all := append(slices.Clip(left), right...)
	proves := all
	switch n.Tp {
	case ast.LeftJoin:
		proves = right
	case ast.RightJoin:
		proves = left
	}
	// Parsers group joins differently, so a bare column in ON may mean a table
	// that only the server has in view.
	c := condition{a: a, scope: s, visible: all, proves: proves}
	if n.On != nil {
		known.and(c.read(n.On.Expr))
	}
	if len(n.Using) > 0 || n.NaturalJoin {
		s.shared = true
		known.same = append(known.same, c.shared(n, left, right)...)
	}
	return all, known
}

// shared are the links that USING or NATURAL makes, when all tables of the
// join are unit tables with the same key.
func (c *condition) shared(n *ast.Join, left, right []*ref) []link {
	if !alike(c.visible) {
		return nil
	}
	names := n.NaturalJoin
	for _, u := range n.Using {
		names = names || isKey(u.Name.O, left[0].column)
	}
	if !names {
		return nil
	}
	var list []link
	for _, l := range left {
		for _, r := range right {
			if c.holds(r) {
				list = append(list, link{l, r})
			}
			if c.holds(l) {
				list = append(list, link{r, l})
			}
		}
	}
	return list
}

// conditions visits the ON expressions once all tables are proven.
func (a *analyzer) conditions(n ast.ResultSetNode, s *scope) {
	switch n := n.(type) {
	case *ast.Join:
		a.conditions(n.Left, s)
		if n.Right != nil {
			a.conditions(n.Right, s)
		}
		if n.On != nil {
			a.visit(n.On.Expr, s)
		}
	case *ast.TableSource:
		if j, ok := n.Source.(*ast.Join); ok {
			a.conditions(j, s)
		}
	}
}

// table is one table of a FROM clause. A derived table is proven at once: it
// does not see its neighbours.
func (a *analyzer) table(n *ast.TableSource, s *scope) *ref {
	t, ok := n.Source.(*ast.TableName)
	if !ok {
		a.query(n.Source, &scope{parent: s.parent, ctes: s.ctes})
		return &ref{alias: n.AsName.O}
	}
	alias := n.AsName.O
	if alias == "" {
		alias = t.Name.O
	}
	if t.Schema.O == "" && s.cte(t.Name.O) {
		return &ref{alias: alias}
	}
	r := a.named(t)
	r.alias = alias
	return r
}

// visit walks expressions: it proves the subqueries in them and refuses what
// could do more than an expression should.
func (a *analyzer) visit(n ast.Node, s *scope) {
	if n != nil {
		n.Accept(&visitor{a, s})
	}
}

type visitor struct {
	a *analyzer
	s *scope
}

func (v *visitor) Enter(n ast.Node) (ast.Node, bool) {
	a := v.a
	switch n := n.(type) {
	case *ast.SubqueryExpr:
		a.query(n.Query, v.s)
		return n, true
	case *ast.FuncCallExpr:
		a.called(n)
	case *ast.AggregateFuncExpr:
		a.builtIn(n.F)
	case *ast.WindowFuncExpr:
		a.builtIn(n.Name)
	case *ast.VariableExpr:
		if !n.IsSystem {
			a.plan.Pins |= PinUserVariable
			a.assigns = a.assigns || n.Value != nil
		}
	case *ast.TableName, *ast.SelectStmt, *ast.SetOprStmt:
		a.refuse(unprovable("table in an expression", "a table stands where an expression is expected", "write it in the FROM clause"))
		return n, true
	}
	return n, a.plan.Refusal != nil
}

func (v *visitor) Leave(n ast.Node) (ast.Node, bool) { return n, true }
