package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// chaosReport is the part of chaos-report.json that these tests read.
type chaosReport struct {
	Verdict string  `json:"verdict"`
	Reason  *string `json:"reason"`
	Seed    uint64  `json:"seed"`
	Moves   []any   `json:"moves"`
	Faults  []any   `json:"faults"`
	History struct {
		Workload   string         `json:"workload"`
		File       string         `json:"file"`
		Operations int            `json:"operations"`
		Outcomes   map[string]int `json:"outcomes"`
		Keys       int            `json:"keys"`
		Violations int            `json:"violations"`
		Undecided  int            `json:"undecided"`
	} `json:"history"`
}

// checked is what check-history prints.
type checked struct {
	Verdict    string `json:"verdict"`
	Seed       uint64 `json:"seed"`
	Operations int    `json:"operations"`
	Violations []struct {
		Key string `json:"key"`
		Ops []any  `json:"ops"`
	} `json:"violations"`
}

// TestChaos_Short moves users while processes die, with clients beside the load
// whose histories are checked key by key, and once more from their file.
func TestChaos_Short(t *testing.T) {
	path, dir := program(t, "atoll"), t.TempDir()
	file := filepath.Join(dir, "report.json")
	r := run(t, 5*time.Minute, path, "sandbox", "chaos", "--dir", filepath.Join(dir, "s"), "--port-base", portBase(), "--seconds", "34", "--rate", "30",
		"--canaries", "8", "--report", file)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("no report: %v\nstatus %d\n%s%s", err, r.status, tail(r.stdout), tail(r.stderr))
	}
	var rep chaosReport
	decode(t, string(raw), &rep)
	if rep.Verdict != "pass" || r.status != statusDone {
		t.Fatalf("seed %d: verdict %s: %s; exit status %d\n%s", rep.Seed, rep.Verdict, *rep.Reason, r.status, tail(r.stderr))
	}
	t.Logf("seed %d: %d moves, %d faults, history %+v", rep.Seed, len(rep.Moves), len(rep.Faults), rep.History)
	h := rep.History
	if h.Outcomes["ok"] < 300 || h.Keys < 5 || h.Violations+h.Undecided != 0 || !strings.Contains(r.stderr, h.Workload) {
		t.Errorf("a pass that checked little: %+v", h)
	}

	again := run(t, time.Minute, path, "sandbox", "check-history", rep.History.File, "-o", "json")
	again.want(t, statusDone, "check-history")
	var c checked
	decode(t, again.stdout, &c)
	if c.Verdict != "pass" || c.Seed != rep.Seed || c.Operations != rep.History.Operations {
		t.Errorf("checked again: %s", tail(again.stdout))
	}
	forgeHistory(t, path, rep.History.File)
}

// forgeHistory changes what one read saw: that must be found.
func forgeHistory(t *testing.T, path, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	read := regexp.MustCompile(`"kind":"read","key":"(\w+)"(.*"outcome":"ok"),"value":\d+`)
	m := read.FindSubmatchIndex(raw)
	if m == nil {
		t.Fatal("no read in the history")
	}
	key := string(raw[m[2]:m[3]])
	forged := filepath.Join(t.TempDir(), "forged.jsonl")
	writeFile(t, forged, string(raw[:m[5]])+`,"value":987654`+string(raw[m[1]:]))
	r := run(t, time.Minute, path, "sandbox", "check-history", forged)
	r.want(t, statusFailed, "check-history of a forged file")
	line, _, _ := strings.Cut(r.stdout, "\n")
	for _, part := range []string{"unwritten value", "key " + key, "read 987654", "#"} {
		if !strings.Contains(line, part) {
			t.Errorf("%q does not say %q", line, part)
		}
	}
}
