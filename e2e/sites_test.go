package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// call sends one request to a gateway as a buyer would.
func call(t *testing.T, in info, gateway, method, path string, body any) (int, map[string]any, http.Header) {
	t.Helper()
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		payload = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, gateway+path, payload)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = in.Host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, map[string]any{"error": err.Error()}, nil
	}
	defer func() { _ = res.Body.Close() }()
	raw, _ := io.ReadAll(res.Body)
	var answer map[string]any
	_ = json.Unmarshal(raw, &answer)
	return res.StatusCode, answer, res.Header
}

// buyerOf finds a buyer whom a unit owns, by the program's own explanation.
func buyerOf(t *testing.T, path, dir, unit string) string {
	t.Helper()
	for i := range 200 {
		key := fmt.Sprintf("%c%dbuyer", 'a'+i%26, i) // the first letters spread the buckets most
		r := run(t, time.Minute, path, "explain", "--dir", dir, "--space", "shop", "--rule", "1003", "--key", key, "-o", "json")
		r.want(t, statusDone, "explain")
		var e struct {
			Unit   string `json:"unit"`
			Reason string `json:"reason"`
			Bucket *int   `json:"bucket"`
		}
		decode(t, r.stdout, &e)
		if e.Reason != "range" || e.Bucket == nil {
			t.Fatalf("explain %s: %s", key, r.stdout)
		}
		if e.Unit == unit {
			return key
		}
	}
	t.Fatalf("no buyer of %s found", unit)
	return ""
}

// wholeFlow browses, orders, pays and views.
func wholeFlow(t *testing.T, in info, gateway, user, clientID string) {
	t.Helper()
	if status, answer, _ := call(t, in, gateway, http.MethodGet, "/product?user="+user+"&id=p01", nil); status != http.StatusOK {
		t.Fatalf("browse: %d %v", status, answer)
	}
	status, answer, header := call(t, in, gateway, http.MethodPost, "/order?user="+user, map[string]any{"client_id": clientID, "product": "p01", "qty": 2})
	if status != http.StatusCreated {
		t.Fatalf("order: %d %v", status, answer)
	}
	for _, name := range []string{"X-Live-Unit", "X-Live-Cell", "X-Live-Epoch", "X-Live-Endpoint"} {
		if header.Get(name) == "" {
			t.Errorf("the answer has no %s", name)
		}
	}
	id, _ := answer["order_id"].(string)
	if again, second, _ := call(t, in, gateway, http.MethodPost, "/order?user="+user, map[string]any{"client_id": clientID, "product": "p01", "qty": 2}); again != http.StatusOK || second["order_id"] != id {
		t.Fatalf("the same client_id again: %d %v, want 200 and order %s", again, second, id)
	}
	if status, answer, _ := call(t, in, gateway, http.MethodPost, "/order/pay?user="+user, map[string]any{"order_id": id}); status != http.StatusOK {
		t.Fatalf("pay: %d %v", status, answer)
	}
	status, answer, _ = call(t, in, gateway, http.MethodGet, "/order?user="+user+"&id="+id, nil)
	if status != http.StatusOK || answer["status"] != "paid" {
		t.Fatalf("view: %d %v", status, answer)
	}
}

// awaitOrder places orders until one is done: a unit that heard no console
// for longer than its lease takes no writes before it has heard one.
func awaitOrder(t *testing.T, in info, gateway, user string) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for n := 0; ; n++ {
		status, answer, _ := call(t, in, gateway, http.MethodPost, "/order?user="+user,
			map[string]any{"client_id": fmt.Sprintf("await-%d-%d", limit.UnixNano(), n), "product": "p01", "qty": 1})
		if status == http.StatusCreated {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("no order within 20 s: %d %v", status, answer)
		}
	}
}

