package documents

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// kindOfChange is one kind of change of testdata/every.yaml, whose Database is in use.
type kindOfChange struct {
	what  string
	pairs []string // old and new texts
	// Refused: words of the refusal, the list and the mend. None: it is
	// applied, and why says why no owner can change by it.
	refused []string
	invalid bool // it is no sound document, whoever owns what
	why     string
}

// Parts of the document.
const (
	routeA    = "{code: unit-a, allows: [tester, vip1], prefixes: [a-, vip], ranges: [{from: 0, to: 6000}]"
	routeB    = "{code: unit-b, allows: [judy], prefixes: [b-], ranges: [{from: 6000, to: 10000}]"
	routeC    = "{code: unit-c, allows: [], prefixes: [], ranges: []"
	rowC      = "        - {code: unit-c, allows: [], prefixes: [], ranges: [], cells: []}\n"
	unitC     = "{code: unit-c, name: C, type: UNIT"
	unitRowC  = "    - {code: unit-c, name: C, type: UNIT, accessMode: READ_WRITE, labels: {region: c}, cells: []}\n"
	unitRowD  = "    - {code: unit-d, name: D, type: UNIT, accessMode: READ_WRITE, labels: {region: d}, cells: []}\n"
	sourceRow = "    - {unit: unit-c, host: 10.0.0.3, port: 3306, database: shop, user: atoll, passwordFile: /etc/atoll/c.pw}\n"
	moveAB    = "(atoll move start --space shop --from unit-a --to unit-b "
	moveBA    = "(atoll move start --space shop --from unit-b --to unit-a "
)

const (
	noOwner   = "no part of who owns a key"
	byKeyText = "owners are by the text of keys: proxies refuse what requests then bring to the wrong unit"
	unused    = "no Database uses the rule"
	sameRows  = "the unit owns what it owned; the rows there were compared"
)

// edits are every kind of change that documents can have.
func edits() []kindOfChange {
	return append(append(ruleEdits(), spaceEdits()...), databaseEdits()...)
}

