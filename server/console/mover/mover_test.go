package mover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/space"
)

func TestMove_ThereAndBack(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		before := b.snapshot()
		b.set(func() { b.figures["drained"] = map[string]int64{"tx_killed": 2} })
		b.set(func() { b.figures["settled"] = map[string]int64{"rows_compared": 70} })
		id := b.start(nil).GetId()
		s := b.awaitEnd(id)
		if s.Phase != move.Done || s.Reason != "" {
			t.Fatalf("ended %s: %s", s.Phase, s.Reason)
		}
		if s.Pause() <= 0 || s.Pause() > 300*time.Millisecond {
			t.Errorf("keys were held for %v, with %v to a console and back", s.Pause(), 2*b.oneWay)
		}
		after := b.snapshot()
		if got := owned(after.Document, "unit-b"); got != "[{3000 10000}] []" {
			t.Errorf("unit-b owns %s", got)
		}
		if after.Epoch != before.Epoch+4 || s.Epoch != after.Epoch || after.Document.Spec.Version != "2" {
			t.Errorf("epoch %d after %d, of the move %d, version %s", after.Epoch, before.Epoch, s.Epoch, after.Document.Spec.Version)
		}
		if m := after.Moves[0]; len(after.Moves) != 1 || m.Hold || m.Fenced || m.Outcome != space.OutcomeSwitched || m.FenceEpoch != s.FenceEpoch {
			t.Errorf("transfer in the snapshot: %+v", after.Moves)
		}
		b.checkAnswer(id, before, after)
		b.checkNothingLeft()

		back := b.start(func(r *atollv1.MoveRequest) { r.From, r.To, r.Percent, r.Buckets = "unit-b", "unit-a", 0, "3000-5999" })
		if s := b.awaitEnd(back.GetId()); s.Phase != move.Done {
			t.Fatalf("the way back ended %s: %s", s.Phase, s.Reason)
		}
		restored := b.snapshot().Document
		restored.Spec.Version = before.Document.Spec.Version
		if same, err := publish.SameDocument(before.Document, restored); !same || err != nil {
			t.Errorf("the way back does not restore the document: %v", err)
		}
	})
}

