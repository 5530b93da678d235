package prove

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atoll-live/atoll/server/keytext"
	"github.com/atoll-live/atoll/server/mariadbtest"
)

// equalKeysAreOne draws texts that are near each other, keeps those that a
// column accepts, one for each canonical key, and inserts them under a unique
// index: the server must call none of them equal, keep each as it is, and
// find it again.
func equalKeysAreOne(t *testing.T, s *mariadbtest.Server) {
	c := connect(t, s)
	columns := columnsUnderTest(c)
	for i, u := range columns {
		c.exec(fmt.Sprintf("CREATE OR REPLACE TABLE uniq%d (k %s NOT NULL, UNIQUE (k))", i, u.declared))
	}
	c.exec("SET sql_mode = ''")
	rapid.Check(t, func(r *rapid.T) {
		for range 4 {
			i := rapid.IntRange(0, len(columns)-1).Draw(r, "column")
			u := columns[i]
			u.table = fmt.Sprintf("uniq%d", i)
			texts := rapid.SliceOfN(nearText(r, u.column.Type), 2, 30).Draw(r, "texts")
			c.exec("BEGIN")
			u.check(r, c, texts)
			c.exec("ROLLBACK")
		}
	})
}

// under is a column under test.
type under struct {
	column   Column
	declared string
	table    string
}

func columnsUnderTest(c conn) []under {
	var list []under
	for _, bits := range []struct {
		name string
		bits int
	}{{"TINYINT", 8}, {"SMALLINT", 16}, {"MEDIUMINT", 24}, {"INT", 32}, {"BIGINT", 64}} {
		list = append(list, under{Column{Name: "k", Type: Integer, Bits: bits.bits}, bits.name, ""},
			under{Column{Name: "k", Type: Integer, Bits: bits.bits, Unsigned: true}, bits.name + " UNSIGNED", ""})
	}
	list = append(list, under{Column{Name: "k", Type: Binary, Length: 6}, "VARBINARY(6)", ""},
		under{Column{Name: "k", Type: Binary, Length: 4, Fixed: true}, "BINARY(4)", ""},
		under{Column{Name: "k", Type: UUID}, "UUID", ""})
	for _, name := range collations(c) {
		how, _ := keytext.ComparisonOf(name)
		if how == keytext.Unknown {
			continue
		}
		list = append(list, under{Column{Name: "k", Type: Text, Length: 6, Collation: name},
			"VARCHAR(6) CHARACTER SET " + charsetOf(name) + " COLLATE " + name, ""})
	}
	return append(list, under{Column{Name: "k", Type: Text, Length: 6, Collation: "utf8mb4_bin"}, "CHAR(6) COLLATE utf8mb4_bin", ""})
}

// collations are the server's, by the full names that columns have.
func collations(c conn) []string {
	return c.list("SELECT full_collation_name FROM information_schema.collation_character_set_applicability ORDER BY 1")
}

// nearText draws texts of which many are equal under some collation or cast.
func nearText(r *rapid.T, of Type) *rapid.Generator[string] {
	switch of {
	case Integer:
		n := rapid.SampledFrom([]string{"0", "1", "7", "127", "128", "255", "256", "32767", "65535", "8388607", "2147483647", "4294967295",
			"9007199254740992", "9007199254740993", "9223372036854775807", "18446744073709551615"})
		return rapid.Custom(func(r *rapid.T) string {
			return rapid.SampledFrom([]string{"", "", "-", "+", " ", "0", "-0"}).Draw(r, "before") + n.Draw(r, "n") +
				rapid.SampledFrom([]string{"", "", " ", ".0", "e0", "x", "\t"}).Draw(r, "after")
		})
	case UUID:
		return rapid.Custom(func(r *rapid.T) string {
			s := "123e4567-e89b-12d3-a456-42661417400" + string(rapid.SampledFrom([]byte("01abAB")).Draw(r, "end"))
			switch rapid.IntRange(0, 4).Draw(r, "how") {
			case 0:
				return strings.ToUpper(s)
			case 1:
				return strings.ReplaceAll(s, "-", "")
			}
			return s
		})
	}
	letters := rapid.SampledFrom([][]string{
		{"a", "A", "á", "à", "ä", "a\u0301"}, {"s", "S", "ß", "ss", "ſ"}, {"i", "I", "ı", "İ", "j"}, {"u", "v", "w", "U", "V"}, {"k", "K", "K"},
		{"y", "i", "ü"}, {"n", "ñ", "~"}, {"c", "ch", "h"}, {"ﬀ", "ff", "f"}, {"1", "１", "①", "٠"}, {"a", " ", "\t", "\u00a0", "\u3000"},
		{"a", "\x00", "\x01", "\x1a"}, {"a", "\u200b", "\ufeff", "\u00ad"}, {"-", "_", ".", ":", "@", "'"}, {"\U0001f600", "\U0001f601", "?"}, {"\xff", "\xfe", "a"},
		{"\\", "%", "_", "a"}, {"張", "张", "一", "丁"},
	}).Draw(r, "letters")
	return rapid.Custom(func(r *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(letters), 1, 4).Draw(r, "text"), "")
	})
}

