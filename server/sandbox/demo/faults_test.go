package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/load"
)

func TestInjector_RecoveryIsAWriteThatBeganAfterTheFault(t *testing.T) {
	end := time.Unix(1_800_000_000, 0)
	after := func(ms int) time.Time { return end.Add(time.Duration(ms) * time.Millisecond) }
	moving := func(key string) bool { return strings.HasPrefix(key, "moving") }
	writes := []load.Write{
		{Key: "moving-1", Outcome: load.Acked, Scheduled: after(-100), Done: after(20)}, // began before
		{Key: "other", Outcome: load.Acked, Scheduled: after(10), Done: after(30)},
		{Key: "moving-2", Outcome: load.NotDone, Scheduled: after(10), Done: after(40)},
		{Key: "moving-3", Outcome: load.Acked, Scheduled: after(10), Done: after(700)},
		{Key: "moving-4", Outcome: load.Acked, Scheduled: after(20), Done: after(500)},
	}
	i := &injector{faults: []Fault{{end: end}, {end: after(600)}}}
	got := i.report(writes, moving)
	if got[0].RecoveredMS != 500 || got[1].RecoveredMS != -1 {
		t.Errorf("recovered after %d and %d ms, want 500 and none", got[0].RecoveredMS, got[1].RecoveredMS)
	}
}

func TestReport_JudgeFaults(t *testing.T) {
	good := func() *Report {
		return &Report{
			GroupsChecked: 10, WritesRefused: 5, Unresolved: 1,
			Moves:  []MoveReport{{State: "done"}, {State: "aborted", Reason: "a plane died"}},
			Faults: []Fault{{What: "kill", Target: "app@unit-a", RecoveredMS: 900}},
		}
	}
	r := good()
	if r.judgeFaults(); r.Verdict != Pass || r.Reason != nil {
		t.Errorf("refusals and an aborted move: %s, %v", r.Verdict, r.Reason)
	}
	for reason, breakIt := range map[string]func(*Report){
		"orders lost":         func(r *Report) { r.OrdersLost = 1 },
		"doubled":             func(r *Report) { r.OrdersDoubled = 1 },
		"ghosts":              func(r *Report) { r.Ghosts = 1 },
		"stale reads":         func(r *Report) { r.StaleReads = 1 },
		"rows different":      func(r *Report) { r.RowsDifferent = 1 },
		"owner violations":    func(r *Report) { r.OwnerViolations = 1 },
		"parked":              func(r *Report) { r.RowsParked = 1 },
		"was running when":    func(r *Report) { r.Moves[1].State = "running" },
		"none of 2 moves":     func(r *Report) { r.Moves[0].State = "failed" },
		"no fault":            func(r *Report) { r.Faults = nil },
		"no group":            func(r *Report) { r.GroupsChecked = 0 },
		"after kill app@unit": func(r *Report) { r.Faults[0].RecoveredMS = 10_001 },
		"one unit within 10s": func(r *Report) { r.Faults[0].ProbedMS = -1 },
		"(-1 ms)":             func(r *Report) { r.Faults[0].RecoveredMS = -1 },
	} {
		r := good()
		breakIt(r)
		if r.judgeFaults(); r.Verdict != Fail || !strings.Contains(*r.Reason, reason) {
			t.Errorf("%s: verdict %s, reason %v", reason, r.Verdict, r.Reason)
		}
	}
}
