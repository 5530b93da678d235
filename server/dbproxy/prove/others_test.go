package prove

import (
	"testing"

	"github.com/atoll-live/atoll/space"
)

// TestBeside: whatever is local, the databases of other documents are not.
func TestBeside(t *testing.T) {
	prover, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := NewSchema("shop", space.TableLocal, map[string]Table{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	beside := schema.Beside(map[string]string{"shop2": "Database shop2 of space shop2", "shop": "a name of our own"})
	for _, c := range []struct {
		database, text string
		refused        bool
	}{
		{"", "INSERT INTO shop2.orders VALUES (1)", true},
		{"", "INSERT INTO SHOP2.orders VALUES (1)", true},
		{"", "INSERT INTO t SELECT * FROM `shop2`.orders", true},
		{"", "DELETE t FROM t JOIN shop2.orders o ON o.id = t.id", true},
		{"", "SELECT * FROM shop2.orders", true},
		{"", "SELECT (SELECT MAX(id) FROM shop2.orders)", true},
		{"", "SELECT * FROM shop2.orders FOR SYSTEM_TIME ALL", true},
		{"shop2", "UPDATE orders SET n = 1", true},
		{"shop2", "SELECT * FROM orders", true},
		{"shop2", "UPDATE shop.t SET n = 1", false},
		{"", "INSERT INTO shop3.orders VALUES (1)", false},
		{"", "INSERT INTO shop.t VALUES (1)", false},
		{"", "INSERT INTO t (shop2) VALUES (1)", false},
		{"", "SHOW TABLES FROM shop2", false},
	} {
		plan := prover.Plan(beside, Session{Database: c.database}, []byte(c.text))
		if refused := plan.Refusal != nil; refused != c.refused {
			t.Errorf("in %q: %s: %v", c.database, c.text, plan.Refusal)
		}
		if plan := prover.Plan(schema, Session{Database: c.database}, []byte(c.text)); c.refused && plan.Refusal != nil && plan.Refusal.Code == CodeUnlisted {
			t.Errorf("without the other document: %s: %v", c.text, plan.Refusal)
		}
	}
}
