package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
)

// moveConsole starts a console with the shop's space and no database: a move
// of it waits for nobody.
func moveConsole(t *testing.T) {
	t.Helper()
	t.Setenv("ATOLL_CONSOLE", startConsole(t))
	step{[]string{"apply", "-f", documentFile(t, "shop.yaml")}, 0, "created", ""}.check(t)
}

func TestMoveCommands(t *testing.T) {
	moveConsole(t)
	what := []string{"--space", "shop", "--from", "unit-a", "--to", "unit-b"}
	with := func(command string, flags ...string) []string {
		return append(append([]string{"move", command}, what...), flags...)
	}
	for _, s := range []step{
		{[]string{"move", "list"}, 0, "there is no move yet", ""},
		{[]string{"move", "list", "-o", "json"}, 0, `{"moves":[]}` + "\n", ""},
		{[]string{"move", "status"}, 2, "", "there is no move yet"},
		{[]string{"move", "status", "m0"}, 1, "", `there is no move "m0"`},
		{with("plan", "--percent", "30"), 0, "buckets 3000-5999\n  share: 3000 of 10000 buckets, 30 %", ""},
		{with("plan", "--percent", "30", "-o", "json"), 0, `"state":"planned"`, ""},
		{with("plan", "--keys", "alice"), 0, "key: alice", ""},
		{with("plan"), 2, "", "say what to move"},
		{with("start", "--percent", "30", "--all"), 2, "", "--percent and --all can't be used together"},
		{with("start", "--percent", "61"), 2, "", "owns 6000 buckets"},
		{with("start", "--percent", "-1"), 2, "", "--percent"},
		{with("start", "--buckets", "x"), 2, "", "is no bucket"},
		{with("start", "--all", "--force"), 2, "", "--force is not built yet"},
		{with("start", "--all", "--to", "unit-x"), 2, "", `no unit "unit-x"`},
		{with("start", "--all", "--override", "luck"), 2, "", `no check "luck"`},
		{[]string{"move", "start", "--space", "shop", "--all"}, 2, "", "--from"},
		{with("start", "--percent", "30", "--wait"), 0, " is done: space shop, rule 1003, buckets 3000-5999 from unit-a to unit-b, epoch 1 to 5", "buckets 3000-5999 from unit-a to unit-b"},
		{[]string{"move", "list"}, 0, "done", ""},
		{[]string{"move", "status", "--space", "shop"}, 0, "is done", ""},
		{[]string{"move", "watch"}, 0, "is done", ""},
		{[]string{"move", "abort"}, 1, "", "is done already"},
		{[]string{"get", "multilivespace", "shop"}, 0, `version: "8"`, ""},
	} {
		s.check(t)
	}
}

// The JSON form is what scripts rely on.
func TestMoveJSON(t *testing.T) {
	moveConsole(t)
	code, stdout, stderr := runFor(t, "move", "start", "--space", "shop", "--from", "unit-a", "--to", "unit-b", "--buckets", "0-99,5000", "--wait", "-o", "json")
	if code != 0 {
		t.Fatalf("status %d: %s", code, stderr)
	}
	var m map[string]any
	decoder := json.NewDecoder(strings.NewReader(stdout))
	if err := decoder.Decode(&m); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if err := decoder.Decode(new(any)); err != io.EOF {
		t.Errorf("more than one JSON value: %s", stdout)
	}
	for name, want := range map[string]any{
		"state": "done", "from": "unit-a", "to": "unit-b", "buckets": "0-99,5000", "epoch_before": 1.0, "epoch_after": 5.0,
		"write_pause_ms": nil, "refused": 0.0, "reason": nil,
	} {
		if got, ok := m[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	phases, _ := m["phases"].([]any)
	if len(phases) != 7 {
		t.Fatalf("phases: %v", m["phases"])
	}
	if first, _ := phases[0].(map[string]any); first["name"] != "CHECK" || first["ms"] == nil {
		t.Errorf("first phase: %v", phases[0])
	}
	if id, _ := m["id"].(string); id == "" || m["duration_ms"] == nil {
		t.Errorf("id %v, duration %v", m["id"], m["duration_ms"])
	}
	code, stdout, _ = runFor(t, "move", "watch", "-o", "json")
	for line := range strings.Lines(stdout) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the stream is no JSON value: %s", line)
		}
	}
	if code != 0 || stdout == "" {
		t.Errorf("watch: status %d, %q", code, stdout)
	}
}

