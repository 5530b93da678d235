package keyproof

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/server/dbsync/compare"
	"github.com/atoll-live/atoll/server/keytext"
	"github.com/atoll-live/atoll/server/mariadbtest"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// drawn is how many texts are drawn for a column.
const drawn = 48

// column is one key column under test, in a table of its own.
type column struct {
	table    string
	declared string
	keytext.Column
	texts []string
	rows  []stored // by id
}

// stored is one row: what was written, and what a lane makes of it.
type stored struct {
	raw  string // the text that was given
	key  string
	ok   bool
	seen bool // it is in the log
}

// bench is a server with a table for each column that can hold keys.
type bench struct {
	t        *testing.T
	server   *mariadbtest.Server
	db       *sql.DB // as lanes and comparisons connect
	sessions *sql.DB // as applications do, with any character set
	r        *rand.Rand
	columns  []*column
	rules    *route.Table
	prover   *prove.Prover
	schema   *prove.Schema
	pairs    int // that the server called equal
	apart    map[string]int
}

// TestEqualKeysHaveOneOwner asks a real server which values it calls equal, in
// every column that can hold keys, and sees that proxies, lanes, comparisons
// and gateways know one owner for them, or refuse.
func TestEqualKeysHaveOneOwner(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SEED=%s: %v", text, err)
		}
		seed = n
	}
	t.Logf("SEED=%d", seed)
	b := newBench(t, seed)
	b.fill()
	b.readLog()
	accepted, statements := 0, 0
	for _, c := range b.columns {
		b.storedPairs(c)
		n, all := b.statements(c)
		accepted += n
		statements += all
		b.compared(c)
	}
	t.Logf("%d columns, %d statements of which %d were accepted, %d equal pairs, of which raw texts would give two owners to %v",
		len(b.columns), statements, accepted, b.pairs, b.apart)
	if len(b.columns) < 80 || accepted < statements/10 || b.pairs < 20*len(b.columns) {
		t.Errorf("%d columns, %d of %d statements accepted, %d equal pairs: the test has lost its teeth", len(b.columns), accepted, statements, b.pairs)
	}
	// The control: by raw texts the test would fail, for every kind of column
	// whose equality overlooks something.
	for _, kind := range []string{"integer", "exact text", "folding text", "fixed binary", "uuid"} {
		if b.apart[kind] == 0 {
			t.Errorf("%s: no equal pair whose raw texts have two owners: the test cannot fail", kind)
		}
	}
}

