package dbsync

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/server/keytext"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// createSchema makes Atoll's own tables. It may run again at any time.
func createSchema(ctx context.Context, db *sql.DB) error {
	for _, q := range sitedb.Statements {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("create schema %s: %w", sitedb.Schema, err)
		}
	}
	return nil
}

// load reads what the lane has passed and parked from its target. It needs
// nothing of the source: acks hold again before the link is back.
func (l *lane) load(ctx context.Context, db *sql.DB) error {
	if err := createSchema(ctx, db); err != nil {
		return err
	}
	passed, err := loadTokens(ctx, db, l.name)
	if err != nil {
		return err
	}
	kept, err := loadBase(ctx, db, l.name)
	if err != nil {
		return err
	}
	if err := l.loadParked(ctx, db); err != nil {
		return err
	}
	l.s.mu.Lock()
	l.passed = passed
	if !l.loaded {
		l.loaded = true
		for name, moves := range kept {
			l.keepLocked(name, moves)
		}
	}
	l.s.mu.Unlock()
	l.s.touch()
	return nil
}

func loadTokens(ctx context.Context, db *sql.DB, lane string) ([]*token, error) {
	rows, err := db.QueryContext(ctx, "SELECT space, move, epoch, kind, seq, transfer, position FROM "+sitedb.Schema+".lane_token WHERE lane=? ORDER BY seq", lane)
	if err != nil {
		return nil, fmt.Errorf("read tokens of lane %s: %w", lane, err)
	}
	defer rows.Close()
	var out []*token
	for rows.Next() {
		var t token
		var transfer string
		if err := rows.Scan(&t.space, &t.move, &t.epoch, &t.kind, &t.seq, &transfer, &t.position); err != nil {
			return nil, fmt.Errorf("read tokens of lane %s: %w", lane, err)
		}
		if transfer != "" {
			t.transfer = new(space.Transfer)
			if err := json.Unmarshal([]byte(transfer), t.transfer); err != nil {
				return nil, fmt.Errorf("read token of move %s: %w", t.move, err)
			}
		}
		out = append(out, &t)
	}
	return out, rows.Err()
}

// loadBase reads, per space, the moves that the lane knew last.
func loadBase(ctx context.Context, db *sql.DB, lane string) (map[string][]*space.Transfer, error) {
	rows, err := db.QueryContext(ctx, "SELECT space, document FROM "+sitedb.Schema+".lane_base WHERE lane=?", lane)
	if err != nil {
		return nil, fmt.Errorf("read base of lane %s: %w", lane, err)
	}
	defer rows.Close()
	out := map[string][]*space.Transfer{}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, fmt.Errorf("read base of lane %s: %w", lane, err)
		}
		var s space.Snapshot
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, fmt.Errorf("read base of lane %s: %w", lane, err)
		}
		out[name] = s.Moves
	}
	return out, rows.Err()
}

// found is what a session learns of the source before it begins.
type found struct {
	charsets apply.Charsets
	keys     keyColumns
}

// keyColumns are the key columns of a lane's unit tables on one side.
type keyColumns map[*table]keytext.Column

// precheck says what keeps the lane from carrying every row exactly.
func precheck(ctx context.Context, spec *laneSpec, source, target *sql.DB) (*found, error) {
	troubles, err := apply.CheckSource(ctx, source)
	if err != nil {
		return nil, err
	}
	f := new(found)
	if f.charsets, err = apply.LoadCharsets(ctx, source); err != nil {
		return nil, err
	}
	var here keyColumns
	for _, side := range []struct {
		db     *sql.DB
		target bool
		keys   *keyColumns
	}{{source, false, &f.keys}, {target, true, &here}} {
		var more []string
		if more, *side.keys, err = checkTables(ctx, spec, side.db, side.target); err != nil {
			return nil, err
		}
		troubles = append(troubles, more...)
	}
	troubles = append(troubles, unlikeKeys(f.keys, here)...)
	if len(troubles) > 0 {
		slices.Sort(troubles)
		return nil, fmt.Errorf("%w: %s", binlog.ErrRefused, strings.Join(slices.Compact(troubles), "; "))
	}
	return f, nil
}

// unlikeKeys names the tables whose key columns do not call the same keys equal
// on both sides: what is two keys here would be one there.
func unlikeKeys(there, here keyColumns) []string {
	var out []string
	for t, c := range there {
		if o, ok := here[t]; ok && !c.Alike(&o) {
			out = append(out, fmt.Sprintf("table %s.%s: its key %s is of another type or collation here than at the source (make them equal)", t.From, t.Name, t.Key))
		}
	}
	return out
}

