package documents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/auth"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a service over a store in memory, with one caller.
type desk struct {
	t     *testing.T
	ctx   context.Context
	store *store.Memory
	asker *fakeAsker
	s     *Service

	passed func(*space.Snapshot, *space.Transfer) bool
}

var settings = space.Settings{FenceTTL: 5 * time.Second, FenceDeadline: 400 * time.Millisecond, HoldMax: 5 * time.Second}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, ctx: auth.With(t.Context(), "ann"), store: store.NewMemory(), asker: &fakeAsker{}}
	d.s = d.service(d.store, awaiter{})
	return d
}

func (d *desk) service(kept store.Store, a Awaiter) *Service {
	d.t.Helper()
	s, err := New(Config{Store: kept, Settings: settings, Awaiter: a, Asker: d.asker, Passed: d.passed})
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func file(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (d *desk) both() string { return file(d.t, "shop.yaml") + "---\n" + file(d.t, "database.yaml") }

func (d *desk) try(r *atollv1.ApplyRequest) (string, error) {
	res, err := d.s.Apply(d.ctx, connect.NewRequest(r))
	if err != nil {
		return "", err
	}
	var parts []string
	for _, a := range res.Msg.GetApplied() {
		parts = append(parts, fmt.Sprintf("%s/%s %s@%d", a.GetKind(), a.GetName(), a.GetAction(), a.GetEpoch()))
	}
	for _, w := range res.Msg.GetWarnings() {
		parts = append(parts, "warning: "+w)
	}
	return strings.Join(parts, "\n"), nil
}

func (d *desk) apply(text, want string) {
	d.t.Helper()
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(text)})
	if err != nil || got != want {
		d.t.Fatalf("applied:\n%s\n%v\nwant:\n%s", got, err, want)
	}
}

func (d *desk) refuse(text string, code connect.Code, want ...string) {
	d.t.Helper()
	before, err := d.store.List(d.ctx, store.Root, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(text)})
	if connect.CodeOf(err) != code {
		d.t.Errorf("applied %q, %v, want %v", got, err, code)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			d.t.Errorf("refused with %v, want %q in it", err, w)
		}
	}
	after, err := d.store.List(d.ctx, store.Root, 0)
	if err != nil || after.Revision != before.Revision {
		d.t.Errorf("a refused apply wrote: revision %d after %d, %v", after.Revision, before.Revision, err)
	}
}

func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the document", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func (d *desk) snapshot() *space.Snapshot {
	d.t.Helper()
	c, err := publish.Load(d.ctx, d.store, "shop")
	if err != nil || c.Snapshot == nil {
		d.t.Fatalf("snapshot: %v", err)
	}
	return c.Snapshot
}