func ruleEdits() []kindOfChange {
	return []kindOfChange{
		{what: "ranges moved", pairs: []string{"to: 6000}", "to: 5000}", "from: 6000", "from: 5000"},
			refused: []string{`rule "1003": buckets 5000-5999 would go from unit-a to unit-b ` + moveAB + "--buckets 5000-5999"}},
		{what: "ranges swapped", pairs: []string{"ranges: [{from: 0, to: 6000}]", "ranges: [{from: 6000, to: 10000}]", routeB, strings.Replace(routeB, "{from: 6000, to: 10000}", "{from: 0, to: 6000}", 1)},
			refused: []string{"buckets 0-5999 would go from unit-a to unit-b", "--buckets 0-5999", "buckets 6000-9999 would go from unit-b to unit-a", "--buckets 6000-9999"}},
		{what: "ranges cut otherwise", pairs: []string{"{from: 0, to: 6000}", "{from: 3000, to: 6000}, {from: 0, to: 3000}"}, why: noOwner},
		{what: "ranges to a unit without keys", pairs: []string{"{from: 0, to: 6000}", "{from: 0, to: 5999}", routeC, strings.Replace(routeC, "ranges: []", "ranges: [{from: 5999, to: 6000}]", 1)},
			refused: []string{"buckets 5999 would go from unit-a to unit-c (atoll move start --space shop --from unit-a --to unit-c --buckets 5999"}},
		{what: "ranges to a unit that the rule has not", pairs: []string{"{from: 0, to: 6000}", "{from: 0, to: 5999}", rowC, strings.NewReplacer("unit-c", "unit-d", "ranges: []", "ranges: [{from: 5999, to: 6000}]").Replace(rowC) + rowC},
			refused: []string{"buckets 5999 would go from unit-a to unit-d (add unit unit-d to the rule without keys first, then atoll move start --space shop --from unit-a --to unit-d --buckets 5999"}},
		{what: "a gap", pairs: []string{"to: 6000}", "to: 5000}"}, invalid: true, refused: []string{"buckets 5000 to 5999 belong to nobody"}},
		{what: "an overlap", pairs: []string{"to: 6000}", "to: 7000}"}, invalid: true, refused: []string{"overlaps"}},
		{what: "an allow moved", pairs: []string{"[tester, vip1]", "[vip1]", "[judy]", "[judy, tester]"}, refused: []string{"keys tester would go from unit-a to unit-b " + moveAB + "--keys tester"}},
		{what: "an allow added that steals", pairs: []string{"[tester, vip1]", "[tester, vip1, kim]"}, refused: []string{"keys kim would go from unit-b to unit-a " + moveBA + "--keys kim"}},
		{what: "an allow added that its unit owns", pairs: []string{"[tester, vip1]", "[tester, vip1, a-2]"}, why: noOwner},
		{what: "an allow removed that pins", pairs: []string{"[judy]", "[]"}, refused: []string{"keys judy would go from unit-b to unit-a " + moveBA + "--keys judy"}},
		{what: "an allow removed that was not needed", pairs: []string{"[tester, vip1]", "[tester]"}, why: noOwner},
		{what: "allows in another order", pairs: []string{"[tester, vip1]", "[vip1, tester]"}, why: noOwner},
		{what: "an allow in another case", pairs: []string{"[judy]", "[judy, JUDY]"}, refused: []string{"keys JUDY would go from unit-a to unit-b " + moveAB + "--keys JUDY"}},
		{what: "an allow that a shell would split", pairs: []string{"[judy]", "[judy, 'a b']"}, refused: []string{moveAB + "--keys 'a b'"}},
		{what: "an allow on two units", pairs: []string{"[judy]", "[judy, tester]"}, invalid: true, refused: []string{`allow "tester" stands already`}},
		{what: "a prefix added", pairs: []string{"[b-]", "[b-, new]"}, refused: []string{`keys that begin with "new" would go from the owners of their buckets to unit-b`, "--keys K,…"}},
		{what: "a prefix removed", pairs: []string{"[b-]", "[]"}, refused: []string{`keys that begin with "b-" would go from unit-b to the owners of their buckets`, "--keys K,…"}},
		{what: "a prefix moved", pairs: []string{"[a-, vip]", "[a-]", "[b-]", "[b-, vip]"}, refused: []string{`keys that begin with "vip" would go from unit-a to unit-b`, moveAB[1:] + "--keys K,…"}},
		{what: "a longer prefix of another unit", pairs: []string{"[b-]", "[b-, vip2]"}, refused: []string{`keys that begin with "vip2" would go from unit-a to unit-b`}},
		{what: "a longer prefix of the same unit", pairs: []string{"[a-, vip]", "[a-, vip, vip2]"}, why: noOwner},
		{what: "a prefix on two units", pairs: []string{"[b-]", "[b-, vip]"}, invalid: true, refused: []string{`prefix "vip" stands already`}},
		{what: "modulo", pairs: []string{"modulo: 10000", "modulo: 20000", "to: 10000}", "to: 20000}"}, refused: []string{`rule "1003": modulo would go from 10000 to 20000 (make a new rule for new data`}},
		{what: "modulo smaller", pairs: []string{"modulo: 10000", "modulo: 9999", "to: 10000}", "to: 9999}"}, refused: []string{"modulo would go from 10000 to 9999"}},
		{what: "another function", pairs: []string{"variableFunction: BKDRHash", "variableFunction: CRC32"}, invalid: true, refused: []string{`unknown function "CRC32"`}},
		{what: "a unit without keys leaves the rule", pairs: []string{rowC, ""}, why: noOwner},
		{what: "a unit with keys leaves the rule", pairs: []string{"        - " + routeB + ", cells: []}\n", "", "{from: 0, to: 6000}", "{from: 0, to: 10000}"},
			refused: []string{"buckets 6000-9999 would go from unit-b to unit-a " + moveBA + "--buckets 6000-9999", `keys judy would go`, `keys that begin with "b-" would go`}},
		{what: "a unit without keys joins the rule", pairs: []string{rowC, rowC + strings.ReplaceAll(rowC, "unit-c", "unit-d")}, why: noOwner},
		{what: "units in another order", pairs: []string{"        - " + routeB + ", cells: []}\n" + rowC, rowC + "        - " + routeB + ", cells: []}\n"}, why: noOwner},
		{what: "only one unit stays in the rule", pairs: []string{"        - " + routeB + ", cells: []}\n" + rowC, "", "{from: 0, to: 6000}", "{from: 0, to: 10000}"},
			refused: []string{"buckets 6000-9999 would go from unit-b to unit-a", "keys judy would go", `keys that begin with "b-"`}},
		{what: "the rule removed", pairs: []string{`id: "1003"`, `id: "1004"`, `ruleId: "1003"`, `ruleId: "1004"`}, invalid: true, refused: []string{`space "shop" has no rule "1003"`}},
		{what: "the rule under another id, the Database too", pairs: []string{`id: "1003"`, `id: "1004"`, `ruleId: "1003"`, `ruleId: "1004"`, `rule: "1003"`, `rule: "1004"`},
			refused: []string{`database "shop": rule would go from 1003 to 1004 (keep the rule, and move keys within it)`}},
		{what: "name", pairs: []string{"name: buyers", "name: customers"}, why: noOwner},
		{what: "business", pairs: []string{`business: ""`, "business: b"}, why: noOwner},
		{what: "another source of the variable", pairs: []string{"variableSource: byQuery", "variableSource: byHeader"}, why: byKeyText},
		{what: "missing action", pairs: []string{"variableMissingAction: CENTER", "variableMissingAction: REJECT"}, why: "requests without a key own nothing"},
		{what: "live type", pairs: []string{"liveType: CROSS_REGION_LIVE\n      business", "liveType: ONE_REGION_LIVE\n      business"}, invalid: true, refused: []string{"ONE_REGION_LIVE with 3 units"}},
		{what: "cells of a route", pairs: []string{"cells: [{code: a1, weight: 100}]", "cells: [{code: a1, weight: 100, allows: [tester]}]"}, why: "cells share their unit's data"},
		{what: "ranges of a rule that is not in use", pairs: []string{"to: 50}", "to: 40}", "from: 50", "from: 40"}, why: unused},
		{what: "modulo of a rule that is not in use", pairs: []string{"modulo: 100\n", "modulo: 200\n", "to: 100}", "to: 200}"}, why: unused},
	}
}

