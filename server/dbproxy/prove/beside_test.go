package prove

import "testing"

// TestTouches reads bodies of triggers as people write them.
func TestTouches(t *testing.T) {
	names := func(word string) bool { return word == "orders" }
	for body, want := range map[string]bool{
		"SET NEW.n = IF(NEW.n < 0, 0, NEW.n)":             false,
		"INSERT INTO log (id, at) VALUES (NEW.id, NOW())": false,
		"BEGIN DECLARE v VARCHAR(10); IF (NEW.n > 1) THEN SET v = LOWER('x'); ELSEIF (NEW.n) THEN SET v = CAST(NEW.n AS CHAR(5)); END IF; UPDATE log SET n = v; END": false,
		"INSERT INTO orders (buyer_id) VALUES (NEW.id)":                    true,
		"DELETE FROM `shop`.`orders`":                                      true,
		"UPDATE log SET n = 'orders' -- orders":                            false,
		"CALL pay(NEW.id)":                                                 true,
		"SET NEW.n = pay(NEW.id)":                                          true,
		"SET NEW.n = shop.`pay` (NEW.id)":                                  true,
		"EXECUTE IMMEDIATE CONCAT('DELETE FROM ord', 'ers')":               true,
		"INSERT INTO log VALUES (1) /*! , (2) */":                          true,
		"SET NEW.n = 'open":                                                true,
		"BEGIN WHILE (NEW.n > 0) DO SET NEW.n = NEW.n - 1; END WHILE; END": false,
	} {
		if got := Touches(body, names); got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
}

// TestCalls reads views as the server shows them.
func TestCalls(t *testing.T) {
	for view, want := range map[string]bool{
		"select `shop`.`orders`.`id` AS `id`,count(0) AS `n` from `shop`.`orders` group by `shop`.`orders`.`id`":                                     false,
		"select `o`.`id` AS `id` from (`shop`.`orders` `o` join `shop`.`carts` `c` on(`c`.`buyer_id` = `o`.`buyer_id`)) where `o`.`id` in (1,2)":     false,
		"select cast(`shop`.`orders`.`id` as char(10) charset utf8mb4) AS `x`,coalesce(`shop`.`orders`.`note`,'pay(1)') AS `y` from `shop`.`orders`": false,
		"select `shop`.`pay`(1) AS `n`": true,
		"select `pay`(1) AS `n`":        true,
	} {
		if got := Calls(view); got != want {
			t.Errorf("%s: %v", view, got)
		}
	}
}