func (d *desk) get(kind, name string) ([]space.Document, error) {
	res, err := d.s.Get(d.ctx, connect.NewRequest(&atollv1.GetRequest{Kind: kind, Name: name}))
	if err != nil {
		return nil, err
	}
	var docs []space.Document
	for _, raw := range res.Msg.GetDocuments() {
		doc, err := space.Read(raw)
		if err != nil {
			d.t.Fatal(err)
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

func TestApply_FirstSnapshotAndOn(t *testing.T) {
	d := newDesk(t)
	d.apply(file(t, "shop.yaml"), "MultiLiveSpace/shop created@1")
	s := d.snapshot()
	if s.Epoch != 1 || s.Settings != settings || len(s.Databases) != 0 || s.Document.Spec.Version != "7" {
		t.Errorf("first snapshot: %+v", s)
	}
	d.apply(file(t, "database.yaml"), "Database/shop created@2")
	d.apply(d.both(), "MultiLiveSpace/shop unchanged@2\nDatabase/shop unchanged@2")
	d.apply(replace(t, file(t, "shop.yaml"), "name: Shop", "name: The shop"), "MultiLiveSpace/shop changed@3")
	if s = d.snapshot(); s.Document.Spec.Version != "8" || s.Document.Spec.Name != "The shop" || len(s.Databases) != 1 {
		t.Errorf("changed snapshot: version %s, %+v", s.Document.Spec.Version, s)
	}
	// The author's file has an old version: that is no change.
	d.apply(replace(t, file(t, "shop.yaml"), "name: Shop", "name: The shop"), "MultiLiveSpace/shop unchanged@3")
	d.apply(replace(t, file(t, "shop.yaml"), "name: Shop", "name: The shop", `version: "7"`, `version: "20"`), "MultiLiveSpace/shop changed@4")
	if v := d.snapshot().Document.Spec.Version; v != "20" {
		t.Errorf("a version that its author raised became %s", v)
	}
	d.apply(replace(t, file(t, "database.yaml"), "{name: stock, kind: center}", "{name: stock, kind: center}\n    - {name: carts, kind: unit, key: buyer_id}"), "Database/shop changed@5")
}

func TestGet_GivesBackWhatApplyTakes(t *testing.T) {
	d := newDesk(t)
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(replace(t, d.both(), "tenantId: demo", "tenantId: demo\n  ours: {kept: [1, two]}"))})
	if err != nil || !strings.Contains(got, "warning: MultiLiveSpace shop: spec.ours: unknown field") {
		t.Fatalf("applied: %s, %v", got, err)
	}
	for _, kind := range []string{"multilivespace", "MultiLiveSpace", "DATABASE"} {
		docs, err := d.get(kind, "shop")
		if err != nil || len(docs) != 1 {
			t.Fatalf("%s: %v, %v", kind, docs, err)
		}
		text, err := space.YAML(docs...)
		if err != nil {
			t.Fatal(err)
		}
		if docs[0].Space != nil && !strings.Contains(string(text), "kept:") {
			t.Errorf("an unknown field is lost:\n%s", text)
		}
		got, err := d.try(&atollv1.ApplyRequest{Documents: text})
		if err != nil || !strings.Contains(got, "unchanged@1") {
			t.Errorf("%s applied again: %s, %v", kind, got, err)
		}
	}
	if docs, err := d.get("database", ""); err != nil || len(docs) != 1 {
		t.Errorf("all databases: %v, %v", docs, err)
	}
	if _, err := d.get("database", "never"); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a database that is not there: %v", err)
	}
	if _, err := d.get("tables", ""); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "MultiLiveSpace, Database") {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestApply_RefusesWhatIsNotValid(t *testing.T) {
	d := newDesk(t)
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	shop, db := file(t, "shop.yaml"), file(t, "database.yaml")
	d.refuse("a: [", connect.CodeInvalidArgument)
	d.refuse("", connect.CodeInvalidArgument, "no document")
	d.refuse("kind: Pod\nmetadata: {name: x}", connect.CodeInvalidArgument, "unknown kind")
	d.refuse(strings.Repeat(" ", MaxInput+1), connect.CodeInvalidArgument, "at most")
	d.refuse(replace(t, shop, "to: 6000", "to: 5000"), connect.CodeInvalidArgument, "spec.unitRules")
	d.refuse(replace(t, shop, "code: unit-b, name: B", "code: unit-x, name: B"), connect.CodeInvalidArgument)
	d.refuse(shop+"---\n"+shop, connect.CodeInvalidArgument, "two documents")
	d.refuse(replace(t, db, "space: shop", "space: nowhere", "name: shop}", "name: other}"), connect.CodeInvalidArgument, "nowhere")
	// One bad document keeps the good one out too.
	d.refuse(replace(t, shop, "name: Shop", "name: Good")+"---\n"+replace(t, db, "kind: unit,", "kind: nonsense,"), connect.CodeInvalidArgument)
	// A host that another space has: told of the document that comes.
	d.refuse(replace(t, shop, "code: shop", "code: second", "{name: shop}", "{name: second}"), connect.CodeInvalidArgument, "MultiLiveSpace second", "shop.atoll.test")
	strict, err := d.try(&atollv1.ApplyRequest{Documents: []byte(replace(t, shop, "tenantId: demo", "tenantId: demo\n  ours: 1")), Strict: true})
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("strict: %s, %v", strict, err)
	}
	big := replace(t, shop, "name: Shop", "name: "+strings.Repeat("x", publish.MaxDocument))
	d.refuse(big, connect.CodeInvalidArgument, "at most 1048576")
}

