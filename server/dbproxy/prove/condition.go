package prove

import (
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	driver "github.com/pingcap/tidb/pkg/parser/test_driver"
)

// condition reads facts from one WHERE or ON.
type condition struct {
	a       *analyzer
	scope   *scope
	visible []*ref // the tables that a column may name
	bare    bool   // columns without a qualifier count too
	proves  []*ref // what the condition is sure to hold for
}

func (c *condition) holds(r *ref) bool {
	return slices.Contains(c.proves, r)
}

// read is what the expression says when it is true.
func (c *condition) read(e ast.ExprNode) facts {
	switch e := unwrap(e).(type) {
	case *ast.BinaryOperationExpr:
		return c.operation(e)
	case *ast.PatternInExpr:
		return c.in(e)
	case ast.ExprNode:
		c.explain(e)
	}
	return facts{}
}

func (c *condition) operation(e *ast.BinaryOperationExpr) facts {
	switch e.Op {
	case opcode.LogicAnd:
		f := c.read(e.L)
		f.and(c.read(e.R))
		return f
	case opcode.LogicOr:
		f := c.read(e.L)
		f.or(c.read(e.R), func(r *ref) {
			r.note(unprovable("key under OR", "not every arm of an OR gives "+r.column.name(), "give the key in every arm, or outside of the OR"))
		})
		return f
	case opcode.EQ, opcode.NullEQ:
		return c.equal(e.L, e.R, e.Op == opcode.EQ, false)
	}
	c.explain(e)
	return facts{}
}

// equal is key = constant, constant = key, key = key, and rows of these.
func (c *condition) equal(l, r ast.ExprNode, links, listed bool) facts {
	l, r = unwrap(l), unwrap(r)
	if lr, ok := l.(*ast.RowExpr); ok {
		return c.rows(lr, r, links)
	}
	left, right := c.key(l), c.key(r)
	switch {
	case left != nil && right != nil:
		return c.link(left, right, links)
	case left != nil:
		return c.constant(left, r, listed)
	case right != nil:
		return c.constant(right, l, listed)
	}
	c.explain(l)
	c.explain(r)
	return facts{}
}

func (c *condition) rows(l *ast.RowExpr, r ast.ExprNode, links bool) facts {
	var f facts
	rr, ok := unwrap(r).(*ast.RowExpr)
	if !ok || len(rr.Values) != len(l.Values) {
		return f
	}
	for i := range l.Values {
		f.and(c.equal(l.Values[i], rr.Values[i], links, true))
	}
	return f
}

// key is the table whose key column the expression is.
func (c *condition) key(e ast.ExprNode) *ref {
	if col, ok := e.(*ast.ColumnNameExpr); ok && (c.bare || col.Name.Table.O != "") {
		return c.scope.keyColumn(col.Name, c.visible)
	}
	return nil
}

func (c *condition) link(a, b *ref, links bool) facts {
	var f facts
	if !links || a == b {
		return f
	}
	if !sameKey(a, b) {
		why := unprovable("key columns differ", a.column.name()+" and "+b.column.name()+" are not of one type and collation",
			"give the key of both tables as constants")
		a.note(why)
		b.note(why)
		return f
	}
	for _, l := range []link{{a, b}, {b, a}} {
		if c.holds(l.to) {
			f.same = append(f.same, l)
		}
	}
	return f
}

func (c *condition) constant(r *ref, e ast.ExprNode, listed bool) facts {
	if !c.holds(r) {
		return facts{}
	}
	s, why := c.a.source(e, r.column, place{listed: listed})
	if why != nil {
		r.note(why)
		return facts{}
	}
	return facts{keys: []fact{{r, []source{s}}}}
}

// in is key IN (constants), and rows of these.
func (c *condition) in(e *ast.PatternInExpr) facts {
	if e.Not || e.Sel != nil || len(e.List) == 0 {
		c.explain(e)
		return facts{}
	}
	l := unwrap(e.Expr)
	if col := c.key(l); col != nil {
		return c.list(col, e.List)
	}
	row, ok := l.(*ast.RowExpr)
	if !ok {
		return facts{}
	}
	f := c.rows(row, e.List[0], false)
	for _, item := range e.List[1:] {
		f.or(c.rows(row, item, false), func(*ref) {})
	}
	return f
}

func (c *condition) list(r *ref, items []ast.ExprNode) facts {
	if !c.holds(r) {
		return facts{}
	}
	sources := make([]source, 0, len(items))
	for _, item := range items {
		s, why := c.a.source(item, r.column, place{listed: true})
		if why != nil {
			r.note(why)
			return facts{}
		}
		sources = append(sources, s)
	}
	return facts{keys: []fact{{r, sources}}}
}

