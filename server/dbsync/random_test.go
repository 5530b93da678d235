package dbsync_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/atoll-live/atoll/space"
)

// TestRandomTransactions lets packs of every shape come about: rows that are
// changed several times, keys that change, keys that only a collation calls
// equal, unique values that wander, children that need their parents.
func TestRandomTransactions(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	names := []string{"plain", "folded", "pair", "uniq", "parent", "child"}
	var tables []space.Table
	for _, n := range names {
		tables = append(tables, space.Table{Name: n, Kind: space.TableCenterUnit})
	}
	w := newWorld(t, 2, tables,
		"CREATE TABLE plain (id INT PRIMARY KEY, v INT, s VARCHAR(20))",
		"CREATE TABLE folded (id VARCHAR(10) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)",
		"CREATE TABLE pair (a INT, b CHAR(5), v INT, PRIMARY KEY (a, b))",
		"CREATE TABLE uniq (id INT PRIMARY KEY, u INT UNIQUE, v INT)",
		"CREATE TABLE parent (id INT PRIMARY KEY, v INT)",
		"CREATE TABLE child (id INT PRIMARY KEY, p INT NOT NULL, v INT, FOREIGN KEY (p) REFERENCES parent (id))")
	w.start("unit-b")
	w.running("unit-a", "unit-b")
	db := w.sites["unit-a"].db
	filled := map[string]bool{}
	for round := range 6 {
		if round%2 == 0 {
			w.sites["unit-b"].stop() // a backlog, so that packs are large
		}
		for range 250 {
			randomTransaction(t, random, db)
		}
		if round%2 == 0 {
			w.start("unit-b")
		}
		for i, n := range names {
			key := []string{"id", "BINARY id", "a, b", "id", "id", "id"}[i]
			if w.same("SELECT * FROM "+n+" ORDER BY "+key, "unit-a", "unit-b") != "" {
				filled[n] = true
			}
		}
	}
	if len(filled) != len(names) {
		t.Errorf("only %v ever held rows", filled)
	}
}

func randomTransaction(t *testing.T, random *rand.Rand, db *sql.DB) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for range 1 + random.IntN(6) {
		// Refused by the source itself (a key that is there, a parent that is
		// needed): no row event, and the transaction goes on.
		_, _ = tx.Exec(randomStatement(random))
	}
	if random.IntN(10) == 0 {
		err = tx.Rollback()
	} else {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func randomStatement(random *rand.Rand) string {
	n := func(max int) int { return random.IntN(max) }
	word := func() string { return []string{"a", "A", "b", "B", "é", "e", "E", "c"}[n(8)] }
	switch n(20) {
	case 0, 1:
		return fmt.Sprintf("INSERT INTO plain VALUES (%d,%d,'%s')", n(20), n(99), word())
	case 2:
		return fmt.Sprintf("UPDATE plain SET v=%d, id=%d WHERE id=%d", n(99), n(20), n(20))
	case 3:
		return fmt.Sprintf("UPDATE plain SET v=v+1 WHERE id>%d", n(20))
	case 4:
		return fmt.Sprintf("DELETE FROM plain WHERE id=%d", n(20))
	case 5, 6:
		return fmt.Sprintf("INSERT INTO folded VALUES ('%s',%d)", word(), n(99))
	case 7:
		return fmt.Sprintf("UPDATE folded SET id='%s', v=%d WHERE id='%s'", word(), n(99), word())
	case 8:
		return fmt.Sprintf("DELETE FROM folded WHERE id='%s'", word())
	case 9, 10:
		return fmt.Sprintf("INSERT INTO pair VALUES (%d,'%s',%d) ON DUPLICATE KEY UPDATE v=VALUES(v)", n(4), word(), n(99))
	case 11:
		return fmt.Sprintf("DELETE FROM pair WHERE a=%d AND b='%s'", n(4), word())
	case 12, 13:
		return fmt.Sprintf("INSERT INTO uniq VALUES (%d,%d,%d)", n(20), n(20), n(99))
	case 14:
		return fmt.Sprintf("UPDATE uniq SET u=%d, v=%d WHERE id=%d", n(20), n(99), n(20))
	case 15:
		return fmt.Sprintf("REPLACE INTO uniq VALUES (%d,%d,%d)", n(20), n(20), n(99))
	case 16:
		return fmt.Sprintf("INSERT INTO parent VALUES (%d,%d)", n(8), n(99))
	case 17:
		return fmt.Sprintf("INSERT INTO child VALUES (%d,%d,%d) ON DUPLICATE KEY UPDATE p=VALUES(p)", n(20), n(8), n(99))
	case 18:
		return fmt.Sprintf("DELETE FROM child WHERE p=%d", n(8))
	}
	return fmt.Sprintf("DELETE FROM parent WHERE id=%d", n(8))
}