func TestApply_NeverChangesAnOwner(t *testing.T) {
	d := newDesk(t)
	shop, db := file(t, "shop.yaml"), file(t, "database.yaml")
	d.apply(shop, "MultiLiveSpace/shop created@1")
	ranges := []string{"to: 6000", "to: 5000", "from: 6000", "from: 5000"}
	d.apply(replace(t, shop, ranges...), "MultiLiveSpace/shop changed@2") // nobody uses the rule yet
	d.apply(shop, "MultiLiveSpace/shop changed@3")
	d.apply(db, "Database/shop created@4")
	const code = connect.CodeFailedPrecondition
	d.refuse(replace(t, shop, ranges...), code, "apply never changes an owner", "5000-5999", "atoll move start --space shop --from unit-a --to unit-b --buckets 5000-5999")
	d.refuse(replace(t, shop, "{code: unit-b, allows: []", "{code: unit-b, allows: [alice]"), code, "alice", "atoll move")
	d.refuse(replace(t, shop, "{code: unit-b, allows: [], prefixes: []", "{code: unit-b, allows: [], prefixes: [vip]"), code, "vip")
	d.refuse(replace(t, shop, "modulo: 10000", "modulo: 20000", "to: 10000", "to: 20000"), code, "modulo")
	d.refuse(replace(t, db, "orders, kind: unit, key: buyer_id", "orders, kind: unit, key: other_id"), code, "orders")
	d.refuse(replace(t, db, "{name: stock, kind: center}", "{name: stock, kind: centerUnit}"), code, "stock")
	d.refuse(replace(t, db, "    - {name: stock, kind: center}\n", ""), code, "stock")
	other := replace(t, shop, "code: shop", "code: second", "{name: shop}", "{name: second}", "shop.atoll.test", "second.atoll.test")
	d.refuse(other+"---\n"+replace(t, db, "space: shop", "space: second"), code, "belongs to space shop")
	// What gives no key another owner is applied, the ranges cut otherwise too.
	d.apply(replace(t, shop, "ranges: [{from: 0, to: 6000}]", "ranges: [{from: 0, to: 1}, {from: 1, to: 6000}]"), "MultiLiveSpace/shop changed@5")
}

func TestApply_LeavesAMovingSpaceAlone(t *testing.T) {
	d := newDesk(t)
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	if _, err := d.store.Commit(d.ctx, store.Txn{Then: []store.Op{store.Put(store.ActiveMoveKey("shop"), []byte("m-17"))}}); err != nil {
		t.Fatal(err)
	}
	changed := replace(t, file(t, "shop.yaml"), "name: Shop", "name: Other")
	d.refuse(changed, connect.CodeAborted, "move m-17 of space shop is running")
	d.apply(d.both(), "MultiLiveSpace/shop unchanged@1\nDatabase/shop unchanged@1")
	if _, err := d.store.Commit(d.ctx, store.Txn{Then: []store.Op{store.Delete(store.ActiveMoveKey("shop"))}}); err != nil {
		t.Fatal(err)
	}
	d.apply(changed, "MultiLiveSpace/shop changed@2")
}

func TestApply_DryRun(t *testing.T) {
	d := newDesk(t)
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(d.both()), DryRun: true, Wait: false})
	if err != nil || got != "MultiLiveSpace/shop created@1\nDatabase/shop created@1" {
		t.Errorf("%s, %v", got, err)
	}
	if l, err := d.store.List(d.ctx, store.Root, 0); err != nil || len(l.Items) != 0 {
		t.Errorf("a dry run wrote %d keys, %v", len(l.Items), err)
	}
	if _, err := d.try(&atollv1.ApplyRequest{Documents: []byte("kind: Database"), DryRun: true}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a dry run of what is not valid: %v", err)
	}
}

// racing lets somebody else publish just before each commit.
type racing struct {
	*store.Memory
	rival func()
	left  int
}

func (r *racing) Commit(ctx context.Context, t store.Txn) (int64, error) {
	if r.left > 0 {
		r.left--
		r.rival()
	}
	return r.Memory.Commit(ctx, t)
}

// A move that starts, or switches, between reading and writing must not be
// written over.
func TestApply_AgainstAMoverThatPublishes(t *testing.T) {
	d := newDesk(t)
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	mover := func() {
		c, err := publish.Load(d.ctx, d.store, "shop")
		if err != nil {
			t.Fatal(err)
		}
		next, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		transfer := &space.Transfer{ID: "m1", Rule: "1003", From: "unit-a", To: "unit-b", Keys: space.KeySet{Buckets: []space.Range{{From: 5000, To: 6000}}}}
		if next.Document, err = route.Switch(next.Document, transfer); err != nil {
			t.Fatal(err)
		}
		txn, err := publish.Txn(c, next, publish.Why{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.store.Commit(d.ctx, txn); err != nil {
			t.Fatal(err)
		}
	}
	d.s = d.service(&racing{Memory: d.store, rival: mover, left: 1}, awaiter{})
	// The document in the file still gives the moved keys to unit-a: at the
	// second try that is a change of owner.
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(replace(t, file(t, "shop.yaml"), "name: Shop", "name: Other"))})
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Fatalf("applied over a switch: %s, %v", got, err)
	}
	if s := d.snapshot(); s.Epoch != 2 || s.Document.Spec.Version != "8" || s.Document.Spec.Name != "Shop" {
		t.Fatalf("%+v", s)
	}
	starts := func() {
		if _, err := d.store.Commit(d.ctx, store.Txn{Then: []store.Op{store.Put(store.ActiveMoveKey("shop"), []byte("m2"))}}); err != nil {
			t.Fatal(err)
		}
	}
	d.s = d.service(&racing{Memory: d.store, rival: starts, left: 1}, awaiter{})
	got, err = d.try(&atollv1.ApplyRequest{Documents: []byte(replace(t, file(t, "database.yaml"), "defaultKind: refuse", "defaultKind: local"))})
	if connect.CodeOf(err) != connect.CodeAborted {
		t.Fatalf("applied over a move: %s, %v", got, err)
	}
}

