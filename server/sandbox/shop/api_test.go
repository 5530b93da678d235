package shop

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/atoll-live/atoll/idgen"
	"github.com/atoll-live/atoll/route"
)

func TestOrderFlow(t *testing.T) {
	db := database(t)
	_, url := start(t, db, nil)
	if got := do(t, "GET", url+"/product?user=anna", ""); got.status != 200 || strings.Count(got.body, `"product"`) != 2 {
		t.Errorf("products: %d %s", got.status, got.body)
	}
	if got := do(t, "GET", url+"/product?user=anna&id=p02", ""); got.status != 200 || got.fields["price"] != 637.0 {
		t.Errorf("product: %d %s", got.status, got.body)
	}
	placed := do(t, "POST", url+"/order?user=anna", `{"client_id":"c1","product":"p02","qty":3}`)
	if placed.status != 201 || placed.text("user") != "anna" || placed.fields["amount"] != 3*637.0 || placed.text("unit") != "unit-a" || placed.text("status") != "placed" {
		t.Fatalf("place: %d %s", placed.status, placed.body)
	}
	id := placed.text("order_id")
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatalf("order id %q: %v", id, err)
	}
	v, err := route.NewView(snapshot(3))
	if err != nil {
		t.Fatal(err)
	}
	if want := v.DecideKey("1003", "anna").Bucket; idgen.Bucket(n) != want {
		t.Errorf("bucket of the id %d, of the buyer %d", idgen.Bucket(n), want)
	}
	if got := do(t, "POST", url+"/order?user=anna", `{"client_id":"c1","product":"p01","qty":1}`); got.status != 200 || got.text("order_id") != id || got.fields["amount"] != 3*637.0 {
		t.Errorf("again: %d %s", got.status, got.body)
	}
	for range 2 { // paying twice is one payment
		if got := do(t, "POST", url+"/order/pay?user=anna", `{"order_id":"`+id+`"}`); got.status != 200 || got.text("status") != "paid" || got.text("order_id") != id {
			t.Errorf("pay: %d %s", got.status, got.body)
		}
	}
	if got := do(t, "GET", url+"/order?user=anna&id="+id, ""); got.status != 200 || got.text("status") != "paid" || got.text("order_id") != id {
		t.Errorf("order: %d %s", got.status, got.body)
	}
	do(t, "POST", url+"/order?user=anna", `{"client_id":"c2","product":"p01","qty":1}`)
	got := do(t, "GET", url+"/orders?user=anna", "")
	if list, _ := got.fields["orders"].([]any); got.status != 200 || len(list) != 2 || list[0].(map[string]any)["client_id"] != "c2" {
		t.Errorf("orders: %d %s", got.status, got.body)
	}
	var paid, amount int
	err = db.Open(t).QueryRow("SELECT COUNT(*), SUM(amount_cents) FROM payments WHERE buyer_id = 'anna'").Scan(&paid, &amount)
	if err != nil || paid != 1 || amount != 3*637 {
		t.Errorf("%d payments of %d, %v", paid, amount, err)
	}
}

func TestRequestsThatAreWrong(t *testing.T) {
	_, url := start(t, database(t), nil)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/order", `{"client_id":"c","product":"p01","qty":1}`, 400},
		{"POST", "/order?user=" + strings.Repeat("x", 65), `{"client_id":"c","product":"p01","qty":1}`, 400},
		{"POST", "/order?user=a", `not json`, 400},
		{"POST", "/order?user=a", `{"client_id":"c","product":"p01","qty":1}{}`, 400},
		{"POST", "/order?user=a", `{"client_id":"` + strings.Repeat("x", 20_000) + `"}`, 400},
		{"POST", "/order?user=a", `{"product":"p01","qty":1}`, 400},
		{"POST", "/order?user=a", `{"client_id":"c","product":"p01","qty":0}`, 400},
		{"POST", "/order?user=a", `{"client_id":"c","product":"none","qty":1}`, 404},
		{"POST", "/order/pay?user=a", `{"order_id":"77"}`, 404},
		{"POST", "/order/pay?user=a", `{"order_id":"x"}`, 400},
		{"GET", "/order?user=a&id=77", "", 404},
		{"GET", "/order?user=a", "", 400},
		{"GET", "/orders", "", 400},
		{"GET", "/nothing", "", 404},
		{"DELETE", "/order?user=a", "", 404},
	} {
		got := do(t, c.method, url+c.path, c.body)
		if got.status != c.status || got.fields["done"] != false || got.text("error") == "" {
			t.Errorf("%s %s %.40s: %d %s", c.method, c.path, c.body, got.status, got.body)
		}
	}
}