// TestSandbox is one sandbox through what a newcomer does with it, then a
// site that stands still, then its end.
func TestSandbox(t *testing.T) {
	path := program(t, "atoll")
	dir, in := sandbox(t, path)
	a, b := buyerOf(t, path, dir, "unit-a"), buyerOf(t, path, dir, "unit-b")
	for _, u := range in.Units {
		wholeFlow(t, in, u.Gateway, a, "first-"+u.Code)
		wholeFlow(t, in, u.Gateway, b, "first-"+u.Code)
	}
	t.Run("commands", func(t *testing.T) { commands(t, path, dir) })
	t.Run("new tables", func(t *testing.T) { newTables(t, path, dir) })
	t.Run("stopped site", func(t *testing.T) { stoppedSite(t, in, b) })
	t.Run("cut", func(t *testing.T) {
		awaitOrder(t, in, in.Units[0].Gateway, a) // its leases ended while it stood still
		run(t, time.Minute, path, "sandbox", "cut", "unit-b", "--dir", dir).want(t, statusDone, "cut")
		defer func() {
			run(t, time.Minute, path, "sandbox", "heal", "unit-b", "--dir", dir).want(t, statusDone, "heal")
			awaitOrder(t, in, in.Units[1].Gateway, b)
		}()
		wholeFlow(t, in, in.Units[0].Gateway, a, "cut-a")
	})
	t.Run("move", func(t *testing.T) { moveThereAndBack(t, path, dir) })
	run(t, time.Minute, path, "sandbox", "down", "--dir", dir).want(t, statusDone, "down")
	out, _ := exec.CommandContext(t.Context(), "pgrep", "-f", dir).Output()
	if len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("processes are left: %s", out)
	}
}

// commands types what the README shows.
func commands(t *testing.T, path, dir string) {
	for _, args := range [][]string{
		{"sandbox", "info"}, {"planes"}, {"lanes"}, {"get", "multilivespace", "shop", "-o", "yaml"}, {"get", "database", "shop", "-o", "json"},
		{"history", "multilivespace", "shop"}, {"move", "list"}, {"move", "plan", "--space", "shop", "--from", "unit-a", "--to", "unit-b", "--percent", "10"},
		{"explain", "--space", "shop", "--host", "shop.atoll.test", "--path", "/orders", "--query", "user=alice"},
	} {
		r := run(t, time.Minute, path, append(args, "--dir", dir)...)
		if r.status != statusDone || r.stdout == "" {
			t.Errorf("atoll %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.stdout, r.stderr)
		}
	}
	file := filepath.Join(t.TempDir(), "space.yaml")
	r := run(t, time.Minute, path, "get", "multilivespace", "shop", "-o", "yaml", "--dir", dir)
	writeFile(t, file, r.stdout)
	run(t, time.Minute, path, "validate", "-f", file).want(t, statusDone, "validate what get gave")
	run(t, time.Minute, path, "apply", "-f", file, "--wait", "--dir", dir).want(t, statusDone, "apply what get gave")
	stolen := strings.Replace(strings.Replace(r.stdout, "to: 6000", "to: 5000", 1), "from: 6000", "from: 5000", 1)
	if stolen == r.stdout {
		t.Fatalf("no range of 6000 in\n%s", r.stdout)
	}
	writeFile(t, file, stolen)
	refused := run(t, time.Minute, path, "apply", "-f", file, "--dir", dir)
	if refused.status != statusInvalid || !strings.Contains(refused.stderr, "atoll move start") || !strings.Contains(refused.stderr, "5000-5999") {
		t.Errorf("apply of a changed owner: status %d\n%s", refused.status, refused.stderr)
	}
}

// newTables applies Databases beside the shop's. Each plane beats into its own
// server alone, so the heartbeats are a table whose rows differ; nothing is
// parked, so those tables are equal. The shop's own tables are listed already.
func newTables(t *testing.T, path, dir string) {
	var document map[string]any
	decode(t, run(t, time.Minute, path, "get", "database", "shop", "-o", "json", "--dir", dir).stdout, &document)
	spec := document["spec"].(map[string]any)
	document["metadata"] = map[string]any{"name": "probe"}
	apply := func() result {
		raw, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "probe.json")
		writeFile(t, file, string(raw))
		return run(t, time.Minute, path, "apply", "-f", file, "--dry-run", "-o", "json", "--dir", dir)
	}
	twice := apply()
	twice.want(t, statusInvalid, "apply of tables that another Database lists")
	if !strings.Contains(twice.stderr, "is listed in Database shop as well (list it in one of them)") {
		t.Errorf("listed twice: %s", twice.stderr)
	}
	for _, s := range spec["sources"].([]any) {
		s.(map[string]any)["database"] = "atoll"
	}
	spec["tables"] = []any{map[string]any{"name": "parked", "kind": "unit", "key": "keytext"}}
	equal := apply()
	equal.want(t, statusDone, "apply of equal tables")
	if !strings.Contains(equal.stdout, `"action":"created"`) || !strings.Contains(equal.stdout, `"not_compared":[]`) {
		t.Errorf("equal tables: %s%s", equal.stdout, equal.stderr)
	}
	spec["tables"] = []any{
		map[string]any{"name": "heartbeat", "kind": "unit", "key": "unit"}, map[string]any{"name": "nowhere", "kind": "unit", "key": "unit"},
	}
	refused := apply()
	refused.want(t, statusInvalid, "apply of a table whose rows differ")
	for _, want := range []string{
		"nothing was applied",
		"Database probe: spec.tables[0]: table heartbeat holds rows that differ between unit-a and unit-b: 2, among them those with primary key 'unit-a' 'unit-b' (make them equal,",
		"Database probe: spec.tables[1]: table nowhere is neither in unit-a nor in unit-b (create it in each unit,",
	} {
		if !strings.Contains(refused.stderr, want) {
			t.Errorf("no word of %q in\n%s", want, refused.stderr)
		}
	}
}

