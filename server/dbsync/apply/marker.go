package apply

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/server/sitedb"
)

// MarkerTable is the table of Schema whose row comes first in each transaction.
const MarkerTable = "lane"

// Mark is a lane's checkpoint.
type Mark struct {
	Position string
	Worker   int64
	Seq      int64 // transactions so far
}

// Prepare creates the lane's row at its first start; from is called only then
// and gives the position to begin at, and statements for the lane's own tables.
// Later starts change nothing.
func Prepare(ctx context.Context, db *sql.DB, lane string, from func() (position string, own []string, err error)) error {
	var n int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+sitedb.Schema+".lane WHERE lane=?", lane).Scan(&n); err != nil {
		return fmt.Errorf("read checkpoint of lane %s: %w", lane, err)
	}
	if n > 0 {
		return nil
	}
	position, own, err := from()
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("create lane %s: %w", lane, err)
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "INSERT INTO "+sitedb.Schema+".lane (lane, worker, gtid, seq, at) VALUES (?,0,?,0,UTC_TIMESTAMP(6))", lane, position)
	for _, q := range own {
		if err == nil {
			_, err = tx.ExecContext(ctx, q)
		}
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("create lane %s: %w", lane, err)
	}
	return nil
}

// Take makes this target the lane's only worker: a group of an older one fails
// from now on. It returns the checkpoint.
func (t *Target) Take(ctx context.Context) (Mark, error) {
	if err := t.connect(ctx); err != nil {
		return Mark{}, err
	}
	var m Mark
	tx, err := t.conn.BeginTx(ctx, nil)
	if err != nil {
		return m, fmt.Errorf("take lane %s: %w", t.lane, err)
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "UPDATE "+sitedb.Schema+".lane SET worker=worker+1, at=UTC_TIMESTAMP(6) WHERE lane=?", t.lane)
	if err == nil {
		err = tx.QueryRowContext(ctx, "SELECT worker, gtid, seq FROM "+sitedb.Schema+".lane WHERE lane=?", t.lane).Scan(&m.Worker, &m.Position, &m.Seq)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return m, fmt.Errorf("take lane %s: %w", t.lane, err)
	}
	t.worker, t.seq = m.Worker, m.Seq
	return m, nil
}

// markerSQL moves the checkpoint. Its guard is in the value: a foreign worker
// or sequence makes it NULL, which strict mode refuses, and the packet ends
// there.
func (t *Target) markerSQL(tx *Tx) string {
	origin := "origin_at"
	if !tx.OriginAt.IsZero() {
		origin = quoted(tx.OriginAt.UTC().Format("2006-01-02 15:04:05.000000"))
	}
	return fmt.Sprintf("UPDATE %s.lane SET seq=IF(worker=%d AND seq=%d,seq+1,NULL), gtid=%s, origin_at=%s, at=UTC_TIMESTAMP(6) WHERE lane=%s",
		sitedb.Schema, t.worker, t.seq, quoted(tx.Position), origin, quoted(t.lane))
}

// committed tells, after a failure, whether the transaction was committed all
// the same. It waits for the row lock that an unfinished commit would hold.
func (t *Target) committed(ctx context.Context) (bool, error) {
	var m Mark
	err := t.conn.QueryRowContext(ctx, "SELECT worker, gtid, seq FROM "+sitedb.Schema+".lane WHERE lane=? FOR UPDATE", t.lane).Scan(&m.Worker, &m.Position, &m.Seq)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, fmt.Errorf("%w: the row of lane %s is gone from %s.lane (restart the lane)", ErrRefused, t.lane, sitedb.Schema)
	case err != nil:
		t.drop()
		return false, fmt.Errorf("read checkpoint of lane %s: %w", t.lane, err)
	case m.Worker != t.worker:
		return false, ErrStale
	case m.Seq == t.seq+1:
		t.seq++
		return true, nil
	case m.Seq != t.seq:
		return false, ErrStale
	}
	return false, nil
}

// thread is a connection as the server shows it. The host tells it from a
// later one to which a restarted server gave the same id.
type thread struct {
	id   int64
	host string
}