func spaceEdits() []kindOfChange {
	return []kindOfChange{
		{what: "name", pairs: []string{"name: Shop", "name: The shop"}, why: noOwner},
		{what: "a unit in use removed", pairs: []string{unitRowC, "", rowC, "", sourceRow, ""},
			refused: []string{"unit unit-c would go from UNIT to nothing (move its keys away and take it out of rules and databases first)"}},
		{what: "a unit that is not in use removed", pairs: []string{unitRowD, ""}, why: noOwner},
		{what: "a unit renamed", pairs: []string{"unit-c, name: C", "unit-x, name: C", routeC, strings.Replace(routeC, "unit-c", "unit-x", 1), "unit: unit-c", "unit: unit-x"},
			refused: []string{"unit unit-c would go from UNIT to nothing"}},
		{what: "a unit added", pairs: []string{unitRowC, unitRowC + strings.ReplaceAll(unitRowC, "unit-c", "unit-e")}, why: noOwner},
		{what: "another center", pairs: []string{"type: CENTER", "type: UNIT", "name: B, type: UNIT", "name: B, type: CENTER"},
			refused: []string{"unit unit-a: type would go from CENTER to UNIT (keep it: center tables live there)", "unit unit-b: type would go from UNIT to CENTER"}},
		{what: "no center", pairs: []string{"type: CENTER", "type: UNIT"}, invalid: true, refused: []string{"no unit of the space is the CENTER"}},
		{what: "two centers", pairs: []string{"name: B, type: UNIT", "name: B, type: CENTER"}, invalid: true, refused: []string{"are both the CENTER"}},
		{what: "access mode", pairs: []string{"name: B, type: UNIT, accessMode: READ_WRITE", "name: B, type: UNIT, accessMode: READ_ONLY"}, why: "it takes writes away and gives none to another unit"},
		{what: "labels", pairs: []string{"{region: b}", "{region: north}"}, why: noOwner},
		{what: "a cell added", pairs: []string{unitC + ", accessMode: READ_WRITE, labels: {region: c}, cells: []", unitC + ", accessMode: READ_WRITE, labels: {region: c}, cells: [{code: c1, name: c1}]"}, why: noOwner},
		{what: "the variable's parameter", pairs: []string{"scope: QUERY, key: user", "scope: QUERY, key: buyer"}, why: byKeyText},
		{what: "host", pairs: []string{"host: shop.atoll.test", "host: www.atoll.test"}, why: noOwner},
		{what: "a path leads to another rule", pairs: []string{`path: /, ruleId: "1003"`, "path: /, ruleId: free"}, why: byKeyText},
		{what: "the code", pairs: []string{"code: shop\n", "code: other\n", "space: shop", "space: other", "shop.atoll.test", "o.atoll.test"}, refused: []string{"belongs to space shop and cannot change to other"}},
		{what: "version", pairs: []string{`version: "7"`, `version: "9"`}, why: noOwner},
	}
}

