package dbsync_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/atoll-live/atoll/space"
)

// typeCase is one column type with values that must arrive as they are.
type typeCase struct {
	ddl    string   // column definition
	values []string // SQL literals
}

func typeCases() []typeCase {
	return []typeCase{
		{"TINYINT", []string{"-128", "127", "0"}}, {"TINYINT UNSIGNED", []string{"0", "255", "128"}}, {"BOOL", []string{"TRUE", "FALSE"}},
		{"SMALLINT", []string{"-32768", "32767"}}, {"SMALLINT UNSIGNED", []string{"65535"}},
		{"MEDIUMINT", []string{"-8388608", "8388607"}}, {"MEDIUMINT UNSIGNED", []string{"16777215"}},
		{"INT", []string{"-2147483648", "2147483647"}}, {"INT UNSIGNED ZEROFILL", []string{"4294967295", "7"}},
		{"BIGINT", []string{"-9223372036854775808", "9223372036854775807"}}, {"BIGINT UNSIGNED", []string{"18446744073709551615", "9223372036854775808"}},
		{"DECIMAL(65,30)", []string{"12345678901234567890123456789012345.123456789012345678901234567890", "-99999999999999999999999999999999999.999999999999999999999999999999", "0"}},
		{"DECIMAL(1,0)", []string{"-9", "9"}}, {"DECIMAL(10,10)", []string{"-0.0000000001", "0.9999999999"}}, {"DECIMAL(18,9)", []string{"123456789.000000001", "-1.5"}},
		{"FLOAT", []string{"3.4028235e38", "-1.17549435e-38", "0.1", "-0e0", "16777216"}}, {"DOUBLE", []string{"1.7976931348623157e308", "5e-324", "0.1", "-0e0", "9007199254740993"}}, {"FLOAT(7,3)", []string{"1234.567", "-0.001"}},
		{"BIT(1)", []string{"b'0'", "b'1'"}}, {"BIT(12)", []string{"b'101010101010'"}}, {"BIT(64)", []string{"b'1111111111111111111111111111111111111111111111111111111111111111'", "1"}},
		{"CHAR(10)", []string{"''", "'ab  '", "'Grüße 🙂'", "'it''s \\\\ \\0 \"'"}},
		{"VARCHAR(300)", []string{"''", "'  lead and trail  '", "'Grüße 🙂'", "'\\n\\r\\t\\Z\\0%_'", "REPEAT('x',300)"}},
		{"VARCHAR(50) CHARACTER SET latin1", []string{"'Müller'", "''", "'a''b'"}}, {"CHAR(20) CHARACTER SET utf8mb3", []string{"'日本'", "'x'"}},
		{"VARCHAR(20) CHARACTER SET ucs2", []string{"'日本'", "'\\0'"}}, {"VARCHAR(20) CHARACTER SET utf16", []string{"'🙂a'"}}, {"VARCHAR(20) CHARACTER SET gbk", []string{"'中文'"}},
		{"VARCHAR(20) CHARACTER SET cp1251 COLLATE cp1251_bin", []string{"'Привет'"}}, {"VARCHAR(20) COLLATE uca1400_ai_ci", []string{"'é'", "'e'"}},
		{"TEXT", []string{"''", "REPEAT('ü',20000)", "'a\\\\b'"}}, {"TINYTEXT", []string{"'x'"}}, {"MEDIUMTEXT", []string{"REPEAT('y',70000)"}}, {"LONGTEXT CHARACTER SET latin1", []string{"'ÿ'"}},
		{"BINARY(5)", []string{"'ab'", "'ab\\0\\0\\0'", "X'0000000000'", "X'ff00ff00ff'"}}, {"VARBINARY(300)", []string{"''", "X'00'", "X'ff0a0d5c2700'", "REPEAT(X'ab00',150)"}},
		{"BLOB", []string{"''", "REPEAT(X'00ff27',20000)"}}, {"TINYBLOB", []string{"X'0000'"}}, {"LONGBLOB", []string{"REPEAT(X'5c',300000)"}},
		{"ENUM('a','b','it''s','ü')", []string{"'a'", "'it''s'", "'ü'", "0"}}, {"SET('a','b','c')", []string{"''", "'a,c'", "'b'"}},
		{"DATE", []string{"'0000-00-00'", "'2024-00-10'", "'1000-01-01'", "'9999-12-31'", "'2023-02-31'"}},
		{"DATETIME", []string{"'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'", "'2024-03-31 02:30:00'"}}, {"DATETIME(1)", []string{"'2024-01-02 03:04:05.6'"}}, {"DATETIME(3)", []string{"'2024-01-02 03:04:05.678'", "'1000-01-01 00:00:00.001'"}}, {"DATETIME(6)", []string{"'2024-01-02 03:04:05.678901'", "'0000-00-00 00:00:00'"}},
		{"TIMESTAMP NULL", []string{"'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00 00:00:00'"}}, {"TIMESTAMP(6) NULL", []string{"'2024-03-10 02:30:00.000001'"}}, {"TIMESTAMP(2) NULL", []string{"'2024-03-10 02:30:00.98'"}},
		{"TIME", []string{"'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'"}}, {"TIME(1)", []string{"'-00:00:00.1'", "'12:34:56.7'"}}, {"TIME(3)", []string{"'-12:34:56.789'", "'00:00:00.001'"}}, {"TIME(6)", []string{"'-838:59:58.999999'", "'-00:00:00.000001'"}},
		{"YEAR", []string{"0", "1901", "2155"}},
		{"JSON", []string{"'{\"a\":[1,2.5,\"ü\"],\"n\":null}'", "'\"x\"'"}},
		{"UUID", []string{"'123e4567-e89b-12d3-a456-426655440000'", "'018e5d3c-7a00-7abc-8def-0123456789ab'", "'6ccd780c-baba-1026-9564-5b8c656024db'", "'00000000-0000-0000-0000-000000000000'", "'f81d4fae-7dec-4dd0-a765-00a0c91e6bf6'", "'ffffffff-ffff-ffff-ffff-ffffffffff00'", "'aaaaaaaa-bbbb-8ccc-1ddd-eeeeeeeeeeee'", "'11111111-2222-1333-9444-555555550000'"}},
		{"INET6", []string{"'2001:db8::'", "'::'", "'::ffff:1.2.3.4'"}}, {"INET4", []string{"'10.0.0.0'", "'255.255.255.255'"}},
		{"POINT", []string{"ST_GeomFromText('POINT(1 2.5)')"}}, {"GEOMETRY", []string{"ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 4326)"}},
	}
}