// connect takes a fresh connection, and ends what an earlier one left behind.
func (t *Target) connect(ctx context.Context) error {
	conn, err := t.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to the target: %w", err)
	}
	if old := t.thread; old.id != 0 {
		var n int
		err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID=? AND HOST=?", old.id, old.host).Scan(&n)
		if err == nil && n > 0 {
			// It may end by itself in between; then there is nothing to kill.
			_, _ = conn.ExecContext(ctx, "KILL CONNECTION ?", old.id)
		}
	}
	err = conn.QueryRowContext(ctx, "SELECT ID, HOST, @@max_allowed_packet FROM information_schema.PROCESSLIST WHERE ID=CONNECTION_ID()").
		Scan(&t.thread.id, &t.thread.host, &t.maxSQL)
	if err != nil {
		conn.Close()
		return fmt.Errorf("connect to the target: %w", err)
	}
	t.conn = conn
	return nil
}

// drop ends the connection for good: the pool must not hand out one whose
// transaction is open.
func (t *Target) drop() {
	if t.conn == nil {
		return
	}
	_ = t.conn.Raw(func(any) error { return errBroken })
	t.conn.Close()
	t.conn = nil
}

// carefully writes the transaction again, row by row, when a row was found in
// another state than the source's: an insert that meets its row updates it, an
// update that meets none inserts it. Any other failure is given back.
func (t *Target) carefully(ctx context.Context, tx *Tx, statements []statement, cause error) error {
	if number(cause) == erNullNotAllowed && t.superseded(ctx) {
		return ErrStale
	}
	if !errors.Is(cause, errUnmet) && number(cause) != erDuplicate {
		return cause
	}
	if _, err := t.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		return err
	}
	if err := t.send(ctx, []byte("BEGIN;"+t.markerSQL(tx)), []bool{false, true}); err != nil {
		if errors.Is(err, errUnmet) {
			return fmt.Errorf("%w: the row of lane %s is gone from %s.lane (restart the lane)", ErrRefused, t.lane, sitedb.Schema)
		}
		return err
	}
	for i := range statements {
		if err := t.careful(ctx, &statements[i]); err != nil {
			return err
		}
	}
	_, err := t.conn.ExecContext(ctx, "COMMIT")
	return err
}

func (t *Target) superseded(ctx context.Context) bool {
	var m Mark
	err := t.conn.QueryRowContext(ctx, "SELECT worker, seq FROM "+sitedb.Schema+".lane WHERE lane=?", t.lane).Scan(&m.Worker, &m.Seq)
	return err == nil && (m.Worker != t.worker || m.Seq != t.seq)
}

func (t *Target) careful(ctx context.Context, s *statement) error {
	err := t.send(ctx, s.sql, []bool{s.must})
	if err == nil || s.ch == nil {
		return err
	}
	switch {
	case s.ch.Op == binlog.Insert && number(err) == erDuplicate:
		err = t.send(ctx, s.p.appendUpdate(nil, s.ch.After, s.ch.After), []bool{true})
	case s.ch.Op == binlog.Update && errors.Is(err, errUnmet):
		err = t.send(ctx, s.p.appendValues([]byte(s.p.insert), s.ch.After), []bool{true})
	}
	if errors.Is(err, errUnmet) || number(err) == erDuplicate {
		return fmt.Errorf("%w: table %s: another row here holds a unique value that the source gave to this one (find which row is right; unique keys should hold the sharding key): %w",
			ErrRefused, s.p.name, err)
	}
	return err
}

// Error numbers of the server.
const (
	erDiskFull           = 1021
	erTooManyConnections = 1040
	erNullNotAllowed     = 1048
	erUnknownColumn      = 1054
	erDuplicate          = 1062
	erWrongCount         = 1136
	erNoSuchTable        = 1146
	erLockTimeout        = 1205
	erDeadlock           = 1213
	erUnknownTable       = 1051
	erTableChanged       = 1412
	erInterrupted        = 1317
	erReadOnly           = 1290
	erShutdown           = 1053
	erKilled             = 1927
	erCheckread          = 1020
)

func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// mayPass tells whether the same transaction may pass at another time.
func mayPass(err error) bool {
	switch number(err) {
	case 0: // the link
		return true
	case erLockTimeout, erDeadlock, erTableChanged, erInterrupted, erShutdown, erKilled, erCheckread, erReadOnly, erDiskFull, erTooManyConnections:
		return true
	}
	return shapeChanged(err)
}

func shapeChanged(err error) bool {
	switch number(err) {
	case erUnknownColumn, erWrongCount, erNoSuchTable, erUnknownTable:
		return true
	}
	return false
}

var errBroken = driver.ErrBadConn

// Seq is the number of the last transaction committed.
func (t *Target) Seq() int64 { return t.seq }
