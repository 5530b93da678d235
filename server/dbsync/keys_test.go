package dbsync_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/space"
)

// keyType is a column that may hold keys: how it shows the n-th key in SQL,
// and as the text by which proxies and rules know it.
type keyType struct {
	ddl  string
	sql  func(n int) string
	text func(n int) string
	odd  []string // SQL of values that are no keys
}

func keyTypes() []keyType {
	quoted := func(format string) func(int) string {
		return func(n int) string { return fmt.Sprintf("'"+format+"'", n) }
	}
	as := func(format string) func(int) string { return func(n int) string { return fmt.Sprintf(format, n) } }
	return []keyType{
		{"INT UNSIGNED ZEROFILL", as("%d"), as("%d"), nil},
		{"BIGINT", as("-%d"), as("-%d"), nil},
		// The log cuts the zeros at the end.
		{"BINARY(4)", as("X'%04x0000'"), as("%04x0000"), nil},
		{"UUID", quoted("%08X-0000-4000-8000-000000000000"), as("%08x-0000-4000-8000-000000000000"), nil},
		{"VARBINARY(20)", quoted("K%dü"), as("K%dü"), []string{"X'ff00'", "'k '"}},
		{"CHAR(20) CHARACTER SET latin1 COLLATE latin1_bin", quoted("K%d  "), as("K%d"), []string{"'kü'"}},
		{"VARCHAR(600) COLLATE utf8mb4_unicode_ci", quoted("k%d"), as("k%d"), []string{"'Bob'", "'bób'", "'b\\tob'", "REPEAT('k',513)"}},
		{"VARCHAR(20) COLLATE utf8mb4_nopad_bin", quoted("Kö%d"), as("Kö%d"), []string{"'k '", "'🙂'"}},
	}
}

// TestLanesReadKeysAsProxiesWriteThem: for every type of a key column a row is
// judged by the text of its key, and one whose key is no such text is parked.
func TestLanesReadKeysAsProxiesWriteThem(t *testing.T) {
	types := keyTypes()
	var tables []space.Table
	var ddl []string
	for i, k := range types {
		tables = append(tables, space.Table{Name: fmt.Sprintf("t%d", i), Kind: space.TableUnit, Key: "k"})
		ddl = append(ddl, fmt.Sprintf("CREATE TABLE t%d (k %s NOT NULL, n INT NOT NULL PRIMARY KEY)", i, k.ddl))
	}
	w := newWorld(t, 2, tables, ddl...)
	w.start("unit-b")
	w.running("unit-a", "unit-b")
	db, parked := w.sites["unit-a"].db, 0
	for i, k := range types {
		mine, theirs := 1, 1
		for w.owner(k.text(mine)) != "unit-a" {
			mine++
		}
		for w.owner(k.text(theirs)) != "unit-b" {
			theirs++
		}
		run(t, db, fmt.Sprintf("INSERT INTO t%d VALUES (%s,1),(%s,2)", i, k.sql(mine), k.sql(theirs)),
			fmt.Sprintf("UPDATE t%d SET k=%s WHERE n=1", i, k.sql(mine)))
		for n, odd := range k.odd {
			run(t, db, fmt.Sprintf("INSERT INTO t%d VALUES (%s,%d)", i, odd, n+10))
		}
		parked += 1 + len(k.odd)
		w.same(fmt.Sprintf("SELECT n, HEX(k) FROM t%d WHERE n=1", i), "unit-a", "unit-b")
		eventually(t, k.ddl+": parked rows", func() (bool, string) {
			got := query(t, w.sites["unit-b"].db, "SELECT keytext, owner FROM atoll.parked WHERE tbl=?", fmt.Sprintf("shop.t%d", i))
			return strings.HasPrefix(got, k.text(theirs)+"|unit-b") && strings.Count(got, "\n") == len(k.odd), got
		})
		if got := query(t, w.sites["unit-b"].db, fmt.Sprintf("SELECT COUNT(*) FROM t%d", i)); got != "1" {
			t.Errorf("%s: %s rows came over, want 1", k.ddl, got)
		}
	}
	// A fixed length that grows while the lane runs is the new one from there on.
	n := 1
	for w.owner(fmt.Sprintf("%04x00000000", n)) != "unit-a" {
		n++
	}
	for _, unit := range []string{"unit-b", "unit-a"} {
		run(t, w.sites[unit].db, "ALTER TABLE t2 MODIFY k BINARY(6) NOT NULL")
	}
	run(t, db, fmt.Sprintf("INSERT INTO t2 VALUES (X'%04x',7)", n))
	w.same("SELECT n, HEX(k) FROM t2 WHERE n=7", "unit-a", "unit-b")
	got := query(t, w.sites["unit-b"].db, "SELECT COUNT(*), SUM(reason LIKE 'the key has a form that no proxy lets through%'), MAX(CHAR_LENGTH(keytext)) FROM atoll.parked")
	if want := fmt.Sprintf("%d|%d|512", parked, parked-len(types)); got != want {
		t.Errorf("parked, odd, longest: %s, want %s", got, want)
	}
}