// TestTypes carries each type through insert, update to and from NULL, and
// delete, as a plain column and, where it can be one, as the primary key.
func TestTypes(t *testing.T) {
	cases := typeCases()
	var ddl []string
	var tables []space.Table
	for i, c := range cases {
		ddl = append(ddl, fmt.Sprintf("CREATE TABLE v%d (id INT PRIMARY KEY, k VARCHAR(20) NOT NULL, v %s)", i, c.ddl))
		tables = append(tables, space.Table{Name: fmt.Sprintf("v%d", i), Kind: space.TableUnit, Key: "k"})
		if keyable(c.ddl) {
			ddl = append(ddl, fmt.Sprintf("CREATE TABLE k%d (k VARCHAR(20) NOT NULL, n INT, v %s NOT NULL, PRIMARY KEY (v, k))", i, strings.TrimSuffix(c.ddl, " NULL")))
			tables = append(tables, space.Table{Name: fmt.Sprintf("k%d", i), Kind: space.TableUnit, Key: "k"})
		}
	}
	w := newWorld(t, 2, tables, ddl...)
	a := w.sites["unit-a"]
	k := w.keys("unit-a", 1)[0]
	w.start("unit-b")
	w.running("unit-a", "unit-b")
	db := a.db
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	run := func(q string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	run("SET SESSION sql_mode='ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone='+00:00', NAMES utf8mb4")
	for i, c := range cases {
		for n, v := range c.values {
			run(fmt.Sprintf("INSERT INTO v%d VALUES (%d,'%s',%s),(%d,'%s',NULL)", i, n, k, v, n+100, k))
			run(fmt.Sprintf("UPDATE v%d SET v=%s WHERE id=%d", i, v, n+100))
			run(fmt.Sprintf("INSERT INTO v%d VALUES (%d,'%s',%s),(%d,'%s',%s)", i, n+200, k, v, n+300, k, v))
			run(fmt.Sprintf("UPDATE v%d SET v=NULL WHERE id=%d", i, n+200))
			run(fmt.Sprintf("DELETE FROM v%d WHERE id=%d", i, n+300))
			if keyable(c.ddl) {
				run(fmt.Sprintf("INSERT IGNORE INTO k%d (v,k,n) VALUES (%s,'%s',1)", i, v, k))
				run(fmt.Sprintf("UPDATE k%d SET n=n+1", i))
				if n%2 == 1 {
					run(fmt.Sprintf("DELETE FROM k%d LIMIT 1", i))
				}
			}
		}
	}
	for _, tb := range tables {
		order := "id"
		if tb.Name[0] == 'k' {
			order = "v"
		}
		cols := "*, HEX(v), LENGTH(v)"
		got := w.same("SELECT "+cols+" FROM "+tb.Name+" ORDER BY "+order, "unit-a", "unit-b")
		if got == "" && tb.Name[0] == 'v' {
			t.Errorf("%s is empty", tb.Name)
		}
	}
}

// TestPackedAndRotatedLog reads a log that is compressed, without checksums,
// and cut into files.
func TestPackedAndRotatedLog(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	a, k := w.sites["unit-a"], w.keys("unit-a", 1)[0]
	run(t, a.db, "SET GLOBAL log_bin_compress=ON", "SET GLOBAL log_bin_compress_min_len=10", "SET GLOBAL binlog_checksum=NONE")
	w.startAll()
	for i := range 5 {
		run(t, a.db, fmt.Sprintf("INSERT INTO orders SELECT seq+%d, '%s', seq, REPEAT('n',200) FROM seq_1_to_200", i*1000, k),
			"UPDATE orders SET amount=amount+1", "DELETE FROM orders WHERE id%10=3", "FLUSH BINARY LOGS")
		if i == 2 {
			run(t, a.db, "SET GLOBAL binlog_checksum=CRC32")
		}
	}
	if got := w.same(allOrders, "unit-a", "unit-b"); strings.Count(got, "\n") != 899 {
		t.Errorf("%d rows", strings.Count(got, "\n")+1)
	}
}

func keyable(ddl string) bool {
	for _, no := range []string{"TEXT", "BLOB", "JSON", "POINT", "GEOMETRY", "VARCHAR(300)"} {
		if strings.Contains(ddl, no) {
			return false
		}
	}
	return true
}
