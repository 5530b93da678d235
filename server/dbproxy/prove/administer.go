package prove

import (
	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/atoll-live/atoll/space"
)

// administer are the statements about tables, accounts and the server. Only
// tables that are local to this server may be changed through the proxy.
func (a *analyzer) administer(n ast.StmtNode) {
	switch n := n.(type) {
	case *ast.CreateTableStmt:
		a.ddl(n.TemporaryKeyword != ast.TemporaryNone)
	case *ast.DropTableStmt:
		a.ddl(n.TemporaryKeyword != ast.TemporaryNone)
	case *ast.AlterTableStmt, *ast.TruncateTableStmt, *ast.RenameTableStmt, *ast.CreateIndexStmt, *ast.DropIndexStmt:
		a.ddl(false)
	case *ast.LockTablesStmt:
		a.ddl(false)
		a.plan.Pins |= PinTableLock
	case *ast.UnlockTablesStmt:
		a.plan.Class, a.plan.ImplicitCommit = Admin, true
		return
	case *ast.PrepareStmt, *ast.ExecuteStmt, *ast.DeallocateStmt:
		a.refuse(unprovable("prepared text", "PREPARE and EXECUTE hide the statement from the proof", "use prepared statements of the protocol"))
	case *ast.CallStmt:
		a.refuse(unprovable("stored procedure", "CALL may write rows that no proof sees", "send the procedure's statements"))
	default:
		a.refuse(unprovable("statement", "this kind of statement does not go through the proxy", "run it on each unit's server directly"))
	}
	if a.plan.Refusal == nil {
		a.visitTables(n)
	}
}

// ddl admits a statement that defines tables when the tables that are not
// listed are local, and no listed one is named anywhere in it.
func (a *analyzer) ddl(temporary bool) {
	for _, w := range words(a.scanned.clean) {
		if a.schema.names(w.text) {
			a.refuse(unprovable("DDL", "the statement names the listed table "+w.text, "run DDL on each unit's server directly"))
			return
		}
	}
	if a.schema.standard != space.TableLocal {
		a.refuse(unprovable("DDL", "tables are not defined through the proxy", "run DDL on each unit's server directly"))
		return
	}
	a.plan.Class = Admin
	a.plan.Writes = LocalTables
	a.plan.ImplicitCommit = !temporary
	if temporary {
		a.plan.Pins |= PinTemporary
	}
}

// visitTables refuses system tables and functions in a definition.
func (a *analyzer) visitTables(n ast.Node) {
	n.Accept(&tableVisitor{visitor{a, &scope{}}})
}

type tableVisitor struct{ visitor }

func (v *tableVisitor) Enter(n ast.Node) (ast.Node, bool) {
	switch n := n.(type) {
	case *ast.TableName:
		if n.Schema.O != "" || system(v.a.database()) {
			v.a.writes(v.a.named(n))
		}
		return n, true
	case *ast.SelectStmt, *ast.SetOprStmt:
		v.a.query(n, nil)
		return n, true
	}
	return v.visitor.Enter(n)
}