// checkTables looks at all tables of a lane on one side.
func checkTables(ctx context.Context, spec *laneSpec, db *sql.DB, target bool) ([]string, keyColumns, error) {
	bySchema, side := map[string][]*table{}, "source"
	if target {
		side = "target"
	}
	for i := range spec.Tables {
		t := &spec.Tables[i]
		schema := t.From
		if target {
			schema = t.To
		}
		bySchema[schema] = append(bySchema[schema], t)
	}
	var out []string
	keys := keyColumns{}
	for schema, tables := range bySchema {
		names := make([]string, len(tables))
		for i := range tables {
			names[i] = tables[i].Name
		}
		found, err := apply.DescribeAll(ctx, db, schema, names)
		if err != nil {
			return nil, nil, fmt.Errorf("at the %s: %w", side, err)
		}
		for _, t := range tables {
			d := found[t.Name]
			if d == nil {
				out = append(out, fmt.Sprintf("table %s.%s is not at the %s (create it there)", schema, t.Name, side))
				continue
			}
			out = append(out, d.Troubles(t.Key, target)...)
			if c, ok := d.KeyColumn(t.Key); ok {
				keys[t] = c
			}
		}
	}
	return out, keys, nil
}

// first begins a lane that has never run: from where the source's log is now.
// The tables are taken to be equal at this moment. What tokens the source has
// already written is read in the same transaction as the position, so that the
// lane knows exactly which of them lie behind it.
func (l *lane) first(ctx context.Context, spec *laneSpec, source, target *sql.DB) error {
	err := apply.Prepare(ctx, target, l.name, func() (string, []string, error) {
		position, behind, err := readStart(ctx, spec, source)
		if err != nil {
			return "", nil, err
		}
		for _, t := range behind {
			if !slices.Contains(spec.Spaces, t.space) {
				continue
			}
			reason := fmt.Sprintf("the source shows epoch %d of space %s, whose snapshot is not here yet", t.epoch, t.space)
			if err := l.waiting(ctx, sessionSide, reason, func() bool { return l.s.epoch(t.space) >= t.epoch }); err != nil {
				return "", nil, err
			}
		}
		var own []string
		for i, t := range behind {
			if t.kind != sitedb.TokenJoin {
				own = append(own, tokenSQL(l.name, t, int64(i-len(behind)), l.s.transfer(l, t), position))
			}
		}
		return position, own, nil
	})
	if err != nil {
		return err
	}
	return l.load(ctx, target)
}

func readStart(ctx context.Context, spec *laneSpec, source *sql.DB) (position string, behind []tokenID, err error) {
	conn, err := source.Conn(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("connect to the source: %w", err)
	}
	defer conn.Close()
	defer func() {
		// Also when ctx has ended: the connection goes back to its pool.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = conn.ExecContext(end, "ROLLBACK")
	}()
	if _, err := conn.ExecContext(ctx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT"); err != nil {
		return "", nil, fmt.Errorf("read position of the source: %w", err)
	}
	at := map[string]string{}
	rows, err := conn.QueryContext(ctx, "SHOW STATUS LIKE 'binlog_snapshot_%'")
	if err != nil {
		return "", nil, fmt.Errorf("read position of the source: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return "", nil, fmt.Errorf("read position of the source: %w", err)
		}
		at[strings.ToLower(name)] = value
	}
	if err := rows.Err(); err != nil {
		return "", nil, fmt.Errorf("read position of the source: %w", err)
	}
	var gtid sql.NullString
	err = conn.QueryRowContext(ctx, "SELECT BINLOG_GTID_POS(?, ?)", at["binlog_snapshot_file"], at["binlog_snapshot_position"]).Scan(&gtid)
	if err != nil {
		return "", nil, fmt.Errorf("read position of the source: %w", err)
	}
	behind, err = readBehind(ctx, conn, spec.Origin)
	return gtid.String, behind, err
}

// behindLimit bounds how many tokens are looked at; older ones are of moves
// that are long over.
const behindLimit = 256

func readBehind(ctx context.Context, conn *sql.Conn, origin string) ([]tokenID, error) {
	rows, err := conn.QueryContext(ctx, "SELECT space, move, epoch, kind FROM "+sitedb.Schema+".token WHERE unit=? ORDER BY epoch DESC, kind LIMIT ?", origin, behindLimit)
	var e *mysql.MySQLError
	if errors.As(err, &e) && (e.Number == 1146 || e.Number == 1049) {
		return nil, nil // the source's own dbsync has not started yet
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens of the source: %w", err)
	}
	defer rows.Close()
	var out []tokenID
	for rows.Next() {
		var t tokenID
		if err := rows.Scan(&t.space, &t.move, &t.epoch, &t.kind); err != nil {
			return nil, fmt.Errorf("read tokens of the source: %w", err)
		}
		out = append(out, t)
	}
	slices.Reverse(out)
	return out, rows.Err()
}