// TestMove_OverEtcd runs in real time, on a real store.
func TestMove_OverEtcd(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	etcd, err := store.OpenEtcd(ctx, store.EtcdConfig{Name: "c1", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	onStore(t, etcd, space.Settings{}, func(b *bed) {
		s := b.awaitEnd(b.start(nil).GetId())
		if s.Phase != move.Done {
			t.Fatalf("ended %s: %s", s.Phase, s.Reason)
		}
		t.Logf("pause %v, phases %v", s.Pause(), s.Phases)
		b.checkNothingLeft()
	})
}

func (b *bed) checkAnswer(id string, before, after *space.Snapshot) {
	b.t.Helper()
	answer, err := b.moves().Status(b.ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: id}))
	if err != nil {
		b.t.Fatal(err)
	}
	m := answer.Msg.GetMove()
	if m.GetState() != "done" || m.GetBuckets() != "3000-5999" || m.GetEpochBefore() != before.Epoch || m.GetEpochAfter() != after.Epoch {
		b.t.Errorf("answer %v", m)
	}
	if m.GetFigures()["tx_killed"] != 4 || m.GetFigures()["rows_compared"] != 70 {
		b.t.Errorf("figures %v", m.GetFigures())
	}
	if m.GetBarriers()["unit-a>unit-b"] != "gtid unit-b" || m.GetFenceEffectiveAt() == "" || len(m.GetPhases()) != 7 {
		b.t.Errorf("barriers %v, effective %s, phases %v", m.GetBarriers(), m.GetFenceEffectiveAt(), m.GetPhases())
	}
	entries, err := audit.List(b.ctx, b.store, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	var actions []string
	for _, e := range entries {
		if e.Object == id {
			actions = append(actions, e.Action+" by "+e.By)
		}
	}
	slices.Reverse(actions)
	want := "move.start by unknown, move.hold by unknown, move.fence by unknown, move.switch by unknown, move.release by unknown, move by c1"
	if got := strings.Join(actions, ", "); got != want {
		b.t.Errorf("audit log: %s", got)
	}
	past, err := publish.History(b.ctx, b.store, space.KindSpace, "shop", 0)
	if err != nil || len(past) != 2 || past[0].Action != "changed by move.switch" {
		b.t.Errorf("history of the document: %v, %v", past, err)
	}
}

// checkNothingLeft looks for what must be gone once a move is over.
func (b *bed) checkNothingLeft() {
	b.t.Helper()
	keys, err := b.store.Keys(b.ctx, store.MovePrefix)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, it := range keys.Items {
		if k, ok := parseMoveKey(it.Key); !ok || k.what != "id" {
			b.t.Errorf("left in the store: %s", it.Key)
		}
	}
	for name, p := range b.planes {
		if asks := b.reached().mover.Asks(&atollv1.Plane{Name: name, Kind: p.kind, Unit: p.unit}); len(asks) > 0 {
			b.t.Errorf("%s is still asked %v", name, asks)
		}
	}
}

func TestStart_Refuses(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		for _, c := range []struct {
			words  string
			change func(*atollv1.MoveRequest)
		}{
			{`no space "shoe"`, func(r *atollv1.MoveRequest) { r.Space = "shoe" }},
			{`no unit "unit-x"`, func(r *atollv1.MoveRequest) { r.To = "unit-x" }},
			{`both "unit-a"`, func(r *atollv1.MoveRequest) { r.To = "unit-a" }},
			{"say the unit", func(r *atollv1.MoveRequest) { r.From = "" }},
			{"not built yet", func(r *atollv1.MoveRequest) { r.Force = true }},
			{`no check "luck"`, func(r *atollv1.MoveRequest) { r.Override = []string{"luck"} }},
			{"does not own buckets 6000-6001", func(r *atollv1.MoveRequest) { r.Percent, r.Buckets = 0, "5000-6001" }},
			{"is no bucket", func(r *atollv1.MoveRequest) { r.Percent, r.Buckets = 0, "some" }},
			{"say one of percent", func(r *atollv1.MoveRequest) { r.All = true }},
			{"owns 6000 buckets", func(r *atollv1.MoveRequest) { r.Percent = 61 }},
			{"does not own key", func(r *atollv1.MoveRequest) {
				r.From, r.To, r.Percent, r.Keys = "unit-b", "unit-a", 0, []string{"vip"}
			}},
			{"has no rule", func(r *atollv1.MoveRequest) { r.Rule = "7" }},
		} {
			_, err := b.moves().Start(b.ctx, request(c.change))
			b.mustFail(err, connect.CodeInvalidArgument, c.words)
			_, err = b.moves().Plan(b.ctx, request(c.change))
			b.mustFail(err, connect.CodeInvalidArgument, c.words)
		}
		if keys, err := b.store.Keys(b.ctx, store.MovePrefix); err != nil || len(keys.Items) > 0 {
			t.Errorf("something was written: %v, %v", keys, err)
		}
	})
}

func TestStart_OneMoveOfASpaceAtATime(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.deaf["passed"] = true })
		first := b.start(nil)
		b.awaitPhase(first.GetId(), move.Barrier)
		_, err := b.moves().Start(b.ctx, request(nil))
		b.mustFail(err, connect.CodeAborted, first.GetId())
		b.set(func() { delete(b.deaf, "passed") })
		if s := b.awaitEnd(first.GetId()); s.Phase != move.Done {
			t.Fatalf("the first ended %s: %s", s.Phase, s.Reason)
		}
		b.start(func(r *atollv1.MoveRequest) { r.Percent = 10 })
	})
}

func TestPlan_SaysWhatWouldMove(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.lag["unit-a>unit-b"] = 2500 })
		pause.For(b.ctx, 3*time.Second)
		before := b.snapshot().Epoch
		answer, err := b.moves().Plan(b.ctx, request(nil))
		if err != nil {
			t.Fatal(err)
		}
		m := answer.Msg.GetMove()
		if m.GetState() != "planned" || m.GetBuckets() != "3000-5999" || m.GetFigures()["buckets_moving"] != 3000 || m.GetFigures()["buckets_all"] != 10000 {
			t.Errorf("plan %v", m)
		}
		for _, c := range m.GetChecks() {
			if want := c.GetName() != laneLag; c.GetOk() != want {
				t.Errorf("check %v", c)
			}
		}
		if b.snapshot().Epoch != before {
			t.Error("a plan published something")
		}
	})
}