// However often and however parallel a buyer sends one client id, there is one
// order and everybody is told of it.
func TestClientIDGivesOneOrder(t *testing.T) {
	db := database(t)
	_, one := start(t, db, nil)
	_, two := start(t, db, nil)
	const sends = 30
	replies := make([]reply, sends)
	var wg sync.WaitGroup
	for i := range sends {
		wg.Go(func() {
			replies[i] = do(t, "POST", []string{one, two}[i%2]+"/order?user=bob", fmt.Sprintf(`{"client_id":"c%d","product":"p01","qty":1}`, i%3))
		})
	}
	wg.Wait()
	ids, fresh := map[string]map[string]bool{}, 0
	for i, r := range replies {
		if r.status != 200 && r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if r.status == 201 {
			fresh++
		}
		c := fmt.Sprintf("c%d", i%3)
		if ids[c] == nil {
			ids[c] = map[string]bool{}
		}
		ids[c][r.text("order_id")] = true
	}
	var rows int
	if err := db.Open(t).QueryRow("SELECT COUNT(*) FROM orders").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rows != 3 || fresh != 3 {
		t.Errorf("%d rows, %d times 201", rows, fresh)
	}
	for c, set := range ids {
		if len(set) != 1 {
			t.Errorf("%s: ids %v", c, set)
		}
	}
}

// A price read belongs to the order that it is in: the amount is one that the
// product had, while prices change all the time.
func TestCenterChangesPricesAndStock(t *testing.T) {
	db := database(t)
	s, url := start(t, db, func(c *Config) { c.Center = nil })
	pool := db.Open(t)
	wait(t, "the assortment", func() bool { return s.figures.prices.Load() > 50 })
	total := 0
	for i := range 20 {
		got := do(t, "POST", url+"/order?user=carla", fmt.Sprintf(`{"client_id":"c%d","product":"p%02d","qty":%d}`, i, 1+i%4, 1+i%3))
		if got.status != 201 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		total += 1 + i%3
	}
	// Orders that arrive by a lane: late, with any id, older ones too.
	for i := range 5 {
		if _, err := pool.Exec("INSERT INTO orders VALUES (?, 'dora', ?, 'p09', 2, 1, 'placed', NOW(6))", 1+i, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		total += 2
	}
	missing := func() int {
		var qty int
		if err := pool.QueryRow("SELECT ? * (SELECT COUNT(*) FROM stock) - SUM(qty) FROM stock", InitialStock).Scan(&qty); err != nil {
			t.Fatal(err)
		}
		return qty
	}
	wait(t, "the stock adjusted", func() bool { return missing() == total })
	rounds := s.figures.prices.Load() + 50
	wait(t, "some more rounds", func() bool { return s.figures.prices.Load() > rounds })
	if got := missing(); got != total || s.figures.adjusted.Load() != 25 {
		t.Errorf("%d taken from stock, want %d; %d orders adjusted", got, total, s.figures.adjusted.Load())
	}
}

// An order that arrives late, with an id far behind the newest, is found too.
func TestStockSweepsAllOrders(t *testing.T) {
	db := database(t)
	pool := db.Open(t)
	const many = 2*stockBatch + 100
	var args []any
	for i := range many {
		args = append(args, 1000+i, "dora", fmt.Sprint(i), "p01", 1, 1, "placed")
	}
	if _, err := pool.Exec("INSERT INTO orders VALUES "+strings.ReplaceAll(tuples(many, 7), "?)", "?,NOW(6))"), args...); err != nil {
		t.Fatal(err)
	}
	s, _ := start(t, db, func(c *Config) { c.Center = nil })
	wait(t, "all orders", func() bool { return s.figures.adjusted.Load() == many })
	if _, err := pool.Exec("INSERT INTO orders VALUES (1500 + 10000, 'dora', 'x', 'p01', 1, 1, 'placed', NOW(6)), (5, 'dora', 'y', 'p01', 1, 1, 'placed', NOW(6))"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the late one", func() bool { return s.figures.adjusted.Load() == many+2 })
}

func TestWorkersRunInTheCenterOnly(t *testing.T) {
	db := database(t)
	b, _ := start(t, db, func(c *Config) { c.Center, c.Unit = nil, "unit-b" })
	a, _ := start(t, db, func(c *Config) { c.Center = nil })
	wait(t, "price changes", func() bool { return a.figures.prices.Load() > 10 })
	if n := b.figures.prices.Load(); n != 0 {
		t.Errorf("%d price changes in a unit", n)
	}
}

func TestStockTakesNothingTwice(t *testing.T) {
	db := database(t)
	s, _ := start(t, db, nil)
	pool := db.Open(t)
	exec := func(q string) {
		t.Helper()
		if _, err := pool.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO stock VALUES ('p01', 100), ('p02', 100)")
	exec("INSERT INTO stock_entries VALUES (2, 'p01', 5)") // by another process, in between
	orders := []entry{{1, "p01", 1}, {2, "p01", 5}, {3, "p02", 7}}
	all := []entry{orders[0], orders[2], {2, "p01", 5}}
	if err := s.transact(t.Context(), together(all)); !errors.Is(err, errSomeTaken) {
		t.Errorf("a batch with an order that is taken: %v", err)
	}
	for range 2 {
		if err := s.take(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		for _, e := range orders {
			if err := s.transact(t.Context(), one(e)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var p1, p2 int
	if err := pool.QueryRow("SELECT (SELECT qty FROM stock WHERE product_id = 'p01'), (SELECT qty FROM stock WHERE product_id = 'p02')").Scan(&p1, &p2); err != nil && err != sql.ErrNoRows {
		t.Fatal(err)
	}
	if p1 != 99 || p2 != 93 {
		t.Errorf("stock %d and %d, want 99 and 93", p1, p2)
	}
}
