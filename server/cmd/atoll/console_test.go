package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
)

// runFor runs the program in this process.
func runFor(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startConsole runs `atoll console` and returns its URL once it is ready.
func startConsole(t *testing.T, flags ...string) string {
	t.Helper()
	address := freeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	ended := make(chan int, 1)
	var log bytes.Buffer
	wg.Go(func() {
		ended <- run(ctx, append([]string{"console", "--dir", t.TempDir(), "--listen", address}, flags...), io.Discard, &log)
	})
	t.Cleanup(func() { cancel(); wg.Wait(); http.DefaultClient.CloseIdleConnections() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		select {
		case code := <-ended:
			t.Fatalf("the console ended with %d: %s", code, log.String())
		case <-limit:
			t.Fatal("the console is not ready")
		case <-tick.C:
		}
		res, err := http.Get("http://" + address + "/ready")
		if err != nil {
			continue
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return "http://" + address
		}
	}
}

func documentFile(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "console", "documents", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in %s", pairs[i], name)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// step is one command with what it must come to.
type step struct {
	args   []string
	code   int
	stdout string // part of it
	stderr string // part of it; "": nothing is said there
}

func (s step) check(t *testing.T, extra ...string) {
	t.Helper()
	code, stdout, stderr := runFor(t, append(s.args, extra...)...)
	if code != s.code || !strings.Contains(stdout, s.stdout) || !strings.Contains(stderr, s.stderr) || s.stderr == "" && stderr != "" {
		t.Errorf("atoll %s: status %d\n%s%s\nwant %d, %q, %q", strings.Join(s.args, " "), code, stdout, stderr, s.code, s.stdout, s.stderr)
	}
	if strings.Contains(stderr, "goroutine ") || strings.Contains(stdout, "\x1b[") {
		t.Errorf("atoll %s prints a trace or colours: %s%s", strings.Join(s.args, " "), stdout, stderr)
	}
}

// notCompared is what apply says of new tables where no lanes run.
const notCompared = "in unit-a and unit-b were not compared: nobody can be asked"

func TestDocumentCommands(t *testing.T) {
	t.Setenv("ATOLL_CONSOLE", startConsole(t))
	shop, db := documentFile(t, "shop.yaml"), documentFile(t, "database.yaml")
	strange := documentFile(t, "shop.yaml", "tenantId: demo", "tenantId: demo\n  ours: 1")
	renamed := documentFile(t, "shop.yaml", "name: Shop", "name: Other")
	other := documentFile(t, "database.yaml", "{name: stock, kind: center}", "{name: stock, kind: center}\n    - {name: carts, kind: unit, key: buyer_id}")
	gap := documentFile(t, "shop.yaml", "to: 6000", "to: 5000")
	owner := documentFile(t, "shop.yaml", "to: 6000", "to: 5000", "from: 6000", "from: 5000")
	broken := documentFile(t, "shop.yaml", "modulo: 10000", "modulo: [1]")
	notYAML := documentFile(t, "shop.yaml", "spec:", "spec: [")
	for _, s := range []step{
		{[]string{"get", "multilivespace", "shop"}, 1, "", "there is no MultiLiveSpace shop"},
		{[]string{"get", "multilivespace", "-o", "json"}, 0, "[]\n", ""},
		{[]string{"apply", "-f", db}, 2, "", "shop"},
		{[]string{"apply", "-f", shop, "-f", db, "--dry-run"}, 0, "created (dry run)", notCompared},
		{[]string{"get", "database"}, 0, "", ""},
		{[]string{"apply", "-f", shop, "-f", db, "--wait"}, 0, "KIND            NAME  SPACE  ACTION   EPOCH\nMultiLiveSpace  shop  shop   created      1\nDatabase        shop  shop   created      1\n", notCompared},
		{[]string{"apply", "-f", other, "-o", "json"}, 0, `"not_compared":[{"database":"shop","tables":["carts"],"units":["unit-a","unit-b"],"reason":"nobody can be asked: no dbsync plane of unit-b is registered"}]`, notCompared},
		{[]string{"apply", "-f", other, "-o", "json"}, 0, `"not_compared":[]`, ""},
		{[]string{"apply", "-f", strange, "-o", "json"}, 0, `"action":"changed","epoch":3`, "warning: MultiLiveSpace shop: spec.ours: unknown field"},
		{[]string{"apply", "-f", strange, "--strict"}, 2, "", "spec.ours: unknown field"},
		{[]string{"diff", "-f", renamed}, 0, "-  name: Shop\n+  name: Other\n", ""},
		{[]string{"diff", "-f", renamed, "--exit-code"}, 1, "+++ MultiLiveSpace shop in the file", ""},
		{[]string{"diff", "-f", other, "--exit-code"}, 0, "", ""},
		{[]string{"diff", "-f", renamed, "-o", "json"}, 0, `{"diffs":[{"kind":"MultiLiveSpace","name":"shop","text":"--- `, ""},
		{[]string{"apply", "-f", gap}, 2, "", "spec.unitRules"},
		{[]string{"apply", "-f", owner}, 2, "", "apply never changes an owner\n  rule \"1003\": buckets 5000-5999 would go from unit-a to unit-b (atoll move start "},
		{[]string{"apply", "-f", broken}, 2, "", ".yaml:"},
		{[]string{"apply", "-f", notYAML}, 2, "", notYAML},
		{[]string{"apply", "-f", "/no/such/file"}, 2, "", "/no/such/file"},
		{[]string{"apply"}, 2, "", "file"},
		{[]string{"apply", "-f", shop, "--compare-time", "2h"}, 2, "", "--compare-time 2h0m0s: want a time from 1ms to 1h"},
		{[]string{"get", "pod"}, 2, "", "unknown kind"},
		{[]string{"history", "multilivespace", "shop"}, 0, "changed by apply", ""},
		{[]string{"history", "MultiLiveSpace", "shop", "-o", "json", "--limit", "1"}, 0, `{"revisions":[{"epoch":3,`, ""},
		{[]string{"history", "multilivespace", "shop", "--epoch", "1"}, 0, "name: Shop\n", ""},
		{[]string{"history", "multilivespace", "shop", "--epoch", "77"}, 1, "", "epoch 77"},
		{[]string{"history", "database", "never"}, 1, "", "there is no Database never"},
		{[]string{"audit"}, 0, "MultiLiveSpace shop created, Database shop created", ""},
		{[]string{"audit", "-o", "json"}, 0, `{"entries":[{"at":`, ""},
		{[]string{"explain", "--space", "shop", "--rule", "1003", "--key", "alice", "-o", "json"}, 0, `"unit":"unit-a"`, ""},
	} {
		s.check(t)
	}
}

// What get prints, apply takes back as unchanged, in both forms.
func TestGetAndApplyAgain(t *testing.T) {
	t.Setenv("ATOLL_CONSOLE", startConsole(t))
	step{[]string{"apply", "-f", documentFile(t, "shop.yaml"), "-f", documentFile(t, "database.yaml")}, 0, "created", notCompared}.check(t)
	for _, args := range [][]string{
		{"get", "multilivespace", "shop", "-o", "yaml"}, {"get", "multilivespace", "shop", "-o", "json"},
		{"get", "Database", "-o", "json"}, {"get", "database"},
	} {
		code, stdout, stderr := runFor(t, args...)
		if code != 0 || stderr != "" {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
		if args[len(args)-1] == "json" && !json.Valid([]byte(stdout)) {
			t.Errorf("%v is not one JSON value: %s", args, stdout)
		}
		file := filepath.Join(t.TempDir(), "again")
		if err := os.WriteFile(file, []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		step{[]string{"apply", "-f", file}, 0, "unchanged", ""}.check(t)
	}
}

func TestConsoleNotReached(t *testing.T) {
	shop := documentFile(t, "shop.yaml")
	nobody := "http://" + freeAddress(t)
	for _, s := range []step{
		{[]string{"apply", "-f", shop}, 3, "", "does not answer"},
		{[]string{"get", "database"}, 3, "", "does not answer"},
		{[]string{"diff", "-f", shop}, 3, "", "does not answer"},
		{[]string{"history", "database", "shop"}, 3, "", "does not answer"},
		{[]string{"audit"}, 3, "", "does not answer"},
		{[]string{"planes"}, 3, "", "does not answer"},
		{[]string{"planes", "forget", "x"}, 3, "", "does not answer"},
		{[]string{"lanes"}, 3, "", "does not answer"},
	} {
		s.check(t, "--console", nobody)
	}
	step{[]string{"get", "database", "--console", "nonsense"}, 2, "", "nonsense"}.check(t)
	step{[]string{"get", "database", "--dir", t.TempDir()}, 3, "", "no console"}.check(t)
	// The first of two is away: the second answers.
	step{[]string{"get", "database", "--console", nobody, "--console", startConsole(t)}, 0, "", ""}.check(t)
}

func TestPlaneCommands(t *testing.T) {
	url := startConsole(t)
	t.Setenv("ATOLL_CONSOLE", url)
	step{[]string{"planes"}, 0, "no planes are registered", ""}.check(t)
	step{[]string{"planes", "-o", "json"}, 0, `{"planes":[]}`, ""}.check(t)
	step{[]string{"lanes"}, 0, "no plane reports a lane", ""}.check(t)
	client, err := console.NewClient([]string{url}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dbsync@unit-b", "gateway@unit-a"} {
		kind, unit, _ := strings.Cut(name, "@")
		p := &atollv1.Plane{Name: name, Kind: kind, Unit: unit, Incarnation: "1", Pid: 42}
		if _, err := client.Planes().Register(t.Context(), connect.NewRequest(&atollv1.RegisterRequest{Plane: p})); err != nil {
			t.Fatal(err)
		}
	}
	report := &atollv1.ReportRequest{
		Plane: "dbsync@unit-b", Incarnation: "1", BoottimeNs: 1, Spaces: []*atollv1.SpaceReport{{Space: "shop", Epoch: 12}},
		Lanes: []*atollv1.LaneReport{{Name: "unit-a>unit-b", Space: "shop", State: "running", Position: "bin.1:4", LagMs: 31, Groups: 1200, Rows: 3400, Parked: 2,
			ParkedRows: []*atollv1.ParkedRow{{Id: 7, Table: "shop.orders", Key: "buyer-1", Owner: "unit-b", Reason: "not owned", Position: "0-1-9", At: "2026-11-21T10:00:00Z"}}}},
	}
	keepReporting(t, client, report)
	code, stdout, stderr := runFor(t, "planes")
	lines := strings.Split(stdout, "\n")
	if code != 0 || stderr != "" || len(lines) != 4 || !strings.HasPrefix(lines[0], "NAME            KIND     UNIT    CELL  STATE ") ||
		!strings.HasPrefix(lines[1], "dbsync@unit-b   dbsync   unit-b        connected  shop:12 ") ||
		!strings.HasPrefix(lines[2], "gateway@unit-a  gateway  unit-a        silent ") || !strings.Contains(lines[2], "never") {
		t.Errorf("planes: %d %s\n%s", code, stderr, stdout)
	}
	for _, s := range []step{
		{[]string{"planes", "list", "-o", "json"}, 0, `"silent_ms":null`, ""},
		{[]string{"planes", "--space", "other"}, 0, "gateway@unit-a", ""},
		{[]string{"lanes"}, 0, "LANE           SPACE  STATE     LAG  GROUPS  ROWS  PARKED  POSITION  REASON\nunit-a>unit-b  shop   running  31ms    1200  3400       2  bin.1:4\n", ""},
		{[]string{"lanes"}, 0, "LANE           ID  TABLE        KEY      OWNER   AT                    POSITION  REASON\nunit-a>unit-b   7  shop.orders  buyer-1  unit-b  2026-11-21T10:00:00Z  0-1-9     not owned\n", ""},
		{[]string{"lanes", "-o", "json"}, 0, `"parked_rows":[{"id":7,"table":"shop.orders","key":"buyer-1"`, ""},
		{[]string{"lanes", "-o", "json"}, 0, `"parked":2`, ""},
		{[]string{"lanes", "--space", "other", "-o", "json"}, 0, `{"lanes":[]}`, ""},
		{[]string{"planes", "forget", "never"}, 1, "", `no plane "never"`},
		{[]string{"planes", "forget", "dbsync@unit-b"}, 2, "", "is connected"},
		{[]string{"planes", "forget", "gateway@unit-a"}, 0, "plane gateway@unit-a is forgotten", ""},
		{[]string{"audit"}, 0, "plane.forget  gateway@unit-a", ""},
	} {
		s.check(t)
	}
}

// keepReporting reports once, and on until the test ends, as a plane does: on a
// busy machine a single report is soon too old.
func keepReporting(t *testing.T, client *console.Client, r *atollv1.ReportRequest) {
	t.Helper()
	report := func(ctx context.Context) error {
		_, err := client.Planes().Report(ctx, connect.NewRequest(r))
		r.BoottimeNs++
		return err
	}
	if err := report(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = report(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// A plane that is asked about rows and does not answer: nothing is applied, and
// it is said early that this takes time.
func TestApplyWaitsForRows(t *testing.T) {
	url := startConsole(t)
	t.Setenv("ATOLL_CONSOLE", url)
	client, err := console.NewClient([]string{url}, "")
	if err != nil {
		t.Fatal(err)
	}
	p := &atollv1.Plane{Name: "dbsync@unit-b", Kind: "dbsync", Unit: "unit-b", Incarnation: "1", Pid: 42}
	if _, err := client.Planes().Register(t.Context(), connect.NewRequest(&atollv1.RegisterRequest{Plane: p})); err != nil {
		t.Fatal(err)
	}
	keepReporting(t, client, &atollv1.ReportRequest{Plane: p.GetName(), Incarnation: "1", BoottimeNs: 1})
	args := []string{"apply", "-f", documentFile(t, "shop.yaml"), "-f", documentFile(t, "database.yaml"), "--compare-time", "2500ms"}
	code, stdout, stderr := runFor(t, args...)
	if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "no answer yet: the console may compare the rows of tables that are new to a Database, for up to 2.5s\n") ||
		!strings.Contains(stderr, "were not compared: plane dbsync@unit-b did not answer: 2.5s are over (look at it with `atoll planes`)") {
		t.Errorf("apply: status %d\n%s%s", code, stdout, stderr)
	}
	step{[]string{"get", "database", "-o", "json"}, 0, "[]\n", ""}.check(t)
}

func TestConsoleTokens(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("ann s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ATOLL_CONSOLE", startConsole(t, "--token-file", tokens))
	step{[]string{"get", "database"}, 2, "", "a valid token is needed"}.check(t)
	t.Setenv("ATOLL_TOKEN", "s3cret")
	step{[]string{"get", "database"}, 0, "", ""}.check(t)
}

func TestConsoleRefusesItsStart(t *testing.T) {
	taken := strings.TrimPrefix(startConsole(t), "http://")
	for _, s := range []step{
		{[]string{"console", "--listen", taken}, 1, "", "address already in use"},
		{[]string{"console", "--fence-ttl", "soon"}, 2, "", "--fence-ttl soon"},
		{[]string{"console", "--fence-ttl", "300ms"}, 2, "", "--fence-deadline 400ms: must be less than --fence-ttl 300ms"},
		{[]string{"console", "--listen", "nowhere"}, 2, "", "--listen"},
		{[]string{"console", "--token-file", "/no/such/file"}, 2, "", "read the tokens"},
	} {
		s.check(t, "--dir", t.TempDir())
	}
}
