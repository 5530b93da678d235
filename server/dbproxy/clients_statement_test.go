package dbproxy_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/atoll-live/atoll/space"
)

// clientWorld is two units with some rows of each, and with what an operator
// should not have there, but might.
func clientWorld(t *testing.T) (w *world, fill *strings.Replacer) {
	t.Helper()
	w = newWorld(t, "unit-a", "unit-b")
	w.db.Spec.Tables = append(w.db.Spec.Tables[:4:4], space.Table{Name: "invoices", Kind: space.TableUnit, Key: "buyer_id"})
	own, own2, foreign := w.key("unit-a", 1), w.key("unit-a", 2), w.key("unit-b", 1)
	fill = strings.NewReplacer("{own}", own, "{own2}", own2, "{foreign}", foreign)
	for _, s := range w.servers {
		for _, text := range []string{
			"CREATE TABLE invoices (buyer_id VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, id BIGINT NOT NULL, number INT, PRIMARY KEY (buyer_id, id), UNIQUE (number))",
			"INSERT INTO orders (buyer_id, id, amount) VALUES ('{own}', 1, 5), ('{own2}', 1, 5), ('{foreign}', 1, 5)",
			"INSERT INTO carts VALUES ({own}, 1, 0), ({own2}, 1, 0), ({foreign}, 1, 0)",
			"INSERT INTO invoices VALUES ('{own}', 1, 1), ('{foreign}', 1, 2)",
			"INSERT INTO products VALUES (1, 'x')", "INSERT INTO stock VALUES (1, 1)",
			"CREATE VIEW paid AS SELECT * FROM orders",
			"CREATE PROCEDURE pay(IN n INT) DELETE FROM orders",
			"CREATE FUNCTION pay_all(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN DELETE FROM orders; RETURN n; END",
		} {
			s.Exec(t, fill.Replace(text))
		}
	}
	return w, fill
}

// content is all that the tables of both units hold, and their names.
func (w *world) content() string {
	w.t.Helper()
	var all []string
	for _, unit := range []string{"unit-a", "unit-b"} {
		for _, query := range []string{"CHECKSUM TABLE orders, carts, products, stock, secret, invoices", "SHOW FULL TABLES"} {
			all = append(all, strings.Join(w.column(unit, query), " "))
		}
	}
	return strings.Join(all, "\n")
}

// column is the first two columns of a query's rows at a server.
func (w *world) column(unit, query string) (list []string) {
	w.t.Helper()
	db := w.servers[unit].Open(w.t)
	defer func() { _ = db.Close() }()
	rows, err := db.Query(query)
	must(w.t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var a, b sql.NullString
		must(w.t, rows.Scan(&a, &b))
		list = append(list, a.String+" "+b.String)
	}
	must(w.t, rows.Err())
	return list
}

// tell sends a text as it is, or prepares and executes it.
func tell(t *testing.T, c *sql.Conn, text string, prepare bool) error {
	t.Helper()
	if !prepare {
		_, err := c.ExecContext(ctx(t), text)
		return err
	}
	s, err := c.PrepareContext(ctx(t), text)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	_, err = s.ExecContext(ctx(t))
	return err
}