// check inserts the accepted keys.
func (u *under) check(r *rapid.T, c conn, texts []string) {
	k := &keyed{table: u.table, column: u.column}
	seen := map[string]bool{}
	for _, text := range texts {
		p := Param{Kind: ParamString, Bytes: []byte(text)}
		key, why := k.canonical(p, place{})
		if why != nil || seen[key] {
			continue
		}
		seen[key] = true
		if _, err := c.ExecContext(c.t.Context(), "INSERT INTO "+u.table+" (k) VALUES (?)", text); err != nil {
			r.Fatalf("%s: insert %q after %v: %v", u.declared, text, seen, err)
		}
		if n := c.list("SELECT COUNT(*) FROM "+u.table+" WHERE k = ?", text); n[0] != "1" {
			r.Fatalf("%s: %q finds %s rows", u.declared, text, n[0])
		}
		if back := c.list("SELECT k FROM "+u.table+" WHERE k = ?", text)[0]; u.canonicalText(back) != key {
			r.Fatalf("%s: %q was kept as %q, canonical is %q", u.declared, text, back, key)
		}
	}
	if n := c.list("SELECT COUNT(*) FROM " + u.table); n[0] != fmt.Sprint(len(seen)) {
		r.Fatalf("%s: %s rows for %d keys", u.declared, n[0], len(seen))
	}
}

func (u *under) canonicalText(back string) string {
	if u.column.Type == Binary && u.column.Fixed {
		return hex.EncodeToString([]byte(back))
	}
	return back
}

// foldingCollationsDiffer holds the list of collations: under each, all texts
// of one and two plain characters are different. The Roman one, which is not
// on the list, shows that the test can fail.
func foldingCollationsDiffer(t *testing.T, s *mariadbtest.Server) {
	c := connect(t, s)
	c.exec("CREATE OR REPLACE TABLE pairs (s VARCHAR(2) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY)")
	const plain = "abcdefghijklmnopqrstuvwxyz0123456789_.:@-"
	var values []string
	for _, a := range plain {
		values = append(values, fmt.Sprintf("('%c')", a))
		for _, b := range plain {
			values = append(values, fmt.Sprintf("('%c%c')", a, b))
		}
	}
	c.exec("INSERT INTO pairs VALUES " + strings.Join(values, ", "))
	tested := 0
	for _, name := range append(collations(c), "utf8mb4_roman_ci") {
		how, _ := keytext.ComparisonOf(name)
		roman := name == "utf8mb4_roman_ci"
		if how != keytext.Folding && !roman {
			continue
		}
		tested++
		same := c.list(fmt.Sprintf("SELECT COUNT(*) - COUNT(DISTINCT CONVERT(s USING %s) COLLATE %s) FROM pairs", charsetOf(name), name))[0]
		if roman == (same == "0") {
			t.Errorf("%s calls %s texts of plain characters equal to others", name, same)
		}
	}
	if tested < 30 {
		t.Errorf("%d collations tested, want 30 or more", tested)
	}
}

