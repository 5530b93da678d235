package documents

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/planes"
)

// fakeAsker stands for the dbsync planes of all units. Without an answer of its
// own it finds everything equal.
type fakeAsker struct {
	mu     sync.Mutex
	asked  []string // "unit-b: shop unit-a:3311>unit-b:3312 orders products"
	asks   []*atollv1.Ask
	answer func(ctx context.Context, unit string) (*atollv1.Ack, error)
}

func (a *fakeAsker) Ask(ctx context.Context, kind, unit string, ask *atollv1.Ask) (*atollv1.Ack, error) {
	a.mu.Lock()
	for _, c := range ask.GetComparisons() {
		text := fmt.Sprintf("%s@%s: %s/%s %s:%d>%s:%d", kind, unit, c.GetSpace(), c.GetDatabase(), c.GetFrom().GetUnit(), c.GetFrom().GetPort(), c.GetTo().GetUnit(), c.GetTo().GetPort())
		for _, t := range c.GetTables() {
			text += " " + t.GetName()
		}
		a.asked = append(a.asked, text)
	}
	a.asks = append(a.asks, ask)
	a.mu.Unlock()
	if a.answer != nil {
		return a.answer(ctx, unit)
	}
	return &atollv1.Ack{Move: ask.GetMove(), Step: "compared"}, nil
}

// said is what has been asked since the last call.
func (a *fakeAsker) said() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := strings.Join(a.asked, "\n")
	a.asked = nil
	return text
}

const (
	stockTable  = "{name: stock, kind: center}"
	cartsTable  = stockTable + "\n    - {name: carts, kind: unit, key: buyer_id}"
	lastSource  = "{unit: unit-b, host: 127.0.0.1, port: 3312, database: shop, user: atoll, passwordFile: /etc/atoll/b.pw}"
	thirdSource = lastSource + "\n    - {unit: unit-c, host: 127.0.0.1, port: 3313, database: shop, user: atoll, passwordFile: /etc/atoll/c.pw}"
	lastUnit    = "{code: unit-b, name: B, type: UNIT, accessMode: READ_WRITE, labels: {region: b}, cells: []}"
	thirdUnit   = lastUnit + "\n    - {code: unit-c, name: C, type: UNIT, accessMode: READ_WRITE, labels: {region: c}, cells: []}"
	thirdRoute  = "ranges: [{from: 6000, to: 10000}], cells: []}\n        - {code: unit-c, allows: [], prefixes: [], ranges: [], cells: []}"
)

// Each case is applied over the one before it.
func TestApply_AsksAboutWhatItBeginsToSync(t *testing.T) {
	d := newDesk(t)
	db := file(t, "database.yaml")
	third := replace(t, db, lastSource, thirdSource)
	for _, c := range []struct{ what, text, want string }{
		{"the space alone", replace(t, file(t, "shop.yaml"), lastUnit, thirdUnit, "ranges: [{from: 6000, to: 10000}], cells: []}", thirdRoute), ""},
		{"a new Database", db, "dbsync@unit-b: shop/shop unit-a:3311>unit-b:3312 orders products"},
		{"the same again", db, ""},
		{"another account", replace(t, db, "b.pw", "other.pw", "user: atoll", "user: other"), ""},
		{"a new table", replace(t, db, stockTable, cartsTable), "dbsync@unit-b: shop/shop unit-a:3311>unit-b:3312 carts"},
		{"another server in a unit", replace(t, db, stockTable, cartsTable, "3312", "3399"), "dbsync@unit-b: shop/shop unit-a:3311>unit-b:3399 orders products carts"},
		{"another schema in the center", replace(t, db, stockTable, cartsTable, "3312", "3399", "database: shop", "database: shop2"),
			"dbsync@unit-b: shop/shop unit-a:3311>unit-b:3399 orders products carts"},
		{"a new unit", replace(t, third, stockTable, cartsTable, "3312", "3399", "database: shop", "database: shop2"),
			"dbsync@unit-c: shop/shop unit-a:3311>unit-c:3313 orders products carts"},
		{"without the center only unit tables go on", strings.NewReplacer("unit-a", "unit-b", "unit-b", "unit-c", "name: shop}", "name: rest}", "orders", "bills", "products", "goods", "stock", "shelf").Replace(db),
			"dbsync@unit-c: shop/rest unit-b:3311>unit-c:3312 bills"},
	} {
		if got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(c.text)}); err != nil || strings.Contains(got, "not compared") {
			t.Fatalf("%s: %s, %v", c.what, got, err)
		}
		if got := d.asker.said(); got != c.want {
			t.Errorf("%s: asked\n%s\nwant\n%s", c.what, got, c.want)
		}
	}
	first := d.asker.asks[0]
	if c := first.GetComparisons()[0]; first.GetStep() != "compare" || first.GetMove() == "" || first.GetLimitMs() != 28_000 || c.GetTo().GetPasswordFile() != "/etc/atoll/b.pw" ||
		c.GetTo().GetUser() != "atoll" || c.GetTo().GetDatabase() != "shop" || c.GetTables()[0].GetKey() != "buyer_id" || c.GetTables()[1].GetKind() != "centerUnit" {
		t.Errorf("asked: %v", first)
	}
	if again := d.asker.asks[1]; again.GetMove() == first.GetMove() {
		t.Errorf("two calls have the name %s", again.GetMove())
	}
}