// TestLaneRefusesKeysThatDiffer: two units must call the same keys equal.
func TestLaneRefusesKeysThatDiffer(t *testing.T) {
	w := newWorld(t, 2, []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "buyer"}}, ddlOrders)
	run(t, w.sites["unit-b"].db, "ALTER TABLE orders MODIFY buyer VARCHAR(40) COLLATE utf8mb4_general_ci NOT NULL")
	w.start("unit-b")
	w.stopped("unit-a", "unit-b", "table shop.orders: its key buyer is of another type or collation here than at the source")
	run(t, w.sites["unit-b"].db, "ALTER TABLE orders MODIFY buyer VARCHAR(60) COLLATE utf8mb4_bin NOT NULL")
	w.running("unit-a", "unit-b")
}

// TestSettleComparesEveryTypeOfKey: the rows of named keys are found whatever
// the type of the key column, and no others.
func TestSettleComparesEveryTypeOfKey(t *testing.T) {
	types := keyTypes()
	var tables []space.Table
	var ddl, keys []string
	for i, k := range types {
		tables = append(tables, space.Table{Name: fmt.Sprintf("t%d", i), Kind: space.TableUnit, Key: "k"})
		ddl = append(ddl, fmt.Sprintf("CREATE TABLE t%d (k %s NOT NULL, n INT NOT NULL PRIMARY KEY)", i, k.ddl),
			fmt.Sprintf("INSERT INTO t%d VALUES (%s,1),(%s,2),(%s,3)", i, k.sql(7), k.sql(8), k.sql(9)))
		keys = append(keys, k.text(7), k.text(8))
	}
	w := newWorld(t, 2, tables, ddl...)
	w.sites["unit-b"].cfg.Settle = 100 * time.Millisecond
	w.startAll()
	for i := range types {
		unlogged(t, w.sites["unit-b"].db, fmt.Sprintf("DELETE FROM t%d WHERE n IN (2,3)", i))
	}
	for _, named := range []bool{true, false} {
		m := &space.Transfer{ID: fmt.Sprint("m", named), Rule: "r", From: "unit-a", To: "unit-b", Outcome: space.OutcomeSwitched, Keys: space.KeySet{Keys: keys}}
		if !named {
			m.Keys = space.KeySet{Buckets: []space.Range{{From: 0, To: 1000}}}
		}
		w.publish(func(s *space.Snapshot) { s.Moves = []*space.Transfer{m} })
		w.sites["unit-b"].sync.Ask([]*atollv1.Ask{{Space: "shop", Move: m.ID, Epoch: 0, Step: "settle"}})
		want := [2]int64{int64(2 * len(types)), int64(len(types))}
		if !named {
			want = [2]int64{int64(3 * len(types)), int64(2 * len(types))}
		}
		eventually(t, "settled", func() (bool, string) {
			r := w.report("unit-b")
			for _, a := range r.Acks {
				if a.Move == m.ID && a.Step == "settled" {
					got := [2]int64{a.Figures["rows_compared"], a.Figures["rows_different"]}
					if got != want {
						t.Fatalf("named keys %v: compared and different rows %v, want %v: %s", named, got, want, a.Detail)
					}
					return true, ""
				}
			}
			return false, r.String()
		})
	}
}