// TestClients_Statements: each of these statements is refused with the number
// that docs/clients.md gives, whether it is prepared or not; nothing of it is
// done, and the connection is as good as before.
func TestClients_Statements(t *testing.T) {
	w, fill := clientWorld(t)
	a, b := w.serve("unit-a"), w.serve("unit-b")
	before := w.content()
	for _, part := range []struct {
		name  string
		at    *proxy
		texts []string
	}{
		{"no-key", a, []string{
			"UPDATE orders SET amount = 1", "DELETE FROM orders WHERE id = 1", "SELECT * FROM orders FOR UPDATE", "SELECT * FROM carts LOCK IN SHARE MODE",
			"UPDATE orders SET amount = 1 WHERE buyer_id = '{own}' OR 1 = 1", "DELETE FROM orders WHERE buyer_id LIKE '{own}%'",
			"DELETE FROM orders WHERE buyer_id <> 'x'",
			"INSERT INTO orders VALUES ('{own}', 7, 1, NULL)", "INSERT INTO orders (id) VALUES (7)",
		}},
		{"join-without-key", a, []string{
			"UPDATE orders o JOIN carts c ON c.item = o.id SET o.amount = 1 WHERE c.buyer_id = {own}",
			"DELETE o FROM orders o LEFT JOIN carts c ON o.buyer_id = '{own}' WHERE c.item IS NULL",
			"UPDATE orders SET amount = (SELECT SUM(qty) FROM carts) WHERE buyer_id = '{own}'",
		}},
		{"not-owner", a, []string{
			"INSERT INTO orders (buyer_id, id) VALUES ('{foreign}', 7)", "UPDATE carts SET qty = 1 WHERE buyer_id = {foreign}",
			"SELECT * FROM orders WHERE buyer_id = '{foreign}'", "SELECT * FROM carts WHERE buyer_id = {foreign} FOR UPDATE",
		}},
		{"two-owners", a, []string{
			"INSERT INTO orders (buyer_id, id) VALUES ('{own}', 7), ('{foreign}', 7)", "DELETE FROM orders WHERE buyer_id IN ('{foreign}', '{own}')",
			"UPDATE orders o JOIN carts c ON c.buyer_id = {foreign} SET o.amount = 1 WHERE o.buyer_id = '{own}'",
		}},
		{"key-changed", a, []string{
			"UPDATE orders SET buyer_id = '{own2}' WHERE buyer_id = '{own}'",
			"UPDATE orders SET amount = 1, orders.BUYER_ID = '{foreign}' WHERE buyer_id = '{own}'",
			"INSERT INTO carts (buyer_id, item) VALUES ({own}, 1) ON DUPLICATE KEY UPDATE buyer_id = {foreign}",
			"UPDATE orders SET `buyer_ıd` = '{foreign}' WHERE buyer_id = '{own}'",
		}},
		{"key-no-constant", a, []string{
			"DELETE FROM carts WHERE buyer_id = @me", "DELETE FROM carts WHERE buyer_id = ABS({own})", "DELETE FROM carts WHERE buyer_id = {own} + 0",
			"DELETE FROM carts WHERE buyer_id = (SELECT {own})", "INSERT INTO carts (buyer_id, item) VALUES (DEFAULT, 7)",
			"INSERT INTO carts (buyer_id, item) VALUES (item, 7)",
			"INSERT INTO carts (buyer_id, item) VALUES (LAST_INSERT_ID(), 7)",
		}},
		{"key-other-form", a, []string{
			"INSERT INTO carts (buyer_id, item) VALUES ('00{own}', 7)", "INSERT INTO carts (buyer_id, item) VALUES ({own}.0, 7)",
			"INSERT INTO carts (buyer_id, item) VALUES (0x31, 7)",
			"INSERT INTO carts (buyer_id, item) VALUES (x'31', 7)", "INSERT INTO carts (buyer_id, item) VALUES (b'1', 7)",
			"INSERT INTO carts (buyer_id, item) VALUES ({own}e0, 7)",
			"INSERT INTO carts (buyer_id, item) VALUES ('{own} ', 7)", "INSERT INTO carts (buyer_id, item) VALUES (' {own}', 7)",
			"INSERT INTO carts (buyer_id, item) VALUES ('{own}abc', 7)",
			"INSERT INTO carts (buyer_id, item) VALUES (TRUE, 7)", "INSERT INTO carts (buyer_id, item) VALUES (NULL, 7)",
			"DELETE FROM carts WHERE buyer_id = '00{own}'",
			"INSERT INTO orders (buyer_id, id) VALUES ({own}, 7)", "INSERT INTO orders (buyer_id, id) VALUES ('{own} ', 7)",
			"INSERT INTO orders (buyer_id, id) VALUES (_latin1'{own}', 7)",
			"INSERT INTO carts (buyer_id, item) VALUES (9223372036854775808, 7)", "INSERT INTO orders (buyer_id, id) VALUES ('" + strings.Repeat("x", 65) + "', 7)",
			"INSERT INTO orders (buyer_id, id) VALUES ('', 7)", "DELETE FROM orders WHERE buyer_id = '{own}' COLLATE utf8mb4_general_ci",
		}},
		{"executable-comments", a, []string{
			"/*! DELETE FROM orders */", "/*M! DELETE FROM orders */", "/*!50000 DELETE FROM orders */",
			"DELETE FROM orders /*!99999 WHERE buyer_id = '{own}' */",
			"DELETE FROM orders WHERE buyer_id = '{own}' /*M! OR 1 = 1 */", "DELETE FROM orders WHERE buyer_id = '{own}' /*!100000 OR 1 = 1 */",
			"SELECT 1 /*! FROM orders FOR UPDATE */", "DELETE FROM orders /*T! WHERE buyer_id = '{own}' */", "DELETE FROM orders -- \x01\n WHERE id = 1",
			"DELETE FROM orders WHERE buyer_id = '{own}' /* open",
		}},
		{"settings-in-hints", a, []string{
			"SELECT /*+ SET_VAR(sql_mode = 'ANSI_QUOTES') */ 1", "UPDATE /*+ set_var(sql_log_bin = 0) */ orders SET amount = 1 WHERE buyer_id = '{own}'",
			"SET STATEMENT sql_mode = 'ANSI_QUOTES' FOR DELETE FROM orders WHERE buyer_id = \"buyer_id\"",
			"SET STATEMENT max_statement_time = 1 FOR DELETE FROM orders WHERE buyer_id = '{own}'",
		}},
		{"names-in-other-case", a, []string{
			"DELETE FROM ORDERS WHERE buyer_id = '{own}'", "DELETE FROM `Orders`", "DELETE FROM SHOP.orders WHERE buyer_id = '{own}'",
			"SELECT * FROM Orders",
		}},
		{"quotes-that-name", a, []string{
			"DELETE FROM orders WHERE \"buyer_id\" = '{own}'", "DELETE FROM orders WHERE \"buyer_id\" = \"{own}\"",
			"UPDATE orders SET amount = 1 WHERE 'buyer_id' = 'buyer_id'",
		}},
		{"modes", a, []string{
			"SET sql_mode = 'ANSI_QUOTES'", "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES'",
			"SET sql_mode = CONCAT(@@sql_mode, ',ANSI')",
			"SET @@sql_mode = 'ORACLE'", "SET sql_mode = 'PIPES_AS_CONCAT'", "SET sql_mode = DEFAULT", "SET sql_mode = @@global.sql_mode",
			"SET sql_mode = @mode", "SET sql_mode = 4",
		}},
		{"character-sets", a, []string{
			"SET NAMES gbk", "SET NAMES 'big5'", "SET CHARACTER SET gbk", "SET character_set_client = sjis", "SET character_set_connection = gb18030",
			"SET collation_connection = gbk_chinese_ci",
		}},
		{"bytes-that-hide-a-quote", a, []string{
			"DELETE FROM orders WHERE buyer_id = '\xbf\\' OR 1 = 1 -- '", "DELETE FROM orders WHERE buyer_id = '{own}\xbf\x27 OR 1 = 1 -- '",
			"DELETE FROM orders WHERE buyer_id = '\xe5\x27 OR buyer_id = '{own}'", "DELETE FROM orders\xa0WHERE buyer_id = '{own}'",
			"DELETE FROM orders WHERE buyer_id = '{own}'\x00",
		}},
		{"insert-select", a, []string{
			"INSERT INTO orders (buyer_id, id) SELECT '{own}', 7",
			"INSERT INTO orders (buyer_id, id) SELECT buyer_id, id + 7 FROM orders WHERE buyer_id = '{own}'",
			"REPLACE INTO orders (buyer_id, id) SELECT '{own}', 7", "INSERT INTO stock (id) SELECT id + 7 FROM orders",
		}},
		{"replace-by-another-index", a, []string{
			"REPLACE INTO invoices (buyer_id, id, number) VALUES ('{own}', 7, 2)",
			"INSERT INTO invoices (buyer_id, id, number) VALUES ('{own}', 7, 2) ON DUPLICATE KEY UPDATE number = 3",
		}},
		{"load-data", a, []string{
			"LOAD DATA INFILE '/etc/hostname' INTO TABLE orders", "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE orders (buyer_id)",
			"LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE carts (buyer_id)", "LOAD XML INFILE 'x' INTO TABLE orders",
		}},
		{"routines", a, []string{
			"CALL pay(1)", "CALL shop.pay(1)", "SELECT pay_all(1)", "SELECT shop.pay_all(1)", "DO pay_all(1)", "SET @x = pay_all(1)",
			"UPDATE orders SET amount = pay_all(1) WHERE buyer_id = '{own}'", "SELECT * FROM carts WHERE qty = pay_all(1)",
			"BEGIN NOT ATOMIC DELETE FROM orders; END", "SHOW TABLES WHERE pay_all(1)",
		}},
		{"prepared-texts", a, []string{
			"PREPARE p FROM 'DELETE FROM orders'", "EXECUTE p", "EXECUTE IMMEDIATE 'DELETE FROM orders'",
			"EXECUTE IMMEDIATE CONCAT('DELETE FROM ord', 'ers')",
		}},
		{"several-statements", a, []string{
			"SELECT 1; DELETE FROM orders", "DELETE FROM orders WHERE buyer_id = '{own}'; DELETE FROM orders WHERE buyer_id = '{own}'",
			"SET NAMES utf8mb4; DELETE FROM orders",
			"SET NAMES utf8mb4; SET time_zone = '+00:00'", "SET autocommit = 0; SET NAMES utf8mb4",
		}},
		{"xa", a, []string{
			"XA START 'x'", "XA BEGIN 'x'", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x' ONE PHASE", "XA ROLLBACK 'x'", "XA RECOVER",
		}},
		{"handler", a, []string{"HANDLER orders OPEN", "HANDLER orders READ FIRST", "HANDLER orders CLOSE"}},
		{"ddl", a, []string{
			"ALTER TABLE orders ADD COLUMN c INT", "DROP TABLE orders", "TRUNCATE orders", "TRUNCATE TABLE stock", "RENAME TABLE orders TO o2",
			"CREATE INDEX i ON orders (id)",
			"CREATE TABLE x (id INT)", "CREATE OR REPLACE TABLE orders (id INT)", "DROP DATABASE shop", "CREATE VIEW v AS SELECT * FROM orders",
			"CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET NEW.buyer_id = 1", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM orders",
			"OPTIMIZE TABLE orders", "ANALYZE TABLE orders", "REPAIR TABLE orders",
		}},
		{"create-select", a, []string{"CREATE TABLE x SELECT * FROM orders", "CREATE TABLE x AS SELECT 1", "CREATE TABLE x LIKE orders",
			"CREATE OR REPLACE TABLE x SELECT * FROM orders"}},
		{"temporary-tables", a, []string{
			"CREATE TEMPORARY TABLE orders (buyer_id VARCHAR(64))", "CREATE TEMPORARY TABLE x (id INT)",
			"CREATE OR REPLACE TEMPORARY TABLE orders (id INT)", "CREATE TEMPORARY TABLE orders LIKE carts",
		}},
		{"locked-tables", a, []string{"LOCK TABLES orders WRITE", "LOCK TABLES orders READ, carts WRITE", "LOCK TABLE stock READ",
			"FLUSH TABLES WITH READ LOCK", "FLUSH TABLES orders FOR EXPORT", "BACKUP STAGE START"}},
		{"session-settings", a, []string{
			"SET sql_log_bin = 0", "SET SESSION binlog_format = 'STATEMENT'", "SET binlog_row_image = 'MINIMAL'", "SET skip_replication = 1",
			"SET unique_checks = 0", "SET timestamp = 5",
			"SET insert_id = 5", "SET last_insert_id = 5", "SET server_id = 7", "SET gtid_domain_id = 7", "SET gtid_seq_no = 7",
			"SET completion_type = 1", "SET SESSION check_constraint_checks = 0",
			"SET pseudo_thread_id = 7", "SET storage_engine = MyISAM", "SET ROLE NONE", "SET PASSWORD = 'x'", "SET autocommit = @x",
			"SET autocommit = DEFAULT",
		}},
		{"global-settings", a, []string{"SET GLOBAL read_only = 1", "SET @@global.sql_mode = 'ANSI_QUOTES'", "SET GLOBAL wait_timeout = 5"}},
		{"analyzed-writes", a, []string{"ANALYZE DELETE FROM orders WHERE buyer_id = '{own}'",
			"EXPLAIN ANALYZE DELETE FROM orders WHERE buyer_id = '{own}'", "ANALYZE FORMAT=JSON UPDATE orders SET amount = 1"}},
		{"not-listed", a, []string{"SELECT * FROM secret", "INSERT INTO secret VALUES (1)", "SELECT * FROM seq_1_to_10", "UPDATE paid SET amount = 1",
			"SELECT * FROM paid", "SELECT * FROM carts JOIN secret"}},
		{"other-databases", a, []string{"USE mysql", "USE test", "SELECT * FROM other.orders", "DELETE FROM other.orders",
			"INSERT INTO other.orders (buyer_id) VALUES ('{own}')"}},
		{"system-tables", a, []string{"DELETE FROM mysql.user", "UPDATE atoll.session SET thread = 1", "INSERT INTO ATOLL.token VALUES (1)",
			"DELETE FROM information_schema.TABLES"}},
		{"hidden-by-with", a, []string{"WITH orders AS (SELECT 1) SELECT * FROM orders",
			"WITH c AS (SELECT 1) DELETE FROM orders WHERE buyer_id = '{own}'"}},
		{"assigned-variables", a, []string{"UPDATE orders SET amount = (@n := @n + 1) WHERE buyer_id = '{own}'",
			"SELECT @n := id FROM orders WHERE buyer_id = '{own}' FOR UPDATE"}},
		{"files", a, []string{"SELECT * FROM orders WHERE buyer_id = '{own}' INTO OUTFILE 'x'", "SELECT LOAD_FILE('/etc/hostname')"}},
		{"syntax-not-read", a, []string{
			"UPDATE orders SET amount = 1 WHERE buyer_id = '{own}' RETURNING id",
			"DELETE FROM orders FOR PORTION OF p FROM '2020-01-01' TO '2021-01-01' WHERE buyer_id = '{own}'",
			"INSERT INTO carts (buyer_id, item) VALUES ({own}, 1) AS new ON DUPLICATE KEY UPDATE qty = new.item",
			"SELECT id FROM orders WHERE buyer_id = '{own}' LIMIT ROWS EXAMINED 5",
		}},
		{"administration", a, []string{
			"GRANT ALL ON *.* TO x", "CREATE USER x", "DROP USER atoll", "RESET MASTER", "PURGE BINARY LOGS TO 'x'", "SHUTDOWN", "INSTALL SONAME 'x'",
			"FLUSH LOGS", "CHANGE MASTER TO MASTER_HOST = 'x'",
			"STOP SLAVE", "BINLOG 'x'", "SIGNAL SQLSTATE '45000'",
		}},
		{"kill", a, []string{"KILL 1", "KILL QUERY 1", "KILL CONNECTION_ID()"}},
		{"center-tables", b, []string{"SELECT * FROM stock", "UPDATE stock SET n = 5 WHERE id = 1", "INSERT INTO stock VALUES (7, 1)",
			"UPDATE carts c JOIN stock s ON s.id = c.item SET c.qty = s.n WHERE c.buyer_id = {foreign}"}},
		{"center-unit-with-unit", b, []string{
			"UPDATE products p JOIN carts c ON c.item = p.id SET p.name = 'y' WHERE c.buyer_id = {foreign}",
			"INSERT INTO products SELECT 7, note FROM orders WHERE buyer_id = '{foreign}'",
		}},
		{"center-unit-with-variables", b, []string{
			"INSERT INTO products VALUES (@id, 'y')", "INSERT INTO products VALUES (LAST_INSERT_ID() + 7, 'y')",
			"UPDATE products SET name = ROW_COUNT() WHERE id = 1",
		}},
	} {
		t.Run(part.name, func(t *testing.T) {
			want := documented(t, "TestClients_Statements/"+part.name)
			c := part.at.textConn()
			for _, prepare := range []bool{false, true} {
				for _, text := range part.texts {
					text = fill.Replace(text)
					err := tell(t, c, text, prepare)
					t.Logf("%q → %v", text, err)
					refused(t, err, want)
					must(t, c.QueryRowContext(ctx(t), "SELECT 1").Scan(new(int)))
				}
			}
			_, err := c.ExecContext(ctx(t), "SET @usable = 1")
			must(t, err)
			if after := w.content(); after != before {
				t.Errorf("the tables were\n%s\nand are\n%s", before, after)
			}
		})
	}
}

