package move

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/space"
)

var seedFlag = flag.Int64("seed", 0, "run the model with this seed only and print what happens")

// actions are what can happen, with how often it does at most. Each world
// draws its own share of each, so that some are seldom where others are not.
var actions = []struct {
	often int
	do    func(w *world, m *modelMover, p *proxy, l *lanes)
}{
	{20, func(w *world, _ *modelMover, p *proxy, _ *lanes) { w.install(p); w.grant(p) }},
	{6, func(w *world, _ *modelMover, p *proxy, _ *lanes) { w.keep(p) }},
	{20, func(w *world, _ *modelMover, p *proxy, _ *lanes) { w.admit(p) }},
	{10, func(w *world, _ *modelMover, p *proxy, _ *lanes) { w.commitOne(p) }},
	{5, func(w *world, _ *modelMover, p *proxy, _ *lanes) {
		if p.view.fenced {
			p.open = nil // the proxy ends what is still open
		}
	}},
	{20, func(w *world, _ *modelMover, p *proxy, _ *lanes) { w.reportProxy(p) }},
	{20, func(w *world, _ *modelMover, _ *proxy, l *lanes) { w.ask(l); w.reportLanes(l) }},
	{15, func(w *world, _ *modelMover, _ *proxy, l *lanes) { w.carry(l) }},
	{40, func(w *world, m *modelMover, _ *proxy, _ *lanes) { w.deliver(m) }},
	{15, func(w *world, m *modelMover, _ *proxy, _ *lanes) { w.readRegistry(m) }},
	{8, func(w *world, m *modelMover, _ *proxy, _ *lanes) {
		w.now = w.now.Add(time.Duration(w.r.Intn(200)) * time.Millisecond)
		w.feed(m, Tick{At: w.now})
	}},
	{20, func(w *world, m *modelMover, p *proxy, _ *lanes) { // a proxy answers without delay
		w.install(p)
		w.grant(p)
		w.readRegistry(m)
		w.reportProxy(p)
		w.deliverAt(m, len(w.wire)-1)
	}},
	{20, func(w *world, m *modelMover, _ *proxy, l *lanes) { // lanes too
		w.ask(l)
		w.reportLanes(l)
		w.deliverAt(m, len(w.wire)-1)
	}},
	{2, func(w *world, _ *modelMover, p *proxy, _ *lanes) { w.crash(p) }},
	{4, func(w *world, _ *modelMover, p *proxy, _ *lanes) {
		if !p.up {
			w.restart(p)
		}
	}},
	{4, func(w *world, _ *modelMover, p *proxy, _ *lanes) {
		if p.up && !p.known {
			w.register(p)
		}
	}},
	{2, func(w *world, _ *modelMover, p *proxy, _ *lanes) { w.lapse(p) }},
	{2, func(w *world, m *modelMover, p *proxy, _ *lanes) { w.tellLapsed(m, p) }},
	{1, func(w *world, _ *modelMover, _ *proxy, _ *lanes) { w.elect() }},
	{1, func(w *world, m *modelMover, _ *proxy, _ *lanes) { w.feed(m, Abort{At: w.now, By: "ann"}) }},
	{3, func(w *world, _ *modelMover, _ *proxy, _ *lanes) {
		if w.store.state.Phase.Over() && len(w.moves) < 3 {
			w.moves = append(w.moves, w.store.state)
			w.begin()
		}
	}},
}

// shares draws the world's own share of each action.
func (w *world) shares() []int {
	var drawn []int
	for i, a := range actions {
		for range w.r.Intn(a.often + 1) {
			drawn = append(drawn, i)
		}
	}
	return drawn
}

// act lets one thing happen.
func (w *world) act(drawn []int) {
	m := w.movers[len(w.movers)-1]
	if w.r.Intn(5) == 0 {
		m = w.movers[w.r.Intn(len(w.movers))] // a former leader wakes up
	}
	p := w.proxies[w.r.Intn(len(w.proxies))]
	l := w.syncs[[]string{"a", "b"}[w.r.Intn(2)]]
	actions[drawn[w.r.Intn(len(drawn))]].do(w, m, p, l)
}

