package binlog

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPosition(t *testing.T) {
	p, err := ParsePosition(" 2-7-5, 1-1-100")
	if err != nil {
		t.Fatal(err)
	}
	q := p.With(GTID{1, 3, 101}).With(GTID{0, 1, 1})
	if got := q.String(); got != "0-1-1,1-3-101,2-7-5" {
		t.Errorf("position %s", got)
	}
	if got := p.String(); got != "1-1-100,2-7-5" {
		t.Errorf("With changed what it was given: %s", got)
	}
	for _, bad := range []string{"x", "1-2", "1-2-3-4", "1-2-x", "4294967296-1-1", "1-1--1"} {
		if _, err := ParsePosition(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestFirstWord(t *testing.T) {
	for text, want := range map[string]string{
		"insert into t": "INSERT", "/* a */ -- b\n# c\n update t": "UPDATE", "/*!40000 delete from t */": "DELETE",
		"/*M!100100 REPLACE */": "REPLACE", "COMMIT": "COMMIT", "(select 1)": "SELECT", "": "", "/* no end": "", "-- only": "",
	} {
		if got, _ := firstWord(text); got != want {
			t.Errorf("first word of %q is %q, want %q", text, got, want)
		}
	}
}

// heard is a Handler that keeps what it is given.
type heard struct{ groups []*Group }

func (h *heard) Wants(schema, table string) bool             { return schema == "shop" && table == "t" }
func (h *heard) Marker(schema, table string) bool            { return schema == "atoll" && table == "lane" }
func (h *heard) Group(_ context.Context, g *Group) error     { h.groups = append(h.groups, g); return nil }
func (h *heard) feed(t *testing.T, events ...rawEvent) error { return feed(h, events) }

type rawEvent struct {
	kind replication.EventType
	body []byte
}

func feed(h Handler, events []rawEvent) error {
	a := newAssembler(nil, 1<<20, h)
	for _, e := range events {
		if err := a.event(context.Background(), e.kind, 1, 0, e.body); err != nil {
			return err
		}
	}
	return nil
}

func gtid(n uint64, flags byte) rawEvent {
	b := binary.LittleEndian.AppendUint64(nil, n)
	b = binary.LittleEndian.AppendUint32(b, 1)
	return rawEvent{replication.MARIADB_GTID_EVENT, append(b, flags, 0, 0, 0, 0, 0, 0)}
}

// tableEvent maps table id 5 to a table with one INT column named id, its key.
func tableEvent(schema, name string) rawEvent {
	b := []byte{5, 0, 0, 0, 0, 0, 1, 0}
	b = append(append(append(b, byte(len(schema))), schema...), 0)
	b = append(append(append(b, byte(len(name))), name...), 0)
	b = append(b, 1, typeLong, 0, 0)
	b = append(b, metaNames, 3, 2, 'i', 'd')
	return rawEvent{replication.TABLE_MAP_EVENT, append(b, metaKey, 1, 0)}
}

func insertEvent(id uint32) rawEvent {
	b := []byte{5, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0}
	return rawEvent{replication.WRITE_ROWS_EVENTv1, binary.LittleEndian.AppendUint32(b, id)}
}

func queryEvent(text string) rawEvent {
	return rawEvent{replication.QUERY_EVENT, append(make([]byte, 14), text...)}
}

var (
	xid     = rawEvent{replication.XID_EVENT, make([]byte, 8)}
	restart = rawEvent{replication.FORMAT_DESCRIPTION_EVENT, nil}
)

func TestAssemble(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []rawEvent
		groups []string // position and number of changes
		err    error
	}{
		{"a transaction", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(7), xid}, []string{"1-1-1 +1"}, nil},
		{"of another table", []rawEvent{gtid(1, 0), tableEvent("shop", "x"), insertEvent(7), xid}, []string{"1-1-1"}, nil},
		{"of a lane", []rawEvent{gtid(1, 0), tableEvent("atoll", "lane"), insertEvent(7), tableEvent("shop", "t"), insertEvent(8), xid}, []string{"1-1-1 marked"}, nil},
		{"marker not first", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(8), tableEvent("atoll", "lane"), insertEvent(7), xid}, []string{"1-1-1 +1"}, nil},
		{"DDL alone", []rawEvent{gtid(1, flagStandalone), queryEvent("ALTER TABLE t"), gtid(2, 0), xid}, []string{"1-1-1", "1-1-2"}, nil},
		{"ends by a COMMIT", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(7), queryEvent("COMMIT")}, []string{"1-1-1 +1"}, nil},
		{"rolled back", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(7), queryEvent("ROLLBACK")}, []string{"1-1-1"}, nil},
		{"rolled back in part", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(7), queryEvent("ROLLBACK TO `s`")}, nil, ErrRefused},
		{"the server died in it", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(7), restart, gtid(1, 0), xid}, []string{"1-1-1"}, nil},
		{"no end", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), gtid(2, 0)}, nil, ErrLink},
		{"rows without a map", []rawEvent{gtid(1, 0), insertEvent(7)}, nil, ErrLink},
		{"a map of an earlier group", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(7), xid, gtid(2, 0), insertEvent(8)}, []string{"1-1-1 +1"}, ErrLink},
		{"a statement", []rawEvent{gtid(1, 0), queryEvent("update t set v=1")}, nil, ErrRefused},
		{"a savepoint", []rawEvent{gtid(1, 0), queryEvent("SAVEPOINT `s`"), xid}, []string{"1-1-1"}, nil},
		{"XA of a wanted table", []rawEvent{gtid(1, flagPreparedXA), tableEvent("shop", "t"), insertEvent(7)}, nil, ErrRefused},
		{"XA of another table", []rawEvent{gtid(1, flagPreparedXA), tableEvent("shop", "x"), insertEvent(7), {replication.XA_PREPARE_LOG_EVENT, nil}}, []string{"1-1-1"}, nil},
		{"LOAD DATA", []rawEvent{gtid(1, 0), {replication.EXECUTE_LOAD_QUERY_EVENT, nil}}, nil, ErrRefused},
		{"an incident", []rawEvent{gtid(1, flagStandalone), {replication.INCIDENT_EVENT, nil}}, nil, ErrRefused},
		{"MySQL", []rawEvent{{replication.GTID_EVENT, nil}}, nil, ErrRefused},
		{"not whole", []rawEvent{gtid(1, 0), tableEvent("shop", "t"), {replication.WRITE_ROWS_EVENTv1, []byte{5, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0}}}, nil, ErrRefused},
	} {
		h := &heard{}
		err := h.feed(t, c.events...)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
		}
		var got []string
		for _, g := range h.groups {
			text := g.Pos.String()
			if g.Marked {
				text += " marked"
			}
			if n := len(g.Changes); n > 0 {
				text += " +" + string(rune('0'+n))
			}
			got = append(got, text)
		}
		if !slices.Equal(got, c.groups) {
			t.Errorf("%s: groups %v, want %v", c.name, got, c.groups)
		}
	}
}

