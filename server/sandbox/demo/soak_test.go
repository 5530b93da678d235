package demo

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/load"
)

func TestReport_JudgeSoak(t *testing.T) {
	good := func() *Report {
		return &Report{Moves: make([]MoveReport, 20), Soak: &Soak{
			PauseMS: load.Pause{P99: 400, N: 900}, SettledMS: load.Pause{Max: 900},
			Processes: []Footprint{
				{Name: "gateway@unit-a", Files: [2]int{200, 230}, Goroutines: [2]int{400, 440}, RSSKB: [2]int{40_000, 90_000}},
				{Name: "app@unit-a", Files: [2]int{10, 45}}, // much by share, little by number
				{Name: "mariadb@unit-a", Sessions: [2]int{80, 90}},
			},
		}}
	}
	judged := func(r *Report) string {
		var all reasons
		r.judgeSoak(&all, 500*time.Millisecond)
		return strings.Join(all, "; ")
	}
	if got := judged(good()); got != "" {
		t.Errorf("a good run: %s", got)
	}
	for want, breakIt := range map[string]func(*Soak){
		"20 moves together was 501 ms":                  func(s *Soak) { s.PauseMS.P99 = 501 },
		"5001 ms to SETTLE":                             func(s *Soak) { s.SettledMS.Max = 5001 },
		"gateway@unit-a had 200 files early on and 251": func(s *Soak) { s.Processes[0].Files[1] = 251 },
		"400 goroutines early on and 501":               func(s *Soak) { s.Processes[0].Goroutines[1] = 501 },
		"80 sessions early on and 121":                  func(s *Soak) { s.Processes[2].Sessions[1] = 121 },
		"app@unit-a was started anew 1 times":           func(s *Soak) { s.Processes[1].Lives = 1 },
	} {
		r := good()
		breakIt(r.Soak)
		if got := judged(r); !strings.Contains(got, want) {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}

// TestFootprint_OfThisProcess: what is read of /proc is there.
func TestFootprint_OfThisProcess(t *testing.T) {
	pid := os.Getpid()
	before := countFiles(pid)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got := countFiles(pid); got <= before {
		t.Errorf("%d files open, and one more is %d", before, got)
	}
	if status(pid, "Threads:") < 1 || status(pid, "VmRSS:") < 1000 || status(0, "Threads:") != 0 {
		t.Errorf("threads %d, resident %d kB", status(pid, "Threads:"), status(pid, "VmRSS:"))
	}
}