func TestApply_RefusesRowsThatDiffer(t *testing.T) {
	d := newDesk(t)
	d.apply(file(t, "shop.yaml"), "MultiLiveSpace/shop created@1")
	ack := &atollv1.Ack{Differences: []*atollv1.TableDifference{
		{Space: "shop", Database: "shop", Table: "products", Trouble: "table products is not in unit-b (create it there as in unit-a, then apply again)"},
		{Space: "shop", Database: "shop", Table: "orders", Different: 1000, More: true, First: []string{"7", "'x',8"}},
	}}
	d.asker.answer = func(context.Context, string) (*atollv1.Ack, error) { return ack, nil }
	const orders = "Database shop: spec.tables[0]: table orders holds rows that differ between unit-a and unit-b: at least 1000, among them those with primary key 7 'x',8 (make them equal, or empty the table in both, then apply again)"
	const products = "Database shop: spec.tables[1]: table products is not in unit-b (create it there as in unit-a, then apply again)"
	d.refuse(file(t, "database.yaml"), connect.CodeFailedPrecondition, orders+"\n"+products)
	if _, err := d.try(&atollv1.ApplyRequest{Documents: []byte(file(t, "database.yaml")), DryRun: true}); err == nil || !strings.Contains(err.Error(), orders) {
		t.Errorf("a dry run: %v", err)
	}
	// A comparison that did not end says what it found, and that it did not.
	ack.Error = "Database shop: compare unit-a with unit-b: not done"
	d.refuse(file(t, "database.yaml"), connect.CodeFailedPrecondition, orders, ack.Error)
	d.asker.answer = nil
	d.apply(file(t, "database.yaml"), "Database/shop created@2")
	// A source that changes is named itself.
	ack.Error = ""
	d.asker.answer = func(context.Context, string) (*atollv1.Ack, error) { return ack, nil }
	d.refuse(replace(t, file(t, "database.yaml"), "3312", "3399"), connect.CodeFailedPrecondition, "Database shop: spec.sources[1]: table orders holds rows")
}

func TestApply_RefusesWhatWasNotCompared(t *testing.T) {
	d := newDesk(t)
	d.apply(file(t, "shop.yaml"), "MultiLiveSpace/shop created@1")
	d.asker.answer = func(context.Context, string) (*atollv1.Ack, error) {
		return &atollv1.Ack{Error: "Database shop: compare unit-a with unit-b: connection refused"}, nil
	}
	d.refuse(file(t, "database.yaml"), connect.CodeAborted, "compare unit-a with unit-b: connection refused")
	d.asker.answer = func(ctx context.Context, unit string) (*atollv1.Ack, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("plane dbsync@%s did not answer: %w", unit, context.Cause(ctx))
	}
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(file(t, "database.yaml")), CompareMs: 20})
	if connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(err.Error(),
		"Database shop: the rows of tables in unit-a and unit-b were not compared: plane dbsync@unit-b did not answer: 20ms are over") {
		t.Errorf("without an answer: %s, %v", got, err)
	}
	if s := d.snapshot(); s.Epoch != 1 || len(s.Databases) != 0 {
		t.Errorf("applied all the same: %+v", s)
	}
}