func TestCheck_FailsOrIsPassedOver(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.lag["unit-b>unit-a"] = 9000 })
		s := b.awaitEnd(b.start(nil).GetId())
		if s.Phase != move.Failed || s.Reason != "checks not passed: lane-lag: unit-b>unit-a: 9000 ms behind, at most 2000" {
			t.Errorf("ended %s: %s", s.Phase, s.Reason)
		}
		if b.snapshot().Epoch != s.EpochBefore || len(b.snapshot().Moves) > 0 {
			t.Error("a move that failed its checks published something")
		}
		b.checkNothingLeft()
		id := b.start(func(r *atollv1.MoveRequest) { r.Override = []string{laneLag} }).GetId()
		if s := b.awaitEnd(id); s.Phase != move.Done {
			t.Fatalf("ended %s: %s", s.Phase, s.Reason)
		}
		entries, err := audit.List(b.ctx, b.store, 0)
		if err != nil || !slices.ContainsFunc(entries, func(e audit.Entry) bool {
			return e.Object == id && strings.Contains(e.Detail, "check lane-lag overridden: unit-b>unit-a: 9000 ms behind")
		}) {
			t.Errorf("the override is not in the audit log: %v, %v", entries, err)
		}
	})
}

// TestChecks_EachFailsForItsReason breaks one thing at a time and asks a plan.
func TestChecks_EachFailsForItsReason(t *testing.T) {
	lane := func(change func(*atollv1.LaneReport)) func(*bed) {
		return func(b *bed) {
			b.set(func() {
				b.laneIs = func(r *atollv1.LaneReport) {
					if r.GetName() == "unit-a>unit-b" {
						change(r)
					}
				}
			})
		}
	}
	for _, c := range []struct {
		check, words string
		breaks       func(*bed)
	}{
		{planesDeclared, "not registered: dbsync of unit-b", func(b *bed) { b.gone("dbsync@unit-b") }},
		{planesConnected, "gateway@unit-a: silent for ", func(b *bed) { b.stop("gateway@unit-a") }},
		{planesAtEpoch, "dbproxy@unit-a: epoch 1, not yet 2", func(b *bed) {
			b.stop("dbproxy@unit-a")
			b.publish(func(s *space.Snapshot) { s.Settings.HoldMax++ })
		}},
		{lanesRunning, "unit-a>unit-b: stopped: no binlog", lane(func(r *atollv1.LaneReport) { r.State, r.Reason = "stopped", "no binlog" })},
		{lanesRunning, "unit-a>unit-b: nobody reports it", lane(func(r *atollv1.LaneReport) { r.Name = "other" })},
		{laneLag, "unit-a>unit-b: 2001 ms behind", lane(func(r *atollv1.LaneReport) { r.LagMs = 2001 })},
		{nothingParked, "unit-a>unit-b: 3 rows parked", lane(func(r *atollv1.LaneReport) { r.Parked = 3 })},
		{targetAccess, "unit unit-b has access mode READ_ONLY", func(b *bed) {
			b.publish(func(s *space.Snapshot) { s.Document.Spec.Units[1].AccessMode = space.ReadOnly })
		}},
		{dataAtBoth, "database shop has no source in unit-b", func(b *bed) {
			b.publish(func(s *space.Snapshot) { s.Databases[0].Spec.Sources = s.Databases[0].Spec.Sources[:1] })
		}},
		{endedMoves, "64 moves have tokens", func(b *bed) {
			b.publish(func(s *space.Snapshot) {
				for i := range transfersMax {
					s.Moves = append(s.Moves, &space.Transfer{ID: fmt.Sprint(i), Rule: "1003", FenceEpoch: 1, Outcome: space.OutcomeAborted})
				}
			})
		}},
		{noActiveMove, "is under way", func(b *bed) {
			b.set(func() { b.deaf["passed"] = true })
			b.awaitPhase(b.start(nil).GetId(), move.Barrier)
		}},
	} {
		t.Run(c.check, func(t *testing.T) {
			inBed(t, space.Settings{}, func(b *bed) {
				pause.For(b.ctx, time.Second)
				b.set(func() {})
				c.breaks(b)
				pause.For(b.ctx, 4*time.Second)
				answer, err := b.moves().Plan(b.ctx, request(nil))
				if err != nil {
					t.Fatal(err)
				}
				for _, got := range answer.Msg.GetMove().GetChecks() {
					if got.GetName() == c.check && (got.GetOk() || !strings.Contains(got.GetDetail(), c.words)) {
						t.Errorf("%v, want %q", got, c.words)
					}
				}
			})
		})
	}
}

