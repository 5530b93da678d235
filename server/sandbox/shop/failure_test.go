package shop

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

func together(all []entry) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error { return takeTogether(ctx, tx, all) }
}

func one(e entry) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error { return takeOne(ctx, tx, e) }
}

func number(n uint16) error {
	return &mysql.MySQLError{Number: n, Message: fmt.Sprintf("atoll: text of %d", n)}
}

func TestErrorsOfTheDatabase(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		done   any
		code   int
		retry  bool
		owner  string
	}{
		"not the owner":            {number(9601), 421, false, 9601, false, "unit-b"},
		"fenced":                   {number(9602), 503, false, 9602, true, ""},
		"fenced at COMMIT":         {&commitError{number(9602)}, 503, false, 9602, true, ""},
		"unprovable":               {number(9603), 400, false, 9603, false, ""},
		"not listed":               {number(9604), 500, false, 9604, false, ""},
		"no lease":                 {number(9607), 503, false, 9607, true, ""},
		"deadlock":                 {number(1213), 503, false, 1213, true, ""},
		"other":                    {number(1146), 500, false, 1146, false, ""},
		"other at COMMIT":          {&commitError{number(1180)}, 500, false, 1180, false, ""},
		"lost before COMMIT":       {mysql.ErrInvalidConn, 503, false, 0, true, ""},
		"no connection":            {errors.New("dial tcp: refused"), 503, false, 0, true, ""},
		"too slow":                 {fmt.Errorf("x: %w", context.DeadlineExceeded), 503, false, 0, true, ""},
		"lost in COMMIT":           {&commitError{mysql.ErrInvalidConn}, 500, "unknown", 0, false, ""},
		"bad connection in COMMIT": {&commitError{driver.ErrBadConn}, 500, "unknown", 0, false, ""},
		"silence in COMMIT":        {&commitError{errors.New("i/o timeout")}, 500, "unknown", 0, false, ""},
		"lost in a write":          {&writeError{mysql.ErrInvalidConn}, 500, "unknown", 0, false, ""},
		"too late in a write":      {&writeError{context.DeadlineExceeded}, 500, "unknown", 0, false, ""},
		"bad before a write":       {&writeError{driver.ErrBadConn}, 503, false, 0, true, ""},
		"fenced at a write":        {&writeError{number(9602)}, 503, false, 9602, true, ""},
		"not the owner's write":    {&writeError{number(9601)}, 421, false, 9601, false, "unit-b"},
		"too late for COMMIT":      {&commitError{context.DeadlineExceeded}, 503, false, 0, true, ""},
	} {
		f := explain(c.err, "unit-b")
		b := f.body()
		if f.status != c.status || b.Done != c.done || b.Code != c.code || b.Retry != c.retry || b.Owner != c.owner || b.Error == "" {
			t.Errorf("%s: %d %+v", name, f.status, b)
		}
		if f.status/100 == 2 {
			t.Errorf("%s answers a success", name)
		}
	}
	if f := explain(&mysql.MySQLError{Number: 1146, Message: "Table 'shop.secret' doesn't exist"}, ""); strings.Contains(f.text, "secret") {
		t.Errorf("the server's text reaches the client: %s", f.text)
	}
}

// script is a driver whose statements answer with errors in turn.
type script struct {
	mu    sync.Mutex
	errs  map[string][]error // first word of the statement → answers; nil is success
	begun int
	sent  map[string]int // prepared statements executed, by first word
}

func (s *script) Connect(context.Context) (driver.Conn, error) { return &scriptConn{s}, nil }
func (s *script) Driver() driver.Driver                        { return nil }

func (s *script) next(word string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.errs[word]
	if len(left) == 0 {
		return nil
	}
	s.errs[word] = left[1:]
	return left[0]
}

type scriptConn struct{ s *script }

func (c *scriptConn) Prepare(q string) (driver.Stmt, error) {
	word, _, _ := strings.Cut(q, " ")
	return &scriptStmt{c.s, word}, nil
}
func (c *scriptConn) Close() error { return nil }
func (c *scriptConn) Begin() (driver.Tx, error) {
	c.s.mu.Lock()
	c.s.begun++
	c.s.mu.Unlock()
	return c, c.s.next("BEGIN")
}
func (c *scriptConn) Commit() error   { return c.s.next("COMMIT") }
func (c *scriptConn) Rollback() error { return nil }
func (c *scriptConn) ExecContext(_ context.Context, q string, _ []driver.NamedValue) (driver.Result, error) {
	word, _, _ := strings.Cut(q, " ")
	return driver.RowsAffected(1), c.s.next(word)
}

// scriptStmt gives one row of one number when it is asked for rows.
type scriptStmt struct {
	s    *script
	word string
}