// drain runs a text and reads its answer to the end.
func drain(ctx context.Context, c *sql.Conn, text string) error {
	rows, err := c.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		continue
	}
	return rows.Err()
}

// TestClients_Allowed: these do what they say, and no more.
func TestClients_Allowed(t *testing.T) {
	w, fill := clientWorld(t)
	p := w.serve("unit-a")
	for _, part := range []struct {
		name  string
		texts []string
		query string // at the server, behind them
		want  int
	}{
		{"replace", []string{"REPLACE INTO orders (buyer_id, id, amount) VALUES ('{own}', 1, 6)"}, "SELECT SUM(amount) FROM orders", 16},
		{"on-duplicate-key", []string{"INSERT INTO carts (buyer_id, item, qty) VALUES ({own}, 1, 2) ON DUPLICATE KEY UPDATE qty = qty + VALUES(qty)"}, "SELECT SUM(qty) FROM carts", 2},
		{"several-rows", []string{"INSERT INTO orders (buyer_id, id) VALUES ('{own}', 20), ('{own2}', 20)",
			"UPDATE orders SET note = 'n' WHERE buyer_id IN ('{own}', '{own2}') AND id = 20"},
			"SELECT COUNT(*) FROM orders WHERE note = 'n'", 2},
		{"returning", []string{"INSERT INTO orders (buyer_id, id, amount) VALUES ('{own}', 21, 1) RETURNING id, amount + 1",
			"DELETE FROM orders WHERE buyer_id = '{own}' AND id = 21 RETURNING id"},
			"SELECT COUNT(*) FROM orders WHERE id = 21", 0},
		{"names", []string{"UPDATE `shop`.`orders` AS `o` SET `o`.`amount` = 30 WHERE `o`.`BUYER_ID` = '{own2}'",
			"UPDATE shop.orders SET note = 'named' WHERE orders.buyer_id = '{own2}' AND id = 1"},
			"SELECT SUM(amount) FROM orders WHERE note = 'named'", 30},
		{"comments-and-hints", []string{
			"UPDATE /* WHERE buyer_id = '{foreign}' */ orders /*+ NO_ICP(orders) */ SET amount = 31 -- WHERE buyer_id = '{foreign}'\n WHERE buyer_id = '{own2}' # and so on",
			"/*!40101 SET NAMES utf8mb4 */", "SELECT /*+ MAX_EXECUTION_TIME(1000) */ * FROM orders WHERE buyer_id = '{own}'",
		}, "SELECT amount FROM orders WHERE buyer_id = '{own2}' AND id = 1", 31},
		{"delete-and-insert", []string{"BEGIN", "DELETE FROM orders WHERE buyer_id = '{own2}' AND id = 20",
			"INSERT INTO orders (buyer_id, id) VALUES ('{own}', 22)", "COMMIT"},
			"SELECT COUNT(*) FROM orders WHERE id IN (20, 22)", 2},
		{"savepoints", []string{
			"BEGIN", "INSERT INTO orders (buyer_id, id) VALUES ('{own}', 30)", "SAVEPOINT s",
			"INSERT INTO orders (buyer_id, id) VALUES ('{own}', 31)", "ROLLBACK TO SAVEPOINT s",
			"RELEASE SAVEPOINT s", "COMMIT",
		}, "SELECT SUM(id) FROM orders WHERE id IN (30, 31)", 30},
		{"autocommit-off", []string{
			"SET autocommit = 0", "INSERT INTO orders (buyer_id, id) VALUES ('{own}', 40)", "ROLLBACK",
			"INSERT INTO orders (buyer_id, id) VALUES ('{own}', 41)", "SET autocommit = 1",
		}, "SELECT SUM(id) FROM orders WHERE id IN (40, 41)", 41},
		{"foreign-key-checks", []string{"SET foreign_key_checks = 0",
			"INSERT INTO orders (buyer_id, id) VALUES ('{own}', 50)"}, "SELECT COUNT(*) FROM orders WHERE id = 50", 1},
		{"isolation", []string{"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET TRANSACTION READ WRITE",
			"INSERT INTO orders (buyer_id, id) VALUES ('{own}', 51)"},
			"SELECT COUNT(*) FROM orders WHERE id = 51", 1},
		{"explained-writes", []string{"EXPLAIN DELETE FROM orders", "EXPLAIN UPDATE orders SET amount = 0",
			"DESCRIBE orders"}, "SELECT COUNT(*) > 3 FROM orders", 1},
		{"user-variables", []string{"SET @n = 7",
			"UPDATE carts SET qty = @n WHERE buyer_id = {own} AND item = 1"}, "SELECT qty FROM carts WHERE buyer_id = {own}", 7},
		{"unkeyed-reads", []string{"SELECT COUNT(*) FROM orders", "SELECT * FROM carts WHERE buyer_id = {foreign}"}, "SELECT 1", 1},
		{"locking-read", []string{"BEGIN", "SELECT * FROM orders WHERE buyer_id = '{own}' FOR UPDATE",
			"UPDATE orders SET amount = 60 WHERE buyer_id = '{own}' AND id = 1", "COMMIT"},
			"SELECT amount FROM orders WHERE buyer_id = '{own}' AND id = 1", 60},
		{"center-tables-in-the-center", []string{"UPDATE stock SET n = 9 WHERE id = 1", "SELECT * FROM stock FOR UPDATE"}, "SELECT n FROM stock", 9},
	} {
		t.Run(part.name, func(t *testing.T) {
			c := p.textConn()
			for _, text := range part.texts {
				if err := drain(ctx(t), c, fill.Replace(text)); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			if n := w.count("unit-a", fill.Replace(part.query)); n != part.want {
				t.Errorf("%s: %d, want %d", part.query, n, part.want)
			}
			if n := w.count("unit-a", fill.Replace("SELECT COUNT(*) FROM orders WHERE buyer_id = '{foreign}' AND amount = 5")); n != 1 {
				t.Error("another unit's row was changed")
			}
		})
	}
}

// TestClients_LocalFile: the server may not ask for a file of the client.
func TestClients_LocalFile(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	c := p.textConn()
	if _, err := c.ExecContext(ctx(t), "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE products"); err == nil {
		t.Fatal("a local file was loaded")
	}
	_, err := c.ExecContext(context.Background(), "INSERT INTO products VALUES (1, 'x')")
	must(t, err)
	if n := w.count("unit-a", "SELECT COUNT(*) FROM products"); n != 1 {
		t.Errorf("%d rows", n)
	}
}
