package audit

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// Move is a finished move as the judge of binlogs needs it.
type Move struct {
	ID       string
	From, To string
	Switched bool
	Moved    func(key string) bool
}

// Ownership is what the binlogs say: how many groups that first wrote a moved
// key were checked, and which were written in a unit that did not own it.
type Ownership struct {
	Groups     int
	Violations int
	Samples    []string

	carried map[string]map[sequence]bool // unit → groups in its binlog that a lane wrote
}

// sequence names a group of a binlog: GTID domain and sequence number.
type sequence struct {
	domain string
	number uint64
}

// Ownerships reads the whole binlog of every side. A group is judged by the
// tokens that stand before it in the same binlog: after CLOSE of a move that
// switched the unit does not own the keys, after OPEN it does. keyColumn maps
// each unit table to its key column.
func Ownerships(ctx context.Context, sides []Side, moves []Move, keyColumn map[string]string) (Ownership, error) {
	all := Ownership{carried: map[string]map[sequence]bool{}}
	for _, s := range sides {
		all.carried[s.Unit] = map[sequence]bool{}
		j := &judgeOfUnit{unit: s.Unit, moves: moves, keys: keyColumn, ordinals: map[string]int{}, out: &all}
		for table, column := range keyColumn {
			var n int
			err := s.DB.QueryRowContext(ctx, `SELECT ordinal_position - 1 FROM information_schema.columns
				WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?`, table, column).Scan(&n)
			if err != nil {
				return all, fmt.Errorf("key column %s.%s of %s: %w", table, column, s.Unit, err)
			}
			j.ordinals[table] = n
		}
		if err := s.DB.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&j.schema); err != nil {
			return all, err
		}
		if err := readBinlog(ctx, s, j.event); err != nil {
			return all, fmt.Errorf("read binlog of %s: %w", s.Unit, err)
		}
	}
	return all, nil
}

// readBinlog gives every event from the oldest kept file to the end that
// stands when it begins.
func readBinlog(ctx context.Context, s Side, each func(*replication.BinlogEvent)) error {
	var file string
	var pos uint32
	var ignored1, ignored2 any
	if err := s.DB.QueryRowContext(ctx, "SHOW MASTER STATUS").Scan(&file, &pos, &ignored1, &ignored2); err != nil {
		return err
	}
	var first string
	var size any
	if err := s.DB.QueryRowContext(ctx, "SHOW BINARY LOGS").Scan(&first, &size); err != nil {
		return err
	}
	host, port, err := splitAddr(s.Addr)
	if err != nil {
		return err
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 1<<31 + rand.N(uint32(1<<30)), Flavor: gomysql.MariaDBFlavor, Host: host, Port: port, User: s.User, Password: s.Pass,
		DisableRetrySync: true, HeartbeatPeriod: time.Second, ReadTimeout: 10 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
	defer syncer.Close()
	stream, err := syncer.StartSync(gomysql.Position{Name: first, Pos: 4})
	if err != nil {
		return err
	}
	at := first
	for {
		e, err := stream.GetEvent(ctx)
		if err != nil {
			return err
		}
		if r, ok := e.Event.(*replication.RotateEvent); ok {
			at = string(r.NextLogName)
			continue
		}
		each(e)
		if at == file && e.Header.LogPos >= pos {
			return nil
		}
	}
}

func splitAddr(addr string) (string, uint16, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(p, 10, 16)
	return host, uint16(port), err
}

// token is one token that stands in the binlog of the unit.
type token struct {
	move string
	kind string
}

// judgeOfUnit goes through one unit's binlog.
type judgeOfUnit struct {
	unit     string
	schema   string
	moves    []Move
	keys     map[string]string
	ordinals map[string]int
	passed   []token
	out      *Ownership

	// of the group at hand
	gtid    string
	rows    int // row events seen
	carried bool
	wrote   map[string]bool
}

func (j *judgeOfUnit) event(e *replication.BinlogEvent) {
	switch ev := e.Event.(type) {
	case *replication.MariadbGTIDEvent:
		j.gtid, j.rows, j.carried, j.wrote = ev.GTID.String(), 0, false, map[string]bool{}
	case *replication.RowsEvent:
		j.row(ev)
	case *replication.XIDEvent:
		j.close()
	case *replication.QueryEvent:
		if string(ev.Query) == "COMMIT" {
			j.close()
		}
	}
}

func (j *judgeOfUnit) row(ev *replication.RowsEvent) {
	j.rows++
	schema, table := string(ev.Table.Schema), string(ev.Table.Table)
	if schema == "atoll" && table == "lane" && j.rows == 1 {
		j.carried = true // written by a lane: its first writer stands in another binlog
		for domain, number := range sequences(j.gtid) {
			j.out.carried[j.unit][sequence{domain, number}] = true
		}
	}
	if schema == "atoll" && table == "token" && !j.carried {
		for _, row := range ev.Rows {
			if len(row) > 4 && text(row[4]) == j.unit {
				j.passed = append(j.passed, token{move: text(row[1]), kind: text(row[3])})
			}
		}
	}
	ordinal, ok := j.ordinals[table]
	if schema != j.schema || !ok || j.carried {
		return
	}
	for _, row := range ev.Rows {
		j.wrote[text(row[ordinal])] = true
	}
}

// close judges the group at hand.
func (j *judgeOfUnit) close() {
	checked, bad := false, ""
	for key := range j.wrote {
		owned, moved := j.owns(key)
		checked = checked || moved
		if moved && !owned {
			bad = key
		}
	}
	if checked {
		j.out.Groups++
	}
	if bad != "" {
		j.out.Violations++
		if len(j.out.Samples) < samplesMax {
			j.out.Samples = append(j.out.Samples, fmt.Sprintf("%s wrote %s in group %s without owning it", j.unit, bad, j.gtid))
		}
	}
	j.wrote = map[string]bool{}
}

// owns follows the tokens of this binlog up to here.
func (j *judgeOfUnit) owns(key string) (owned, moved bool) {
	for _, m := range j.moves {
		if m.Switched && m.Moved(key) {
			owned, moved = m.From == j.unit, true // before its first move
			break
		}
	}
	for _, t := range j.passed {
		for _, m := range j.moves {
			if m.ID != t.move || !m.Switched || !m.Moved(key) {
				continue
			}
			switch {
			case t.kind == "CLOSE" && m.From == j.unit:
				owned = false
			case t.kind == "OPEN" && m.To == j.unit:
				owned = true
			}
		}
	}
	return owned, moved
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	default:
		return fmt.Sprint(v)
	}
}
