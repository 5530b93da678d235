package dbproxy_test

import (
	"database/sql"
	"testing"
)

func TestPointSelectAndInsert(t *testing.T) {
	w := newWorld(t, "unit-a")
	p := w.serve("unit-a")
	own := w.key("unit-a", 1)
	for name, interpolate := range map[string]bool{"prepared": false, "text": true} {
		t.Run(name, func(t *testing.T) {
			c := p.config()
			c.InterpolateParams = interpolate
			db := openConfig(t, c)
			id := map[bool]int{false: 1, true: 2}[interpolate]
			_, err := db.Exec("INSERT INTO orders (buyer_id, id, amount, note) VALUES (?, ?, ?, ?)", own, id, 42, nil)
			must(t, err)
			var amount int
			var note sql.NullString
			must(t, db.QueryRow("SELECT amount, note FROM orders WHERE buyer_id = ? AND id = ?", own, id).Scan(&amount, &note))
			if amount != 42 || note.Valid {
				t.Errorf("amount %d, note %v", amount, note)
			}
		})
	}
}