// TestChecks_WaitForLanesBehindAnEarlierMove: a key that a move puts on a list
// leaves the set of its bucket, by which lanes judge what the earlier move has
// sent on its way.
func TestChecks_WaitForLanesBehindAnEarlierMove(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		pause.For(b.ctx, time.Second)
		b.publish(func(s *space.Snapshot) {
			s.Moves = append(s.Moves, &space.Transfer{ID: "earlier", Rule: "1003", From: "unit-b", To: "unit-a", FenceEpoch: 1,
				Outcome: space.OutcomeSwitched, Keys: space.KeySet{Buckets: []space.Range{{From: 0, To: 6000}}}})
		})
		table, err := route.Compile(b.snapshot().Document)
		if err != nil {
			t.Fatal(err)
		}
		key := "k0"
		for i := 1; table.DecideKey("1003", key).Reason != route.ByRange || table.DecideKey("1003", key).Unit != "unit-a"; i++ {
			key = fmt.Sprintf("k%d", i)
		}
		for want, change := range map[string]func(*atollv1.MoveRequest){
			"a lane has not passed the tokens of move earlier": func(r *atollv1.MoveRequest) { r.Percent, r.Keys = 0, []string{key} },
			"": func(r *atollv1.MoveRequest) {}, // buckets leave every list as it is
		} {
			answer, err := b.moves().Plan(b.ctx, request(change))
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range answer.Msg.GetMove().GetChecks() {
				if got.GetName() == endedMoves && (got.GetOk() != (want == "") || !strings.HasPrefix(got.GetDetail(), want)) {
					t.Errorf("%v, want %q", got, want)
				}
			}
		}
	})
}

// gone takes a plane out of the registry.
func (b *bed) gone(name string) {
	b.stop(name)
	if _, err := b.store.Commit(b.ctx, store.Txn{Then: []store.Op{store.Delete(store.PlaneKey(name))}}); err != nil {
		b.t.Fatal(err)
	}
}

// TestStop_EndsStreams: a console that stops does not keep those who follow.
func TestStop_EndsStreams(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.deaf["opened"] = true })
		id := b.start(nil).GetId()
		b.awaitPhase(id, move.Release)
		ended := make(chan error, 1)
		first := b.reached()
		go func() {
			ended <- first.mover.stream(context.Background(), id, func(*atollv1.MoveResponse) error { return nil })
		}()
		pause.For(b.ctx, time.Second)
		first.stop()
		b.mustFail(<-ended, connect.CodeUnavailable, "stopping")
	})
}

func TestMove_SilentProxyAbortsAndIsNamed(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.deaf["quiet"] = true })
		id := b.start(nil).GetId()
		b.awaitPhase(id, move.Hold)
		b.stop("dbproxy@unit-b")
		s := b.awaitEnd(id)
		if s.Phase != move.Aborted || !strings.HasPrefix(s.Reason, "FENCE deadline: dbproxy@unit-b: drained") {
			t.Errorf("ended %s: %s", s.Phase, s.Reason)
		}
		if got := owned(b.snapshot().Document, "unit-a"); got != "[{0 6000}] [vip]" {
			t.Errorf("unit-a owns %s", got)
		}
		if m := b.snapshot().Moves[0]; m.Hold || m.Fenced || m.Outcome != space.OutcomeAborted || m.FenceEpoch != s.FenceEpoch {
			t.Errorf("transfer %+v", m)
		}
		fence := s.Phases[2]
		if want := int64(1900); fence.Name != move.Fence || fence.MS < want || fence.MS > want+10 {
			t.Errorf("fence deadline after %+v", fence)
		}
		b.checkNothingLeft()
	})
}

func TestMove_StalledLaneAbortsAndTheSecondAttemptHasTokensOfItsOwn(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.deaf["lane unit-a>unit-b"] = true })
		first := b.awaitEnd(b.start(nil).GetId())
		if first.Phase != move.Aborted || !strings.Contains(first.Reason, "dbsync@unit-b: passed unit-a>unit-b") {
			t.Fatalf("ended %s: %s", first.Phase, first.Reason)
		}
		// The first attempt's token comes out now: it must not serve the second.
		b.set(func() { b.tokens[fmt.Sprintf("unit-a>unit-b/%s/%d", first.ID, first.FenceEpoch)] = true })
		second := b.start(nil).GetId()
		b.awaitPhase(second, move.Barrier)
		pause.For(b.ctx, time.Second)
		if s := b.awaitPhase(second, move.Barrier); s.Phase != move.Barrier {
			t.Fatalf("the old token let the move into %s", s.Phase)
		}
		s := b.await(second, "its own token", func(s move.State) bool { return s.Phase == move.Barrier })
		b.set(func() { b.tokens[fmt.Sprintf("unit-a>unit-b/%s/%d", second, s.FenceEpoch)] = true })
		if s := b.awaitEnd(second); s.Phase != move.Done {
			t.Fatalf("ended %s: %s", s.Phase, s.Reason)
		}
	})
}