// A declared kind that is not there fails the check; the move ends with 1.
func TestMoveFails(t *testing.T) {
	moveConsole(t)
	step{[]string{"apply", "-f", documentFile(t, "database.yaml")}, 0, "created", notCompared}.check(t)
	step{[]string{"move", "plan", "--space", "shop", "--from", "unit-a", "--to", "unit-b", "--percent", "10"}, 1, "planes-declared: does not pass: not registered: dbproxy of unit-a", ""}.check(t)
	code, stdout, stderr := runFor(t, "move", "start", "--space", "shop", "--from", "unit-a", "--to", "unit-b", "--percent", "10", "-o", "json")
	if code != 0 || !strings.Contains(stdout, `"state":"running"`) {
		t.Fatalf("status %d: %s%s", code, stdout, stderr)
	}
	step{[]string{"move", "start", "--space", "shop", "--from", "unit-a", "--to", "unit-b", "--percent", "10"}, 1, "", "is under way already"}.check(t)
	step{[]string{"apply", "-f", documentFile(t, "shop.yaml", "name: Shop", "name: Other")}, 1, "", "is running, nothing was applied"}.check(t)
	step{[]string{"move", "abort"}, 0, "is aborted: unit-a owns the keys", ""}.check(t)
	step{[]string{"move", "abort"}, 0, "is aborted", ""}.check(t)
	step{[]string{"move", "watch"}, 1, "is aborted", "aborted by"}.check(t)
}

func TestMoveNotReached(t *testing.T) {
	nobody := "http://" + freeAddress(t)
	for _, args := range [][]string{
		{"move", "list"}, {"move", "status"}, {"move", "watch", "m0"}, {"move", "abort", "m0"},
		{"move", "start", "--space", "shop", "--from", "a", "--to", "b", "--all"},
		{"move", "plan", "--space", "shop", "--from", "a", "--to", "b", "--all"},
	} {
		step{args, 3, "", "does not answer"}.check(t, "--console", nobody)
	}
}

func TestMoveShow(t *testing.T) {
	at := func(phase, state string, waiting ...string) *atollv1.Move {
		m := &atollv1.Move{Id: "m1", From: "unit-a", To: "unit-b", Buckets: "3000-5999", State: state, Phase: phase, WaitingFor: waiting, DurationMs: 164}
		for _, step := range moveSteps {
			m.Phases = append(m.Phases, &atollv1.Phase{Name: step.name, Ms: 34})
			if step.name == phase {
				break
			}
		}
		return m
	}
	moves := []*atollv1.Move{
		at("CHECK", "running", "lane-lag: unit-a>unit-b: 3000 ms behind"),
		at("CHECK", "running", "lane-lag: unit-a>unit-b: 4000 ms behind"),
		at("HOLD", "running"),
		at("FENCE", "running", "dbproxy@unit-b: drained (silent for 3s)"),
		at("FENCE", "running", "dbproxy@unit-b: drained (silent for 4s)"),
		at("FENCE", "aborted"),
	}
	var plainLines, drawn bytes.Buffer
	show, live := newMoveShow(&plainLines, false), newMoveShow(&drawn, true)
	for _, m := range moves {
		if err := show.update(m); err != nil {
			t.Fatal(err)
		}
		if err := live.update(m); err != nil {
			t.Fatal(err)
		}
	}
	want := "move m1: buckets 3000-5999 from unit-a to unit-b\n  164 ms  CHECK    waits for lane-lag: unit-a>unit-b: 3000 ms behind\n  164 ms  HOLD    \n  164 ms  FENCE    waits for dbproxy@unit-b: drained\n"
	if plainLines.String() != want {
		t.Errorf("plain lines:\n%s", plainLines.String())
	}
	if n := strings.Count(drawn.String(), "\x1b[8A"); n != len(moves)-1 {
		t.Errorf("drawn over %d times:\n%s", n, drawn.String())
	}
	if !strings.Contains(drawn.String(), "▸ FENCE       34 ms  \x1b[0mwaits for dbproxy@unit-b: drained (silent for 4s)\n") {
		t.Errorf("drawn:\n%s", drawn.String())
	}
}
