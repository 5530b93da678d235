package dbproxy_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	wire "github.com/atoll-live/atoll/server/wire/mysql"
)

// client speaks to a proxy packet by packet.
type client struct {
	*wire.Server
	t testing.TB
}

func (p *proxy) dial(caps wire.Capabilities) *client {
	p.w.t.Helper()
	s, err := wire.Dial(ctx(p.w.t), p.Addr().String(), wire.Login{
		User: "app", Password: "app-secret", Database: "shop", Capabilities: caps, Collation: 45,
	})
	must(p.w.t, err)
	p.w.t.Cleanup(func() { _ = s.Close() })
	must(p.w.t, s.SetDeadline(time.Now().Add(waitMost)))
	return &client{s, p.w.t}
}

// do sends a command and reads its answer.
func (c *client) do(command wire.Command, body ...byte) wire.Terminal {
	c.t.Helper()
	must(c.t, c.Request(append([]byte{byte(command)}, body...)))
	r, err := wire.ReadResponse(c.Conn, c.Capabilities)
	must(c.t, err)
	end, err := r.Stream(nil)
	must(c.t, err)
	return end
}

func (c *client) query(text string) wire.Terminal {
	c.t.Helper()
	return c.do(wire.ComQuery, []byte(text)...)
}

func (c *client) prepare(text string) uint32 {
	c.t.Helper()
	must(c.t, c.Request(append([]byte{byte(wire.ComStmtPrepare)}, text...)))
	head, err := wire.RelayPrepare(nil, c.Conn, c.Capabilities, 0)
	must(c.t, err)
	return head.ID
}

// execute sends parameters that are all VARCHAR; typed says whether the types
// come along.
func (c *client) execute(id uint32, typed bool, values ...string) wire.Terminal {
	c.t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = append(b, 0, 1, 0, 0, 0)
	b = append(b, make([]byte, (len(values)+7)/8)...)
	if typed {
		b = append(b, 1)
		for range values {
			b = append(b, 0xfd, 0)
		}
	} else {
		b = append(b, 0)
	}
	for _, v := range values {
		if v != longMark {
			b = append(append(b, byte(len(v))), v...)
		}
	}
	return c.do(wire.ComStmtExecute, b...)
}

const longMark = "\x00long"

func (c *client) long(id uint32, param uint16, data string) {
	c.t.Helper()
	b := binary.LittleEndian.AppendUint32([]byte{byte(wire.ComStmtLongData)}, id)
	b = binary.LittleEndian.AppendUint16(b, param)
	must(c.t, c.Request(append(b, data...)))
}

func (c *client) ok(end wire.Terminal) {
	c.t.Helper()
	if end.Kind == wire.EndERR {
		c.t.Fatal(end.Err)
	}
}

func (c *client) refused(end wire.Terminal, code uint16) {
	c.t.Helper()
	if end.Kind != wire.EndERR || end.Err.Code != code {
		c.t.Fatalf("end %+v %v, want error %d", end.Kind, end.Err, code)
	}
}

var bothEnds = map[string]wire.Capabilities{"old ends": 0, "new ends": wire.CapDeprecateEOF}

func TestExecuteAgainWithAnotherKey(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, own2, foreign := w.key("unit-a", 1), w.key("unit-a", 2), w.key("unit-b", 1)
	for name, caps := range bothEnds {
		t.Run(name, func(t *testing.T) {
			c := p.dial(caps)
			c.t = t
			id := c.prepare("REPLACE INTO orders (buyer_id, id, note) VALUES (?, 1, ?)")
			c.ok(c.execute(id, true, own, "a"))
			c.refused(c.execute(id, false, foreign, "b"), 9601) // the types are remembered, the value is new
			c.ok(c.execute(id, false, own2, "c"))
			c.refused(c.execute(id, true, foreign, "d"), 9601) // types that never reach the server
			c.ok(c.execute(id, false, own2, "e"))
			c.refused(c.execute(id+100, true, own, "a"), 1243)
			c.ok(c.do(wire.ComStmtReset, binary.LittleEndian.AppendUint32(nil, id)...))
			must(t, c.Request(binary.LittleEndian.AppendUint32([]byte{byte(wire.ComStmtClose)}, id)))
			c.refused(c.execute(id, true, own, "a"), 1243)
		})
	}
	if n := w.count("unit-a", "SELECT COUNT(*) FROM orders WHERE buyer_id = ? AND note = 'e'", own2); n != 1 {
		t.Error("the last execution is not in the table")
	}
	if n := w.count("unit-a", "SELECT COUNT(*) FROM orders WHERE buyer_id = ?", foreign); n != 0 {
		t.Error("another unit's key was written")
	}
}

