package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atoll-live/atoll/server/sandbox/history"
)

func TestSandboxCheckHistory(t *testing.T) {
	dir := t.TempDir()
	store := func(name string, ops ...history.Op) string {
		var text bytes.Buffer
		if err := history.Store(&text, history.Header{Seed: 7}, ops); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write := history.Op{ID: 0, Kind: history.Write, Key: "alice", Value: 5, Invoke: 1_000_000, Return: 2_000_000, Outcome: history.OK}
	read := history.Op{ID: 1, Kind: history.Read, Key: "alice", Value: 5, Via: "sql unit-b", Invoke: 3_000_000, Return: 4_000_000, Outcome: history.OK}
	stale := read
	stale.Value = 0
	other := write
	other.ID, other.Value, other.Return = 2, 6, 3_000_000
	good, bad, wide := store("good", write, read), store("bad", write, stale), store("wide", write, other, read)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{good}, exitDone, "pass: operations 2 (ok 2, failed 0, unknown 0), keys 1, violations 0, undecided 0, seed 7\n"},
		{[]string{bad}, exitFailed, "lost update: register of key alice: 5 was acknowledged and nobody saw it; 0 is older: #0 client 0 write 5 ok [1.000–2.000 ms], #1 client 0 read 0 ok by sql unit-b [3.000–4.000 ms]\nfail: "},
		{[]string{wide, "--steps", "1"}, exitFailed, "undecided: register of key alice with 3 operations: gave up after 1 steps"},
		{[]string{bad, "--steps=-1"}, exitUsage, "--steps -1"},
		{[]string{filepath.Join(dir, "none")}, exitUsage, "none"},
		{[]string{dir}, exitUsage, "history"},
		{[]string{}, exitUsage, "FILE"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"sandbox", "check-history"}, c.args...), &out, &errs)
		if text := strings.ReplaceAll(out.String()+errs.String(), "<file>", "FILE"); code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%v: status %d, want %d with %q:\n%s", c.args, code, c.code, c.says, text)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"sandbox", "check-history", bad, "-o", "json"}, &out, &errs); code != exitFailed || errs.Len() > 0 {
		t.Errorf("status %d %s", code, errs.String())
	}
	var v struct {
		Verdict    string              `json:"verdict"`
		Seed       uint64              `json:"seed"`
		Operations int                 `json:"operations"`
		Violations []history.Violation `json:"violations"`
		Undecided  []history.Undecided `json:"undecided"`
	}
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Verdict != "fail" || v.Seed != 7 || v.Operations != 2 || len(v.Violations) != 1 || v.Violations[0].Key != "alice" || v.Undecided == nil {
		t.Errorf("%v: %s", err, out.String())
	}
}
