package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/audit"
	"github.com/atoll-live/atoll/server/sandbox/load"
)

// Verdicts.
const (
	Pass = "pass"
	Fail = "fail"
)

// Report is demo-report.json.
type Report struct {
	Verdict string  `json:"verdict"`
	Reason  *string `json:"reason"` // null when it passed; all reasons, the gravest first

	OrdersAcked     int   `json:"orders_acked"`
	OrdersLost      int   `json:"orders_lost"`
	OrdersDoubled   int   `json:"orders_doubled"`
	Ghosts          int   `json:"ghosts"`
	StaleReads      int64 `json:"stale_reads"`
	RowsDifferent   int   `json:"rows_different"`
	WritesRefused   int64 `json:"writes_refused"` // over HTTP
	OwnerViolations int   `json:"owner_violations"`

	Moves []MoveReport `json:"moves"`

	SlowLane       string `json:"slow_lane,omitempty"`        // stood still over two moves
	SlowLaneBehind int64  `json:"slow_lane_behind,omitempty"` // groups of its source that it lacked when it went on

	GroupsChecked int                `json:"groups_checked"` // groups of all binlogs that first wrote a moved key
	RowsCompared  int                `json:"rows_compared"`
	RowsParked    int                `json:"rows_parked"`
	RowsReturned  int                `json:"rows_returned"` // of them: a lane had brought them to where the other found them
	TxKilled      int64              `json:"tx_killed"`     // open transactions that a fence ended
	SQLRefusals   map[string]int64   `json:"sql_refusals"`  // by error number
	SQLShare      float64            `json:"sql_share"`     // of all acknowledged writes of the offered load
	AckedShare    float64            `json:"acked_share"`   // of offered
	Unresolved    int64              `json:"unresolved"`    // of unknown outcome at the end
	Load          load.Counts        `json:"load"`
	Seed          uint64             `json:"seed"`
	Seconds       float64            `json:"seconds"`
	Rate          float64            `json:"rate"`
	WANRTT        string             `json:"wan_rtt"`
	Break         string             `json:"break,omitempty"`
	Faults        []Fault            `json:"faults,omitempty"`
	Soak          *Soak              `json:"soak,omitempty"`
	History       *HistoryReport     `json:"history,omitempty"`
	Differences   []audit.Difference `json:"differences,omitempty"`
	Samples       []string           `json:"samples,omitempty"` // surprising answers and findings
}

// MoveReport is one move in the report.
type MoveReport struct {
	ID           string                  `json:"id"`
	State        string                  `json:"state"`
	From         string                  `json:"from"`
	To           string                  `json:"to"`
	Buckets      string                  `json:"buckets"`
	EpochBefore  int64                   `json:"epoch_before"`
	EpochAfter   int64                   `json:"epoch_after"`
	DurationMS   int64                   `json:"duration_ms"`
	WritePauseMS load.Pause              `json:"write_pause_ms"`
	PauseByWay   map[load.Via]load.Pause `json:"write_pause_by_way_ms"`
	TxKilled     int64                   `json:"tx_killed"`
	Phases       []PhaseMS               `json:"phases"`
	Reason       string                  `json:"reason,omitempty"`
	Stalled      bool                    `json:"stalled,omitempty"` // tried while the slow lane stood still: it must not be done
}

// PhaseMS is how long one phase took.
type PhaseMS struct {
	Name string `json:"name"`
	MS   int64  `json:"ms"`
}

// What a good run keeps to.
const (
	DefaultPause = time.Second // p99 of the write pause stays below it, with 30 ms between the sites
	killedMin    = 5           // so that a fence has really met open transactions
	ackedMin     = 0.99
	sqlShareMin  = 0.20
	samplesShown = 20
)

// reasons are the promises that were broken, in words.
type reasons []string

func (all *reasons) broken(bad bool, format string, args ...any) {
	if bad {
		*all = append(*all, fmt.Sprintf(format, args...))
	}
}