func newBench(t *testing.T, seed uint64) *bench {
	b := &bench{t: t, server: mariadbtest.Start(t, mariadbtest.Options{}), r: rand.New(rand.NewPCG(seed, 1)), apart: map[string]int{}}
	b.sessions = b.server.Open(t)
	var err error
	if b.db, err = apply.Open(apply.Server{Addr: b.server.Addr(), User: b.server.User, Password: b.server.Password}, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.db.Close() })
	b.exec("USE " + b.server.Database)
	if b.prover, err = prove.New(prove.Config{}); err != nil {
		t.Fatal(err)
	}
	b.rules, err = route.Compile(&space.Space{Spec: space.Spec{
		Code: "s", Units: []space.Unit{{Code: "a", Type: space.Center}, {Code: "b", Type: space.Regular}},
		Variables: []space.Variable{{Name: "user", Sources: []space.Source{{Name: "query", Scope: space.ScopeQuery, Key: "user"}}}},
		Domains:   []space.Domain{{Host: "h", Paths: []space.Path{{Path: "/", RuleID: "r"}}}},
		UnitRules: []space.UnitRule{{ID: "r", Variable: "user", VariableSource: "query", VariableFunction: space.FunctionBKDR, Modulo: 2, Units: []space.UnitRoute{
			{Code: "a", Ranges: []space.Range{{From: 0, To: 1}}, Prefixes: []string{"7"}},
			{Code: "b", Ranges: []space.Range{{From: 1, To: 2}}, Allows: []string{"Bob", "a"}},
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.declare()
	return b
}

// declare makes a table for each type and collation that may hold keys.
func (b *bench) declare() {
	var declared []string
	for _, kind := range []string{"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"} {
		declared = append(declared, kind, kind+" UNSIGNED", kind+"(9) UNSIGNED ZEROFILL")
	}
	declared = append(declared, "BINARY(1)", "BINARY(4)", "BINARY(16)", "VARBINARY(12)", "UUID")
	for _, name := range b.list("SELECT full_collation_name FROM information_schema.collation_character_set_applicability ORDER BY 1") {
		charset, _, _ := strings.Cut(name, "_")
		if how, _ := keytext.ComparisonOf(name); how != keytext.Unknown {
			declared = append(declared, "VARCHAR(12) CHARACTER SET "+charset+" COLLATE "+name, "CHAR(12) CHARACTER SET "+charset+" COLLATE "+name)
		}
	}
	tables := map[string]prove.Table{}
	for i, d := range declared {
		c := &column{table: fmt.Sprintf("t%d", i), declared: d}
		b.exec(fmt.Sprintf("CREATE TABLE %s (id INT PRIMARY KEY, k %s NOT NULL, KEY (k))", c.table, d),
			fmt.Sprintf("CREATE TABLE u%s (k %s NOT NULL UNIQUE)", c.table, d))
		description, err := apply.Describe(b.t.Context(), b.db, b.server.Database, c.table)
		if err != nil {
			b.t.Fatal(err)
		}
		if c.Column, _ = description.KeyColumn("k"); c.Unfit() != nil {
			b.t.Fatalf("%s cannot hold keys: %v", d, c.Unfit())
		}
		tables[c.table] = prove.Table{Kind: space.TableUnit, Key: c.Column}
		tables["u"+c.table] = prove.Table{Kind: space.TableUnit, Key: c.Column}
		b.columns = append(b.columns, c)
	}
	var err error
	if b.schema, err = prove.NewSchema(b.server.Database, space.TableRefuse, tables, nil); err != nil {
		b.t.Fatal(err)
	}
}

// fill writes rows past every proof, as a table may hold them, and then those
// that a proxy lets through under a unique index.
func (b *bench) fill() {
	conn := b.conn("utf8mb4")
	exec := func(query string, args ...any) error {
		_, err := conn.ExecContext(b.t.Context(), query, args...)
		return err
	}
	must := func(query string, args ...any) {
		b.t.Helper()
		if err := exec(query, args...); err != nil {
			b.t.Fatalf("%s %q: %v", query, args, err)
		}
	}
	must("SET sql_mode = ''")
	for _, c := range b.columns {
		c.texts = draw(b.r, &c.Column, drawn)
		must("BEGIN")
		for id, text := range c.texts {
			c.rows = append(c.rows, stored{raw: text})
			must("INSERT IGNORE INTO "+c.table+" (id, k) VALUES (?, ?)", id, text)
		}
		known := map[string]bool{}
		for id, text := range c.texts {
			insert := "INSERT INTO u" + c.table + " (k) VALUES (?)"
			keys, why := b.prover.Plan(b.schema, prove.Session{}, []byte(insert)).Resolve([]prove.Param{{Kind: prove.ParamString, Bytes: []byte(text)}})
			if why != nil || known[keys[0]] {
				continue
			}
			known[keys[0]] = true
			if err := exec(insert, text); err != nil {
				b.t.Errorf("%s: key %q is new for a proxy, and the server says %v (text %d)", c.declared, keys[0], err, id)
			}
		}
		must("COMMIT")
	}
	must("CREATE TABLE done (id INT PRIMARY KEY)")
	must("INSERT INTO done VALUES (1)")
}

var errDone = errors.New("all is read")

// log reads rows as a lane does.
type log struct{ b *bench }

func (l log) Wants(schema, _ string) bool  { return schema == l.b.server.Database }
func (l log) Marker(schema, _ string) bool { return schema == "atoll" }

func (l log) Group(_ context.Context, g *binlog.Group) error {
	for i := range g.Changes {
		ch := &g.Changes[i]
		if ch.Table.Name == "done" {
			return errDone
		}
		n, err := strconv.Atoi(strings.TrimLeft(ch.Table.Name, "ut"))
		if err != nil {
			return err
		}
		c := l.b.columns[n]
		at := ch.Table.Index("k")
		key, ok := apply.KeyText(&ch.Table.Columns[at], &c.Column, ch.After[at])
		if ch.Table.Name != c.table {
			if !ok {
				l.b.t.Errorf("%s: a proxy let a key through of which a lane makes %q, which is none", c.declared, key)
			}
			continue
		}
		id := ch.Table.Index("id")
		row, err := strconv.Atoi(string(ch.Table.Columns[id].AppendText(nil, ch.After[id])))
		if err != nil {
			return err
		}
		s := &c.rows[row]
		s.key, s.ok, s.seen = key, ok, true
	}
	return nil
}

func (b *bench) readLog() {
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	_, err := binlog.Stream(ctx, binlog.Source{Addr: b.server.Addr(), User: b.server.User, Password: b.server.Password, ServerID: 77}, nil, log{b})
	if !errors.Is(err, errDone) {
		b.t.Fatalf("read the log: %v", err)
	}
	for _, c := range b.columns {
		for id, s := range c.rows {
			if !s.seen {
				b.t.Fatalf("%s: row %d is not in the log", c.declared, id)
			}
		}
	}
}

// storedPairs holds rows against each other.
func (b *bench) storedPairs(c *column) {
	for _, pair := range b.list("SELECT CONCAT(x.id, ' ', y.id) FROM " + c.table + " x JOIN " + c.table + " y ON x.k = y.k AND x.id < y.id") {
		var i, j int
		if _, err := fmt.Sscan(pair, &i, &j); err != nil {
			b.t.Fatal(err)
		}
		x, y := c.rows[i], c.rows[j]
		b.pair(c, x.raw, y.raw)
		if x.ok && y.ok && x.key != y.key {
			b.t.Errorf("%s: the server calls rows %q and %q equal, a lane sees keys %q and %q", c.declared, x.raw, y.raw, x.key, y.key)
		}
	}
}

// pair counts what the server called equal, and what raw texts would say.
func (b *bench) pair(c *column, x, y string) {
	b.pairs++
	if x != y && b.owner(x) != b.owner(y) {
		b.apart[kindOf(c)]++
	}
}

func kindOf(c *column) string {
	how, _ := keytext.ComparisonOf(c.Collation)
	switch {
	case c.Type == keytext.Integer:
		return "integer"
	case c.Type == keytext.UUID:
		return "uuid"
	case c.Type == keytext.Binary && c.Fixed:
		return "fixed binary"
	case c.Type == keytext.Binary:
		return "binary"
	case how == keytext.Folding:
		return "folding text"
	}
	return "exact text"
}

func (b *bench) owner(key string) string { return b.rules.DecideKey("r", key).Unit }

// ask is a request with one query parameter.
type ask struct{ value string }

func (a ask) Host() string               { return "h" }
func (a ask) Path() string               { return "/" }
func (a ask) Query(string) string        { return a.value }
func (a ask) Header(string) string       { return "" }
func (a ask) Cookie(string) string       { return "" }
func (b *bench) gateway(v string) string { return b.rules.Decide(ask{v}).Unit }

// compared sees that comparisons pick rows by the same keys as lanes.
func (b *bench) compared(c *column) {
	var picked, want []string
	side := compare.Side{DB: b.db, Schema: b.server.Database}
	res, err := compare.Run(b.t.Context(), compare.Table{A: side, B: side, Name: c.table, Key: "k", Pick: func(key string) bool {
		picked = append(picked, key)
		return true
	}}, 0)
	if err != nil || res.Different != 0 {
		b.t.Fatalf("%s: compare: %+v, %v", c.declared, res, err)
	}
	for _, s := range c.rows {
		if s.ok {
			want = append(want, s.key, s.key) // once on each side
		}
	}
	slices.Sort(picked)
	slices.Sort(want)
	if !slices.Equal(picked, want) {
		b.t.Errorf("%s: a comparison reads keys %q, lanes %q", c.declared, picked, want)
	}
}

// conn is a session with a character set.
func (b *bench) conn(charset string) *sql.Conn {
	conn, err := b.sessions.Conn(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.ExecContext(b.t.Context(), "SET NAMES "+charset); err != nil {
		b.t.Fatal(err)
	}
	return conn
}

func (b *bench) exec(statements ...string) {
	b.t.Helper()
	for _, q := range statements {
		if _, err := b.db.ExecContext(b.t.Context(), q); err != nil {
			b.t.Fatalf("%s: %v", q, err)
		}
	}
}

func (b *bench) list(query string) []string {
	b.t.Helper()
	list, err := column1(b.t.Context(), b.db, query)
	if err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	return list
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column1 is the first column of a query's rows.
func column1(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}