// stoppedSite stops every process of site A: the buyers of unit-b go on alone.
func stoppedSite(t *testing.T, in info, buyer string) {
	var stopped []int
	for _, p := range in.Processes {
		if p.Unit == "unit-a" && p.PID > 0 {
			stopped = append(stopped, p.PID)
		}
	}
	if len(stopped) < 5 {
		t.Fatalf("only %d processes of unit-a: %v", len(stopped), in.Processes)
	}
	signal := func(s syscall.Signal) {
		for _, pid := range stopped {
			if err := syscall.Kill(pid, s); err != nil {
				t.Errorf("signal %d: %v", pid, err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	until := time.Now().Add(10 * time.Second)
	rounds := 0
	for ; time.Now().Before(until); rounds++ {
		wholeFlow(t, in, in.Units[1].Gateway, buyer, fmt.Sprintf("alone-%d", rounds))
	}
	t.Logf("%d whole flows in unit-b while every process of unit-a stood still for 10 s", rounds)
	if rounds < 10 {
		t.Errorf("only %d flows in 10 s", rounds)
	}
}

func moveThereAndBack(t *testing.T, path, dir string) {
	before := run(t, time.Minute, path, "get", "multilivespace", "shop", "-o", "json", "--dir", dir).stdout
	type moved struct {
		ID      string `json:"id"`
		State   string `json:"state"`
		Buckets string `json:"buckets"`
		Before  int64  `json:"epoch_before"`
		After   int64  `json:"epoch_after"`
		Phases  []struct {
			Name string `json:"name"`
		} `json:"phases"`
		Pause json.RawMessage `json:"write_pause_ms"`
	}
	start := func(args ...string) moved {
		r := run(t, 2*time.Minute, path, append([]string{"move", "start", "--space", "shop", "--wait", "-o", "json", "--dir", dir}, args...)...)
		r.want(t, statusDone, "move start")
		var m moved
		decode(t, r.stdout, &m)
		if m.State != "done" || len(m.Phases) != 7 || m.After <= m.Before || string(m.Pause) != "null" {
			t.Fatalf("move: %s", r.stdout)
		}
		return m
	}
	if there := start("--from", "unit-a", "--to", "unit-b", "--percent", "10"); there.Buckets != "5000-5999" {
		t.Errorf("10 %% of unit-a: buckets %s, want 5000-5999", there.Buckets)
	}
	start("--from", "unit-b", "--to", "unit-a", "--buckets", "5000-5999")
	after := run(t, time.Minute, path, "get", "multilivespace", "shop", "-o", "json", "--dir", dir).stdout
	if rangesOf(t, before) != rangesOf(t, after) {
		t.Errorf("the move back did not restore the rule:\n%s\n%s", before, after)
	}
}

// rangesOf is the part of a document that a move changes.
func rangesOf(t *testing.T, document string) string {
	t.Helper()
	var d any
	decode(t, document, &d)
	if list, ok := d.([]any); ok && len(list) == 1 {
		d = list[0]
	}
	spec, _ := d.(map[string]any)["spec"].(map[string]any)
	raw, err := json.Marshal(spec["unitRules"])
	if err != nil || string(raw) == "null" {
		t.Fatalf("no unit rules in %s", document)
	}
	return string(raw)
}