// heal lets everything that must happen happen, without faults, and tells
// whether the move ends.
func (w *world) heal() {
	before := w.store.state
	w.elect()
	m := w.movers[len(w.movers)-1]
	for range 200 {
		if w.store.state.Phase.Over() {
			break
		}
		w.now = w.now.Add(50 * time.Millisecond)
		w.feed(m, Checked{At: w.now, Checks: []CheckResult{{Name: "all", OK: true}}})
		w.readRegistry(m)
		for _, p := range w.proxies {
			if !p.up {
				w.restart(p)
			}
			w.register(p)
			p.view, p.stored = w.store.snapshot, w.store.snapshot
			if p.view.fenced {
				p.open = nil
			}
			w.grant(p)
			w.reportProxy(p)
		}
		for _, l := range w.syncs {
			w.ask(l)
			for range 50 {
				w.carry(l)
			}
			w.reportLanes(l)
		}
		for _, e := range w.wire {
			e.Answers, e.At = e.move[m.state.ID], w.now
			w.feed(m, e.Reported)
		}
		w.wire = nil
		w.feed(m, Tick{At: w.now})
	}
	w.judge(before)
}

func (w *world) judge(before State) {
	end := w.store.state
	switch {
	case !end.Phase.Over():
		w.fail("%s does not end: it stays in %s, waits for %v", end.ID, end.Phase, w.movers[len(w.movers)-1].state.Waiting())
	case before.Phase.Committed() && end.Phase != Done:
		w.fail("%s was in %s and ended %s", end.ID, before.Phase, end.Phase)
	case end.Phase == Done && w.store.owner != end.To:
		w.fail("%s is done and %s owns", end.ID, w.store.owner)
	case end.Phase != Done && w.store.owner != end.From:
		w.fail("%s is %s and %s owns", end.ID, end.Phase, w.store.owner)
	}
	for _, p := range w.proxies {
		if !p.up {
			w.restart(p)
		}
		w.register(p)
		p.view, p.stored, p.open = w.store.snapshot, w.store.snapshot, nil
		w.grant(p)
		if p.writable() != (p.unit == w.store.owner) {
			w.fail("in the end %s of %s: writable is %v and %s owns", p.name, p.unit, p.writable(), w.store.owner)
		}
	}
}

func runWorld(seed int64, broken string) *world {
	w := newWorld(seed, broken)
	drawn := w.shares()
	for range 400 + w.r.Intn(2000) {
		w.act(drawn)
		if w.err != "" {
			return w
		}
	}
	w.heal()
	return w
}

// TestWorld_OneOwnerWhateverFails runs the machine in the model: never two
// units that can write, never a write at a unit that lacks an acknowledged
// one, and in the end one owner: the old one before SWITCH, the new one after.
func TestWorld_OneOwnerWhateverFails(t *testing.T) {
	if *seedFlag != 0 {
		w := runWorld(*seedFlag, "")
		t.Logf("%s\n%s", strings.Join(w.trace, "\n"), w.err)
		if w.err != "" {
			t.Fail()
		}
		return
	}
	ends := map[Phase]int{}
	for seed := int64(1); seed <= 800; seed++ {
		w := runWorld(seed, "")
		if w.err != "" {
			t.Fatalf("seed %d: %s (run again with -seed %d)", seed, w.err, seed)
		}
		for _, phase := range w.ended {
			ends[phase]++
		}
	}
	if ends[Done] < 500 || ends[Aborted] < 500 {
		t.Errorf("the model does not reach enough ends: %v", ends)
	}
	t.Logf("ends of moves: %v", ends)
}

// TestWorld_FindsEachMissingRule is the negative control: without one of the
// rules the model must come to a loss.
func TestWorld_FindsEachMissingRule(t *testing.T) {
	loss := regexp.MustCompile("admits|went back|by the tokens|was aborted")
	for _, broken := range []string{"no-barrier", "any-ack", "early-set", "no-compare", "early-open", "no-open", "told-early"} {
		t.Run(broken, func(t *testing.T) {
			for seed := int64(1); seed <= 1000; seed++ {
				if w := runWorld(seed, broken); loss.MatchString(w.err) {
					t.Logf("seed %d: %s", seed, w.err)
					return
				}
			}
			t.Error("nothing was lost: the model does not see this rule")
		})
	}
}

// TestStep_AnswersEveryEventInEveryState throws any event at any state: no
// panic, no change of what was passed in, never back over the commit point.
func TestStep_AnswersEveryEventInEveryState(t *testing.T) {
	phases := append([]Phase{Done, Aborted, Failed, ""}, Order...)
	for seed := range int64(200) {
		w := newWorld(seed, "")
		for _, phase := range phases {
			s := w.store.state
			s.Phase = phase
			s.FenceEpoch = int64(w.r.Intn(3))
			s.Planes = map[string]Plane{"pa1": {Kind: "dbproxy", Unit: "a", Incarnation: "1"}}
			before := fmt.Sprintf("%+v", s)
			for _, e := range anyEvents(w) {
				next, commands := Step(s, e)
				if got := fmt.Sprintf("%+v", s); got != before {
					t.Fatalf("%T in %s changed the state it was given:\n%s\n%s", e, phase, before, got)
				}
				if phase.Committed() && !next.Phase.Committed() {
					t.Fatalf("%T leads from %s to %s", e, phase, next.Phase)
				}
				if _, published := e.(Published); next.Phase != phase && !published && !writes(commands) {
					t.Fatalf("%T leads from %s to %s and nothing is written", e, phase, next.Phase)
				}
				for _, c := range commands {
					if phase.Committed() && c.Kind == PublishAbort {
						t.Fatalf("%T in %s gives %s", e, phase, c.Kind)
					}
				}
			}
		}
	}
}