// TestTypesOfARefusedExecution: the types that came with an execution which
// never reached the server are in force for the next one.
func TestTypesOfARefusedExecution(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, foreign := w.key("unit-a", 1), w.key("unit-b", 1)
	number := func(key string) uint64 {
		n, err := strconv.ParseUint(key, 10, 64)
		must(t, err)
		return n
	}
	c := p.dial(0)
	id := c.prepare("INSERT INTO carts (buyer_id, item) VALUES (?, 1)")
	c.ok(c.execute(id, true, own))
	head := append(binary.LittleEndian.AppendUint32(nil, id), 0, 1, 0, 0, 0, 0)
	longlong := append(slices.Clip(head), 1, 8, 0)
	c.refused(c.do(wire.ComStmtExecute, binary.LittleEndian.AppendUint64(longlong, number(foreign))...), 9601)
	own2 := w.key("unit-a", 2)
	c.ok(c.do(wire.ComStmtExecute, binary.LittleEndian.AppendUint64(append(head, 0), number(own2))...))
	if n := w.count("unit-a", "SELECT COUNT(*) FROM carts WHERE buyer_id = ?", own2); n != 1 {
		t.Error("the value was read by other types than it was written by")
	}
}

func TestLongData(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own, foreign := w.key("unit-a", 1), w.key("unit-b", 1)
	c := p.dial(wire.CapDeprecateEOF)
	id := c.prepare("REPLACE INTO orders (buyer_id, id, note) VALUES (?, 1, ?)")
	c.long(id, 1, strings.Repeat("x", 40000))
	c.long(id, 1, "yz")
	c.ok(c.execute(id, true, own, longMark))
	check := func(want int) {
		t.Helper()
		if n := w.count("unit-a", "SELECT LENGTH(note) FROM orders WHERE buyer_id = ?", own); n != want {
			t.Errorf("%d bytes arrived, want %d", n, want)
		}
	}
	check(40002)
	// A refused execution uses its long data up.
	c.long(id, 1, "lost")
	c.refused(c.execute(id, true, foreign, longMark), 9601)
	c.long(id, 1, "kept")
	c.ok(c.execute(id, true, own, longMark))
	check(4)
	// A key that was sent ahead is not looked at.
	c.long(id, 0, own)
	c.refused(c.execute(id, true, longMark, "n"), 9603)
}

func TestResetAndChangeUser(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	changeUser := func(c *client) {
		t.Helper()
		body := append([]byte("app\x00\x14"), make([]byte, 20)...)
		must(t, c.Request(append(append([]byte{byte(wire.ComChangeUser)}, body...), "shop\x00\x2d\x00mysql_native_password\x00"...)))
		must(t, c.Prove("app-secret"))
	}
	for name, again := range map[string]func(*client){
		"reset":       func(c *client) { c.ok(c.do(wire.ComResetConnection)) },
		"change user": changeUser,
	} {
		t.Run(name, func(t *testing.T) {
			c := p.dial(0)
			id := c.prepare("SELECT 1")
			c.ok(c.query("BEGIN"))
			c.ok(c.query("INSERT INTO orders (buyer_id, id) VALUES ('" + own + "', 1)"))
			again(c)
			m := move("m-"+name, own)
			w.fence(p, m)
			p.awaitDrained(m) // nothing is open any more
			w.abort(p, m)
			if n := w.orders("unit-a", own); n != 0 {
				t.Errorf("%d rows of a transaction that was thrown away", n)
			}
			c.refused(c.do(wire.ComStmtExecute, append(binary.LittleEndian.AppendUint32(nil, id), 0, 1, 0, 0, 0)...), 1243)
			c.ok(c.query("SELECT * FROM orders WHERE buyer_id = '" + own + "'"))
		})
	}
	t.Run("change user with a wrong password", func(t *testing.T) {
		c := p.dial(0)
		body := append([]byte("app\x00\x14"), make([]byte, 20)...)
		must(t, c.Request(append(append([]byte{byte(wire.ComChangeUser)}, body...), "shop\x00\x2d\x00mysql_native_password\x00"...)))
		var refused *wire.ServerError
		if err := c.Prove("wrong"); !errors.As(err, &refused) || refused.Code != 1045 {
			t.Errorf("got %v", err)
		}
	})
}