func (c *scriptStmt) Close() error  { return nil }
func (c *scriptStmt) NumInput() int { return -1 }
func (c *scriptStmt) count() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.sent == nil {
		c.s.sent = map[string]int{}
	}
	c.s.sent[c.word]++
}
func (c *scriptStmt) Exec([]driver.Value) (driver.Result, error) {
	c.count()
	return driver.RowsAffected(1), c.s.next(c.word)
}
func (c *scriptStmt) Query([]driver.Value) (driver.Rows, error) {
	c.count()
	return &scriptRows{}, c.s.next(c.word)
}

type scriptRows struct{ over bool }

func (r *scriptRows) Columns() []string { return []string{"n"} }
func (r *scriptRows) Close() error      { return nil }
func (r *scriptRows) Next(row []driver.Value) error {
	if r.over {
		return io.EOF
	}
	r.over, row[0] = true, int64(500)
	return nil
}

func scripted(t *testing.T, repeatFor time.Duration, errs map[string][]error) (*Shop, *script) {
	t.Helper()
	sc := &script{errs: errs}
	s := &Shop{cfg: Config{Unit: "unit-a", RepeatFor: repeatFor}.withDefaults(), db: sql.OpenDB(sc)}
	s.book.Store(&book{})
	t.Cleanup(func() { _ = s.db.Close() })
	return s, sc
}

func insertOne(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (1)")
	return err
}