// TestPublished_OnlyWhatIsDue: a move that is to be aborted is not led on by a
// snapshot that was under way.
func TestPublished_OnlyWhatIsDue(t *testing.T) {
	w := newWorld(1, "")
	for phase, what := range map[Phase]Kind{Check: PublishHold, Hold: PublishFence, Barrier: PublishSwitch} {
		s := w.store.state
		s.Phase = phase
		next, _ := Step(s, Published{At: w.now, What: what, Epoch: 50})
		if next.Epoch != 50 {
			t.Errorf("%s is not taken in %s", what, phase)
		}
		s.Ending = "aborted by ann"
		if next, _ := Step(s, Published{At: w.now, What: what, Epoch: 50}); next.Epoch == 50 {
			t.Errorf("%s is taken in %s though the move is to be aborted", what, phase)
		}
	}
}

func writes(commands []Command) bool {
	return slices.ContainsFunc(commands, func(c Command) bool { return c.Kind != Audit })
}

func anyEvents(w *world) []Event {
	at := w.now.Add(time.Duration(w.r.Intn(30)) * time.Second)
	epoch := int64(w.r.Intn(5))
	events := []Event{
		nil, Tick{At: at}, Conflict{At: at}, Conflict{At: at, Why: "x"}, Abort{At: at, By: "x"}, TakenOver{At: at, Leader: "y"}, TakenOver{At: at},
		Registered{At: at, AsOf: epoch}, Registered{At: at, AsOf: epoch, Planes: map[string]Plane{"pb": {Kind: "dbproxy"}}},
		Lapsed{At: at, Plane: "pa1", Incarnation: "1"}, Checked{At: at}, Checked{At: at, Checks: []CheckResult{{Name: "x", OK: true}}},
		Published{At: at, What: "nonsense", Epoch: 9}, Reports{At: at}, Reports{At: at, List: []Reported{
			{Plane: "pa1", Incarnation: "1", Epoch: epoch, Answers: []Answer{{Joint: Drained, Epoch: epoch}}}, {Plane: "pb"},
		}},
		Reported{At: at, Plane: "pa1", Incarnation: "1", Epoch: epoch, Answers: []Answer{
			{Joint: Drained, Epoch: epoch}, {Joint: "nonsense", Epoch: epoch}, {Joint: Passed, Lane: "a>b", Epoch: epoch}, {Joint: Released, Epoch: 1},
		}},
	}
	for _, k := range []Kind{PublishHold, PublishFence, PublishSwitch, PublishRelease, PublishAbort} {
		events = append(events, Published{At: at, What: k, Epoch: int64(w.r.Intn(20))})
	}
	return events
}

// BenchmarkStep_Reports is one joint of a thousand proxies, each answering by
// itself.
func BenchmarkStep_Reports(b *testing.B) {
	at := time.Unix(1_800_000_000, 0)
	s, err := New(Plan{ID: "mv1", Space: "s", Rule: "r", From: "a", To: "b", Keys: space.KeySet{Keys: []string{"k"}}, Epoch: 1,
		Participants: Participants([]string{"a", "b"}), Limits: testLimits(), Leader: "m"}, at)
	if err != nil {
		b.Fatal(err)
	}
	s.Phase, s.FenceEpoch, s.Epoch, s.AsOf, s.Planes = Fence, 3, 3, 3, map[string]Plane{}
	s.Deadline = at.Add(time.Hour)
	for i := range 1000 {
		s.Planes[fmt.Sprintf("dbproxy%d", i)] = Plane{Kind: "dbproxy", Unit: "a", Incarnation: "1"}
	}
	for b.Loop() {
		t := s
		for i := range 1000 {
			t, _ = Step(t, Reported{At: at, Plane: fmt.Sprintf("dbproxy%d", i), Incarnation: "1", Epoch: 3, Answers: []Answer{{Joint: Drained, Epoch: 3}}})
		}
		if t.Phase != Barrier {
			b.Fatal(t.Phase)
		}
	}
}