// judge sets the verdict. Every promise that was broken is a reason, so that
// a control can be seen to fail for its own.
func (r *Report) judge(movesWanted int, pauseMax time.Duration) {
	limit := float64(pauseMax.Milliseconds())
	all := r.safety()
	all.broken(r.WritesRefused > 0, "%d HTTP writes refused", r.WritesRefused)
	all.broken(r.Unresolved > 0, "%d writes of unknown outcome", r.Unresolved)
	all.broken(r.AckedShare < ackedMin, "acknowledged %.2f %% of the offered orders, less than %.0f %%", 100*r.AckedShare, 100*ackedMin)
	ran := 0
	for _, m := range r.Moves {
		if m.Stalled {
			continue
		}
		ran++
		all.broken(m.State != "done", "the move %s → %s ended %s: %s", m.From, m.To, m.State, m.Reason)
		all.broken(r.Soak == nil && m.WritePauseMS.P99 >= limit, "write pause p99 of the move %s → %s was %.0f ms, not below %.0f", m.From, m.To, m.WritePauseMS.P99, limit)
		all.broken(m.State == "done" && m.WritePauseMS.N == 0, "no write of a moved key was measured in the move %s → %s", m.From, m.To)
	}
	if r.Soak != nil {
		r.judgeSoak(&all, pauseMax)
	}
	all.broken(ran < movesWanted, "%d of %d moves ran", ran, movesWanted)
	if r.SlowLane != "" {
		r.judgeSlowLane(&all)
	}
	if movesWanted > 0 {
		all.broken(r.Soak == nil && r.TxKilled < killedMin, "only %d open transactions met a fence, less than %d: the fence was not tried", r.TxKilled, killedMin)
		all.broken(r.SQLShare < sqlShareMin, "only %.0f %% of the writes went straight to the proxies", 100*r.SQLShare)
		all.broken(r.GroupsChecked == 0, "no group of the binlogs was checked for its owner")
	}
	r.conclude(all)
}

// judgeSlowLane holds against each other what stood still and what moved.
func (r *Report) judgeSlowLane(all *reasons) {
	tried := false
	for _, m := range r.Moves {
		tried = tried || m.Stalled
		all.broken(m.Stalled && m.State == "done", "the move %s → %s was done while lane %s, which brings what it needs, stood still", m.From, m.To, r.SlowLane)
		all.broken(m.Stalled && !over(m.State), "the move %s → %s was %s for as long as lane %s stood still", m.From, m.To, m.State, r.SlowLane)
	}
	all.broken(!tried, "no move was tried while lane %s stood still", r.SlowLane)
	all.broken(r.SlowLaneBehind == 0, "lane %s did not stand still", r.SlowLane)
}

// safety are the broken ones of the promises that hold whatever fails.
func (r *Report) safety() reasons {
	var all reasons
	all.broken(r.OwnerViolations > 0, "%d owner violations: a unit wrote keys that it did not own", r.OwnerViolations)
	all.broken(r.OrdersLost > 0, "%d acknowledged orders lost", r.OrdersLost)
	all.broken(r.OrdersDoubled > 0, "%d orders doubled", r.OrdersDoubled)
	all.broken(r.Ghosts > 0, "%d ghosts: answered not done, but present", r.Ghosts)
	all.broken(r.StaleReads > 0, "%d stale reads", r.StaleReads)
	r.History.broken(&all)
	all.broken(r.RowsDifferent > 0, "%d rows different%s", r.RowsDifferent, nameFirst(r.Differences))
	all.broken(r.RowsParked > 0, "%d rows parked by lanes", r.RowsParked)
	all.broken(r.RowsReturned > 0, "%d rows came back by a lane after another had carried them", r.RowsReturned)
	return all
}

// judgeFaults sets the verdict of a run with faults: writes may be refused and
// moves abort, but nothing may be lost, and each fault must be got over.
func (r *Report) judgeFaults() {
	all := r.safety()
	done := 0
	for _, m := range r.Moves {
		all.broken(!over(m.State), "the move %s → %s was %s when the run ended: %s", m.From, m.To, m.State, m.Reason)
		if m.State == "done" {
			done++
		}
	}
	all.broken(done == 0, "none of %d moves was done", len(r.Moves))
	all.broken(len(r.Faults) == 0, "there was no fault")
	all.broken(r.GroupsChecked == 0, "no group of the binlogs was checked for its owner")
	for _, f := range r.Faults {
		all.broken(f.ProbedMS < 0, "after %s %s at %d ms probes were not accepted by exactly one unit within %v: %s", f.What, f.Target, f.AtMS, recoverMax, f.Probe)
		all.broken(f.RecoveredMS < 0 || f.RecoveredMS > recoverMax.Milliseconds(),
			"no write of the moving keys was accepted within %v after %s %s at %d ms (%d ms)", recoverMax, f.What, f.Target, f.AtMS, f.RecoveredMS)
	}
	r.conclude(all)
}

func (r *Report) conclude(all reasons) {
	r.Verdict, r.Reason = Pass, nil
	if len(all) > 0 {
		text := strings.Join(all, "; ")
		r.Verdict, r.Reason = Fail, &text
	}
}

func nameFirst(d []audit.Difference) string {
	if len(d) == 0 {
		return ""
	}
	return fmt.Sprintf(" (first: %s row %s, %s)", d[0].Table, d[0].Row, d[0].What)
}

// write replaces the report file.
func (r *Report) write(name string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(name, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