// TestAbort_InEachPhase holds a move in each phase by planes that do not
// answer its joint, and aborts it there.
func TestAbort_InEachPhase(t *testing.T) {
	for _, c := range []struct {
		phase move.Phase
		deaf  string
	}{
		{move.Hold, "quiet"}, {move.Fence, "drained"}, {move.Barrier, "passed"}, {move.Release, "opened"}, {move.Settle, "settled"},
	} {
		t.Run(string(c.phase), func(t *testing.T) {
			inBed(t, space.Settings{}, func(b *bed) {
				b.set(func() { b.deaf[c.deaf] = true })
				id := b.start(nil).GetId()
				b.awaitPhase(id, c.phase)
				answer, err := b.moves().Abort(b.ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: id}))
				if c.phase.Committed() {
					b.mustFail(err, connect.CodeAborted, "has switched: it only goes on")
					b.set(func() { delete(b.deaf, c.deaf) })
					if s := b.awaitEnd(id); s.Phase != move.Done {
						t.Errorf("ended %s: %s", s.Phase, s.Reason)
					}
					return
				}
				if err != nil || answer.Msg.GetMove().GetState() != "aborted" || answer.Msg.GetMove().GetReason() != "aborted by unknown" {
					t.Fatalf("%v, %v", answer, err)
				}
				again, err := b.moves().Abort(b.ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: id}))
				if err != nil || again.Msg.GetMove().GetState() != "aborted" {
					t.Errorf("aborted again: %v, %v", again, err)
				}
				if got := owned(b.snapshot().Document, "unit-a"); got != "[{0 6000}] [vip]" {
					t.Errorf("unit-a owns %s", got)
				}
				b.checkNothingLeft()
			})
		})
	}
}

// TestTakeOver_InEachPhase kills the console in each phase. The next one goes
// on from what is persisted, and the killed one, let in to the store again,
// changes nothing.
func TestTakeOver_InEachPhase(t *testing.T) {
	for _, c := range []struct {
		phase move.Phase
		deaf  string
	}{
		{move.Check, "lag"}, {move.Hold, "quiet"}, {move.Fence, "drained"}, {move.Barrier, "passed"},
		{move.Switch, "switched"}, {move.Release, "opened"}, {move.Settle, "settled"},
	} {
		t.Run(string(c.phase), func(t *testing.T) {
			inBed(t, space.Settings{}, func(b *bed) {
				b.stay(c.deaf)
				id := b.start(nil).GetId()
				b.await(id, "driven in "+string(c.phase), func(s move.State) bool { return s.Phase == c.phase && s.Leader != "" })
				zombie := b.kill()
				b.go_(c.deaf)
				s := b.awaitEnd(id)
				if s.Phase != move.Done || s.TakenN != 1 {
					t.Errorf("ended %s after %d take-overs: %s", s.Phase, s.TakenN, s.Reason)
				}
				epoch := b.snapshot().Epoch
				zombie.gate.shut(false)
				pause.For(b.ctx, 30*time.Second)
				if now := b.snapshot().Epoch; now != epoch {
					t.Errorf("the killed console published epoch %d after %d", now, epoch)
				}
				if again := b.awaitEnd(id); again.Phase != s.Phase {
					t.Errorf("the killed console made %s of %s", again.Phase, s.Phase)
				}
			})
		})
	}
}

// stay makes the planes keep a move in a phase, go_ lets it go on.
func (b *bed) stay(why string) {
	switch why {
	case "lag":
		b.set(func() { b.lag["unit-a>unit-b"] = 9000 })
		pause.For(b.ctx, 2*time.Second)
	case "switched":
		b.set(func() { b.late["dbproxy@unit-a"] = true })
	default:
		b.set(func() { b.deaf[why] = true })
	}
}

func (b *bed) go_(why string) {
	b.set(func() {
		delete(b.deaf, why)
		delete(b.lag, "unit-a>unit-b")
		delete(b.late, "dbproxy@unit-a")
	})
}