func databaseEdits() []kindOfChange {
	const source = "host: 10.0.0.3, port: 3306, database: shop"
	return []kindOfChange{
		{what: "rule", pairs: []string{`rule: "1003"`, `rule: free`}, refused: []string{`database "shop": rule would go from 1003 to free (keep the rule`}},
		{what: "a table's kind, less protected", pairs: []string{"orders, kind: unit, key: buyer_id, reads: owner", "orders, kind: centerUnit"}, refused: []string{"table orders: kind would go from unit to centerUnit (make a new table and copy the rows)"}},
		{what: "a table's kind, more protected", pairs: []string{"stock, kind: center", "stock, kind: unit, key: buyer_id"}, refused: []string{"table stock: kind would go from center to unit"}},
		{what: "a center-unit table to center", pairs: []string{"products, kind: centerUnit", "products, kind: center"}, refused: []string{"table products: kind would go from centerUnit to center"}},
		{what: "a table's key", pairs: []string{"key: buyer_id", "key: seller_id"}, refused: []string{"table orders: key would go from buyer_id to seller_id (make a new table and copy the rows)"}},
		{what: "a table removed", pairs: []string{"    - {name: orders, kind: unit, key: buyer_id, reads: owner}\n", ""}, refused: []string{"table orders would go from unit to nothing (keep it"}},
		{what: "a table renamed", pairs: []string{"name: orders", "name: bills"}, refused: []string{"table orders would go from unit to nothing"}},
		{what: "a table added", pairs: []string{"{name: stock, kind: center}", "{name: stock, kind: center}\n    - {name: carts, kind: unit, key: buyer_id}"}, why: "its rows were compared"},
		{what: "tables in another order", pairs: []string{"    - {name: products, kind: centerUnit}\n    - {name: stock, kind: center}", "    - {name: stock, kind: center}\n    - {name: products, kind: centerUnit}"}, why: noOwner},
		{what: "reads anywhere", pairs: []string{", reads: owner", ""}, why: "reads alone, with a warning: who may write stays"},
		{what: "defaultKind to local", pairs: []string{"defaultKind: center", "defaultKind: local"}, refused: []string{`database "shop": defaultKind would go from center to local (list the tables`}},
		{what: "defaultKind to refuse", pairs: []string{"defaultKind: center", "defaultKind: refuse"}, why: "nobody writes those tables any more"},
		{what: "a source's account", pairs: []string{source + ", user: atoll", source + ", user: other"}, why: noOwner},
		{what: "a source's host", pairs: []string{"10.0.0.3", "10.0.0.9"}, why: sameRows},
		{what: "a source's port", pairs: []string{source, "host: 10.0.0.3, port: 3307, database: shop"}, why: sameRows},
		{what: "a source's schema", pairs: []string{source, "host: 10.0.0.3, port: 3306, database: shop2"}, why: sameRows},
		{what: "sources swapped", pairs: []string{"10.0.0.1", "10.0.0.x", "10.0.0.2", "10.0.0.1", "10.0.0.x", "10.0.0.2"},
			refused: []string{"sources of unit unit-a would go from 10.0.0.1:3306/shop to 10.0.0.2:3306/shop (keep them: the rows there are those of unit unit-b)", "sources of unit unit-b"}},
		{what: "the source of a unit without keys removed", pairs: []string{sourceRow, ""}, why: "the unit owns nothing"},
		{what: "the source of a unit with keys removed", pairs: []string{"    - {unit: unit-b, host: 10.0.0.2, port: 3306, database: shop, user: atoll, passwordFile: /etc/atoll/b.pw}\n", ""},
			refused: []string{"sources of unit unit-b would go from 10.0.0.2:3306/shop to nothing (move its keys away first: atoll move start --space shop --from unit-b --to UNIT --all)"}},
		{what: "a source added", pairs: []string{sourceRow, sourceRow + strings.NewReplacer("unit-c", "unit-d", "10.0.0.3", "10.0.0.4").Replace(sourceRow)}, why: sameRows},
		{what: "shards", pairs: []string{sourceRow, strings.Replace(sourceRow, "user:", "buckets: [{from: 0, to: 5000}], user:", 1) + strings.NewReplacer("10.0.0.3", "10.0.0.4", "user:", "buckets: [{from: 5000, to: 10000}], user:").Replace(sourceRow)},
			refused: []string{"sources of unit unit-c would go from 10.0.0.3:3306/shop to 10.0.0.3:3306/shop (buckets 0-4999), 10.0.0.4:3306/shop (buckets 5000-9999) (keep them"}},
		{what: "its space", pairs: []string{"space: shop", "space: nowhere"}, invalid: true, refused: []string{`unknown space "nowhere"`}},
		{what: "a second Database with the same table", pairs: []string{"apiVersion: atoll/v1\nkind: Database\nmetadata: {name: shop}", "apiVersion: atoll/v1\nkind: Database\nmetadata: {name: more}", `rule: "1003"`, "rule: free", "defaultKind: center", "defaultKind: refuse"},
			invalid: true, refused: []string{`table "orders" of 10.0.0.1:3306/shop is listed in Database shop as well (list it in one of them)`}},
		{what: "a second Database by which listed tables are local", pairs: []string{"apiVersion: atoll/v1\nkind: Database\nmetadata: {name: shop}", "apiVersion: atoll/v1\nkind: Database\nmetadata: {name: more}", "defaultKind: center", "defaultKind: local",
			"    - {name: orders, kind: unit, key: buyer_id, reads: owner}\n    - {name: products, kind: centerUnit}\n    - {name: stock, kind: center}", "    - {name: more, kind: center}"},
			invalid: true, refused: []string{`table "orders" of 10.0.0.1:3306/shop is listed in Database shop and would be a local table here`}},
	}
}

