package compare_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/dbsync/compare"
	"github.com/atoll-live/atoll/server/mariadbtest"
)

// TestRun compares two schemas of one server, whose rows lie in all ways to
// each other: the chunks are cut by the side that has more of them.
func TestRun(t *testing.T) {
	s := mariadbtest.Start(t, mariadbtest.Options{})
	db := s.Open(t)
	s.Exec(t, "CREATE DATABASE here", "CREATE DATABASE there")
	for _, c := range []struct {
		name          string
		there, here   string // queries that give n and v
		enough        int
		rows, unequal int64
		more          bool
		first         string
	}{
		{"empty", "SELECT 1, 1 FROM seq_1_to_1 WHERE FALSE", "SELECT 1, 1 FROM seq_1_to_1 WHERE FALSE", 0, 0, 0, false, ""},
		{"whole chunks", "SELECT seq, 1 FROM seq_1_to_4000", "SELECT seq, 1 FROM seq_1_to_4000", 0, 4000, 0, false, ""},
		{"one empty", "SELECT seq, 1 FROM seq_1_to_9001", "SELECT 1, 1 FROM seq_1_to_1 WHERE FALSE", 0, 9001, 9001, false, "'1' '2' '3'"},
		{"the other empty", "SELECT 1, 1 FROM seq_1_to_1 WHERE FALSE", "SELECT seq, 1 FROM seq_1_to_9001", 0, 9001, 9001, false, "'1' '2' '3'"},
		{"many in the middle", "SELECT seq, 1 FROM seq_1_to_9010 WHERE seq<4 OR seq>9000", "SELECT seq, seq<>9005 FROM seq_1_to_9010", 0, 9010, 8998, false, "'4' '5' '6'"},
		{"many behind", "SELECT seq, 1 FROM seq_1_to_2000", "SELECT seq, 1 FROM seq_1_to_12000", 0, 12000, 10000, false, "'2001' '2002'"},
		{"enough", "SELECT seq, seq>9000 FROM seq_1_to_10000", "SELECT seq, 1 FROM seq_1_to_10000", 3000, 4000, 4000, true, "'1' '2'"},
		{"enough at the end", "SELECT seq, seq<9000 FROM seq_1_to_9999", "SELECT seq, 1 FROM seq_1_to_9999", 1000, 9999, 1000, false, "'9000' '9001'"},
	} {
		for schema, query := range map[string]string{"there": c.there, "here": c.here} {
			s.Exec(t, "CREATE OR REPLACE TABLE "+schema+".t (n INT PRIMARY KEY, v INT)", "INSERT INTO "+schema+".t "+query)
		}
		r, err := compare.Run(t.Context(), compare.Table{A: compare.Side{DB: db, Schema: "there"}, B: compare.Side{DB: db, Schema: "here"}, Name: "t", Enough: c.enough}, 0)
		if err != nil || r.Rows != c.rows || r.Different != c.unequal || r.More != c.more || !strings.HasPrefix(strings.Join(r.First, " "), c.first) || len(r.First) > 10 {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
}

// TestRun_GoesOnBehindWhatWasOnItsWay: enough rows differ at first, become
// equal, and a lasting difference lies behind them.
func TestRun_GoesOnBehindWhatWasOnItsWay(t *testing.T) {
	s := mariadbtest.Start(t, mariadbtest.Options{})
	db := s.Open(t)
	s.Exec(t, "CREATE DATABASE here", "CREATE DATABASE there", "CREATE TABLE there.t (n INT PRIMARY KEY, v INT)", "CREATE TABLE here.t (n INT PRIMARY KEY, v INT)",
		"INSERT INTO there.t SELECT seq, 1 FROM seq_1_to_5000", "INSERT INTO here.t SELECT seq, IF(seq=4444, 2, 1) FROM seq_1001_to_5000")
	s.Exec(t, "SET GLOBAL log_output='TABLE'", "SET GLOBAL general_log=ON")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	late := make(chan error, 1)
	go func() { late <- bring(ctx, db) }()
	r, err := compare.Run(ctx, compare.Table{A: compare.Side{DB: db, Schema: "there"}, B: compare.Side{DB: db, Schema: "here"}, Name: "t", Enough: 100}, 3*time.Second)
	if err != nil || r.Different != 1 || r.More || r.Rows != 5000 || strings.Join(r.First, " ") != "'4444'" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := <-late; err != nil {
		t.Error(err)
	}
}

// bring writes the rows that were on their way, once they were missed.
func bring(ctx context.Context, db *sql.DB) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n < 2; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE 'SELECT MD5%`here`%'").Scan(&n); err != nil {
			return err
		}
	}
	_, err := db.ExecContext(ctx, "INSERT INTO here.t SELECT seq, 1 FROM seq_1_to_1000")
	return err
}
