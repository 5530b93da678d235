package prove

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/format"
	driver "github.com/pingcap/tidb/pkg/parser/test_driver"
)

// harmless are the session variables that change neither how a text is read
// nor what of it reaches the binary log. Their values may be any constant or
// other variable. What is not here, and not in assign, is refused by name.
var harmless = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(`
	time_zone transaction_isolation tx_isolation tx_isolation_one_shot transaction_read_only tx_read_only
	lock_wait_timeout innodb_lock_wait_timeout wait_timeout interactive_timeout net_read_timeout net_write_timeout
	max_statement_time max_execution_time sql_select_limit group_concat_max_len sql_safe_updates sql_big_selects
	max_join_size sql_notes sql_warnings sql_quote_show_create lc_time_names lc_messages default_week_format
	div_precision_increment foreign_key_checks low_priority_updates max_error_count profiling
	session_track_schema session_track_state_change session_track_system_variables session_track_transaction_info session_track_gtids
	optimizer_switch optimizer_search_depth optimizer_prune_level optimizer_use_condition_selectivity
	eq_range_index_dive_limit join_cache_level max_seeks_for_key
	cte_max_recursion_depth max_recursive_iterations query_cache_type
	sort_buffer_size join_buffer_size tmp_table_size max_heap_table_size read_buffer_size read_rnd_buffer_size
	max_length_for_sort_data character_set_filesystem information_schema_stats_expiry show_create_table_verbosity`) {
		set[name] = true
	}
	return set
}()

// safeModes are the sql_modes that change neither how a text is cut and read
// nor what a proven condition means.
var safeModes = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(`
	STRICT_TRANS_TABLES STRICT_ALL_TABLES NO_ZERO_IN_DATE NO_ZERO_DATE ERROR_FOR_DIVISION_BY_ZERO ONLY_FULL_GROUP_BY
	NO_ENGINE_SUBSTITUTION NO_AUTO_CREATE_USER NO_AUTO_VALUE_ON_ZERO ALLOW_INVALID_DATES NO_DIR_IN_CREATE
	NO_UNSIGNED_SUBTRACTION NO_FIELD_OPTIONS NO_KEY_OPTIONS NO_TABLE_OPTIONS REAL_AS_FLOAT TRADITIONAL
	TIME_ROUND_FRACTIONAL TIME_TRUNCATE_FRACTIONAL SIMULTANEOUS_ASSIGNMENT`) {
		set[name] = true
	}
	return set
}()

// SQLMode says whether texts under a server's or session's sql_mode can be
// proven: nil, or the mode that forbids it. A proxy asks it for the mode that
// a server starts sessions with.
func SQLMode(mode string) *Refusal {
	for name := range strings.SplitSeq(mode, ",") {
		if name = strings.ToUpper(strings.TrimSpace(name)); name != "" && !safeModes[name] {
			return unprovable("sql_mode", "mode "+name+" changes what a statement means, or is not known",
				"leave out ANSI_QUOTES, PIPES_AS_CONCAT, NO_BACKSLASH_ESCAPES, IGNORE_SPACE, HIGH_NOT_PRECEDENCE, "+
					"PAD_CHAR_TO_FULL_LENGTH, EMPTY_STRING_IS_NULL and the modes that hold them")
		}
	}
	return nil
}

// set proves a SET statement: session settings that are known to be safe.
func (a *analyzer) set(n *ast.SetStmt) {
	a.plan.Class = Set
	if a.plan.Params > 0 {
		a.refuse(unprovable("SET", "a setting is given by a parameter", "write it as a constant"))
		return
	}
	once := onlyNext(n.OriginalText())
	for _, v := range n.Variables {
		if v.IsGlobal || v.IsInstance {
			a.refuse(unprovable("SET GLOBAL", "the statement changes the whole server", "run it on each unit's server directly"))
			return
		}
		a.assign(v, once)
		if a.plan.Refusal != nil {
			return
		}
	}
	if len(n.Variables) == 1 && a.plan.Autocommit != Unchanged {
		a.plan.Class = SetAutocommit
	}
	a.plan.ImplicitCommit = a.plan.Autocommit == On
}

