package documents

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// sample is many keys: some that lists and prefixes name, others of any bucket.
func sample(doc *space.Space) []string {
	keys := []string{"tester", "judy", "JUDY", "vip", "vip1", "vip2", "vip22", "a-", "a-1", "a-2", "b-", "b-1", "kim", "new", "newer", "a b", "k"}
	for i := range 150 {
		keys = append(keys, fmt.Sprintf("k%d", i), fmt.Sprintf("%d", i*7919))
	}
	if doc != nil {
		for _, r := range doc.Spec.UnitRules {
			for _, u := range r.Units {
				keys = append(keys, u.Allows...)
				for _, p := range u.Prefixes {
					keys = append(keys, p, p+"0", p+"x", p+"k1")
				}
			}
		}
	}
	return keys
}

func view(t *testing.T, s *space.Snapshot) *route.View {
	t.Helper()
	v, err := route.NewView(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// moved names the first key that has another owner, and the first table that
// has less protection; "" when there is none. It asks compiled snapshots, as
// planes do, and knows nothing of what apply compares.
func moved(t *testing.T, before, after *space.Snapshot, keys []string) string {
	t.Helper()
	a, b := view(t, before), view(t, after)
	if a.Center() != b.Center() && slices.ContainsFunc(before.Databases, func(db *space.Database) bool { return len(db.Spec.Tables) > 0 }) {
		return "the center was " + a.Center() + " and is " + b.Center()
	}
	for _, was := range before.Databases {
		i := slices.IndexFunc(after.Databases, func(d *space.Database) bool { return d.Metadata.Name == was.Metadata.Name })
		if i < 0 {
			return "database " + was.Metadata.Name + " is gone"
		}
		is := after.Databases[i]
		for _, table := range was.Spec.Tables {
			j := slices.IndexFunc(is.Spec.Tables, func(o space.Table) bool { return o.Name == table.Name })
			if j < 0 || is.Spec.Tables[j].Kind != table.Kind || is.Spec.Tables[j].Key != table.Key {
				return "table " + table.Name + " was protected otherwise"
			}
			if table.Kind != space.TableUnit {
				continue
			}
			for _, key := range keys {
				d, e := a.DecideKey(was.Spec.Rule, key), b.DecideKey(is.Spec.Rule, key)
				if d.Unit != e.Unit {
					return fmt.Sprintf("key %q of table %s was of %s (%s) and is of %s (%s)", key, table.Name, d.Unit, d.Reason, e.Unit, e.Reason)
				}
				if at, now := placeOf(was, d.Unit), placeOf(is, e.Unit); at != "" && now == "" {
					return fmt.Sprintf("key %q of unit %s was at %s and is nowhere", key, d.Unit, at)
				} else if owner := ownerOf(was, now); owner != "" && owner != e.Unit {
					return fmt.Sprintf("key %q of unit %s is now in the database of %s", key, e.Unit, owner)
				}
			}
		}
	}
	return ""
}

// placeOf is where a unit's copy is, "" for nowhere.
func placeOf(db *space.Database, unit string) string {
	for _, s := range db.Spec.Sources {
		if s.Unit == unit {
			return fmt.Sprintf("%s:%d/%s", s.Host, s.Port, s.Database)
		}
	}
	return ""
}

// ownerOf is the unit whose copy was at a place.
func ownerOf(db *space.Database, place string) string {
	for _, s := range db.Spec.Sources {
		if placeOf(db, s.Unit) == place {
			return s.Unit
		}
	}
	return ""
}

// drawn makes random documents and random changes of them.
type drawn struct {
	*rand.Rand
	doc *space.Space
	db  *space.Database
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// draw makes a sound space with a rule that a Database uses.
func draw(t *testing.T, r *rand.Rand) *drawn {
	docs, problems, err := space.Parse([]byte(file(t, "every.yaml")))
	if err != nil || problems.Err() != nil {
		t.Fatal(err, problems)
	}
	d := &drawn{r, docs[0].Space, docs[1].Database}
	rule := d.rule()
	rule.Modulo = 2 + r.IntN(60)
	for i := range rule.Units {
		rule.Units[i].Ranges, rule.Units[i].Allows, rule.Units[i].Prefixes = nil, nil, nil
	}
	for b := range rule.Modulo {
		u := &rule.Units[r.IntN(len(rule.Units))]
		u.Ranges = append(u.Ranges, space.Range{From: b, To: b + 1})
	}
	for range r.IntN(8) {
		d.allow(pick(r, sample(nil)))
	}
	for range r.IntN(5) {
		d.prefix(pick(r, []string{"k", "k1", "k11", "k2", "vip", "vip2", "a-", "7"}))
	}
	return d
}

func (d *drawn) rule() *space.UnitRule { return &d.doc.Spec.UnitRules[0] }

func (d *drawn) unit() *space.UnitRoute { return &d.rule().Units[d.IntN(len(d.rule().Units))] }

func (d *drawn) allow(key string) {
	for i := range d.rule().Units {
		u := &d.rule().Units[i]
		u.Allows = slices.DeleteFunc(u.Allows, func(k string) bool { return k == key })
	}
	u := d.unit()
	u.Allows = append(u.Allows, key)
}

func (d *drawn) prefix(text string) {
	for i := range d.rule().Units {
		u := &d.rule().Units[i]
		u.Prefixes = slices.DeleteFunc(u.Prefixes, func(k string) bool { return k == text })
	}
	u := d.unit()
	u.Prefixes = append(u.Prefixes, text)
}

// change makes one random change. Some leave no sound document.
func (d *drawn) change() {
	s, r, db := &d.doc.Spec, d.rule(), &d.db.Spec
	pickSource := func() *space.DataSource { return &db.Sources[d.IntN(len(db.Sources))] }
	pickTable := func() *space.Table { return &db.Tables[d.IntN(len(db.Tables))] }
	pick(d.Rand, []func(){
		func() { d.allow(pick(d.Rand, sample(d.doc))) },
		func() { d.allow(pick(d.Rand, sample(d.doc))) },
		func() {
			d.prefix(pick(d.Rand, []string{"k", "k1", "k11", "k2", "k22", "vip", "vip2", "a-", "a-1", "7", "79"}))
		},
		func() { u := d.unit(); u.Allows = u.Allows[:len(u.Allows)/2] },
		func() { u := d.unit(); u.Prefixes = u.Prefixes[:len(u.Prefixes)/2] },
		func() { u := d.unit(); slices.Reverse(u.Ranges); slices.Reverse(u.Allows); slices.Reverse(u.Prefixes) },
		func() { a, b := d.unit(), d.unit(); a.Ranges, b.Ranges = b.Ranges, a.Ranges },
		func() {
			if u, to := d.unit(), d.unit(); len(u.Ranges) > 0 {
				g := u.Ranges[0]
				u.Ranges = u.Ranges[1:]
				to.Ranges = append(to.Ranges, g)
			}
		},
		func() { r.Units[0], r.Units[len(r.Units)-1] = r.Units[len(r.Units)-1], r.Units[0] },
		func() { r.Units = r.Units[:len(r.Units)-1] },
		func() { r.Units[0].Ranges, r.Units = []space.Range{{From: 0, To: r.Modulo}}, r.Units[:1] },
		func() { r.Units = append(r.Units, space.UnitRoute{Code: "unit-d"}) },
		func() {
			r.Modulo++
			u := d.unit()
			u.Ranges = append(u.Ranges, space.Range{From: r.Modulo - 1, To: r.Modulo})
		},
		func() { r.VariableSource = "byHeader" },
		func() { r.VariableMissingAction = space.MissingReject },
		func() { r.Name += "x" },
		func() { s.UnitRules[0], s.UnitRules[1] = s.UnitRules[1], s.UnitRules[0] },
		func() {
			s.Units[d.IntN(len(s.Units))].Type = pick(d.Rand, []space.UnitType{space.Center, space.Regular})
		},
		func() { a, b := &s.Units[0], &s.Units[d.IntN(len(s.Units))]; a.Type, b.Type = b.Type, a.Type },
		func() { s.Units[d.IntN(len(s.Units))].AccessMode = space.ReadOnly },
		func() { s.Units = s.Units[:len(s.Units)-1] },
		func() { s.Name += "x" },
		func() { db.Rule = pick(d.Rand, []string{"1003", "free"}) },
		func() {
			pickTable().Kind = pick(d.Rand, []space.TableKind{space.TableUnit, space.TableCenter, space.TableCenterUnit})
		},
		func() { db.Tables[0].Key += "x" },
		func() { pickTable().Name += "x" },
		func() { db.Tables = slices.Delete(db.Tables, 1, 2) },
		func() {
			db.Tables = append(db.Tables, space.Table{Name: fmt.Sprint("new", d.IntN(9)), Kind: space.TableUnit, Key: "k"})
		},
		func() {
			db.DefaultKind = pick(d.Rand, []space.TableKind{space.TableRefuse, space.TableLocal, space.TableCenter})
		},
		func() { a, b := pickSource(), pickSource(); a.Host, b.Host = b.Host, a.Host },
		func() { a, b := pickSource(), pickSource(); a.Unit, b.Unit = b.Unit, a.Unit },
		func() { pickSource().Port++ },
		func() { pickSource().User += "x" },
		func() { i := d.IntN(len(db.Sources)); db.Sources = slices.Delete(db.Sources, i, i+1) },
	})()
}

func (d *drawn) text(t *testing.T, withDatabase bool) []byte {
	docs := []space.Document{{Space: d.doc}}
	if withDatabase {
		docs = append(docs, space.Document{Database: d.db})
	}
	text, err := space.YAML(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// outcome counts what became of random changes.
type outcome struct{ applied, refused, invalid, moved int }

// try lays random changes over random documents. Use says whether a Database
// uses the rule; without it nothing is protected.
func try(t *testing.T, r *rand.Rand, use bool, rounds int) (o outcome, first string) {
	for range rounds {
		d := newDesk(t)
		drawn := draw(t, r)
		if _, err := d.try(&atollv1.ApplyRequest{Documents: drawn.text(t, use)}); err != nil {
			t.Fatalf("a sound document: %v", err)
		}
		for range 4 {
			before := d.snapshot()
			for range 1 + r.IntN(2) {
				if len(drawn.db.Spec.Sources) > 1 && len(drawn.db.Spec.Tables) > 1 && len(drawn.rule().Units) > 1 && len(drawn.doc.Spec.Units) > 1 {
					drawn.change()
				}
			}
			_, err := d.try(&atollv1.ApplyRequest{Documents: drawn.text(t, use)})
			switch connect.CodeOf(err) {
			case connect.CodeInvalidArgument:
				o.invalid++
			case connect.CodeFailedPrecondition:
				o.refused++
				if !strings.Contains(err.Error(), "apply never changes an owner\n") {
					t.Errorf("refused without the list: %v", err)
				}
			default:
				if err != nil {
					t.Fatal(err)
				}
				o.applied++
			}
			after := d.snapshot()
			was, is := *before, *after
			if !use {
				was.Databases, is.Databases = []*space.Database{used()}, []*space.Database{used()}
			}
			if what := moved(t, &was, &is, append(sample(before.Document), sample(after.Document)...)); what != "" {
				o.moved++
				if first == "" {
					first = fmt.Sprintf("%s\nafter %v:\n%s", what, err, drawn.text(t, use))
				}
			}
			if err != nil {
				break // what is drawn is no longer what stands
			}
		}
	}
	return o, first
}

// used stands for a Database that uses the rule.
func used() *space.Database {
	return &space.Database{Metadata: space.Metadata{Name: "shop"}, Spec: space.DatabaseSpec{Space: "shop", Rule: "1003", Tables: []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "k"}}}}
}

// TestApply_RandomChangesNeverChangeAnOwner: what is applied leaves every key
// with its owner, so what would not is refused. The control is the same without
// a Database: there the changes go through, and the comparison sees them.
func TestApply_RandomChangesNeverChangeAnOwner(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SEED=%s: %v", text, err)
		}
		seed = n
	}
	t.Logf("SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	o, first := try(t, r, true, 100)
	if o.moved > 0 {
		t.Errorf("%d applies changed an owner, the first: %s", o.moved, first)
	}
	control, _ := try(t, r, false, 25)
	t.Logf("in use: %+v; control without a Database: %+v", o, control)
	if o.applied < 25 || o.refused < 25 || o.invalid < 3 {
		t.Errorf("%+v: the test has lost its teeth", o)
	}
	if control.moved < 5 {
		t.Errorf("the control saw %d changed owners: the comparison sees nothing", control.moved)
	}
}
