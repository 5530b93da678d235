package guard_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a guard of unit-a with a clock that the test moves.
type world struct {
	t       testing.TB
	g       *guard.Guard
	now     atomic.Int64
	changes atomic.Int64
	doc     *space.Space
	epoch   int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, doc: &space.Space{
		APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"},
		Spec: space.Spec{
			ID: "shop", Code: "shop", Name: "shop", Version: "1", TenantID: "t",
			Units:     []space.Unit{{Code: "unit-a", Type: space.Center}, {Code: "unit-b", Type: space.Regular}},
			Variables: []space.Variable{{Name: "user", Sources: []space.Source{{Name: "q", Scope: space.ScopeQuery, Key: "user"}}}},
			UnitRules: []space.UnitRule{{
				ID: "1", LiveType: space.CrossRegion, Variable: "user", VariableSource: "q", VariableFunction: "BKDRHash", Modulo: 100,
				Units: []space.UnitRoute{
					{Code: "unit-a", Ranges: []space.Range{{From: 0, To: 60}}},
					{Code: "unit-b", Ranges: []space.Range{{From: 60, To: 100}}},
				},
			}},
		},
	}}
	w.now.Store(int64(time.Hour))
	w.g = guard.New("unit-a", func() time.Duration { return time.Duration(w.now.Load()) }, func() { w.changes.Add(1) })
	return w
}

// install publishes the next epoch with the given transfers and renews for ever.
func (w *world) install(moves ...*space.Transfer) {
	w.t.Helper()
	w.epoch++
	for _, m := range moves {
		if m.Fenced && m.FenceEpoch == 0 {
			m.FenceEpoch = w.epoch
		}
	}
	v, err := route.NewView(&space.Snapshot{Space: "shop", Epoch: w.epoch, Document: w.doc, Moves: moves})
	if err != nil {
		w.t.Fatal(err)
	}
	w.g.Install(v)
}

func (w *world) renew() { w.g.Renew(w.epoch, guard.Forever) }

func (w *world) advance(d time.Duration) { w.now.Add(int64(d)) }

func decide(key string) guard.Decider {
	return func(v *route.View) route.Decision { return v.DecideKey("1", key) }
}

// keyIn finds a key whose bucket lies in [from, to).
func (w *world) keyIn(from, to int) string {
	w.t.Helper()
	table, err := route.Compile(w.doc)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range 10000 {
		key := "k" + strconv.Itoa(i)
		if d := table.DecideKey("1", key); d.Bucket >= from && d.Bucket < to {
			return key
		}
	}
	w.t.Fatalf("no key in [%d, %d)", from, to)
	return ""
}

func (w *world) admit(tx *guard.Tx, key string, want guard.Verdict) {
	w.t.Helper()
	if got, d, _ := tx.Admit(decide(key)); got != want {
		w.t.Fatalf("write of %s (bucket %d, owner %s): verdict %v, want %v", key, d.Bucket, d.Unit, got, want)
	}
}

func fence(from, to int) *space.Transfer {
	return &space.Transfer{
		ID: "m1", Rule: "1", From: "unit-a", To: "unit-b", Hold: true, Fenced: true,
		Keys: space.KeySet{Buckets: []space.Range{{From: from, To: to}}},
	}
}

func TestGuard_NothingBeforeSnapshotAndConsole(t *testing.T) {
	w := newWorld(t)
	own := w.keyIn(0, 60)
	w.admit(w.g.Begin(nil), own, guard.NoLease)
	w.install()
	w.admit(w.g.Begin(nil), own, guard.NoLease) // restarted: a disk copy is not enough to write
	w.renew()
	w.admit(w.g.Begin(nil), own, guard.Admitted)
	w.admit(w.g.Begin(nil), w.keyIn(60, 100), guard.NotOwner)
}

