package prove

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/keytext"
	"github.com/atoll-live/atoll/server/mariadbtest"
)

// TestServer holds the proofs against a real MariaDB, one server for all.
func TestServer(t *testing.T) {
	server := mariadbtest.Start(t, mariadbtest.Options{Port: port(t)})
	for _, c := range []struct {
		name string
		test func(*testing.T, *mariadbtest.Server)
	}{
		{"writes change rows of proven keys only", writesTouchProvenKeys},
		{"generated conditions", generatedConditions},
		{"equal keys are one key", equalKeysAreOne},
		{"folding collations", foldingCollationsDiffer},
		{"escapes in literals", escapesAgree},
		{"functions", builtInsAreNative},
		{"settings", settingsReplay},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, server) })
	}
}

// port is a free one of this package's range.
func port(t *testing.T) int {
	for p := 22010; p < 22100; p++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err == nil {
			l.Close()
			return p
		}
	}
	t.Fatal("no free port from 22010 to 22099")
	return 0
}

// session is one connection that rolls back all it did.
type conn struct {
	t *testing.T
	*sql.Conn
}

func connect(t *testing.T, s *mariadbtest.Server) conn {
	c, err := s.Open(t).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return conn{t, c}
}

func (c conn) exec(query string, args ...any) {
	c.t.Helper()
	if _, err := c.ExecContext(c.t.Context(), query, args...); err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
}

// list is the first column of a query's rows.
func (c conn) list(query string, args ...any) []string {
	c.t.Helper()
	rows, err := c.QueryContext(c.t.Context(), query, args...)
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s sql.NullString
		if err := rows.Scan(&s); err != nil {
			c.t.Fatal(err)
		}
		list = append(list, s.String)
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
	return list
}

// number is the server's number of an error, 0 for none, -1 for others.
func number(err error) int {
	var e *mysql.MySQLError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int(e.Number)
	}
	return -1
}

// keyTypes are the key columns of the fixtures as the server declares them.
var keyTypes = map[string]string{
	"orders": "VARCHAR(32) COLLATE utf8mb4_bin", "items": "VARCHAR(32) COLLATE utf8mb4_bin", "carts": "VARCHAR(32) COLLATE utf8mb4_bin",
	"wallets": "BIGINT", "history": "BIGINT", "points": "BIGINT UNSIGNED AUTO_INCREMENT", "tiny": "TINYINT",
	"names": "VARCHAR(8) COLLATE utf8mb4_general_ci", "latins": "VARCHAR(8) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
	"latbin": "VARCHAR(8) CHARACTER SET latin1 COLLATE latin1_bin", "romans": "VARCHAR(8) COLLATE utf8mb4_roman_ci",
	"tokens": "VARBINARY(8)", "fixed": "BINARY(4)", "devices": "UUID", "odd": "DECIMAL(10,2)", "derived": "VARCHAR(32) COLLATE utf8mb4_bin",
}

// seeds are the keys that the tables hold: those of the scripts and others
// that a wrong proof would hit.
func seeds(c Column) []string {
	switch c.Type {
	case Integer:
		return []string{"0", "1", "5", "7", "8", "-7", "-9", "42", "127", "-128", "9223372036854775807", "-9223372036854775808",
			"9007199254740992", "9007199254740993", "18446744073709551615"}
	case Text:
		return []string{"a", "b", "c", "d", "e", "bob", "Bob", "eve", "x", "y", "7", "7x", "it's", "zed", "bob1", "bo", "\x01", "ü"}
	case Binary:
		return []string{"abc", "abcd", "ab ", "ab", "\xff\x00", "\x00\x00\x00\x00", "ABCD"}
	case UUID:
		return []string{"123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001"}
	}
	return []string{"5.00", "6.00"}
}

