package prove

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/atoll-live/atoll/space"
)

// analyzer makes the plan of one statement.
type analyzer struct {
	schema  *Schema
	session Session
	scanned scanned
	plan    *Plan

	refs    []*ref // unit tables, in order of first use
	tables  int    // tables named
	locks   bool   // FOR UPDATE and its like somewhere
	assigns bool   // @x := … somewhere
	dry     bool   // EXPLAIN: the statement is not run, so keys need no proof
}

// refuse keeps the first refusal.
func (a *analyzer) refuse(r *Refusal) {
	if a.plan.Refusal == nil {
		a.plan.Refusal = r
	}
}

// statement fills the plan of one parsed statement.
func (a *analyzer) statement(n ast.StmtNode) {
	switch n := n.(type) {
	case *ast.SelectStmt, *ast.SetOprStmt:
		a.plan.Class = Read
		a.query(n, nil)
	case *ast.InsertStmt:
		a.plan.Class = Write
		a.insert(n)
	case *ast.UpdateStmt:
		a.plan.Class = Write
		a.update(n)
	case *ast.DeleteStmt:
		a.plan.Class = Write
		a.delete(n)
	case *ast.LoadDataStmt:
		a.loadData(n)
	case *ast.DoStmt:
		a.plan.Class = Read
		for _, e := range n.Exprs {
			a.visit(e, &scope{})
		}
	case *ast.ExplainStmt:
		a.explain(n)
	case *ast.ExplainForStmt, *ast.HelpStmt:
		a.plan.Class = Show
	case *ast.ShowStmt:
		a.plan.Class = Show
		a.show(n)
	case *ast.SetStmt:
		a.set(n)
	default:
		a.control(n)
	}
}

// control are statements about the transaction and the session.
func (a *analyzer) control(n ast.StmtNode) {
	p := a.plan
	switch n := n.(type) {
	case *ast.BeginStmt:
		a.begin(n)
	case *ast.CommitStmt:
		p.Class = Commit
		p.Chain, p.Release = n.CompletionType == ast.CompletionTypeChain, n.CompletionType == ast.CompletionTypeRelease
	case *ast.RollbackStmt:
		p.Class = Rollback
		p.Chain, p.Release = n.CompletionType == ast.CompletionTypeChain, n.CompletionType == ast.CompletionTypeRelease
		if n.SavepointName != "" {
			p.Class, p.Name = Savepoint, n.SavepointName
		}
	case *ast.SavepointStmt:
		p.Class, p.Name = Savepoint, n.Name
	case *ast.ReleaseSavepointStmt:
		p.Class, p.Name = Savepoint, n.Name
	case *ast.UseStmt:
		a.use(n.DBName)
	case *ast.KillStmt:
		a.kill(n)
	default:
		a.administer(n)
	}
}

func (a *analyzer) begin(n *ast.BeginStmt) {
	if n.Mode != "" || n.AsOf != nil || n.CausalConsistencyOnly {
		a.refuse(unprovable("statement", "this form of BEGIN is not the server's", "write BEGIN or START TRANSACTION"))
		return
	}
	a.plan.Class, a.plan.ReadOnly, a.plan.ImplicitCommit = Begin, n.ReadOnly, true
}

func (a *analyzer) use(database string) {
	if database != a.schema.database && a.schema.standard != space.TableLocal {
		a.refuse(unlisted("database " + database + " is not the one behind this proxy"))
		return
	}
	a.plan.Class, a.plan.Name = Use, database
}

func (a *analyzer) kill(n *ast.KillStmt) {
	if n.TiDBExtension || n.Expr != nil && !isConnectionID(n.Expr) {
		a.refuse(unprovable("statement", "this form of KILL is not known", "write KILL with a connection id"))
		return
	}
	a.plan.Class, a.plan.KillID, a.plan.KillQuery = Kill, n.ConnectionID, n.Query
}

func isConnectionID(e ast.ExprNode) bool {
	f, ok := e.(*ast.FuncCallExpr)
	return ok && f.Schema.O == "" && f.FnName.L == "connection_id" && len(f.Args) == 0
}

// explain proves that an EXPLAIN touches only tables that may be touched; it
// runs nothing, so no key is asked for.
func (a *analyzer) explain(n *ast.ExplainStmt) {
	if n.Stmt == nil || n.Explore {
		a.refuse(unprovable("statement", "this form of EXPLAIN is not known", "write EXPLAIN with a statement"))
		return
	}
	a.statement(n.Stmt)
	if n.Analyze {
		if a.plan.Class != Read {
			a.refuse(unprovable("statement", "EXPLAIN ANALYZE runs the statement", "write EXPLAIN alone"))
		}
		return
	}
	a.dry = true
	a.plan.Class = Show
	a.plan.Reads |= a.plan.Writes
	a.plan.Writes = 0
}

func (a *analyzer) show(n *ast.ShowStmt) {
	if n.Where != nil {
		a.visit(n.Where, &scope{})
	}
	if n.Pattern != nil {
		a.visit(n.Pattern, &scope{})
	}
}

// named is a base table by its name. The database of a bare name is the
// session's.
func (a *analyzer) named(t *ast.TableName) *ref {
	r := &ref{base: true, table: t.Name.O, schema: t.Schema.O}
	if r.schema == "" {
		r.schema = a.database()
	}
	if a.tables++; a.tables > maxTables {
		a.refuse(unprovable("statement too large", "the statement names too many tables", "split it"))
		return r
	}
	if t.AsOf != nil || t.TableSample != nil {
		a.refuse(unprovable("table option", "table "+r.table+" has an option that is not the server's", "remove it"))
	}
	switch {
	case system(r.schema):
		r.kinds = LocalTables
	case strings.EqualFold(r.schema, a.schema.database) && (r.schema != a.schema.database || a.schema.twin(r.table)):
		a.refuse(unlisted("table " + r.schema + "." + r.table + " differs from a listed one only in case"))
	case r.schema != a.schema.database:
		a.foreign(r)
	default:
		a.own(r)
	}
	a.plan.Reads |= r.kinds
	a.avoid(r, false)
	return r
}