func TestGuard_FenceWaitsForOpenTransactions(t *testing.T) {
	w := newWorld(t)
	w.install()
	w.renew()
	moving, staying := w.keyIn(30, 60), w.keyIn(0, 30)
	open, other := w.g.Begin("session"), w.g.Begin(nil)
	w.admit(open, moving, guard.Admitted)
	w.admit(other, staying, guard.Admitted)

	w.install(fence(30, 60))
	w.renew()
	w.admit(open, moving, guard.Fenced)
	w.admit(w.g.Begin(nil), moving, guard.Fenced)
	w.admit(open, staying, guard.Admitted)
	fences := w.g.Fences()
	if len(fences) != 1 || len(fences[0].Open) != 1 || fences[0].Open[0].Owner != "session" {
		t.Fatalf("fences %+v, want the one open transaction of the moving key", fences)
	}
	before := w.changes.Load()
	other.End()
	if w.changes.Load() != before {
		t.Error("the end of a transaction outside the fence was told")
	}
	open.End()
	if len(w.g.Fences()[0].Open) != 0 || w.changes.Load() == before {
		t.Error("the fence is not told to be drained after the last transaction ended")
	}
}

func TestGuard_DoomedTransactionNeverCommits(t *testing.T) {
	w := newWorld(t)
	w.install()
	w.renew()
	moving := w.keyIn(30, 60)
	tx := w.g.Begin(nil)
	w.admit(tx, moving, guard.Admitted)
	w.install(fence(30, 60))
	if !tx.MayCommit() {
		t.Fatal("an open transaction may commit until the deadline")
	}
	if !tx.Doom("m1") || tx.Doom("m1") {
		t.Fatal("a transaction is doomed once")
	}
	if tx.MayCommit() || tx.DoomedBy() != "m1" {
		t.Error("a doomed transaction may commit")
	}
	w.admit(tx, w.keyIn(0, 30), guard.Doomed)
	if f := w.g.Fences()[0]; len(f.Open) != 1 || f.Killed != 1 {
		t.Errorf("fence %+v: a doomed transaction stays open until it is seen gone, and is counted", f)
	}
	tx.End()
	if len(w.g.Fences()[0].Open) != 0 {
		t.Error("not drained after the end")
	}
}

func TestGuard_AbortOpensAgain(t *testing.T) {
	w := newWorld(t)
	moving := w.keyIn(30, 60)
	w.install(fence(30, 60))
	w.renew()
	w.admit(w.g.Begin(nil), moving, guard.Fenced)
	aborted := fence(30, 60)
	aborted.Hold, aborted.Fenced, aborted.Outcome = false, false, space.OutcomeAborted
	w.install(aborted)
	w.renew()
	w.admit(w.g.Begin(nil), moving, guard.Admitted)
}

func TestGuard_SwitchedButFencedAtBoth(t *testing.T) {
	w := newWorld(t)
	moving := w.keyIn(30, 60)
	m := fence(30, 60)
	w.install(m)
	doc, err := route.Switch(w.doc, m)
	if err != nil {
		t.Fatal(err)
	}
	w.doc = doc
	switched := fence(30, 60)
	switched.Outcome = space.OutcomeSwitched
	w.install(switched)
	w.renew()
	w.admit(w.g.Begin(nil), moving, guard.Fenced) // not "not the owner": the new owner is closed too
	released := fence(30, 60)
	released.Hold, released.Fenced, released.Outcome = false, false, space.OutcomeSwitched
	w.install(released)
	w.renew()
	w.admit(w.g.Begin(nil), moving, guard.NotOwner)
}

func TestGuard_LeaseLapses(t *testing.T) {
	w := newWorld(t)
	own := w.keyIn(0, 60)
	w.install()
	until := time.Duration(w.now.Load()) + 5*time.Second
	w.g.Renew(w.epoch, until)
	writer, reader := w.g.Begin("writer"), w.g.Begin("reader")
	w.admit(writer, own, guard.Admitted)
	w.advance(4999 * time.Millisecond)
	if !writer.MayCommit() || len(w.g.Lapse()) != 0 {
		t.Fatal("lapsed too early")
	}
	w.advance(time.Millisecond)
	if writer.MayCommit() {
		t.Fatal("COMMIT after the lease ended (L3)")
	}
	doomed := w.g.Lapse()
	if len(doomed) != 1 || doomed[0] != writer {
		t.Fatalf("doomed %v, want the writer alone", doomed)
	}
	w.admit(reader, own, guard.NoLease)
	w.g.Renew(w.epoch, guard.Forever)
	if writer.MayCommit() {
		t.Error("a later lease revived a doomed transaction (L3)")
	}
	w.admit(reader, own, guard.Admitted)
	if _, d, _ := reader.Admit(decide(own)); w.g.Read(d) != guard.Admitted {
		t.Error("an owner's read is refused")
	}
}