// TestTakeOver_LateAborts lets the deadline pass while nobody leads.
func TestTakeOver_LateAborts(t *testing.T) {
	for _, c := range []struct {
		phase move.Phase
		deaf  string
	}{{move.Hold, "quiet"}, {move.Fence, "drained"}, {move.Barrier, "passed"}} {
		t.Run(string(c.phase), func(t *testing.T) {
			inBed(t, space.Settings{}, func(b *bed) {
				b.stay(c.deaf)
				id := b.start(nil).GetId()
				b.awaitPhase(id, c.phase)
				b.reached().gate.shut(true)
				b.go_(c.deaf) // every answer is there, and nobody hears it
				pause.For(b.ctx, 10*time.Second)
				zombie := b.kill()
				if s := b.awaitEnd(id); s.Phase != move.Aborted {
					t.Errorf("ended %s: %s", s.Phase, s.Reason)
				}
				zombie.gate.shut(false)
				pause.For(b.ctx, 20*time.Second)
				if got := owned(b.snapshot().Document, "unit-a"); got != "[{0 6000}] [vip]" {
					t.Errorf("unit-a owns %s", got)
				}
			})
		})
	}
}

// TestZombie_DecidesNothing pauses a mover that has every answer to switch,
// right before it writes. Another aborts meanwhile.
func TestZombie_DecidesNothing(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		paused, resume := make(chan struct{}), make(chan struct{})
		first := b.reached()
		first.gate.hook(func(txn store.Txn) {
			if len(txn.Then) > 0 && strings.HasPrefix(txn.Then[0].Key, store.DocPrefix) { // only SWITCH writes the document
				first.gate.hook(nil, nil)
				close(paused)
				<-resume
			}
		}, nil)
		id := b.start(nil).GetId()
		<-paused
		b.use(b.newConsole("c1"))
		if _, err := b.moves().Abort(b.ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: id})); err != nil {
			t.Fatal(err)
		}
		epoch := b.snapshot().Epoch
		close(resume)
		pause.For(b.ctx, 20*time.Second)
		if s := b.awaitEnd(id); s.Phase != move.Aborted || b.snapshot().Epoch != epoch {
			t.Errorf("the paused mover made %s of it, epoch %d after %d", s.Phase, b.snapshot().Epoch, epoch)
		}
	})
}

// TestWrites_ConflictsAndUnknownOutcomes lets each write of a move fail once:
// forestalled by another writer of the snapshot, refused, or done without an
// answer. The move ends done all the same.
func TestWrites_ConflictsAndUnknownOutcomes(t *testing.T) {
	for _, how := range []string{"forestalled", "refused", "unanswered"} {
		t.Run(how, func(t *testing.T) {
			inBed(t, space.Settings{}, func(b *bed) {
				var mu sync.Mutex
				seen, n := map[string]bool{}, 0
				fresh := func(txn store.Txn) bool {
					key := fmt.Sprint(len(txn.If), len(txn.Then), b.phase())
					ofMove := slices.ContainsFunc(txn.Then, func(op store.Op) bool { return strings.HasPrefix(op.Key, idPrefix("shop")) })
					mu.Lock()
					defer mu.Unlock()
					if !ofMove || seen[key] {
						return false
					}
					seen[key] = true
					n++
					return true
				}
				g := b.reached().gate
				id := b.start(nil).GetId()
				switch how {
				case "forestalled":
					g.hook(func(txn store.Txn) {
						if fresh(txn) {
							b.publish(func(s *space.Snapshot) { s.Settings.HoldMax += time.Second })
						}
					}, nil)
				case "refused":
					g.hook(func(txn store.Txn) {
						if fresh(txn) {
							g.shut(true)
							time.AfterFunc(50*time.Millisecond, func() { g.shut(false) })
						}
					}, nil)
				case "unanswered":
					g.hook(nil, func(txn store.Txn) error {
						if fresh(txn) {
							return store.ErrUnavailable
						}
						return nil
					})
				}
				s := b.awaitEnd(id)
				mu.Lock()
				defer mu.Unlock()
				if s.Phase != move.Done || n < 5 {
					t.Errorf("ended %s after %d failures: %s", s.Phase, n, s.Reason)
				}
				b.checkNothingLeft()
			})
		})
	}
}

func (b *bed) phase() move.Phase {
	for _, s := range b.reached().mover.active() {
		return s.Phase
	}
	return ""
}