// Two applies that are each valid, and together are not: the one that comes
// second must see the first.
func TestApply_AgainstAnotherApply(t *testing.T) {
	d := newDesk(t)
	second := replace(t, file(t, "shop.yaml"), "code: shop", "code: second", "{name: shop}", "{name: second}")
	rival := newDesk(t)
	rival.s = rival.service(d.store, awaiter{})
	d.s = d.service(&racing{Memory: d.store, left: 1, rival: func() { rival.apply(second, "MultiLiveSpace/second created@1") }}, awaiter{})
	got, err := d.try(&atollv1.ApplyRequest{Documents: []byte(file(t, "shop.yaml"))})
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "shop.atoll.test") {
		t.Errorf("two spaces got one host: %s, %v", got, err)
	}
}

func TestApply_ManyAtOnce(t *testing.T) {
	d := newDesk(t)
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	const many = 4
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			text := replace(t, file(t, "database.yaml"), "metadata: {name: shop}", fmt.Sprintf("metadata: {name: shop%d}", i),
				"    - {name: orders,", fmt.Sprintf("    - {name: orders%d,", i), "name: products", fmt.Sprint("name: products", i), "name: stock", fmt.Sprint("name: stock", i),
				"database: shop", fmt.Sprint("database: shop", i), "database: shop,", fmt.Sprintf("database: shop%d,", i))
			if _, err := d.try(&atollv1.ApplyRequest{Documents: []byte(text)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s := d.snapshot(); s.Epoch != 1+many || len(s.Databases) != 1+many {
		t.Errorf("epoch %d with %d databases after %d applies", s.Epoch, len(s.Databases), many)
	}
}

func TestApply_StoreDown(t *testing.T) {
	d := newDesk(t)
	d.store.SetDown(true)
	if _, err := d.try(&atollv1.ApplyRequest{Documents: []byte(d.both())}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("without a quorum: %v", err)
	}
}

type awaiter struct{ err error }

func (a awaiter) AwaitEpoch(ctx context.Context, code string, epoch int64) error {
	if _, bounded := ctx.Deadline(); !bounded || code != "shop" || epoch != 1 {
		return fmt.Errorf("waits for %s@%d, bounded %v", code, epoch, bounded)
	}
	return a.err
}

func TestApply_Wait(t *testing.T) {
	for _, want := range []error{nil, errors.New("dbproxy@unit-a is behind")} {
		d := newDesk(t)
		d.s = d.service(d.store, awaiter{want})
		_, err := d.try(&atollv1.ApplyRequest{Documents: []byte(d.both()), Wait: true})
		if want == nil && err != nil || want != nil && (connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(err.Error(), want.Error())) {
			t.Errorf("waited with %v, answered %v", want, err)
		}
		if d.snapshot().Epoch != 1 {
			t.Error("not applied")
		}
	}
}

func TestDiff(t *testing.T) {
	d := newDesk(t)
	diff := func(text string) []*atollv1.DocumentDiff {
		res, err := d.s.Diff(d.ctx, connect.NewRequest(&atollv1.DiffRequest{Documents: []byte(text)}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.GetDiffs()
	}
	if got := diff(file(t, "shop.yaml")); len(got) != 1 || !strings.HasPrefix(got[0].GetText(), "--- ") || !strings.Contains(got[0].GetText(), "\n+kind: MultiLiveSpace\n") {
		t.Errorf("of a new document: %v", got)
	}
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	for _, same := range diff(d.both()) {
		if same.GetText() != "" {
			t.Errorf("of the same document: %s", same.GetText())
		}
	}
	got := diff(replace(t, file(t, "shop.yaml"), "name: Shop", "name: Other", `version: "7"`, `version: "3"`))[0].GetText()
	want := "--- MultiLiveSpace shop in force\n+++ MultiLiveSpace shop in the file\n@@ -5,7 +5,7 @@\n spec:\n   id: \"1\"\n   code: shop\n-  name: Shop\n+  name: Other\n   version: \"7\"\n   tenantId: demo\n   units:\n"
	if got != want {
		t.Errorf("diff:\n%s\nwant:\n%s", got, want)
	}
}

func TestHistoryAndAudit(t *testing.T) {
	d := newDesk(t)
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	d.apply(replace(t, file(t, "shop.yaml"), "name: Shop", "name: Other"), "MultiLiveSpace/shop changed@2")
	res, err := d.s.History(d.ctx, connect.NewRequest(&atollv1.HistoryRequest{Kind: "multiLiveSpace", Name: "shop"}))
	if err != nil {
		t.Fatal(err)
	}
	list := res.Msg.GetRevisions()
	if len(list) != 2 || list[0].GetEpoch() != 2 || list[0].GetBy() != "ann" || list[0].GetAction() != "changed by apply" || list[1].GetAction() != "created by apply" {
		t.Fatalf("history: %v", list)
	}
	if doc, err := space.Read(list[1].GetDocument()); err != nil || doc.Space.Spec.Name != "Shop" {
		t.Errorf("first state: %v, %v", doc, err)
	}
	if _, err := time.Parse(time.RFC3339Nano, list[0].GetAt()); err != nil {
		t.Error(err)
	}
	_, err = d.s.History(d.ctx, connect.NewRequest(&atollv1.HistoryRequest{Kind: "database", Name: "never"}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("history of nothing: %v", err)
	}
	log, err := d.s.Audit(d.ctx, connect.NewRequest(&atollv1.AuditRequest{}))
	if err != nil || len(log.Msg.GetEntries()) != 2 {
		t.Fatalf("audit: %v, %v", log, err)
	}
	e := log.Msg.GetEntries()[1]
	if e.GetBy() != "ann" || e.GetAction() != "apply" || e.GetObject() != "shop" || e.GetDetail() != "MultiLiveSpace shop created, Database shop created" {
		t.Errorf("audit: %v", e)
	}
}

func TestExplain(t *testing.T) {
	d := newDesk(t)
	explain := func(r *atollv1.ExplainRequest) (map[string]any, error) {
		res, err := d.s.Explain(d.ctx, connect.NewRequest(r))
		if err != nil {
			return nil, err
		}
		var m map[string]any
		err = json.Unmarshal(res.Msg.GetExplanation(), &m)
		return m, err
	}
	if _, err := explain(&atollv1.ExplainRequest{Rule: "1003", Key: "alice"}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("without a space: %v", err)
	}
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	byKey, err := explain(&atollv1.ExplainRequest{Rule: "1003", Key: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	byRequest, err := explain(&atollv1.ExplainRequest{Space: "shop", Host: "SHOP.atoll.test:80", Path: "/order",
		Query: []*atollv1.Pair{{Name: "user", Value: "alice"}, {Name: "user", Value: "bob"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []map[string]any{byKey, byRequest} {
		if m["key"] != "alice" || m["bucket"] != float64(route.BKDRHash("alice", 10000)) || m["epoch"] != 1.0 || m["reason"] != "range" {
			t.Errorf("%v", m)
		}
	}
	if _, err := explain(&atollv1.ExplainRequest{Space: "never", Rule: "1003"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("an unknown space: %v", err)
	}
	if _, err := explain(&atollv1.ExplainRequest{Rule: "9"}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("an unknown rule: %v", err)
	}
}

func TestAdoptSettings(t *testing.T) {
	d := newDesk(t)
	d.apply(d.both(), "MultiLiveSpace/shop created@1\nDatabase/shop created@1")
	log := slog.New(slog.DiscardHandler)
	if err := d.s.AdoptSettings(d.ctx, log); err != nil || d.snapshot().Epoch != 1 {
		t.Fatalf("the same settings: epoch %d, %v", d.snapshot().Epoch, err)
	}
	other := settings
	other.FenceTTL = 0
	again, err := New(Config{Store: d.store, Settings: other, Awaiter: awaiter{}, Asker: d.asker})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.store.Commit(d.ctx, store.Txn{Then: []store.Op{store.Put(store.ActiveMoveKey("shop"), []byte("m1"))}}); err != nil {
		t.Fatal(err)
	}
	if left, err := again.adoptSettings(d.ctx); left != 1 || err != nil || d.snapshot().Epoch != 1 {
		t.Fatalf("while a move runs: %d left, %v", left, err)
	}
	if _, err := d.store.Commit(d.ctx, store.Txn{Then: []store.Op{store.Delete(store.ActiveMoveKey("shop"))}}); err != nil {
		t.Fatal(err)
	}
	if err := again.AdoptSettings(d.ctx, log); err != nil {
		t.Fatal(err)
	}
	if s := d.snapshot(); s.Epoch != 2 || s.Settings != other || s.Document.Spec.Version != "7" {
		t.Errorf("adopted: %+v", s)
	}
}
