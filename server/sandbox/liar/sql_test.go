package liar

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/mariadbtest"
)

// lied gives a way to a server through a liar, and one past it.
func lied(t *testing.T, server *mariadbtest.Server, lie string, every int) (liar, honest *sql.DB) {
	t.Helper()
	l := listen(t)
	q, err := NewSQLLiar(SQLConfig{Lie: lie, Listen: l.Addr().String(), Proxy: server.Addr(), User: server.User, Password: server.Password, Every: every})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	open := func(addr string) *sql.DB {
		c := mysql.NewConfig()
		c.User, c.Passwd, c.Net, c.Addr, c.DBName = server.User, server.Password, "tcp", addr, server.Database
		c.InterpolateParams, c.Logger = true, log.New(io.Discard, "", 0)
		connector, err := mysql.NewConnector(c)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	return open(l.Addr().String()), open(server.Addr())
}

// shelves is a server with the two tables and their rows of one key.
func shelves(t *testing.T) *mariadbtest.Server {
	t.Helper()
	server := mariadbtest.Start(t, mariadbtest.Options{})
	server.Exec(t, "CREATE TABLE notes (buyer_id VARCHAR(64) PRIMARY KEY, value BIGINT NOT NULL)",
		"CREATE TABLE baskets (buyer_id VARCHAR(64) PRIMARY KEY, items TEXT NOT NULL)", "CREATE TABLE rest (n INT PRIMARY KEY, text LONGTEXT)")
	return server
}

const (
	readNote   = "SELECT value FROM notes WHERE buyer_id = ?"
	readBasket = "SELECT items FROM baskets WHERE buyer_id = ?"
	setNote    = "UPDATE notes SET value = ? WHERE buyer_id = ?"
	addItem    = "UPDATE baskets SET items = CONCAT(items, ',', ?) WHERE buyer_id = ?"
)

func text(t *testing.T, db *sql.DB, query string) (out string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, "k").Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func change(t *testing.T, db *sql.DB, query string, value int) {
	t.Helper()
	res, err := db.ExecContext(t.Context(), query, value, "k")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		t.Errorf("%s with %d is told to have changed %d rows, %v", query, value, n, err)
	}
}

func TestSQLLiar_Lies(t *testing.T) {
	server := shelves(t)
	for lie, check := range map[string]func(liar, honest *sql.DB){
		OKWithoutWrite: func(liar, honest *sql.DB) {
			change(t, liar, setNote, 5)
			change(t, liar, addItem, 5)
			if note, basket := text(t, honest, readNote), text(t, honest, readBasket); note != "0" || basket != "" {
				t.Errorf("it was done: note %s, basket %s", note, basket)
			}
		},
		WriteTwice: func(liar, honest *sql.DB) {
			for value := range 3 {
				change(t, liar, setNote, value+1)
			}
			change(t, liar, addItem, 5)
			until(t, "the second note behind the third, and the item twice", func() bool {
				return text(t, honest, readNote) == "2" && text(t, honest, readBasket) == ",5,5"
			})
		},
		StaleRead: func(liar, honest *sql.DB) {
			if note, basket := text(t, liar, readNote), text(t, liar, readBasket); note != "0" || basket != "" {
				t.Errorf("before: note %s, basket %s", note, basket)
			}
			change(t, liar, setNote, 5)
			change(t, liar, addItem, 5)
			if note, basket := text(t, liar, readNote), text(t, liar, readBasket); note != "0" || basket != "" {
				t.Errorf("the liar tells the truth: note %s, basket %s", note, basket)
			}
			if note, basket := text(t, honest, readNote), text(t, honest, readBasket); note != "5" || basket != ",5" {
				t.Errorf("it was not done: note %s, basket %s", note, basket)
			}
		},
		Reorder: func(liar, honest *sql.DB) {
			for value := range 3 {
				change(t, liar, setNote, value+1)
			}
			change(t, liar, addItem, 1)
			change(t, liar, addItem, 2)
			until(t, "the second note behind the third, and the first item behind the second", func() bool {
				return text(t, honest, readNote) == "2" && text(t, honest, readBasket) == ",2,1"
			})
		},
	} {
		t.Run(lie, func(t *testing.T) {
			server.Exec(t, "REPLACE INTO notes VALUES ('k', 0)", "REPLACE INTO baskets VALUES ('k', '')")
			every := 1
			if lie == Reorder || lie == WriteTwice { // these need a true write behind the lie
				every = 2
			}
			check(lied(t, server, lie, every))
		})
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("waited for %s in vain", what)
		}
		<-tick.C
	}
}

// TestSQLLiar_TheRestIsTrue has all that it is not to lie about.
func TestSQLLiar_TheRestIsTrue(t *testing.T) {
	server := shelves(t)
	for _, lie := range SQLLies() {
		t.Run(lie, func(t *testing.T) { theRestIsTrue(t, server, lie) })
	}
}

func theRestIsTrue(t *testing.T, server *mariadbtest.Server, lie string) {
	server.Exec(t, "DELETE FROM rest", "REPLACE INTO notes VALUES ('k', 0)")
	liar, honest := lied(t, server, lie, 1)
	ctx := t.Context()
	long := strings.Repeat("long", 100_000)
	insert, err := liar.PrepareContext(ctx, "INSERT INTO rest VALUES (?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	defer insert.Close()
	tx, err := liar.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if _, err := tx.StmtContext(ctx, insert).ExecContext(ctx, n, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	_, err = insert.ExecContext(ctx, 1, "again")
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); !ok || refusal.Number != 1062 {
		t.Errorf("%s: a duplicate: %v", lie, err)
	}
	wrong, err := liar.PrepareContext(ctx, "SELECT nonsense FROM nowhere")
	if err == nil {
		defer wrong.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("%s: a wrong statement: %v", lie, err)
	}
	var rows, size int
	if err := liar.QueryRowContext(ctx, "SELECT COUNT(*), SUM(LENGTH(text)) FROM rest").Scan(&rows, &size); err != nil || rows != 3 || size != 3*len(long) {
		t.Errorf("%s: %d rows of %d, %v", lie, rows, size, err)
	}
	change(t, honest, setNote, 7)
	if got := text(t, honest, readNote); got != "7" {
		t.Errorf("%s: past the liar: %s", lie, got)
	}
	if err := liar.PingContext(ctx); err != nil {
		t.Errorf("%s: %v", lie, err)
	}
}

func TestSQLLiar_NobodyBehindIt(t *testing.T) {
	server := shelves(t)
	liar, _ := lied(t, server, StaleRead, 1)
	server.Kill()
	err := liar.PingContext(t.Context())
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); !ok || refusal.Number != 1105 {
		t.Errorf("%v: want a refusal, which means that nothing was done", err)
	}
}

func TestSQLLiar_Configuration(t *testing.T) {
	good := SQLConfig{Lie: Reorder, Listen: "127.0.0.1:0", Proxy: "127.0.0.1:1", User: "u", Password: "p"}
	for want, change := range map[string]func(*SQLConfig){
		"no lie":         func(c *SQLConfig) { c.Lie = NoFence },
		"listen address": func(c *SQLConfig) { c.Listen = "nowhere" },
		"proxy address":  func(c *SQLConfig) { c.Proxy = "" },
		"password":       func(c *SQLConfig) { c.Password = "" },
	} {
		c := good
		change(&c)
		if _, err := NewSQLLiar(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