func TestApply_SaysWhatNobodyCompared(t *testing.T) {
	d := newDesk(t)
	d.apply(replace(t, file(t, "shop.yaml"), lastUnit, thirdUnit, "ranges: [{from: 6000, to: 10000}], cells: []}", thirdRoute), "MultiLiveSpace/shop created@1")
	d.asker.answer = func(_ context.Context, unit string) (*atollv1.Ack, error) {
		if unit == "unit-b" {
			return nil, fmt.Errorf("%w: no dbsync plane of unit-b is registered", planes.ErrNobody)
		}
		return &atollv1.Ack{}, nil
	}
	res, err := d.s.Apply(d.ctx, connect.NewRequest(&atollv1.ApplyRequest{Documents: []byte(replace(t, file(t, "database.yaml"), lastSource, thirdSource))}))
	if err != nil {
		t.Fatal(err)
	}
	const warning = "Database shop: the rows of orders, products in unit-a and unit-b were not compared: nobody can be asked: no dbsync plane of unit-b is registered (see that they are equal before they are written)"
	n := res.Msg.GetNotCompared()
	if w := res.Msg.GetWarnings(); len(n) != 1 || n[0].GetDatabase() != "shop" || strings.Join(n[0].GetTables(), " ") != "orders products" ||
		strings.Join(n[0].GetUnits(), " ") != "unit-a unit-b" || len(w) == 0 || w[len(w)-1] != warning {
		t.Errorf("not compared: %v, warnings %q", n, w)
	}
	// Shards are not synced yet: no plane is asked, and it is said.
	d.asker.said()
	shards := replace(t, file(t, "database.yaml"), "{name: shop}", "{name: other}", "orders", "bills", "products", "goods", "stock", "shelf", lastSource,
		"{unit: unit-b, host: h1, port: 3312, database: shop, user: atoll, buckets: [{from: 0, to: 5000}]}\n    - {unit: unit-b, host: h2, port: 3312, database: shop, user: atoll, buckets: [{from: 5000, to: 10000}]}")
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(shards)})
	if err != nil || !strings.Contains(got, "the rows of bills, goods in unit-a and unit-b were not compared: unit unit-b has several sources") || d.asker.said() != "" {
		t.Errorf("shards: %s, %v", got, err)
	}
}

// Somebody else publishes while the rows are compared: the apply is tried
// again, and asks again only about what it has not asked.
func TestApply_AsksOnceOverAnotherApply(t *testing.T) {
	for _, c := range []struct {
		rival string
		asks  int
	}{{"shop.yaml", 1}, {"database.yaml", 2}} {
		d := newDesk(t)
		d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
		d.asker.said()
		rival := newDesk(t)
		rival.s = rival.service(d.store, awaiter{})
		changed := map[string]string{
			"shop.yaml":     replace(t, file(t, "shop.yaml"), "name: Shop", "name: Other"),
			"database.yaml": replace(t, file(t, "database.yaml"), stockTable, cartsTable, "3312", "3388"),
		}[c.rival]
		d.s = d.service(&racing{Memory: d.store, left: 1, rival: func() {
			if _, err := rival.try(&atollv1.ApplyRequest{Documents: []byte(changed)}); err != nil {
				t.Error(err)
			}
		}}, awaiter{})
		got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(replace(t, file(t, "database.yaml"), stockTable, cartsTable))})
		if err != nil || got != "Database/shop changed@3" {
			t.Errorf("over %s: %s, %v", c.rival, got, err)
		}
		if asked := d.asker.said(); strings.Count(asked, "dbsync@") != c.asks {
			t.Errorf("over %s: asked\n%s\nwant %d", c.rival, asked, c.asks)
		}
	}
}
