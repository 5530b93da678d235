package demo

import (
	"slices"
	"strings"
	"testing"

	"github.com/atoll-live/atoll/server/sandbox/audit"
	"github.com/atoll-live/atoll/server/sandbox/history"
	"github.com/atoll-live/atoll/server/sandbox/load"
)

// good is a report of a run in which everything held.
func good() *Report {
	m := MoveReport{State: "done", WritePauseMS: load.Pause{P50: 100, P99: 700, Max: 800, N: 50}}
	return &Report{OrdersAcked: 1000, TxKilled: 7, AckedShare: 1, SQLShare: 0.3, GroupsChecked: 10, Moves: []MoveReport{m, m}}
}

func TestReport_GoodRunPasses(t *testing.T) {
	r := good()
	r.judge(2, DefaultPause)
	if r.Verdict != Pass || r.Reason != nil {
		t.Errorf("verdict %s: %v", r.Verdict, *r.Reason)
	}
}

// slow is a report of a run in which a move was tried while a lane stood still.
func slow() *Report {
	r := good()
	held := MoveReport{From: "unit-b", To: "unit-c", State: "failed", Stalled: true, Reason: "lanes-running"}
	r.Moves = []MoveReport{r.Moves[0], held, r.Moves[1], r.Moves[1]}
	r.SlowLane, r.SlowLaneBehind = "unit-a>unit-c", 400
	return r
}

func TestReport_AMoveOnAStalledLaneMustWait(t *testing.T) {
	r := slow()
	if r.judge(3, DefaultPause); r.Verdict != Pass {
		t.Errorf("verdict %s: %v", r.Verdict, *r.Reason)
	}
	for reason, breakIt := range map[string]func(*Report){
		"was done while lane unit-a>unit-c": func(r *Report) { r.Moves[1].State = "done" },
		"was running for as long":           func(r *Report) { r.Moves[1].State = "running" },
		"no move was tried":                 func(r *Report) { r.Moves = slices.Delete(r.Moves, 1, 2) },
		"did not stand still":               func(r *Report) { r.SlowLaneBehind = 0 },
		"2 of 3 moves":                      func(r *Report) { r.Moves = r.Moves[:3] },
	} {
		r := slow()
		breakIt(r)
		if r.judge(3, DefaultPause); r.Verdict != Fail || !strings.Contains(*r.Reason, reason) {
			t.Errorf("%s: verdict %s, reason %v", reason, r.Verdict, r.Reason)
		}
	}
}

// TestReport_EachBrokenPromiseFails is the negative control of the verdict.
func TestReport_EachBrokenPromiseFails(t *testing.T) {
	for reason, breakIt := range map[string]func(*Report){
		"owner violations": func(r *Report) { r.OwnerViolations = 1 },
		"orders lost":      func(r *Report) { r.OrdersLost = 1 },
		"doubled":          func(r *Report) { r.OrdersDoubled = 1 },
		"ghosts":           func(r *Report) { r.Ghosts = 1 },
		"stale reads":      func(r *Report) { r.StaleReads = 1 },
		"orders row 7":     func(r *Report) { r.RowsDifferent = 1; r.Differences = []audit.Difference{{Table: "orders", Row: "7"}} },
		"refused":          func(r *Report) { r.WritesRefused = 1 },
		"parked":           func(r *Report) { r.RowsParked = 1 },
		"came back":        func(r *Report) { r.RowsReturned = 1 },
		"unknown outcome":  func(r *Report) { r.Unresolved = 1 },
		"98.00 %":          func(r *Report) { r.AckedShare = 0.98 },
		"1 of 2 moves":     func(r *Report) { r.Moves = r.Moves[:1] },
		"ended aborted":    func(r *Report) { r.Moves[0].State = "aborted" },
		"write pause p99":  func(r *Report) { r.Moves[0].WritePauseMS.P99 = 1000 },
		"was measured":     func(r *Report) { r.Moves[0].WritePauseMS.N = 0 },
		"met a fence":      func(r *Report) { r.TxKilled = 4 },
		"straight":         func(r *Report) { r.SQLShare = 0.19 },
		"no group":         func(r *Report) { r.GroupsChecked = 0 },
	} {
		r := good()
		breakIt(r)
		r.judge(2, DefaultPause)
		if r.Verdict != Fail || !strings.Contains(*r.Reason, reason) {
			t.Errorf("%s: verdict %s, reason %v", reason, r.Verdict, r.Reason)
		}
	}
}

func TestStartOf_AllMovesOfARoundFitIn(t *testing.T) {
	if a, b := startOf(0, 2), startOf(1, 2); a != 0.25 || b != 0.60 {
		t.Errorf("two moves begin at %v and %v of the load", a, b)
	}
	for moves := 2; moves <= 3; moves++ {
		if last := startOf(moves-1, moves); last > 0.75 {
			t.Errorf("the last of %d moves begins at %v of the load", moves, last)
		}
	}
}

// goodHistory is one in which everything was tried and explained.
func goodHistory() *HistoryReport {
	return &HistoryReport{Operations: 9, Kinds: map[string]int{"read": 1, "write": 1, "cas": 1, "append": 1, "list": 1}}
}

// TestReport_EachBadHistoryFails is the negative control of its verdict.
func TestReport_EachBadHistoryFails(t *testing.T) {
	r := good()
	r.History = goodHistory()
	if r.judge(2, DefaultPause); r.Verdict != Pass {
		t.Errorf("a good history: %s", *r.Reason)
	}
	for reason, breakIt := range map[string]func(*HistoryReport){
		"2 notes or baskets have a history that no order explains: lost update 1, stale read 1 (first: this)": func(h *HistoryReport) {
			h.Violations, h.Anomalies, h.Samples = 2, map[history.Anomaly]int{history.StaleRead: 1, history.LostUpdate: 1}, []string{"this"}
		},
		"3 histories could not be decided": func(h *HistoryReport) { h.Undecided = 3 },
		"could not be read at the end":     func(h *HistoryReport) { h.Unread = 1 },
		"10 operations were left out":      func(h *HistoryReport) { h.Skipped = 10 },
		"no cas stands":                    func(h *HistoryReport) { h.Kinds["cas"] = 0 },
		"no append stands":                 func(h *HistoryReport) { h.Kinds = nil },
	} {
		for what, judge := range map[string]func(*Report){
			"demo":  func(r *Report) { r.judge(2, DefaultPause) },
			"chaos": (*Report).judgeFaults,
		} {
			r := good()
			r.History = goodHistory()
			breakIt(r.History)
			if judge(r); r.Verdict != Fail || !strings.Contains(*r.Reason, reason) {
				t.Errorf("%s, %s: verdict %s, reason %v", what, reason, r.Verdict, r.Reason)
			}
		}
	}
}
