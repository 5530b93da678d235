package dbproxy_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	wire "github.com/atoll-live/atoll/server/wire/mysql"
)

// BenchmarkPointSelect compares one connection with and without the proxy.
func BenchmarkPointSelect(b *testing.B) {
	w := newWorld(b, "unit-a")
	own := w.key("unit-a", 1)
	w.servers["unit-a"].Exec(b, "INSERT INTO carts VALUES ("+own+", 1, 1)")
	p := w.serve("unit-a")
	direct, err := wire.Dial(ctx(b), w.servers["unit-a"].Addr(), wire.Login{User: "atoll", Password: "atoll-test", Database: "shop", Collation: 45})
	must(b, err)
	b.Cleanup(func() { _ = direct.Close() })
	for name, c := range map[string]*client{"direct": {direct, b}, "proxy": p.dial(0)} {
		id := c.prepare("SELECT item FROM carts WHERE buyer_id = ?")
		var key uint64
		_, err := fmt.Sscan(own, &key)
		must(b, err)
		body := append(binary.LittleEndian.AppendUint32(nil, id), 0, 1, 0, 0, 0, 0, 1, 8, 0)
		body = binary.LittleEndian.AppendUint64(body, key)
		b.Run(name+"/prepared", func(b *testing.B) {
			for b.Loop() {
				c.ok(c.do(wire.ComStmtExecute, body...))
			}
		})
		text := "SELECT item FROM carts WHERE buyer_id = " + own
		b.Run(name+"/text", func(b *testing.B) {
			for b.Loop() {
				c.ok(c.query(text))
			}
		})
	}
}