func TestCommands(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	for name, caps := range bothEnds {
		t.Run(name, func(t *testing.T) {
			c := p.dial(caps)
			c.ok(c.do(wire.ComPing))
			c.ok(c.do(wire.ComInitDB, []byte("shop")...))
			c.refused(c.do(wire.ComInitDB, []byte("mysql")...), 9604)
			c.refused(c.do(wire.ComProcessKill, 1, 0, 0, 0), 1095)
			c.refused(c.do(0x12, 1, 0, 0, 0), 1047) // binlog dump
			c.refused(c.do(wire.ComSetOption, 0, 0), 1235)
			must(t, c.Request([]byte{byte(wire.ComSetOption), 1, 0}))
			end, err := wire.RelayFieldList(nil, c.Conn, c.Capabilities)
			must(t, err)
			c.ok(end)
			must(t, c.Request(append([]byte{byte(wire.ComFieldList)}, "orders\x00"...)))
			end, err = wire.RelayFieldList(nil, c.Conn, c.Capabilities)
			must(t, err)
			c.ok(end)
			must(t, c.Request([]byte{byte(wire.ComStatistics)}))
			text, err := c.ReadPacket()
			must(t, err)
			if !bytes.HasPrefix(text, []byte("Uptime")) {
				t.Errorf("statistics %q", text)
			}
			c.ok(c.query("SELECT 1"))
		})
	}
}

func TestBigResultsAndPackets(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	s := w.servers["unit-a"]
	s.Exec(t, "SET GLOBAL max_allowed_packet = 67108864")
	s.Exec(t, fmt.Sprintf("INSERT INTO orders (buyer_id, id, amount, note) SELECT '%s', seq, IF(seq %% 3, seq, NULL), REPEAT('n', seq %% 2000) FROM seq_1_to_20000", own))
	for name, interpolate := range map[string]bool{"prepared": false, "text": true} {
		t.Run(name, func(t *testing.T) {
			config := p.config()
			config.InterpolateParams = interpolate
			config.MaxAllowedPacket = 64 << 20
			db := openConfig(t, config)
			rows, err := db.Query("SELECT id, amount, note FROM orders WHERE buyer_id = ? ORDER BY id", own)
			must(t, err)
			defer func() { _ = rows.Close() }()
			n := 0
			for rows.Next() {
				var id int
				var amount sql.NullInt64
				var note string
				must(t, rows.Scan(&id, &amount, &note))
				if n++; id != n || amount.Valid != (n%3 != 0) || len(note) != n%2000 {
					t.Fatalf("row %d: %d, %v, %d bytes", n, id, amount, len(note))
				}
			}
			must(t, rows.Err())
			if n != 20000 {
				t.Errorf("%d rows", n)
			}
			// 17 MB there and back: a packet of two frames each way.
			huge := strings.Repeat("0123456789abcdef", 1<<20+1000)
			_, err = db.Exec("REPLACE INTO orders (buyer_id, id, note) VALUES (?, 0, ?)", own, huge)
			must(t, err)
			var got string
			must(t, db.QueryRow("SELECT note FROM orders WHERE buyer_id = ? AND id = 0", own).Scan(&got))
			if got != huge {
				t.Errorf("%d bytes came back, of %d", len(got), len(huge))
			}
			_, err = db.Exec("DELETE FROM orders WHERE buyer_id = ? AND id = 0", own)
			must(t, err)
		})
	}
}

func TestPacketLimit(t *testing.T) {
	w := newWorld(t, "unit-a")
	w.limits.Packet = 1 << 20
	p := w.serve("unit-a")
	c := p.dial(0)
	c.refused(c.query("SELECT '"+strings.Repeat("x", 1<<20)+"'"), 1153)
	if err := c.Request([]byte{byte(wire.ComPing)}); err == nil {
		if _, err = c.ReadPacket(); err == nil {
			t.Error("the connection goes on behind a packet that was not read")
		}
	}
}

// TestAnotherClient lets MariaDB's own client speak, which has other ways than
// the Go driver.
func TestAnotherClient(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	bin, err := exec.LookPath("mariadb")
	must(t, err)
	host, port, _ := strings.Cut(p.Addr().String(), ":")
	c, cancel := context.WithTimeout(context.Background(), waitMost)
	defer cancel()
	cmd := exec.CommandContext(c, bin, "--no-defaults", "-h", host, "-P", port, "-u", "app", "-papp-secret", "shop", "--batch", "--force")
	cmd.Stdin = strings.NewReader("INSERT INTO orders (buyer_id, id, amount) VALUES ('" + own + "', 1, 5);\n" +
		"SELECT id, amount FROM orders WHERE buyer_id = '" + own + "';\nSELECT * FROM secret;\nSHOW TABLES LIKE 'ord%';\nuse shop\n")
	out, err := cmd.CombinedOutput() // --force: an error of a statement is no failure
	must(t, err)
	for _, want := range []string{"1\t5", "ERROR 9604 (HY000)", "orders"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
}
