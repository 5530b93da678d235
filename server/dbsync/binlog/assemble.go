package binlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/replication"
)

// Handler takes what a stream brings.
type Handler interface {
	// Wants tells whether the rows of a table are carried. The answer must not
	// change while a stream lasts.
	Wants(schema, table string) bool
	// Marker tells whether the table is the one that lanes write first.
	Marker(schema, table string) bool
	// Group takes one whole group, in the order of the log. It may block, and
	// so hold the stream back.
	Group(ctx context.Context, g *Group) error
}

// Bits of a MariaDB GTID event.
const (
	flagStandalone = 1
	flagPreparedXA = 64
)

// assembler puts events together to groups.
type assembler struct {
	h        Handler
	pos      Position
	maxBytes int
	tables   tables
	open     *Group // the group that is being read
	alone    bool   // it is one event, which ends it
	prepared bool   // it is an XA PREPARE
	first    bool   // no row of it has been seen
}

func newAssembler(from Position, maxBytes int, h Handler) *assembler {
	return &assembler{h: h, pos: from, maxBytes: maxBytes, tables: tables{byID: map[uint64]*tableMap{}, seen: map[string]*tableMap{}}}
}

// event takes one event. The body must not be changed afterwards.
func (a *assembler) event(ctx context.Context, kind replication.EventType, serverID, at uint32, body []byte) error {
	switch kind {
	case replication.MARIADB_GTID_EVENT:
		return a.begin(serverID, at, body)
	case replication.FORMAT_DESCRIPTION_EVENT, replication.ROTATE_EVENT:
		a.open = nil // the server died in the middle of a group and never finished it
		return nil
	case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.TRANSACTION_PAYLOAD_EVENT:
		return fmt.Errorf("%w: the source is not MariaDB: lanes read MariaDB's GTID only", ErrRefused)
	case replication.MARIADB_START_ENCRYPTION_EVENT:
		return nil // the server sends the events that follow in the clear
	}
	if a.open == nil {
		return nil // between groups: lists of positions, checkpoints, heartbeats
	}
	switch kind {
	case replication.INCIDENT_EVENT:
		return fmt.Errorf("%w: group %s: the source says that it lost events (compare the tables)", ErrRefused, a.open.GTID)
	case replication.EXECUTE_LOAD_QUERY_EVENT:
		return a.notRows("LOAD DATA")
	case replication.TABLE_MAP_EVENT:
		return a.tableMap(body)
	case replication.XID_EVENT, replication.XA_PREPARE_LOG_EVENT:
		return a.end(ctx)
	case replication.QUERY_EVENT, replication.MARIADB_QUERY_COMPRESSED_EVENT:
		return a.query(ctx, body, kind == replication.MARIADB_QUERY_COMPRESSED_EVENT)
	}
	if e, ok := rowsKind(kind); ok {
		e.body = body
		return a.rows(e)
	}
	if a.alone && kind != replication.MARIADB_ANNOTATE_ROWS_EVENT && kind != replication.INTVAR_EVENT && kind != replication.RAND_EVENT && kind != replication.USER_VAR_EVENT {
		return a.end(ctx)
	}
	return nil
}

func rowsKind(kind replication.EventType) (rowsEvent, bool) {
	switch kind {
	case replication.WRITE_ROWS_EVENTv1:
		return rowsEvent{op: Insert}, true
	case replication.UPDATE_ROWS_EVENTv1:
		return rowsEvent{op: Update}, true
	case replication.DELETE_ROWS_EVENTv1:
		return rowsEvent{op: Delete}, true
	case replication.WRITE_ROWS_EVENTv2:
		return rowsEvent{op: Insert, v2: true}, true
	case replication.UPDATE_ROWS_EVENTv2:
		return rowsEvent{op: Update, v2: true}, true
	case replication.DELETE_ROWS_EVENTv2:
		return rowsEvent{op: Delete, v2: true}, true
	case replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1:
		return rowsEvent{op: Insert, packed: true}, true
	case replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1:
		return rowsEvent{op: Update, packed: true}, true
	case replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		return rowsEvent{op: Delete, packed: true}, true
	}
	return rowsEvent{}, false
}

