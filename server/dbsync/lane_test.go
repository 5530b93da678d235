package dbsync_test

import (
	"testing"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

var ordersTable = []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "buyer"}, {Name: "products", Kind: space.TableCenterUnit}}

const ddlProducts = "CREATE TABLE products (id INT PRIMARY KEY, price INT NOT NULL)"

func (w *world) owner(key string) string {
	v, err := route.NewView(w.snap)
	if err != nil {
		w.t.Fatal(err)
	}
	return v.DecideKey("r", key).Unit
}

func TestLaneCopiesAnInsertOnce(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts)
	w.startAll()
	a, b := w.sites["unit-a"], w.sites["unit-b"]
	ka, kb := w.keys("unit-a", 1)[0], w.keys("unit-b", 1)[0]
	exec(t, a.db, "INSERT INTO orders VALUES (1,'"+ka+"',5,'x')")
	exec(t, b.db, "INSERT INTO orders VALUES (2,'"+kb+"',7,NULL)")
	if got := w.same("SELECT * FROM orders ORDER BY id", "unit-a", "unit-b"); got != "1|"+ka+"|5|x\n2|"+kb+"|7|NULL" {
		t.Fatalf("rows: %s", got)
	}
}