func TestWhatIsRepeated(t *testing.T) {
	fenced, lost := number(9602), mysql.ErrInvalidConn
	for name, c := range map[string]struct {
		errs  map[string][]error
		begun int
		want  error
	}{
		"fence that passes":        {map[string][]error{"INSERT": {fenced, fenced}}, 3, nil},
		"fence at COMMIT":          {map[string][]error{"COMMIT": {fenced}}, 2, nil},
		"deadlock":                 {map[string][]error{"INSERT": {number(1213)}}, 2, nil},
		"connection lost before":   {map[string][]error{"INSERT": {lost}}, 2, nil},
		"connection lost in it":    {map[string][]error{"COMMIT": {lost}}, 1, lost},
		"not the owner":            {map[string][]error{"INSERT": {number(9601)}}, 1, number(9601)},
		"silence":                  {map[string][]error{"COMMIT": {errors.New("i/o timeout")}}, 1, errors.New("commit: i/o timeout")},
		"no lease":                 {map[string][]error{"INSERT": {number(9607)}}, 1, number(9607)},
		"success":                  {nil, 1, nil},
		"duplicate of the order":   {map[string][]error{"INSERT": {number(1062)}}, 1, number(1062)},
		"error packet from COMMIT": {map[string][]error{"COMMIT": {number(1180)}}, 1, number(1180)},
	} {
		s, sc := scripted(t, 5*time.Second, c.errs)
		err := s.transact(t.Context(), insertOne)
		if sc.begun != c.begun || (err == nil) != (c.want == nil) {
			t.Errorf("%s: begun %d times, want %d; %v", name, sc.begun, c.begun, err)
		}
		if err != nil && !errors.Is(err, c.want) && !strings.Contains(err.Error(), c.want.Error()) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestPlace_OneStatement: the order is a transaction of its own, so a lost
// answer leaves its end open, and it must not be sent again.
func TestPlace_OneStatement(t *testing.T) {
	fenced := number(9602)
	for name, c := range map[string]struct {
		errs    map[string][]error
		sent    int
		unknown bool
		good    bool
	}{
		"success":              {nil, 1, false, true},
		"fence that passes":    {map[string][]error{"INSERT": {fenced, fenced}}, 3, false, true},
		"answer lost":          {map[string][]error{"INSERT": {mysql.ErrInvalidConn}}, 1, true, false},
		"silence":              {map[string][]error{"INSERT": {errors.New("i/o timeout")}}, 1, true, false},
		"time over":            {map[string][]error{"INSERT": {context.DeadlineExceeded}}, 1, true, false},
		"not the owner":        {map[string][]error{"INSERT": {number(9601)}}, 1, false, false},
		"lost before, reading": {map[string][]error{"SELECT": {mysql.ErrInvalidConn}}, 1, false, true},
	} {
		sc := &script{errs: c.errs}
		s, err := New(Config{Unit: "unit-a", Listen: "127.0.0.1:0", DSN: "shop@tcp(127.0.0.1:1)/shop", IDs: newCounter(t, int(workers.Add(1))%64)})
		if err != nil {
			t.Fatal(err)
		}
		s.db = sql.OpenDB(sc)
		if err := s.Install(t.Context(), snapshot(3)); err != nil {
			t.Fatal(err)
		}
		_, _, err = s.place(t.Context(), "anna", placement{Client: "c1", Product: "p01", Qty: 1})
		if (err == nil) != c.good || sc.sent["INSERT"] != c.sent {
			t.Errorf("%s: sent %d times, want %d; %v", name, sc.sent["INSERT"], c.sent, err)
		}
		if err != nil && explain(err, "unit-b").unknown != c.unknown {
			t.Errorf("%s: %+v, want unknown %v", name, explain(err, "unit-b"), c.unknown)
		}
		s.statements.close()
		_ = s.db.Close()
	}
}

// TestPoolIsKeptOpen: who comes in a crowd finds connections.
func TestPoolIsKeptOpen(t *testing.T) {
	s, _ := start(t, database(t), func(c *Config) { c.PoolLimit = 8 })
	limit := time.After(10 * time.Second)
	for s.db.Stats().Idle < 6 {
		select {
		case <-limit:
			t.Fatalf("pool: %+v", s.db.Stats())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestRepeatsEnd(t *testing.T) {
	always := make([]error, 1000)
	for i := range always {
		always[i] = number(9602)
	}
	s, sc := scripted(t, 60*time.Millisecond, map[string][]error{"INSERT": always})
	err := s.transact(t.Context(), insertOne)
	if f := explain(err, ""); f.status != http.StatusServiceUnavailable || f.code != 9602 || sc.begun < 2 || sc.begun > 20 {
		t.Errorf("begun %d times, %v", sc.begun, err)
	}
}

func TestApplicationOutlivesItsDatabase(t *testing.T) {
	db := database(t)
	s, url := start(t, db, func(c *Config) { c.Status = "127.0.0.1:0"; c.RepeatFor = 100 * time.Millisecond })
	if why := s.unready(t.Context()); why != "" {
		t.Errorf("not ready: %s", why)
	}
	place := func(id string) reply {
		return do(t, "POST", url+"/order?user=anna", `{"client_id":"`+id+`","product":"p01","qty":1}`)
	}
	if got := place("before"); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	db.Kill()
	if got := place("meanwhile"); got.status != 503 || got.fields["done"] != false || got.fields["retry"] != true || got.header.Get("Retry-After") != "1" {
		t.Errorf("without a database: %d %s", got.status, got.body)
	}
	if why := s.unready(t.Context()); why == "" {
		t.Error("ready without a database")
	}
	db.Restart(t)
	wait(t, "orders again", func() bool { return place("after").status/100 == 2 })
	if got := place("after"); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// The numbers of the proxy, through the real driver: a trigger plays the proxy.
func TestRefusalsOfTheProxy(t *testing.T) {
	db := database(t)
	_, url := start(t, db, func(c *Config) { c.RepeatFor = 50 * time.Millisecond })
	db.Exec(t, `CREATE TRIGGER proxy BEFORE INSERT ON orders FOR EACH ROW BEGIN
		IF NEW.buyer_id = 'user1' THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 9601, MESSAGE_TEXT = 'atoll: not the owner'; END IF;
		IF NEW.buyer_id = 'zhangsan' THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 9602, MESSAGE_TEXT = 'atoll: fenced'; END IF;
	END`)
	const body = `{"client_id":"c","product":"p01","qty":1}`
	got := do(t, "POST", url+"/order?user=user1", body)
	if got.status != 421 || got.fields["done"] != false || got.fields["code"] != 9601.0 || got.text("owner") != "unit-b" || got.text("error") != "atoll: not the owner" {
		t.Errorf("not the owner: %d %s", got.status, got.body)
	}
	got = do(t, "POST", url+"/order?user=zhangsan", body)
	if got.status != 503 || got.fields["done"] != false || got.fields["code"] != 9602.0 || got.fields["retry"] != true || got.header.Get("Retry-After") != "1" {
		t.Errorf("fenced: %d %s", got.status, got.body)
	}
}

func TestWithoutASnapshotNothingIsPlaced(t *testing.T) {
	s, err := New(Config{Unit: "unit-a", Listen: "127.0.0.1:0", DSN: "u:p@tcp(127.0.0.1:1)/shop", IDs: newCounter(t, 0)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.newID(t.Context(), "anna")
	if f := explain(err, ""); f == nil || f.status != 503 || f.unknown || !f.retry {
		t.Errorf("%+v", f)
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	err := Config{Listen: "nowhere", DSN: "::", PoolLimit: -1}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"--unit", "listen", "data source name", "ids", "limit"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("nothing of %s in %q", part, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %q", err)
	}
}

func TestRuleIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		rule string
	}{
		"by the database": {Config{}, "1003"},
		"by its name":     {Config{Space: "shop", Rule: "1003"}, "1003"},
		"other database":  {Config{DSN: "u:p@tcp(h:1)/other"}, "1003"},
		"other space":     {Config{Space: "else"}, ""},
	} {
		cfg := c.cfg
		cfg.Unit, cfg.Listen, cfg.IDs = "unit-a", "127.0.0.1:0", newCounter(t, 0)
		if cfg.DSN == "" {
			cfg.DSN = "u:p@tcp(h:1)/shop"
		}
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Install(t.Context(), snapshot(3)); err != nil {
			t.Fatal(err)
		}
		if d := s.decide("anna"); (d.Bucket >= 0) != (c.rule != "") {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