// TestSwitch_ThatCannotBeMadeAborts: somebody has given a moving bucket away
// behind the mover's back.
func TestSwitch_ThatCannotBeMadeAborts(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.deaf["passed"] = true })
		id := b.start(nil).GetId()
		b.awaitPhase(id, move.Barrier)
		b.publish(func(s *space.Snapshot) {
			units := s.Document.Spec.UnitRules[0].Units
			units[0].Ranges[0].To, units[1].Ranges[0].From = 5999, 5999
		})
		b.set(func() { delete(b.deaf, "passed") })
		s := b.awaitEnd(id)
		if s.Phase != move.Aborted || !strings.Contains(s.Reason, `unit "unit-a" does not own buckets 5999`) {
			t.Errorf("ended %s: %s", s.Phase, s.Reason)
		}
	})
}

// TestStoreAway_AbortsAtTheDeadline: without a store nothing is decided; when
// it is back the deadline counts.
func TestStoreAway_AbortsAtTheDeadline(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.deaf["passed"] = true })
		id := b.start(nil).GetId()
		b.awaitPhase(id, move.Barrier)
		b.memory.SetDown(true)
		b.set(func() { delete(b.deaf, "passed") })
		pause.For(b.ctx, 6*time.Second)
		b.memory.SetDown(false)
		if s := b.awaitEnd(id); s.Phase != move.Aborted {
			t.Errorf("ended %s: %s", s.Phase, s.Reason)
		}
	})
}

func TestSilentProxyBehindSwitch(t *testing.T) {
	die := func(b *bed) string {
		b.set(func() { b.late["dbproxy@unit-a"] = true })
		id := b.start(nil).GetId()
		b.awaitPhase(id, move.Switch)
		b.stop("dbproxy@unit-a")
		return id
	}
	t.Run("with ttl", func(t *testing.T) {
		inBed(t, space.Settings{FenceTTL: 5 * time.Second}, func(b *bed) {
			id := die(b)
			since := time.Now()
			s := b.awaitEnd(id)
			if took := time.Since(since); s.Phase != move.Done || took < 6100*time.Millisecond || took > 9*time.Second {
				t.Errorf("%s after %v", s.Phase, took)
			}
		})
	})
	t.Run("ttl off", func(t *testing.T) {
		inBed(t, space.Settings{}, func(b *bed) {
			id := die(b)
			b.await(id, "stuck", func(s move.State) bool { return s.Stuck })
			pause.For(b.ctx, time.Minute)
			answer, err := b.moves().Status(b.ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: id}))
			if err != nil {
				t.Fatal(err)
			}
			m := answer.Msg.GetMove()
			if m.GetState() != "stuck" || m.GetPhase() != "SWITCH" || len(m.GetWaitingFor()) != 1 || !strings.Contains(m.GetWaitingFor()[0], "dbproxy@unit-a: switched (at epoch 3, not yet 4, silent for 1m") {
				t.Errorf("%s in %s waits for %q", m.GetState(), m.GetPhase(), m.GetWaitingFor())
			}
			if _, err := b.reached().planes.Forget(b.ctx, connect.NewRequest(&atollv1.ForgetRequest{Name: "dbproxy@unit-a"})); err != nil {
				t.Fatal(err)
			}
			if s := b.awaitEnd(id); s.Phase != move.Done {
				t.Errorf("ended %s: %s", s.Phase, s.Reason)
			}
		})
	})
	t.Run("restart", func(t *testing.T) {
		inBed(t, space.Settings{}, func(b *bed) {
			id := die(b)
			b.await(id, "stuck", func(s move.State) bool { return s.Stuck })
			b.set(func() { delete(b.late, "dbproxy@unit-a") })
			b.startPlane("dbproxy@unit-a")
			if s := b.awaitEnd(id); s.Phase != move.Done {
				t.Errorf("ended %s: %s", s.Phase, s.Reason)
			}
		})
	})
	t.Run("gateway", func(t *testing.T) {
		inBed(t, space.Settings{}, func(b *bed) {
			b.set(func() { b.deaf["opened"] = true })
			id := b.start(nil).GetId()
			b.awaitPhase(id, move.Release)
			b.stop("gateway@unit-b")
			b.set(func() { delete(b.deaf, "opened") })
			since := time.Now()
			s := b.awaitEnd(id)
			if took := time.Since(since); s.Phase != move.Done || took < 9*time.Second || took > 12*time.Second {
				t.Errorf("%s after %v", s.Phase, took)
			}
		})
	})
}

