package main

import (
	"fmt"
	"io"
	"os"

	"github.com/atoll-live/atoll/server/sandbox/history"
)

// SandboxCheckHistoryCmd checks a stored history of clients.
type SandboxCheckHistoryCmd struct {
	File  string `arg:"" help:"What a run of chaos stored: history.jsonl in its directory; - for standard input."`
	Steps int    `default:"0" placeholder:"N" help:"Steps of the search for one key before it is given up; 2000000 when zero."`
}

// checkedHistory is the result of check-history.
type checkedHistory struct {
	Verdict  string `json:"verdict"` // pass or fail
	Seed     uint64 `json:"seed"`
	Workload string `json:"workload"`
	*history.Result
}

// Run prints each violation on a line. Any, or a key that could not be
// decided, is exit status 1.
func (c *SandboxCheckHistoryCmd) Run(out *Output) error {
	if c.Steps < 0 {
		return usageError(fmt.Errorf("--steps %d: want 0 or more", c.Steps))
	}
	in := io.Reader(os.Stdin)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usageError(fmt.Errorf("history: %w", err))
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	head, ops, err := history.Load(in)
	if err != nil {
		return usageError(fmt.Errorf("history %s: %w", c.File, err))
	}
	res, err := history.Check(ops, history.Limits{Steps: c.Steps})
	if err != nil {
		return usageError(fmt.Errorf("history %s: %w", c.File, err))
	}
	v := checkedHistory{Verdict: "pass", Seed: head.Seed, Workload: head.Workload, Result: res}
	if !res.Good() {
		v.Verdict = "fail"
	}
	if err := out.Print(v, v.table); err != nil {
		return err
	}
	if !res.Good() {
		return &exitError{code: exitFailed}
	}
	return nil
}

func (v checkedHistory) table(w io.Writer) error {
	for i := range v.Violations {
		fmt.Fprintln(w, v.Violations[i].String())
	}
	for _, u := range v.Undecided {
		fmt.Fprintf(w, "undecided: %s of key %s with %d operations: %s (try more --steps)\n", u.Object, u.Key, u.Operations, u.Why)
	}
	_, err := fmt.Fprintf(w, "%s: operations %d (ok %d, failed %d, unknown %d), keys %d, violations %d, undecided %d, seed %d\n", v.Verdict,
		v.Operations, v.Outcomes[string(history.OK)], v.Outcomes[string(history.Fail)], v.Outcomes[string(history.Unknown)],
		v.Keys, len(v.Violations), len(v.Undecided), v.Seed)
	return err
}