// TestListing_RefusesKeysThatNoProxyLetsThrough: a statement about a key would
// change the rows of others that the column calls equal to it.
func TestListing_RefusesKeysThatNoProxyLetsThrough(t *testing.T) {
	var ddl []string
	for i, k := range keyTypes() {
		ddl = append(ddl, fmt.Sprintf("CREATE TABLE t%d (buyer %s, n INT NOT NULL PRIMARY KEY)", i, k.ddl), fmt.Sprintf("INSERT INTO t%d VALUES (NULL,0),(%s,1)", i, k.sql(1)))
		for n, odd := range k.odd {
			ddl = append(ddl, fmt.Sprintf("INSERT INTO t%d VALUES (%s,%d)", i, odd, n+10))
		}
	}
	ddl = append(ddl, "CREATE TABLE roman (buyer VARCHAR(20) COLLATE utf8mb4_roman_ci, n INT PRIMARY KEY)", "CREATE TABLE mixed (buyer VARCHAR(20) COLLATE utf8mb4_bin, n INT PRIMARY KEY)")
	w := newWorld(t, 2, nil, ddl...)
	run(t, w.sites["unit-b"].db, "ALTER TABLE mixed MODIFY buyer VARCHAR(20) COLLATE utf8mb4_general_ci")
	w.start("unit-b")
	tables := []*atollv1.ComparedTable{unitTable("roman"), unitTable("mixed")}
	for i := range keyTypes() {
		tables = append(tables, unitTable(fmt.Sprintf("t%d", i)))
	}
	ack := w.ask("one", 0, w.comparison(tables...))
	got := texts(ack)
	want := map[string]string{
		"roman": "in unit-a: table shop.roman: its key buyer is a varchar(20) and has collation utf8mb4_roman_ci, under which different keys may be equal (use a binary collation such as utf8mb4_bin)",
		"mixed": "table mixed: its columns differ: buyer is varchar(20) utf8mb4_bin in unit-a and varchar(20) utf8mb4_general_ci in unit-b (make them equal, then apply again)",
		"t4": "table t4 holds keys in buyer that no proxy lets through, since the column calls them equal to others: 4 rows in unit-a and unit-b, among them those with primary key '10' '11'" +
			" (a key is a text of printable characters of the basic plane without a space at its end: change them, then apply again)",
		"t5": "table t5 holds keys in buyer that no proxy lets through, since the column calls them equal to others: 2 rows in unit-a and unit-b, among them those with primary key '10'" +
			" (a key is a text of printable ASCII without a space at its end: change them, then apply again)",
		"t6": "table t6 holds keys in buyer that no proxy lets through, since the column calls them equal to others: 8 rows in unit-a and unit-b, among them those with primary key '10' '11' '12' '13'" +
			" (a key is a text of a-z 0-9 _ . : @ - alone under collation utf8mb4_unicode_ci: change them, then apply again)",
		"t7": "table t7 holds keys in buyer that no proxy lets through, since the column calls them equal to others: 4 rows in unit-a and unit-b, among them those with primary key '10' '11'" +
			" (a key is a text of printable characters of the basic plane without a space at its end: change them, then apply again)",
	}
	if len(got) != len(want) || ack.Error != "" {
		t.Errorf("answer: %v", ack)
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s:\n%s\nwant\n%s", name, got[name], text)
		}
	}
}
