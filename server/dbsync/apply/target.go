package apply

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/dbsync/binlog"
)

// Modes of the sessions that write rows. Strict, so that a value that does not
// fit is an error and not another value; otherwise whatever the source could
// hold must pass.
const (
	looseMode  = "ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"
	strictMode = "STRICT_ALL_TABLES," + looseMode
)

// Bounds of one Apply.
const (
	tries       = 10
	firstDelay  = 5 * time.Millisecond
	longestWait = time.Second
	packetBytes = 4 << 20
)

// ErrStale is the answer when another worker has taken the lane over.
var ErrStale = errors.New("another worker runs this lane")

// Server is a database server and the account to use.
type Server struct {
	Addr     string // host:port
	User     string
	Password string
	Timeout  time.Duration // of one statement; a minute when zero
}

// Open makes a pool for a server's own side of things: utf8mb4, UTC, several
// statements in one packet. It connects to nothing yet.
func Open(s Server, connections int) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr = s.User, s.Password, "tcp", s.Addr
	c.MultiStatements, c.ClientFoundRows, c.InterpolateParams = true, true, true
	limit := s.Timeout
	if limit == 0 {
		limit = time.Minute
	}
	c.Timeout, c.ReadTimeout, c.WriteTimeout = 5*time.Second, limit, limit
	c.MaxAllowedPacket = 1 << 30
	c.Logger = log.New(io.Discard, "", 0)
	if err := c.Apply(mysql.Charset("utf8mb4", "utf8mb4_bin")); err != nil {
		return nil, fmt.Errorf("set charset: %w", err)
	}
	c.Params = map[string]string{
		"time_zone": "'+00:00'", "sql_mode": "'" + strictMode + "'", "tx_isolation": "'READ-COMMITTED'",
		"innodb_lock_wait_timeout": "5", "autocommit": "1",
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.Addr, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Tx is one target transaction: whole groups of the source, and what the lane
// itself writes beside them.
type Tx struct {
	Position string    // of the source, after the last group
	OriginAt time.Time // of the last heartbeat before it; zero: none
	Changes  []*binlog.Change
	Own      []string // statements on the lane's own tables
}

// Target writes into one database server for one lane. It is used by one
// goroutine.
type Target struct {
	db     *sql.DB
	lane   string
	name   func(*binlog.Table) (schema, table string) // where a source table lives here
	source func(context.Context, string, string) (*Description, error)

	charsets  Charsets
	described map[string]*Description
	plans     map[*binlog.Table]planned

	conn   *sql.Conn
	thread thread
	worker int64
	seq    int64
	maxSQL int

	Retries int64 // transactions that had to be tried again
}

type planned struct {
	p *plan
	d *Description
}

// NewTarget prepares nothing; Take does. Names maps a source table to the
// target's schema and table; source describes a table at the source.
func NewTarget(db *sql.DB, lane string, names func(*binlog.Table) (string, string),
	source func(context.Context, string, string) (*Description, error), charsets Charsets) *Target {
	t := &Target{db: db, lane: lane, name: names, source: source, charsets: charsets}
	t.forget()
	return t
}

func (t *Target) forget() {
	t.described, t.plans = map[string]*Description{}, map[*binlog.Table]planned{}
}

// Close gives the connection back.
func (t *Target) Close() { t.drop() }

// Apply commits one transaction, exactly once. It tries again what may pass at
// another time, a bounded number of times; the error is ErrStale, ErrRefused,
// ctx's cause, or what the server said last.
func (t *Target) Apply(ctx context.Context, tx *Tx) error {
	delay := firstDelay
	for try := 1; ; try++ {
		err := t.once(ctx, tx, try > 1)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrStale) || errors.Is(err, ErrRefused) || try == tries {
			return err
		}
		if !mayPass(err) {
			return fmt.Errorf("%w: %w (mend the table or the server here)", ErrRefused, err)
		}
		t.Retries++
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(delay/2 + rand.N(delay)):
		}
		delay = min(2*delay, longestWait)
	}
}