// TestApply_EveryKindOfChange tries each on a space whose Database is in use:
// it is refused with the list and the mend, and nothing is written, or applied.
func TestApply_EveryKindOfChange(t *testing.T) {
	base := file(t, "every.yaml")
	for _, e := range edits() {
		t.Run(strings.ReplaceAll(e.what, " ", "_"), func(t *testing.T) {
			d := newDesk(t)
			d.apply(base, "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
			text := replace(t, base, e.pairs...)
			switch {
			case e.invalid:
				d.refuse(text, connect.CodeInvalidArgument, e.refused...)
			case e.refused != nil:
				d.refuse(text, connect.CodeFailedPrecondition, e.refused...)
			default:
				before := d.snapshot()
				got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(text)})
				if err != nil || e.why == "" || !strings.Contains(got, "changed@2") {
					t.Fatalf("applied: %s, %v (harmless: %s)", got, err, e.why)
				}
				if strings.Contains(e.why, "with a warning") != strings.Contains(got, "warning: Database shop: spec.tables[0].reads: table orders may now be read") {
					t.Errorf("warnings: %s", got)
				}
				if moved := moved(t, before, d.snapshot(), sample(nil)); moved != "" {
					t.Errorf("an owner changed: %s", moved)
				}
			}
			if (e.why == "") == (e.refused == nil) {
				t.Error("the case says neither why it is harmless nor what refuses it, or both")
			}
		})
	}
}