// onlyNext says whether the text is SET TRANSACTION, which is for the next
// transaction only: the parser does not tell it from SET SESSION TRANSACTION.
func onlyNext(text string) bool {
	w := words(text)
	return len(w) > 1 && strings.EqualFold(w[1].text, "transaction")
}

func (a *analyzer) assign(v *ast.VariableAssignment, once bool) {
	name := strings.ToLower(v.Name)
	switch {
	case !v.IsSystem && v.Name != ast.SetNames && v.Name != ast.SetCharset:
		a.userVariable(v)
	case v.Name == ast.SetNames:
		a.names(v)
	case v.Name == ast.SetCharset, strings.HasPrefix(name, "character_set_") && name != "character_set_filesystem", name == "collation_connection":
		a.charset(name, v)
	case name == "autocommit":
		a.autocommit(v)
	case name == "sql_mode":
		a.mode(v)
	case name == "sql_auto_is_null":
		if w, _ := word(v.Value); w != "0" && w != "OFF" && w != "FALSE" {
			a.badValue(name)
			return
		}
		a.setting(name, v.Value, false)
	case once && (name == "tx_isolation_one_shot" || name == "tx_read_only"):
		a.setting(strings.TrimSuffix(name, "_one_shot")+"_once", v.Value, false)
	case harmless[name]:
		a.harmless(name, v.Value)
	default:
		a.refuse(unprovable("SET", "session variable "+name+" is not known to be safe", "leave it out, or set it on each unit's server"))
	}
}

// setting notes an assignment.
func (a *analyzer) setting(name string, value ast.ExprNode, narrow bool) {
	if c, ok := unwrap(value).(*ast.ColumnNameExpr); ok {
		value = ast.NewValueExpr(c.Name.Name.O, "", "") // a bare word is a text
	}
	a.plan.Settings = append(a.plan.Settings, Setting{Name: name, Value: restored(value), Narrow: narrow})
}

// restored is the SQL text of an expression.
func restored(e ast.ExprNode) string {
	var b strings.Builder
	flags := format.RestoreStringSingleQuotes | format.RestoreStringEscapeBackslash | format.RestoreKeyWordUppercase |
		format.RestoreNameBackQuotes | format.RestoreStringWithoutCharset
	if err := e.Restore(format.NewRestoreCtx(flags, &b)); err != nil {
		return "" // only literals of kinds that no text has cannot be restored
	}
	return b.String()
}

func (a *analyzer) userVariable(v *ast.VariableAssignment) {
	a.plan.Pins |= PinUserVariable
	a.visit(v.Value, &scope{})
	if a.tables > 0 {
		a.refuse(unprovable("SET", "a user variable is set from a table", "read the row and set the variable to a constant"))
		return
	}
	a.setting("@"+v.Name, v.Value, false)
}

// word is the text of a constant or bare word, upper case.
func word(e ast.ExprNode) (string, bool) {
	switch e := unwrap(e).(type) {
	case *driver.ValueExpr:
		switch e.Kind() {
		case driver.KindNull:
			return "NULL", true
		case driver.KindString, driver.KindInt64:
			s := restored(e)
			if e.Kind() == driver.KindString {
				s = e.GetString()
			}
			return strings.ToUpper(s), true
		}
	case *ast.ColumnNameExpr:
		if e.Name.Table.O == "" {
			return strings.ToUpper(e.Name.Name.O), true
		}
	case *ast.DefaultExpr:
		if e.Name == nil {
			return "DEFAULT", true
		}
	}
	return "", false
}

func (a *analyzer) badValue(name string) {
	a.refuse(unprovable("SET", "the value of "+name+" is not known to be safe", "give a plain constant"))
}

func (a *analyzer) autocommit(v *ast.VariableAssignment) {
	w, _ := word(v.Value)
	switch w {
	case "1", "ON", "TRUE":
		a.plan.Autocommit = On
	case "0", "OFF", "FALSE":
		a.plan.Autocommit = Off
	default:
		a.badValue("autocommit")
		return
	}
	a.setting("autocommit", v.Value, false)
}

