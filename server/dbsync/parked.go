package dbsync

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/dbsync/binlog"
	"github.com/atoll-live/atoll/server/keytext"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// parkedKey is what acks need of a parked row.
type parkedKey struct {
	table string // schema.table at the target
	key   string
}

// parkedRow is a change that its origin did not own, kept for an operator.
type parkedRow struct {
	parkedKey
	owner, reason string
	change        []byte // JSON
}

// keyTextLimit cuts only what is no key: keys are shorter.
const keyTextLimit = keytext.MaxBytes

func newParked(t *table, ch *binlog.Change, key string, j judgement) parkedRow {
	p := parkedRow{parkedKey: parkedKey{table: t.To + "." + t.Name, key: key}, owner: j.unit, change: changeJSON(ch)}
	switch {
	case key == "":
		p.reason = "the row has no key"
	case j.odd:
		p.reason = "the key has a form that no proxy lets through, since the column calls it equal to others"
	case j.move != nil:
		p.reason = fmt.Sprintf("written behind the CLOSE of move %s, which gave the key to %s", j.move.ID, j.move.To)
	default:
		p.reason = fmt.Sprintf("the key belongs to %q, not to the unit that wrote it", j.unit)
	}
	if len(p.key) > keyTextLimit {
		p.key = strings.ToValidUTF8(p.key[:keyTextLimit], "")
	}
	return p
}

// changeJSON shows a change to people: column → text, null, or base64 of what
// is no text.
func changeJSON(ch *binlog.Change) []byte {
	image := func(row binlog.Row) map[string]any {
		if row == nil {
			return nil
		}
		m := make(map[string]any, len(row))
		for i := range row {
			col := &ch.Table.Columns[i]
			switch {
			case row[i] == nil:
				m[col.Name] = nil
			case col.Form() == binlog.Bytes || !utf8.Valid(row[i]) && col.Form() == binlog.Text:
				m[col.Name] = map[string]string{"base64": base64.StdEncoding.EncodeToString(row[i])}
			default:
				m[col.Name] = string(col.AppendText(nil, row[i]))
			}
		}
		return m
	}
	op := map[binlog.Op]string{binlog.Insert: "insert", binlog.Update: "update", binlog.Delete: "delete"}[ch.Op]
	b, err := json.Marshal(map[string]any{"op": op, "before": image(ch.Before), "after": image(ch.After)})
	if err != nil {
		return []byte("{}") // maps of strings always marshal
	}
	return b
}

func (p *parkedRow) sql(lane, position string) string {
	return "INSERT INTO " + sitedb.Schema + ".parked (lane, position, tbl, keytext, owner, reason, change_json, at) VALUES (" +
		apply.Quote(lane) + "," + apply.Quote(position) + "," + apply.Quote(p.table) + "," + apply.Quote(p.key) + "," +
		apply.Quote(p.owner) + "," + apply.Quote(p.reason) + "," + apply.Quote(string(p.change)) + ",UTC_TIMESTAMP(6))"
}

// shownMost is how many parked rows of a lane a report tells of, the oldest.
const shownMost = 20

// loadParked reads the parked rows of the lane: an operator may have settled
// some.
func (l *lane) loadParked(ctx context.Context, db *sql.DB) error {
	list, err := each(ctx, db, func(rows *sql.Rows) (p parkedKey, err error) {
		return p, rows.Scan(&p.table, &p.key)
	}, "SELECT tbl, keytext FROM "+sitedb.Schema+".parked WHERE lane=? LIMIT ?", l.name, l.s.cfg.ParkLimit+1)
	if err != nil {
		return fmt.Errorf("read parked rows of lane %s: %w", l.name, err)
	}
	shown, err := each(ctx, db, func(rows *sql.Rows) (*atollv1.ParkedRow, error) {
		p := new(atollv1.ParkedRow)
		return p, rows.Scan(&p.Id, &p.Table, &p.Key, &p.Owner, &p.Reason, &p.Position, &p.At)
	}, `SELECT id, tbl, keytext, owner, reason, position, DATE_FORMAT(at, '%Y-%m-%dT%H:%i:%s.%fZ')
		FROM `+sitedb.Schema+`.parked WHERE lane=? ORDER BY id LIMIT ?`, l.name, shownMost)
	if err != nil {
		return fmt.Errorf("read parked rows of lane %s: %w", l.name, err)
	}
	l.mu.Lock()
	l.parked, l.shown = list, shown
	l.mu.Unlock()
	return nil
}

// each reads all rows of a query.
func each[T any](ctx context.Context, db *sql.DB, scan func(*sql.Rows) (T, error), text string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// shownOf are the parked rows to tell of that belong to a space.
func (l *lane) shownOf(name string) []*atollv1.ParkedRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	var of []*atollv1.ParkedRow
	for _, p := range l.shown {
		if slices.ContainsFunc(l.spec.Tables, func(t table) bool { return t.Space == name && t.To+"."+t.Name == p.GetTable() }) {
			of = append(of, p)
		}
	}
	return of
}

func (l *lane) park(rows []parkedRow) {
	if len(rows) == 0 {
		return
	}
	l.mu.Lock()
	for _, r := range rows {
		l.parked = append(l.parked, r.parkedKey)
	}
	n, quiet := len(l.parked), time.Since(l.parkedSaid) < parkedEvery
	if !quiet {
		l.parkedSaid = time.Now()
	}
	l.mu.Unlock()
	if !quiet {
		l.s.cfg.Log.Warn("rows parked", "lane", l.name, "now", n, "table", rows[0].table, "reason", rows[0].reason)
	}
	l.s.touch()
}

func (l *lane) parkedRows() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.parked)
}

// parkedIn counts parked rows of a move's keys.
func (l *lane) parkedIn(v *route.View, spec *laneSpec, m *space.Transfer) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, p := range l.parked {
		for i := range spec.Tables {
			t := &spec.Tables[i]
			if t.To+"."+t.Name == p.table && t.Space == v.Snapshot.Space && t.Rule == m.Rule && route.Contains(m.Keys, v.DecideKey(t.Rule, p.key)) {
				n++
			}
		}
	}
	return n
}