// once tries one transaction. After a failure the marker row says whether it
// was committed all the same.
func (t *Target) once(ctx context.Context, tx *Tx, again bool) error {
	if t.conn == nil {
		if err := t.connect(ctx); err != nil {
			return err
		}
	}
	if again {
		done, err := t.committed(ctx)
		if err != nil || done {
			return err
		}
	}
	statements, err := t.statements(ctx, tx)
	if err != nil {
		return err
	}
	if err = t.write(ctx, tx, statements); err == nil {
		t.seq++
		return nil
	}
	if shapeChanged(err) {
		t.forget()
	}
	if _, ok := errors.AsType[*mysql.MySQLError](err); !ok {
		t.drop() // the link broke: the server may still be at work on it
		return err
	}
	if _, rollback := t.conn.ExecContext(ctx, "ROLLBACK"); rollback != nil {
		t.drop()
	}
	return err
}

func (t *Target) statements(ctx context.Context, tx *Tx) ([]statement, error) {
	b := newBatch()
	for _, ch := range tx.Changes {
		pl, err := t.planFor(ctx, ch.Table)
		if err != nil {
			return nil, err
		}
		if err := b.add(pl.p, pl.d, ch); err != nil {
			return nil, err
		}
	}
	out := b.statements()
	for _, own := range tx.Own {
		out = append(out, statement{sql: []byte(own)})
	}
	return out, nil
}

// plansLimit bounds what is remembered of shapes; beyond it all is read again.
const plansLimit = 4096

func (t *Target) planFor(ctx context.Context, table *binlog.Table) (planned, error) {
	if pl, ok := t.plans[table]; ok {
		return pl, nil
	}
	if len(t.plans) >= plansLimit {
		t.forget()
	}
	schema, tableName := t.name(table)
	key := schema + "\x00" + tableName
	d := t.described[key]
	if d == nil {
		var err error
		if d, err = Describe(ctx, t.db, schema, tableName); err != nil {
			if errors.Is(err, ErrNoTable) {
				err = fmt.Errorf("%w: %w (create it here too)", ErrRefused, err)
			}
			return planned{}, err
		}
		if bad := d.Troubles("", true); len(bad) > 0 {
			return planned{}, fmt.Errorf("%w: %s", ErrRefused, bad[0])
		}
		t.described[key] = d
	}
	p, err := newPlan(table, d, t.charsets, func() (*Description, error) { return t.source(ctx, table.Schema, table.Name) })
	if err != nil {
		return planned{}, err
	}
	pl := planned{p, d}
	t.plans[table] = pl
	return pl, nil
}

// write sends the transaction: all but the commit in one packet, so that an
// error before the commit surely means not done.
func (t *Target) write(ctx context.Context, tx *Tx, statements []statement) error {
	packet := append([]byte("BEGIN;"), t.markerSQL(tx)...)
	expect := []bool{false, true}
	for i := 0; ; i++ {
		last := i == len(statements)
		if last || len(packet)+len(statements[i].sql) > t.packetLimit() && len(expect) > 0 {
			if len(expect) > 0 {
				if err := t.send(ctx, packet, expect); err != nil {
					return t.carefully(ctx, tx, statements, err)
				}
			}
			packet, expect = packet[:0], expect[:0]
		}
		if last {
			break
		}
		if len(packet) > 0 {
			packet = append(packet, ';')
		}
		packet = append(packet, statements[i].sql...)
		expect = append(expect, statements[i].must)
	}
	_, err := t.conn.ExecContext(ctx, "COMMIT")
	return err
}

func (t *Target) packetLimit() int { return min(packetBytes, t.maxSQL/2) }

// errUnmet says that a statement which must meet one row did not.
var errUnmet = errors.New("a row to update is not there")

func (t *Target) send(ctx context.Context, packet []byte, expect []bool) error {
	return t.conn.Raw(func(c any) error {
		res, err := c.(driver.ExecerContext).ExecContext(ctx, string(packet), nil)
		if err != nil {
			return err
		}
		met := res.(mysql.Result).AllRowsAffected()
		if len(met) != len(expect) {
			return fmt.Errorf("the server answered %d of %d statements", len(met), len(expect))
		}
		for i := range expect {
			if expect[i] && met[i] != 1 {
				return errUnmet
			}
		}
		return nil
	})
}
