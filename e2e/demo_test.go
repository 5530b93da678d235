package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// report is the part of demo-report.json that these tests read.
type report struct {
	Verdict         string  `json:"verdict"`
	Reason          *string `json:"reason"`
	OrdersAcked     int     `json:"orders_acked"`
	OrdersLost      int     `json:"orders_lost"`
	OrdersDoubled   int     `json:"orders_doubled"`
	Ghosts          int     `json:"ghosts"`
	StaleReads      int     `json:"stale_reads"`
	RowsDifferent   int     `json:"rows_different"`
	WritesRefused   int     `json:"writes_refused"`
	OwnerViolations int     `json:"owner_violations"`
	GroupsChecked   int     `json:"groups_checked"`
	TxKilled        int     `json:"tx_killed"`
	SlowLane        string  `json:"slow_lane"`
	SlowLaneBehind  int     `json:"slow_lane_behind"`
	Moves           []struct {
		State        string `json:"state"`
		Reason       string `json:"reason"`
		Stalled      bool   `json:"stalled"`
		From         string `json:"from"`
		To           string `json:"to"`
		WritePauseMS struct {
			P99 float64 `json:"p99"`
			N   int     `json:"n"`
		} `json:"write_pause_ms"`
		Phases []struct {
			Name string `json:"name"`
			MS   int64  `json:"ms"`
		} `json:"phases"`
	} `json:"moves"`
}

// demo runs the whole demo and gives its report.
func demo(t *testing.T, path string, args ...string) (report, result) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "report.json")
	all := append([]string{"sandbox", "demo", "--dir", filepath.Join(dir, "s"), "--port-base", portBase(), "--report", file}, args...)
	r := run(t, 8*time.Minute, path, all...)
	raceReports(t, filepath.Join(dir, "s"))
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("no report: %v\nstatus %d\n%s%s", err, r.status, tail(r.stdout), tail(r.stderr))
	}
	var rep report
	decode(t, string(raw), &rep)
	return rep, r
}

func (r report) wantPass(t *testing.T, res result) {
	t.Helper()
	if r.Verdict != "pass" || r.Reason != nil || res.status != statusDone {
		reason := ""
		if r.Reason != nil {
			reason = *r.Reason
		}
		t.Fatalf("verdict %s: %s; exit status %d\n%s%s", r.Verdict, reason, res.status, tail(res.stdout), tail(res.stderr))
	}
	if r.OrdersAcked == 0 || r.GroupsChecked == 0 || len(r.Moves) != 2 {
		t.Errorf("a pass that checked nothing: %+v", r)
	}
	for _, m := range r.Moves {
		if m.State != "done" || len(m.Phases) != 7 {
			t.Errorf("move %s → %s: %s with phases %v", m.From, m.To, m.State, m.Phases)
		}
	}
}

// TestDemo_RaceBuilt runs every process with the race detector, under a small
// load, since it slows them five- to tenfold. Its pause has a bound of 2 s: with
// some forty writes measured, the p99 is the slowest of all.
func TestDemo_RaceBuilt(t *testing.T) {
	rep, res := demo(t, program(t, "atoll-race"), "--seconds", "40", "--rate", "20", "--canaries", "4", "--pause-max", "2s")
	rep.wantPass(t, res)
}

// TestDemo_Plain is the demo with its own load, canaries and distance between
// the sites, shorter. A busy machine slows what a move waits for, so the bound
// of its pause is 1.5 s; the demo's own is 1 s.
func TestDemo_Plain(t *testing.T) {
	rep, res := demo(t, program(t, "atoll"), "--seconds", "40", "--pause-max", "1500ms")
	rep.wantPass(t, res)
	t.Logf("%d orders acknowledged, %d groups checked, %d transactions ended by fences, moves %+v", rep.OrdersAcked, rep.GroupsChecked, rep.TxKilled, rep.Moves)
}

// TestDemo_ControlsFail breaks one promise at a time: the verdict must be
// "fail", and for its own reason.
func TestDemo_ControlsFail(t *testing.T) {
	for control, reasons := range map[string][]string{
		"no-fence":   {"owner violations"},
		"no-barrier": {"stale reads", "orders lost"},
		"drop-row":   {"1 rows different"},
		"no-route":   {"stale reads", "refused"},

		"no-loop-guard": {"rows came back"},
	} {
		t.Run(control, func(t *testing.T) {
			rep, res := demo(t, program(t, "atoll"), "--seconds", "25", "--rate", "60", "--break", control)
			if rep.Verdict != "fail" || rep.Reason == nil || res.status != statusFailed {
				t.Fatalf("the control passed: %+v, exit status %d", rep, res.status)
			}
			for _, reason := range reasons {
				if strings.Contains(*rep.Reason, reason) {
					return
				}
			}
			t.Errorf("failed for %q, want one of %q", *rep.Reason, reasons)
		})
	}
}