func (a *assembler) begin(serverID, at uint32, body []byte) error {
	if a.open != nil {
		return fmt.Errorf("%w: group %s has no end", ErrLink, a.open.GTID)
	}
	if len(body) < 13 {
		return fmt.Errorf("read GTID: %w", errShort)
	}
	flags := body[12]
	id := GTID{Domain: binary.LittleEndian.Uint32(body[8:]), Server: serverID, Sequence: binary.LittleEndian.Uint64(body)}
	a.open = &Group{GTID: id, At: at}
	a.alone, a.prepared, a.first = flags&flagStandalone != 0, flags&flagPreparedXA != 0, true
	clear(a.tables.byID)
	return nil
}

func (a *assembler) tableMap(body []byte) error {
	err := a.tables.add(body, a.h.Wants)
	if err != nil {
		return fmt.Errorf("group %s: %w", a.open.GTID, err)
	}
	return nil
}

func (a *assembler) rows(e rowsEvent) error {
	g := a.open
	id := (&cursor{b: e.body}).uint(6)
	m := a.tables.byID[id]
	if m == nil {
		return fmt.Errorf("%w: group %s: rows without a table map", ErrLink, g.GTID)
	}
	if a.first {
		a.first = false
		g.Marked = a.h.Marker(m.schema, m.name)
	}
	if g.Marked || !m.wanted {
		return nil
	}
	if a.prepared {
		return fmt.Errorf("%w: group %s: an XA transaction wrote %s.%s: its rows stand in the log before its outcome (commit without XA)", ErrRefused, g.GTID, m.schema, m.name)
	}
	changes, err := decodeRows(e, m.table)
	if err != nil {
		return fmt.Errorf("group %s: %w", g.GTID, err)
	}
	g.Changes = append(g.Changes, changes...)
	g.Bytes += len(e.body) + len(changes)*24*(len(m.table.Columns)+4)
	if g.Bytes > a.maxBytes {
		return fmt.Errorf("%w: group %s holds more than %d bytes of synced rows (write in smaller transactions, or raise the limit)", ErrRefused, g.GTID, a.maxBytes)
	}
	return nil
}

// query takes a statement: the end of a group, DDL, or DML that was logged as
// text, whose rows are not in the log.
func (a *assembler) query(ctx context.Context, body []byte, packed bool) error {
	text, err := queryText(body, packed)
	if err != nil {
		return fmt.Errorf("group %s: read query: %w", a.open.GTID, err)
	}
	word, rest := firstWord(text)
	switch word {
	case "COMMIT":
		return a.end(ctx)
	case "ROLLBACK":
		if next, _ := firstWord(rest); next == "" {
			a.open.Changes = nil
			return a.end(ctx)
		}
		fallthrough
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "CALL", "SELECT", "WITH", "DO", "":
		if !a.open.Marked {
			return a.notRows(word)
		}
	}
	if a.alone {
		return a.end(ctx)
	}
	return nil
}

func (a *assembler) notRows(word string) error {
	return fmt.Errorf("%w: group %s holds a %s as a statement, not as rows (set binlog_format=ROW at the source, for sessions too)", ErrRefused, a.open.GTID, word)
}

func queryText(body []byte, packed bool) (string, error) {
	c := &cursor{b: body}
	c.take(8)
	schema := int(c.uint(1))
	c.take(2)
	c.take(int(c.uint(2)))
	c.take(schema + 1)
	if c.err != nil {
		return "", c.err
	}
	if !packed {
		return string(c.b), nil
	}
	raw, err := unpack(c.b)
	return string(raw), err
}

// firstWord skips blanks and comments and gives the first word in upper case.
// What stands in an executable comment is not skipped.
func firstWord(text string) (word, rest string) {
	for {
		text = strings.TrimLeft(text, " \t\r\n;(")
		if strings.HasPrefix(text, "#") || strings.HasPrefix(text, "--") {
			_, text, _ = strings.Cut(text, "\n")
			continue
		}
		if !strings.HasPrefix(text, "/*") {
			break
		}
		if strings.HasPrefix(text, "/*!") || strings.HasPrefix(text, "/*M!") {
			text = strings.TrimLeft(text[2:], "M!0123456789")
			continue
		}
		_, after, found := strings.Cut(text, "*/")
		if !found {
			return "", ""
		}
		text = after
	}
	end := strings.IndexFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
	if end < 0 {
		end = len(text)
	}
	return strings.ToUpper(text[:end]), text[end:]
}

func (a *assembler) end(ctx context.Context) error {
	g := a.open
	a.open = nil
	g.Pos = a.pos.With(g.GTID)
	if err := a.h.Group(ctx, g); err != nil {
		return err
	}
	a.pos = g.Pos
	return nil
}