// explain notes for each key column in an expression that it proves nothing.
func (c *condition) explain(e ast.ExprNode) {
	e.Accept(&explainer{c})
}

type explainer struct{ c *condition }

func (x *explainer) Enter(n ast.Node) (ast.Node, bool) {
	switch n := n.(type) {
	case *ast.SubqueryExpr:
		return n, true
	case *ast.ColumnNameExpr:
		if r := x.c.key(n); r != nil {
			r.note(unprovable("key compared", r.column.name()+" is used otherwise than with = or IN and constants",
				"add AND "+r.column.column.Name+" = constant"))
		}
	}
	return n, false
}

func (x *explainer) Leave(n ast.Node) (ast.Node, bool) { return n, true }

func unwrap(e ast.ExprNode) ast.ExprNode {
	for {
		p, ok := e.(*ast.ParenthesesExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}

// source is the constant or parameter that an expression is, or why it is
// none. A constant that the column refuses is a source with that refusal.
func (a *analyzer) source(e ast.ExprNode, k *keyed, at place) (source, *Refusal) {
	at.narrow = a.session.Narrow
	s := source{marker: -1, column: k, at: at}
	e = unwrap(e)
	if m, ok := e.(*driver.ParamMarkerExpr); ok {
		s.marker = a.marker(m.Offset)
		if s.marker < 0 {
			return s, unprovable("parameter", "a ? marker is not where the server sees it", "write the statement more plainly")
		}
		return s, nil
	}
	v, why := constant(e, k)
	if why == nil && a.scanned.zeros && (v.Kind == ParamInt || v.Kind == ParamUint) {
		why = unprovable("key form", "the statement holds integers with leading zeros, and "+k.name()+" is given as one",
			"write integers without leading zeros")
	}
	if why != nil {
		return s, why
	}
	s.at.literal = true
	s.key, s.refusal = k.canonical(v, s.at)
	return s, nil
}

// constant is the value of a literal.
func constant(e ast.ExprNode, k *keyed) (Param, *Refusal) {
	mend := "give the key as a literal or a parameter"
	switch e := e.(type) {
	case *driver.ValueExpr:
		return literal(e, k)
	case *ast.UnaryOperationExpr:
		if v, ok := e.V.(*driver.ValueExpr); ok && e.Op == opcode.Minus {
			return negative(v, k)
		}
	case *ast.FuncCallExpr, *ast.AggregateFuncExpr, *ast.WindowFuncExpr, *ast.FuncCastExpr:
		return Param{}, unprovable("key is a function", k.name()+" is given by a function", mend)
	case *ast.VariableExpr:
		return Param{}, unprovable("key is a variable", k.name()+" is given by a variable", mend)
	case *ast.SubqueryExpr, *ast.CompareSubqueryExpr, *ast.ExistsSubqueryExpr:
		return Param{}, unprovable("key is a subquery", k.name()+" is given by a subquery", mend)
	case *ast.DefaultExpr:
		return Param{}, unprovable("key is a default", k.name()+" is given as DEFAULT", mend)
	case *ast.ColumnNameExpr:
		return Param{}, unprovable("key is a column", k.name()+" is given by another column", mend)
	}
	return Param{}, unprovable("key is an expression", k.name()+" is given by an expression", mend)
}

func literal(v *driver.ValueExpr, k *keyed) (Param, *Refusal) {
	flags := v.Type.GetFlag()
	switch v.Kind() {
	case driver.KindNull:
		return Param{Kind: ParamNull}, nil
	case driver.KindInt64:
		if flags&mysql.IsBooleanFlag == 0 {
			return Param{Kind: ParamInt, Int: v.GetInt64()}, nil
		}
	case driver.KindUint64:
		return Param{Kind: ParamUint, Uint: v.GetUint64()}, nil
	case driver.KindString:
		if flags&mysql.UnderScoreCharsetFlag == 0 {
			return Param{Kind: ParamString, Bytes: []byte(v.GetString())}, nil
		}
	}
	return Param{}, unprovable("key literal", k.name()+" is given by a literal that is neither an integer nor a plain string",
		"write it without 0x, x'', b'', charset, fraction or exponent")
}

// negative is minus an integer literal.
func negative(v *driver.ValueExpr, k *keyed) (Param, *Refusal) {
	p, why := literal(v, k)
	const least = 1 << 63
	switch {
	case why != nil:
		return p, why
	case p.Kind == ParamInt && p.Int != 0:
		return Param{Kind: ParamInt, Int: -p.Int}, nil
	case p.Kind == ParamUint && p.Uint == least:
		return Param{Kind: ParamInt, Int: -least}, nil
	}
	return Param{}, unprovable("key is an expression", k.name()+" is given by an expression", "give the key as a literal or a parameter")
}