// avoid refuses what the server would do by itself.
func (a *analyzer) avoid(r *ref, written bool) {
	if h, ok := a.schema.hazards[Qualified(r.schema, r.table)]; ok && (written || h.Reads) {
		a.refuse(unprovable(h.Rule, h.What, h.Mend))
	}
}

func (a *analyzer) database() string {
	if a.session.Database != "" {
		return a.session.Database
	}
	return a.schema.database
}

// foreign is a table of another database.
func (a *analyzer) foreign(r *ref) {
	r.kinds = LocalTables
	if another := a.schema.Another(r.schema); another != nil {
		a.refuse(another)
		return
	}
	if a.schema.standard != space.TableLocal {
		a.refuse(unlisted("table " + r.table + " is in database " + r.schema + ", which is not the one behind this proxy"))
	}
}

// own is a table of the schema's database.
func (a *analyzer) own(r *ref) {
	t, listed := a.schema.tables[r.table]
	kind := a.schema.standard
	if listed {
		kind = t.Kind
		if !slices.Contains(a.plan.Tables, r.table) {
			a.plan.Tables = append(a.plan.Tables, r.table)
		}
	}
	switch kind {
	case space.TableUnit:
		r.kinds, r.unit = UnitTables, &t
		r.column = &keyed{table: r.table, column: t.Key}
		a.refs = append(a.refs, r)
	case space.TableCenterUnit:
		r.kinds = CenterUnitTables
	case space.TableCenter:
		r.kinds = CenterTables
	case space.TableLocal:
		r.kinds = LocalTables
	default:
		a.refuse(unlisted("table " + r.table + " is not in the Database document"))
	}
}

// writes marks a table as written.
func (a *analyzer) writes(r *ref) {
	if system(r.schema) {
		a.refuse(unprovable("system table", "table "+r.schema+"."+r.table+" belongs to the server or to Atoll", "leave it to them"))
		return
	}
	a.avoid(r, true)
	a.plan.Writes |= r.kinds
}

// called refuses functions that are not the server's own: a stored function
// can write rows that no proof sees.
func (a *analyzer) called(f *ast.FuncCallExpr) {
	if f.Schema.O != "" {
		a.refuse(unprovable("stored function", "function "+f.Schema.O+"."+f.FnName.O+" may write rows that no proof sees",
			"call only built-in functions through the proxy"))
		return
	}
	switch f.FnName.L {
	case ast.DateLiteral, ast.TimeLiteral, ast.TimestampLiteral:
		return
	case ast.InsertFunc, ast.CharFunc: // INSERT(…) and CHAR(…), which the parser renames
		if !a.says(f.FnName.L) {
			return
		}
	case "get_lock", "release_lock", "release_all_locks", "is_free_lock", "is_used_lock":
		a.plan.Pins |= PinNamedLock
	case "last_insert_id":
		a.plan.Pins |= PinInsertID
	case "found_rows", "row_count":
		a.plan.Pins |= PinFoundRows
	}
	a.builtIn(f.FnName.L)
}

// says tells whether a word stands in the text.
func (a *analyzer) says(word string) bool {
	return slices.ContainsFunc(words(a.scanned.clean), func(w token) bool { return strings.EqualFold(w.text, word) })
}

func (a *analyzer) builtIn(name string) {
	if !builtIns[strings.ToLower(name)] {
		a.refuse(unprovable("stored function", "function "+name+" is not built in, and may write rows that no proof sees",
			"call only built-in functions through the proxy"))
	}
}

// marker is the ordinal of the ? marker at an offset of the clean text, or
// -1.
func (a *analyzer) marker(offset int) int {
	i, ok := slices.BinarySearch(a.scanned.markers, offset)
	if !ok {
		return -1
	}
	return i
}

// finish draws the conclusion once all tables are known.
func (a *analyzer) finish() {
	p := a.plan
	if p.Class == Read && a.locks {
		p.Class = LockingRead
	}
	p.Reads &^= p.Writes
	if p.Refusal == nil && !a.dry && len(a.refs) > 0 {
		a.prove()
	}
	if p.Refusal != nil {
		*p = Plan{Class: Refused, Params: p.Params, Tables: p.Tables, Refusal: p.Refusal}
	}
}

// prove collects the keys of all unit tables. A statement that writes or
// locks must prove every one of them, also those it only reads: it locks
// their rows. A read says what it could prove.
func (a *analyzer) prove() {
	p := a.plan
	must := p.Class == Write || p.Class == LockingRead
	if must && a.assigns {
		a.refuse(unprovable("assignment", "the statement assigns a user variable while it runs", "assign it with SET before"))
		return
	}
	p.Keyed = true
	for _, r := range a.refs {
		why := r.refusal()
		p.ReadsOwner = p.ReadsOwner || !must && r.unit.ReadsOwner
		switch {
		case why == nil:
			p.sources = append(p.sources, r.sources...)
		case must || r.proven && r.unit.ReadsOwner:
			a.refuse(why)
			return
		case p.Unproven == nil:
			p.Keyed, p.Unproven = false, why
		}
	}
	p.settle()
}

// refusal is why the rows of a unit table are not proven, or nil.
func (r *ref) refusal() *Refusal {
	switch {
	case r.proven:
		return refused(r.sources)
	case r.why != nil:
		return r.why
	}
	return unprovable("no key", "no condition gives "+r.column.name(), "add AND "+r.column.column.Name+" = constant to the WHERE clause")
}