// names is SET NAMES.
func (a *analyzer) names(v *ast.VariableAssignment) {
	w, ok := word(v.Value)
	narrow, known := Charset(w)
	if !ok || !known {
		a.refuse(unprovable("SET NAMES", "the character set is not known to be safe", "use utf8mb4"))
		return
	}
	if v.ExtendValue != nil {
		if charset := charsetOf(v.ExtendValue.GetString()); !strings.EqualFold(charset, w) && !sameUTF8(charset, w) {
			a.badValue("COLLATE")
			return
		}
		a.plan.Settings = append(a.plan.Settings, Setting{
			Name: "names", Value: restored(v.Value) + " COLLATE " + restored(v.ExtendValue), Narrow: narrow,
		})
		return
	}
	a.setting("names", v.Value, narrow)
}

func sameUTF8(a, b string) bool {
	is := func(s string) bool { return strings.EqualFold(s, "utf8") || strings.EqualFold(s, "utf8mb3") }
	return is(a) && is(b)
}

// charset is SET CHARACTER SET and the variables behind SET NAMES. After SET
// CHARACTER SET the connection has the database's character set, whatever
// that is.
func (a *analyzer) charset(name string, v *ast.VariableAssignment) {
	w, ok := word(v.Value)
	if name == "collation_connection" {
		w = charsetOf(w)
	}
	narrow, known := Charset(w)
	switch {
	case name == "character_set_results" && ok:
		known = known || w == "NULL"
		narrow = false
	case v.Name == ast.SetCharset:
		name, narrow = "charset", true
	case name != "character_set_client" && name != "character_set_connection" && name != "collation_connection":
		known = false
	}
	if !ok || !known {
		a.refuse(unprovable("SET "+name, "the character set is not known to be safe", "use utf8mb4"))
		return
	}
	a.setting(name, v.Value, narrow)
}

// harmless assigns a constant or another variable.
func (a *analyzer) harmless(name string, value ast.ExprNode) {
	e := unwrap(value)
	if u, ok := e.(*ast.UnaryOperationExpr); ok {
		e = u.V
	}
	switch e := e.(type) {
	case *driver.ValueExpr, *ast.ColumnNameExpr, *ast.DefaultExpr:
	case *ast.VariableExpr:
		if e.Value != nil {
			a.badValue(name)
			return
		}
		if !e.IsSystem {
			a.plan.Pins |= PinUserVariable
		}
	default:
		a.badValue(name)
		return
	}
	a.setting(name, value, false)
}

// mode is SET sql_mode: constants, or what drivers send to add a mode to the
// present ones or to take one away.
func (a *analyzer) mode(v *ast.VariableAssignment) {
	modes, ok := modesOf(v.Value)
	if !ok {
		a.badValue("sql_mode")
		return
	}
	if r := SQLMode(modes); r != nil {
		a.refuse(r)
		return
	}
	a.setting("sql_mode", v.Value, false)
}

// present stands for the modes that the session has, which are safe.
const present = "NO_ENGINE_SUBSTITUTION"

// modesOf is the list of modes that an expression makes.
func modesOf(e ast.ExprNode) (string, bool) {
	switch e := unwrap(e).(type) {
	case *ast.VariableExpr: // not the server's: it may have changed since the session began
		return present, e.IsSystem && !e.IsGlobal && e.Value == nil && strings.EqualFold(e.Name, "sql_mode")
	case *ast.FuncCallExpr:
		if e.Schema.O != "" {
			return "", false
		}
		switch e.FnName.L {
		case "concat":
			return concatenated(e.Args)
		case "replace":
			return replaced(e.Args)
		}
		return "", false
	}
	w, ok := word(e)
	if w == "0" {
		w = ""
	}
	return w, ok && w != "NULL" && w != "DEFAULT"
}

func concatenated(args []ast.ExprNode) (string, bool) {
	var all strings.Builder
	for _, arg := range args {
		part, ok := modesOf(arg)
		if !ok {
			return "", false
		}
		all.WriteString(part)
	}
	return all.String(), true
}

// replaced is REPLACE(modes, 'MODE', ”).
func replaced(args []ast.ExprNode) (string, bool) {
	if len(args) != 3 {
		return "", false
	}
	modes, ok := modesOf(args[0])
	from, isWord := word(args[1])
	to, empty := word(args[2])
	return modes, ok && isWord && safeModes[from] && empty && to == ""
}
