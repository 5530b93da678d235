package dbsync_test

import (
	"fmt"
	"slices"
	"testing"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// move is one cut-over, played by the test as the mover does it.
type move struct {
	w        *world
	id       string
	from, to string
	keys     []string
	epoch    int64 // of the fence
}

// fence publishes the fenced transfer.
func (w *world) fence(id, from, to string, keys []string, units ...string) *move {
	w.t.Helper()
	m := &move{w: w, id: id, from: from, to: to, keys: keys}
	w.publish(func(s *space.Snapshot) {
		m.epoch = s.Epoch
		s.Moves = append(s.Moves, &space.Transfer{ID: id, Rule: "r", From: from, To: to, Keys: space.KeySet{Keys: keys}, Hold: true, Fenced: true, FenceEpoch: s.Epoch})
	}, units...)
	return m
}

func (m *move) transfer(s *space.Snapshot) *space.Transfer {
	return s.Moves[slices.IndexFunc(s.Moves, func(t *space.Transfer) bool { return t.ID == m.id })]
}

// switched publishes the commit point.
func (m *move) switched(units ...string) {
	m.w.t.Helper()
	m.w.publish(func(s *space.Snapshot) {
		t := m.transfer(s)
		doc, err := route.Switch(s.Document, t)
		if err != nil {
			m.w.t.Fatal(err)
		}
		s.Document = doc
		t.Outcome = space.OutcomeSwitched
	}, units...)
}

func (m *move) released(units ...string) {
	m.w.publish(func(s *space.Snapshot) { t := m.transfer(s); t.Hold, t.Fenced = false, false }, units...)
}

func (m *move) aborted(units ...string) {
	m.w.publish(func(s *space.Snapshot) {
		t := m.transfer(s)
		t.Hold, t.Fenced, t.Outcome = false, false, space.OutcomeAborted
	}, units...)
}

func (m *move) dropped(units ...string) {
	m.w.publish(func(s *space.Snapshot) {
		s.Moves = slices.DeleteFunc(s.Moves, func(t *space.Transfer) bool { return t.ID == m.id })
	}, units...)
}

// ask asks every plane, as the console does with those it concerns.
func (m *move) ask(step string) {
	for _, st := range m.w.sites {
		if st.sync != nil {
			st.sync.Ask([]*atollv1.Ask{{Space: "shop", Move: m.id, Epoch: m.epoch, Step: step}})
		}
	}
}

// acked waits for an ack of a plane.
func (m *move) acked(unit, step, lane string) *atollv1.Ack {
	m.w.t.Helper()
	var found *atollv1.Ack
	eventually(m.w.t, fmt.Sprintf("ack %s %s of %s", step, lane, unit), func() (bool, string) {
		found = m.ack(unit, step, lane)
		return found != nil, fmt.Sprint(m.w.report(unit).Acks, m.w.report(unit).Lanes)
	})
	return found
}

func (m *move) ack(unit, step, lane string) *atollv1.Ack {
	for _, a := range m.w.report(unit).Acks {
		if a.Space == "shop" && a.Move == m.id && a.Epoch == m.epoch && a.Step == step && a.Lane == lane {
			return a
		}
	}
	return nil
}

// barrier asks both sides to close and waits for their tokens at each other.
func (m *move) barrier() {
	m.w.t.Helper()
	m.ask("close")
	m.acked(m.from, "closed", "")
	m.acked(m.to, "closed", "")
	if a := m.acked(m.to, "passed", m.from+">"+m.to); a.Error != "" {
		m.w.t.Errorf("lane out of the former owner: %s", a.Error)
	}
	m.acked(m.from, "passed", m.to+">"+m.from)
}

func (m *move) open() {
	m.w.t.Helper()
	m.ask("open")
	m.acked(m.to, "opened", "")
	m.acked(m.from, "passed-open", m.to+">"+m.from)
}

// whole does a move from fence to release.
func (w *world) whole(id, from, to string, keys []string) *move {
	w.t.Helper()
	m := w.fence(id, from, to, keys)
	m.barrier()
	m.switched()
	m.open()
	m.released()
	return m
}

func TestMoveAndBack(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	k := w.keys("unit-a", 1)[0]
	w.order("unit-a", k, 1)
	m := w.whole("m1", "unit-a", "unit-b", []string{k})
	w.order("unit-b", k, 2)
	w.same(allOrders, "unit-a", "unit-b")
	m.ask("settle")
	if a := m.acked("unit-b", "settled", ""); a.Figures["rows_compared"] != 2 || a.Figures["rows_different"] != 0 {
		t.Errorf("settled: %v", a)
	}
	m.dropped()
	back := w.whole("m2", "unit-b", "unit-a", []string{k})
	w.order("unit-a", k, 3)
	w.same(allOrders, "unit-a", "unit-b")
	// A stray row of the former owner, written past everything that fences it.
	w.order("unit-b", k, 4)
	w.parked("unit-a", "unit-b>unit-a", 1)
	back.dropped()
	w.order("unit-b", k, 5)
	w.parked("unit-a", "unit-b>unit-a", 2)
	if got := query(t, w.sites["unit-a"].db, "SELECT reason FROM atoll.parked ORDER BY id"); got != "written behind the CLOSE of move m2, which gave the key to unit-a\nthe key belongs to \"unit-a\", not to the unit that wrote it" {
		t.Errorf("reasons: %s", got)
	}
	run(t, w.sites["unit-b"].db, "DELETE FROM orders WHERE id IN (4,5)")
	w.parked("unit-a", "unit-b>unit-a", 4)
	w.same(allOrders, "unit-a", "unit-b")
}

func TestAbortedMoveAppliesWhatStandsBehindItsClose(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	k := w.keys("unit-a", 2)
	m := w.fence("m1", "unit-a", "unit-b", k[:1])
	m.barrier()
	// The owner is open again before lane and unit-b know how the move ended.
	m.aborted("unit-a")
	w.order("unit-a", k[1], 1)
	w.same("SELECT * FROM orders", "unit-a", "unit-b") // not of the keys: passes
	w.order("unit-a", k[0], 2)
	eventually(t, "the lane waits for the outcome", func() (bool, string) {
		l := w.lane("unit-a", "unit-b")
		return l.State == "waiting" && l.Reason == "rows behind the CLOSE of move m1 wait for its outcome", l.String()
	})
	w.publish(func(*space.Snapshot) {}, "unit-b")
	w.same(allOrders, "unit-a", "unit-b")
	m.dropped()
	w.order("unit-a", k[0], 3)
	w.same(allOrders, "unit-a", "unit-b")
	// A second attempt of the same keys.
	w.whole("m2", "unit-a", "unit-b", k[:1])
	w.order("unit-b", k[0], 4)
	w.same(allOrders, "unit-a", "unit-b")
	if n := w.lane("unit-a", "unit-b").Parked; n != 0 {
		t.Errorf("%d rows parked", n)
	}
}

func TestSwitchedMoveParksWhatStandsBehindItsClose(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	k := w.keys("unit-a", 1)
	m := w.fence("m1", "unit-a", "unit-b", k)
	m.barrier()
	w.order("unit-a", k[0], 1) // a stray row behind the token
	m.switched()
	w.parked("unit-b", "unit-a>unit-b", 1)
	m.open()
	m.released()
	w.order("unit-b", k[0], 2)
	w.same("SELECT * FROM orders WHERE id=2", "unit-a", "unit-b")
	m.ask("settle")
	if a := m.acked("unit-b", "settled", ""); a.Figures["rows_compared"] != 2 || a.Figures["rows_different"] != 1 || a.Detail != "table orders: 1 rows differ, among them '1'" {
		t.Errorf("settled: %v", a)
	}
	// The next move of the keys is told.
	m.dropped()
	m2 := w.fence("m2", "unit-b", "unit-a", k)
	m2.ask("close")
	if a := m2.acked("unit-b", "passed", "unit-a>unit-b"); a.Error == "" {
		t.Errorf("a barrier passed over a parked row: %v", a)
	}
	run(t, w.sites["unit-b"].db, "DELETE FROM atoll.parked")
	eventually(t, "the ack is clean", func() (bool, string) {
		a := m2.ack("unit-b", "passed", "unit-a>unit-b")
		return a != nil && a.Error == "", a.String()
	})
}

func TestRowsOfTheNewOwnerBeforeItsOpenAreParked(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	k := w.keys("unit-a", 1)
	m := w.fence("m1", "unit-a", "unit-b", k)
	m.barrier()
	m.switched()
	w.order("unit-b", k[0], 1) // stray: the document gives the key to unit-b, its log does not yet
	w.parked("unit-a", "unit-b>unit-a", 1)
	m.open()
	w.order("unit-b", k[0], 2)
	w.same("SELECT * FROM orders WHERE id=2", "unit-a", "unit-b")
	w.parked("unit-a", "unit-b>unit-a", 1)
}

// TestLaggingLaneJudgesByThePlaceInTheLog lets a lane read a move, rows before
// and rows behind it, only when the snapshot has long dropped the move.
func TestLaggingLaneJudgesByThePlaceInTheLog(t *testing.T) {
	w := newWorld(t, 3, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	link := w.proxied("unit-a", "unit-c") // lane unit-a>unit-c goes through it
	k := w.keys("unit-a", 1)
	w.order("unit-a", k[0], 1)
	w.same(allOrders, "unit-a", "unit-b", "unit-c")
	link.stall()
	run(t, w.sites["unit-a"].db, "UPDATE orders SET amount=100 WHERE id=1")
	w.order("unit-a", k[0], 2)
	m := w.whole("m1", "unit-a", "unit-b", k)
	run(t, w.sites["unit-b"].db, "UPDATE orders SET amount=amount+1 WHERE id=1") // written with what unit-c has yet to see
	w.order("unit-b", k[0], 3)
	w.same(allOrders, "unit-a", "unit-b")
	eventually(t, "the new owner's lane waits at the third unit", func() (bool, string) {
		l := w.lane("unit-b", "unit-c")
		return l.State == "waiting" && l.Reason == "rows behind the OPEN of move m1 wait until lane unit-a>unit-c has passed its CLOSE", l.String()
	})
	m.dropped()
	w.order("unit-a", k[0], 4) // stray, far behind the move
	// A restart in between must not forget what the snapshot has dropped.
	w.sites["unit-c"].stop()
	w.start("unit-c")
	w.startedWaiting("unit-b", "unit-c")
	link.heal()
	w.same("SELECT * FROM orders WHERE id<>4 ORDER BY id", "unit-a", "unit-b", "unit-c")
	w.parked("unit-c", "unit-a>unit-c", 1)
	if got := query(t, w.sites["unit-c"].db, "SELECT amount FROM orders WHERE id=1"); got != "101" {
		t.Errorf("amount %s, want 101: the former owner's row came last", got)
	}
}

func (w *world) startedWaiting(from, to string) {
	w.t.Helper()
	eventually(w.t, from+">"+to+" waits again", func() (bool, string) {
		l := w.lane(from, to)
		return l.State == "waiting" && l.Position != "", l.String()
	})
}

func TestThreeUnitsChainOfMoves(t *testing.T) {
	w := newWorld(t, 3, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	link := w.proxied("unit-a", "unit-c")
	k := w.keys("unit-a", 1)
	link.stall()
	w.order("unit-a", k[0], 1)
	w.whole("m1", "unit-a", "unit-b", k)
	// unit-c must not become the owner while it has not seen unit-a's row, though
	// unit-b wrote nothing that would hold the lane.
	m2 := w.fence("m2", "unit-b", "unit-c", k)
	m2.ask("close")
	m2.acked("unit-b", "closed", "")
	m2.acked("unit-c", "closed", "")
	m2.acked("unit-b", "passed", "unit-c>unit-b")
	eventually(t, "the lane waits", func() (bool, string) {
		l := w.lane("unit-b", "unit-c")
		return l.State == "waiting" && l.Reason == "the CLOSE of move m2 waits until what came before the OPEN of move m1 is here by its own lane", l.String()
	})
	if a := m2.ack("unit-c", "passed", "unit-b>unit-c"); a != nil {
		t.Fatalf("the barrier passed a lane that waits: %v", a)
	}
	link.heal()
	m2.acked("unit-c", "passed", "unit-b>unit-c")
	m2.switched()
	m2.open()
	w.order("unit-c", k[0], 3)
	w.same(allOrders, "unit-a", "unit-b", "unit-c")
}

// TestCenterBesideAMove: the center is neither end. Its token brings what it
// wrote before to the new owner, and takes no key from it.
func TestCenterBesideAMove(t *testing.T) {
	w := newWorld(t, 3, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	link := w.proxied("unit-a", "unit-c")
	k := w.keys("unit-b", 1)
	link.stall()
	run(t, w.sites["unit-a"].db, "INSERT INTO products VALUES (1,5)")
	w.same("SELECT * FROM products", "unit-a", "unit-b") // users of unit-b see it
	m := w.fence("m1", "unit-b", "unit-c", k)
	m.ask("close")
	m.acked("unit-a", "closed", "")
	m.acked("unit-c", "passed", "unit-b>unit-c")
	if a := m.ack("unit-c", "passed", "unit-a>unit-c"); a != nil {
		t.Fatalf("the center's token passed a lane that stands still: %v", a)
	}
	link.heal()
	m.acked("unit-c", "passed", "unit-a>unit-c")
	if got := query(t, w.sites["unit-c"].db, "SELECT price FROM products"); got != "5" {
		t.Errorf("unit-c has price %q behind the center's token", got)
	}
	m.switched()
	m.open()
	w.order("unit-a", w.keys("unit-a", 1)[0], 1)
	w.order("unit-c", k[0], 2)
	w.same(allOrders, "unit-a", "unit-b", "unit-c")
}

func TestTokensKeepTheirPlace(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	m := w.fence("m1", "unit-a", "unit-b", w.keys("unit-a", 1))
	m.barrier()
	first := query(t, w.sites["unit-a"].db, "SELECT * FROM atoll.token ORDER BY kind")
	// Acks hold again after a restart, without an ask, and with the link cut.
	w.sites["unit-b"].stop()
	w.sites["unit-b"].cfg.Reach = map[string]string{"unit-a": "127.0.0.1:1"}
	w.start("unit-b")
	m.acked("unit-b", "closed", "")
	m.acked("unit-b", "passed", "unit-a>unit-b")
	// Asked again, the tokens stay.
	w.sites["unit-a"].stop()
	w.start("unit-a")
	m.ask("close")
	m.acked("unit-a", "closed", "")
	if again := query(t, w.sites["unit-a"].db, "SELECT * FROM atoll.token ORDER BY kind"); again != first {
		t.Errorf("token was\n%s\nand is\n%s", first, again)
	}
	// Acks end with ask and transfer.
	m.aborted()
	m.dropped()
	for _, st := range w.sites {
		st.sync.Ask(nil)
	}
	if acks := slices.Concat(w.report("unit-a").Acks, w.report("unit-b").Acks); len(acks) != 0 {
		t.Errorf("acks of a move that is over: %v", acks)
	}
}

func TestAsksWaitForTheirSnapshot(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	m := w.fence("m1", "unit-a", "unit-b", w.keys("unit-a", 1), "unit-b")
	m.ask("close")
	m.acked("unit-b", "closed", "")
	m.ask("open") // too early as well
	eventually(t, "the lane waits for the snapshot that the token speaks of", func() (bool, string) {
		l := w.lane("unit-b", "unit-a")
		return l.State == "waiting" && l.Reason == "the BARRIER of move m1, epoch 2, waits for the snapshot of space shop", l.String()
	})
	if got := query(t, w.sites["unit-a"].db, "SELECT COUNT(*) FROM atoll.token") + query(t, w.sites["unit-b"].db, "SELECT GROUP_CONCAT(kind) FROM atoll.token"); got != "0BARRIER" {
		t.Errorf("tokens: %s", got)
	}
	w.publish(func(*space.Snapshot) {})
	m.barrier()
}

// TestJoin adds a table: the origin writes it before this plane has heard of it.
func TestJoin(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock, "CREATE TABLE late (id INT PRIMARY KEY, buyer VARCHAR(20) NOT NULL)")
	w.startAll()
	a, k := w.sites["unit-a"], w.keys("unit-a", 1)[0]
	w.order("unit-a", k, 1)
	w.same(allOrders, "unit-a", "unit-b")
	w.publish(func(s *space.Snapshot) {
		d := *s.Databases[0]
		d.Spec.Tables = append(slices.Clone(d.Spec.Tables), space.Table{Name: "late", Kind: space.TableUnit, Key: "buyer"})
		s.Databases = []*space.Database{&d}
	}, "unit-a")
	run(t, a.db, fmt.Sprintf("INSERT INTO atoll.token VALUES ('shop','',%d,'JOIN','unit-a',UTC_TIMESTAMP(6))", w.snap.Epoch), "INSERT INTO late VALUES (1,'"+k+"')")
	w.order("unit-a", k, 2)
	eventually(t, "the lane waits for the snapshot", func() (bool, string) {
		l := w.lane("unit-a", "unit-b")
		return l.State == "waiting" && l.Reason == "the origin has joined space shop at epoch 2, whose snapshot is not here yet", l.String()
	})
	w.publish(func(*space.Snapshot) {})
	w.same("SELECT * FROM late", "unit-a", "unit-b")
	w.same(allOrders, "unit-a", "unit-b")
}