func TestGroupLimit(t *testing.T) {
	h := &heard{}
	a := newAssembler(nil, 200, h)
	var err error
	for i, e := range []rawEvent{gtid(1, 0), tableEvent("shop", "t"), insertEvent(1), insertEvent(2)} {
		if err = a.event(context.Background(), e.kind, 1, 0, e.body); err != nil && i < 3 {
			t.Fatal(err)
		}
	}
	if !errors.Is(err, ErrRefused) {
		t.Errorf("a group above the limit: %v", err)
	}
}

// FuzzAssemble reads the input as a list of events: kind, length, body.
func FuzzAssemble(f *testing.F) {
	pack := func(events ...rawEvent) []byte {
		var b []byte
		for _, e := range events {
			b = append(b, byte(e.kind), byte(len(e.body)))
			b = append(b, e.body...)
		}
		return b
	}
	f.Add(pack(gtid(1, 0), tableEvent("shop", "t"), insertEvent(7), xid))
	f.Add(pack(gtid(1, 0), tableEvent("shop", "t"), rawEvent{replication.UPDATE_ROWS_EVENTv2, append([]byte{5, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 1}, make([]byte, 10)...)}, queryEvent("COMMIT")))
	f.Add(pack(gtid(1, 0), tableEvent("shop", "t"), rawEvent{replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1, []byte{5, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0x81, 5, 1, 2, 3}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := &heard{}
		var events []rawEvent
		for len(data) > 2 && len(events) < 100 {
			n := min(int(data[1]), len(data)-2)
			events = append(events, rawEvent{replication.EventType(data[0]), data[2 : 2+n]})
			data = data[2+n:]
		}
		_ = feed(h, events)
		for _, g := range h.groups {
			for i := range g.Changes {
				ch := &g.Changes[i]
				for c, v := range ch.Image() {
					if v != nil {
						ch.Table.Columns[c].AppendText(nil, v)
					}
				}
			}
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("1-1-100,2-2-7")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text)
		if err != nil {
			return
		}
		again, err := ParsePosition(p.String())
		if err != nil || !slices.Equal(p, again) {
			t.Errorf("%q → %v → %v (%v)", text, p, again, err)
		}
	})
}