// A renewal that arrives after the lease ended, but before anybody looked,
// must doom first: that nobody looked is no excuse (F3).
func TestGuard_LateRenewalDoomsFirst(t *testing.T) {
	w := newWorld(t)
	w.install()
	w.g.Renew(w.epoch, time.Duration(w.now.Load())+time.Second)
	tx := w.g.Begin(nil)
	w.admit(tx, w.keyIn(0, 60), guard.Admitted)
	w.advance(2 * time.Second)
	w.g.Renew(w.epoch, guard.Forever)
	if tx.MayCommit() {
		t.Error("the late renewal revived the transaction")
	}
}

func TestGuard_RenewalOfAnotherEpochCountsForNothing(t *testing.T) {
	w := newWorld(t)
	own := w.keyIn(0, 60)
	w.install()
	old := w.epoch
	w.install()
	w.g.Renew(old, guard.Forever)
	w.g.Renew(w.epoch+1, guard.Forever)
	w.admit(w.g.Begin(nil), own, guard.NoLease)
	w.renew()
	w.admit(w.g.Begin(nil), own, guard.Admitted)
}

func TestGuard_LowerEpochIsNeverAdopted(t *testing.T) {
	w := newWorld(t)
	moving := w.keyIn(30, 60)
	w.install(fence(30, 60))
	w.renew()
	v, err := route.NewView(&space.Snapshot{Space: "shop", Epoch: w.epoch, Document: w.doc})
	if err != nil {
		t.Fatal(err)
	}
	w.g.Install(v) // same epoch, without the fence
	w.admit(w.g.Begin(nil), moving, guard.Fenced)
}

func TestGuard_AccessModes(t *testing.T) {
	w := newWorld(t)
	own := w.keyIn(0, 60)
	for mode, want := range map[space.AccessMode][2]guard.Verdict{
		space.ReadWrite: {guard.Admitted, guard.Admitted},
		space.ReadOnly:  {guard.AccessDenied, guard.Admitted},
		space.NoAccess:  {guard.AccessDenied, guard.AccessDenied},
	} {
		w.doc.Spec.Units[0].AccessMode = mode
		w.install()
		w.renew()
		w.admit(w.g.Begin(nil), own, want[0])
		if got := w.g.Read(w.g.View().DecideKey("1", own)); got != want[1] {
			t.Errorf("%s: read verdict %v, want %v", mode, got, want[1])
		}
	}
}

// TestGuard_NothingSlipsPastAFence runs writers against fences: after a fence
// is drained, no admitted write of its keys may be open or begin.
func TestGuard_NothingSlipsPastAFence(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("SEED=%d", seed)
	w := newWorld(t)
	w.install()
	w.renew()
	moving := w.keyIn(30, 60)
	var drained atomic.Bool // set by the fencer while a drained fence is in force
	var inFlight, admitted atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				tx := w.g.Begin(nil)
				if v, _, _ := tx.Admit(decide(moving)); v == guard.Admitted {
					inFlight.Add(1)
					admitted.Add(1)
					if drained.Load() {
						t.Error("admitted while the fence was drained")
					}
					for range rng.IntN(50) {
						_ = tx.MayCommit()
					}
					inFlight.Add(-1)
				}
				tx.End()
			}
		})
	}
	for range 200 {
		before := admitted.Load()
		for admitted.Load() == before {
			_ = w.g.View() // until a write went through
		}
		w.install(fence(30, 60))
		for len(w.g.Fences()[0].Open) > 0 {
			_ = w.g.View()
		}
		drained.Store(true)
		if n := inFlight.Load(); n != 0 {
			t.Fatalf("%d writes in flight under a drained fence", n)
		}
		drained.Store(false)
		w.install()
		w.renew()
	}
	close(stop)
	wg.Wait()
}

func BenchmarkAdmit(b *testing.B) {
	w := newWorld(b)
	w.install()
	w.renew()
	own := w.keyIn(0, 60)
	d := decide(own)
	b.ReportAllocs()
	for b.Loop() {
		tx := w.g.Begin(nil)
		if v, _, _ := tx.Admit(d); v != guard.Admitted {
			b.Fatal(fmt.Sprint("verdict ", v))
		}
		tx.End()
	}
}