// fill makes the fixtures' tables with some rows for each key.
func fill(t *testing.T, s *mariadbtest.Server) {
	c := connect(t, s)
	c.exec("SET sql_mode = ''")
	for name, table := range shopTables() {
		key := "k0 INT"
		if declared, ok := keyTypes[name]; ok {
			key = table.Key.Name + " " + declared
		}
		primary := "id"
		if table.UniquesHoldKey {
			primary = table.Key.Name + ", id"
		}
		c.exec("DROP TABLE IF EXISTS " + name)
		c.exec(fmt.Sprintf(`CREATE TABLE %s (id BIGINT NOT NULL DEFAULT 0, %s, status INT NOT NULL DEFAULT 0, amount DECIMAL(20) DEFAULT 0,
			product INT DEFAULT 1, order_id BIGINT DEFAULT 0, qty INT DEFAULT 1, n INT DEFAULT 0, price INT DEFAULT 3, note VARBINARY(200) DEFAULT '',
			mark INT NOT NULL DEFAULT 0, PRIMARY KEY (%s)) ENGINE=InnoDB`, name, key, primary))
		if table.Key.Name == "" {
			c.exec("INSERT INTO " + name + " (id) VALUES (1), (2), (7)")
			continue
		}
		id := 100
		for _, k := range seeds(table.Key) {
			if how, _ := keytext.ComparisonOf(table.Key.Collation); how == keytext.Folding && !keytext.Plain([]byte(k)) {
				continue // such a table is not listed before its keys are canonical
			}
			for range 2 {
				id++
				_, err := c.ExecContext(t.Context(), fmt.Sprintf("INSERT IGNORE INTO %s (id, %s, order_id, status) VALUES (?, ?, ?, ?)",
					name, table.Key.Name), id, []byte(k), id, id%3)
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// args are bound values for the driver.
func args(params []Param) []any {
	var list []any
	for _, p := range params {
		switch p.Kind {
		case ParamInt:
			list = append(list, p.Int)
		case ParamUint:
			list = append(list, p.Uint)
		case ParamNull:
			list = append(list, nil)
		default:
			list = append(list, string(p.Bytes))
		}
	}
	return list
}

// image is every row of the unit tables: its key in canonical form, and its
// content.
func (c conn) image() map[string]string {
	all := map[string]string{}
	for name, table := range shopTables() {
		if table.Key.Name == "" {
			continue
		}
		key := "CONVERT(" + table.Key.Name + " USING utf8mb4)"
		if table.Key.Type == Binary && table.Key.Fixed {
			key = "LOWER(HEX(" + table.Key.Name + "))"
		}
		for _, row := range c.list(fmt.Sprintf("SELECT CONCAT_WS('|', %s, HEX(%s), id, status, amount, n, mark, HEX(note), qty, product) FROM %s", key, table.Key.Name, name)) {
			all[name+"|"+row] = row
		}
	}
	return all
}

// changed are the keys of the rows that differ between two images.
func changed(before, after map[string]string) []string {
	var keys []string
	add := func(a, b map[string]string) {
		for id, row := range a {
			if _, same := b[id]; !same {
				key, _, _ := strings.Cut(row, "|")
				if !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
		}
	}
	add(before, after)
	add(after, before)
	return keys
}

// writesTouchProvenKeys runs every write of unit tables in the scripts and
// looks which rows it changed.
func writesTouchProvenKeys(t *testing.T, s *mariadbtest.Server) {
	fill(t, s)
	c := connect(t, s)
	ran, effective := 0, 0
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		steps(t, string(text), func(_ string, st *step) {
			if st == nil {
				return
			}
			did, hit := c.runWrite(st)
			ran += did
			effective += hit
		})
	}
	t.Logf("%d writes ran, %d changed rows", ran, effective)
	if ran < 60 || effective < 40 {
		t.Errorf("%d writes ran and %d changed rows: the test has lost its teeth", ran, effective)
	}
}

// runWrite runs one accepted write, checks its rows and rolls it back.
func (c conn) runWrite(st *step) (ran, effective int) {
	p := st.plan()
	if p.Class != Write || !p.Writes.Has(UnitTables) {
		return 0, 0
	}
	keys, why := p.Resolve(st.params)
	if why != nil {
		return 0, 0
	}
	c.exec("SET sql_mode = ''")
	c.exec("SET NAMES utf8mb4")
	if st.session.Narrow {
		c.exec("SET NAMES latin1")
	}
	c.exec("USE shop")
	c.exec("BEGIN")
	before := c.image()
	_, err := c.ExecContext(context.Background(), st.sql, args(st.params)...)
	if err != nil && number(err) < 0 {
		c.t.Fatalf("%s: %v", st.sql, err)
	}
	after := c.image()
	c.exec("ROLLBACK")
	touched := changed(before, after)
	for _, key := range touched {
		if !slices.Contains(keys, key) {
			c.t.Errorf("%s\nproven keys %q, but a row of %q changed", st.sql, keys, key)
		}
	}
	if err != nil {
		c.t.Logf("the server refuses %s: %v", st.sql, err)
		return 0, 0
	}
	return 1, min(1, len(touched))
}