// escapesAgree compares what the prover and the server make of every escape.
func escapesAgree(t *testing.T, s *mariadbtest.Server) {
	c := connect(t, s)
	k := &keyed{table: "t", column: Column{Name: "k", Type: Text, Length: 100, Collation: "utf8mb4_bin"}}
	prover, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	schema := schemas(t)["refuse"]
	agreed := 0
	for b := 1; b < 256; b++ {
		for _, form := range []string{"'x%sy'", "'x\\%sy'", "\"x%sy\"", "'x\\\\%sy'", "'x'  '%sy'"} {
			literal := fmt.Sprintf(form, string([]byte{byte(b)}))
			plan := prover.Plan(schema, Session{}, []byte("DELETE FROM items WHERE buyer_id = "+literal))
			keys, why := plan.Resolve(nil)
			if why != nil {
				continue
			}
			agreed++
			if got := c.list("SELECT " + literal); got[0] != keys[0] {
				t.Errorf("%q: proven %q, the server says %q", literal, keys[0], got[0])
			}
		}
	}
	if _, why := k.canonical(Param{Kind: ParamString, Bytes: []byte("x")}, place{}); why != nil || agreed < 300 {
		t.Errorf("%d literals agreed on, %v", agreed, why)
	}
}

// builtInsAreNative makes a stored function of each name that counts as built
// in, and sees that a bare call does not reach it.
func builtInsAreNative(t *testing.T, s *mariadbtest.Server) {
	c := connect(t, s)
	c.exec("SET sql_log_bin = 0")
	defer c.exec("SET sql_log_bin = 1")
	c.exec("SET GLOBAL log_bin_trust_function_creators = 1")
	c.exec("CREATE OR REPLACE FUNCTION audit(a INT) RETURNS INT BEGIN SET @hit = 'audit'; RETURN 1; END")
	reached := func(name string) bool {
		c.exec("SET @hit = NULL")
		for _, call := range []string{"SELECT %s()", "SELECT %s(1)", "SELECT %s(1, 1)", "SELECT %s(1, 1, 1)"} {
			_ = c.QueryRowContext(t.Context(), fmt.Sprintf(call, name)).Scan(new(any)) // most calls have the wrong number of arguments
		}
		return c.list("SELECT @hit")[0] != ""
	}
	if !reached("audit") {
		t.Fatal("a stored function is not reached: the test cannot fail")
	}
	made := 0
	for name := range builtIns {
		for _, params := range []string{"", "a INT", "a INT, b INT", "a INT, b INT, c INT"} {
			_, err := c.ExecContext(t.Context(), fmt.Sprintf("CREATE OR REPLACE FUNCTION `%s`(%s) RETURNS INT BEGIN SET @hit = 1; RETURN 1; END", name, params))
			if err != nil {
				break
			}
			made++
			if name != "sleep" && name != "benchmark" && reached(name) {
				t.Errorf("%s(%s) reaches a stored function", name, params)
			}
		}
		c.exec("DROP FUNCTION IF EXISTS `" + name + "`")
	}
	if made < 200 {
		t.Errorf("%d functions made, want 200 or more", made)
	}
}

// settingsReplay sets again what plans say of the scripts' settings.
func settingsReplay(t *testing.T, s *mariadbtest.Server) {
	c := connect(t, s)
	prover, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"SET autocommit = OFF", "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci", "SET NAMES latin1", "SET character_set_results = NULL",
		"SET sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')", "SET sql_mode = traditional", "SET collation_connection = utf8mb4_bin",
		"SET time_zone = '+01:00'", "SET @a = 'it''s \\\\', @b = @a", "SET tx_isolation = 'READ-COMMITTED'", "SET character_set_client = utf8mb4",
		"SET sql_mode = REPLACE(@@sql_mode, 'STRICT_TRANS_TABLES', '')", "SET max_statement_time = 1.5", "SET sql_mode = ''", "SET autocommit = 1",
	} {
		plan := prover.Plan(schemas(t)["refuse"], Session{}, []byte(text))
		if plan.Refusal != nil || len(plan.Settings) == 0 {
			t.Errorf("%s: %v", text, plan.Refusal)
		}
		c.exec(text)
		for _, set := range plan.Settings {
			sep := " = "
			if set.Name == "names" {
				sep = " "
			}
			name := set.Name
			if before, after := c.list("SELECT @@sql_mode"), set.Value; true {
				c.exec("SET " + name + sep + after)
				if got := c.list("SELECT @@sql_mode"); got[0] != before[0] {
					t.Errorf("%s: replayed %s: sql_mode %q became %q", text, after, before, got)
				}
			}
		}
	}
	c.exec("SET NAMES utf8mb4")
}