// TestApply_EveryKindOfChange_Unused: the same changes of the rule pass before a
// Database uses it, so that it is the use that protects, not the document.
func TestApply_EveryKindOfChange_Unused(t *testing.T) {
	base, _, _ := strings.Cut(file(t, "every.yaml"), "---\n")
	changedOwner := 0
	for _, e := range ruleEdits() {
		if e.invalid || strings.Contains(e.what, "Database") {
			continue
		}
		d := newDesk(t)
		d.apply(base, "MultiLiveSpace/shop created@1")
		before := d.snapshot()
		if got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(replace(t, base, e.pairs...))}); err != nil {
			t.Errorf("%s: %s, %v", e.what, got, err)
			continue
		}
		before.Databases = []*space.Database{{Metadata: space.Metadata{Name: "shop"}, Spec: space.DatabaseSpec{Space: "shop", Rule: "1003", Tables: []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "k"}}}}}
		after := *d.snapshot()
		after.Databases = before.Databases
		if moved(t, before, &after, sample(nil)) != "" {
			changedOwner++
		}
	}
	// The control of the comparison of owners above.
	if changedOwner < 10 {
		t.Errorf("only %d changes changed an owner: the comparison of owners sees nothing", changedOwner)
	}
}

// TestApply_WaitsForLanesBehindAMove: a key that gets on a list leaves the set of
// its bucket, by which lanes judge the rows that an ended move sent.
func TestApply_WaitsForLanesBehindAMove(t *testing.T) {
	d := newDesk(t)
	base := file(t, "every.yaml")
	d.apply(base, "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	current, err := publish.Load(d.ctx, d.store, "shop")
	if err != nil {
		t.Fatal(err)
	}
	next, err := current.Next()
	if err != nil {
		t.Fatal(err)
	}
	next.Moves = []*space.Transfer{{ID: "m7", Rule: "1003", From: "unit-b", To: "unit-a", FenceEpoch: 1, Outcome: space.OutcomeSwitched,
		Keys: space.KeySet{Buckets: []space.Range{{From: 0, To: 6000}}}}}
	txn, err := publish.Txn(current, next, publish.Why{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.store.Commit(d.ctx, txn); err != nil {
		t.Fatal(err)
	}
	key := ""
	for _, k := range sample(nil) {
		if v := view(t, next); v.DecideKey("1003", k).Unit == "unit-a" && v.DecideKey("1003", k).Reason == "range" {
			key = k
		}
	}
	listed := replace(t, base, "[tester, vip1]", "[tester, vip1, "+key+"]")
	d.refuse(listed, connect.CodeAborted, "move m7 is over", "apply again when all have caught up")
	d.apply(replace(t, base, "name: Shop", "name: Other"), "MultiLiveSpace/shop changed@3\nDatabase/shop unchanged@3")
	asked := 0
	d.passed = func(_ *space.Snapshot, m *space.Transfer) bool { asked++; return m.ID == "m7" }
	d.s = d.service(store.Store(d.store), awaiter{})
	d.apply(listed, "MultiLiveSpace/shop changed@4\nDatabase/shop unchanged@4")
	if asked != 1 {
		t.Errorf("lanes were asked for %d times", asked)
	}
}