// TestPlane_RestartsInTheFence: its former life's answer does not count.
func TestPlane_RestartsInTheFence(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		b.set(func() { b.deaf["drained dbproxy@unit-b"] = true })
		id := b.start(nil).GetId()
		b.awaitPhase(id, move.Fence)
		mover := b.reached().mover
		for !answered(mover, id, "dbproxy@unit-a", "1") {
			pause.For(b.ctx, time.Millisecond)
		}
		b.set(func() { b.deaf["drained dbproxy@unit-a"] = true })
		b.stop("dbproxy@unit-a")
		b.startPlane("dbproxy@unit-a")
		for !known2(mover, id, "dbproxy@unit-a") {
			pause.For(b.ctx, time.Millisecond)
		}
		b.set(func() { delete(b.deaf, "drained dbproxy@unit-b") })
		pause.For(b.ctx, 500*time.Millisecond)
		b.awaitPhase(id, move.Fence)
		b.set(func() { delete(b.deaf, "drained dbproxy@unit-a") })
		if s := b.awaitEnd(id); s.Phase != move.Done {
			t.Errorf("ended %s: %s", s.Phase, s.Reason)
		}
	})
}

func answered(m *Mover, id, plane, incarnation string) bool {
	s, _ := m.see(id)
	p := s.Planes[plane]
	return p.Incarnation == incarnation && len(p.Answers) > 0
}

func known2(m *Mover, id, plane string) bool {
	s, _ := m.see(id)
	return s.Planes[plane].Incarnation == "2"
}

func TestFollow_StreamsToTheEnd(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		id := b.start(nil).GetId()
		stream, err := b.moves().Follow(b.ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: id}))
		if err != nil {
			t.Fatal(err)
		}
		var phases []string
		var last *atollv1.Move
		for stream.Receive() {
			last = stream.Msg().GetMove()
			if n := len(phases); n == 0 || phases[n-1] != last.GetPhase() {
				phases = append(phases, last.GetPhase())
			}
		}
		if stream.Err() != nil || last.GetState() != "done" {
			t.Errorf("ended with %v, %v", last, stream.Err())
		}
		if got := strings.Join(phases, " "); got != "CHECK HOLD FENCE BARRIER SWITCH RELEASE SETTLE" {
			t.Errorf("phases %s", got)
		}
		_ = stream.Close()
		stream, err = b.moves().Follow(b.ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: "m0"}))
		if err == nil {
			stream.Receive()
			err = stream.Err()
			_ = stream.Close()
		}
		b.mustFail(err, connect.CodeNotFound, `no move "m0"`)
	})
}

// TestSnapshot_KeepsTransfersUntilLanesPassed makes many moves there and back.
func TestSnapshot_KeepsTransfersUntilLanesPassed(t *testing.T) {
	inBed(t, space.Settings{}, func(b *bed) {
		move1 := func(n int, percent int32) {
			r := func(r *atollv1.MoveRequest) { r.Percent = percent }
			if n%2 == 1 {
				r = func(r *atollv1.MoveRequest) {
					r.From, r.To, r.Percent, r.Buckets = "unit-b", "unit-a", 0, "5900-5999"
				}
			}
			if s := b.awaitEnd(b.start(r).GetId()); s.Phase != move.Done {
				t.Fatalf("move %d ended %s: %s", n, s.Phase, s.Reason)
			}
		}
		for n := range 12 {
			move1(n, 1)
		}
		if got := len(b.snapshot().Moves); got != transfersKept {
			t.Errorf("%d transfers are in the snapshot, want %d", got, transfersKept)
		}
		// A lane that has lost its tokens does not let go of any.
		b.set(func() { clear(b.tokens) })
		pause.For(b.ctx, 2*time.Second)
		move1(12, 1)
		if got := len(b.snapshot().Moves); got != transfersKept+1 {
			t.Errorf("%d transfers are in the snapshot, want %d", got, transfersKept+1)
		}
		list, err := b.moves().List(b.ctx, connect.NewRequest(&atollv1.ListMovesRequest{Space: "shop", Limit: 5}))
		if err != nil || len(list.Msg.GetMoves()) != 5 {
			t.Fatalf("%v, %v", list, err)
		}
		all, err := b.moves().List(context.Background(), connect.NewRequest(&atollv1.ListMovesRequest{}))
		if err != nil || len(all.Msg.GetMoves()) != 13 || all.Msg.GetMoves()[0].GetId() != list.Msg.GetMoves()[0].GetId() {
			t.Errorf("%d moves, %v", len(all.Msg.GetMoves()), err)
		}
	})
}
