package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wantOneLine checks that a refusal is one clear line, with the mend, and no
// stack trace.
func (r result) wantOneLine(t *testing.T, status int, parts ...string) {
	t.Helper()
	text := strings.TrimSpace(r.stderr)
	last := text[strings.LastIndex(text, "\n")+1:]
	if r.status != status || strings.Contains(text, "goroutine ") || !strings.HasPrefix(last, "atoll: ") {
		t.Fatalf("status %d, want %d, and one line:\n%s", r.status, status, r.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(last, part) {
			t.Errorf("%q does not say %q", last, part)
		}
	}
}

// TestBadInput tries what people get wrong, without a sandbox.
func TestBadInput(t *testing.T) {
	path := program(t, "atoll")
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	writeFile(t, broken, "apiVersion: apaas.cos.com/v2alpha1\nkind: MultiLiveSpace\nmetadata: {name: x}\nspec: {code: x, units: [{code: a, type: CENTER}, {code: b, type: CENTER}], unitRules: [], domains: [], variables: []}\n")
	short := func(args ...string) result { t.Helper(); return run(t, 30*time.Second, path, args...) }

	r := short("validate", "-f", broken)
	if r.status != statusInvalid || !strings.Contains(r.stdout+r.stderr, "spec.units") {
		t.Errorf("two centers: status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	short("validate", "-f", filepath.Join(dir, "none.yaml")).wantOneLine(t, statusInvalid, "none.yaml")
	short("planes", "--console", "http://127.0.0.1:1").wantOneLine(t, statusNoReach)
	short("planes", "--console", "nowhere").wantOneLine(t, statusInvalid, "http://")
	short("planes", "--dir", dir).wantOneLine(t, statusNoReach, "--console")
	short("sandbox", "info", "--dir", dir).wantOneLine(t, statusNoReach, "sandbox up")
	short("sandbox", "up", "--dir", dir, "--port-base", "80").wantOneLine(t, statusInvalid, "--port-base")
	short("sandbox", "up", "--units", "9").wantOneLine(t, statusInvalid, "--units")
	short("sandbox", "demo", "--seconds", "1").wantOneLine(t, statusInvalid, "--seconds")
	short("sandbox", "demo", "--break", "everything").wantOneLine(t, statusInvalid, "no-fence")
	short("sandbox", "demo", "--break", "reorder").wantOneLine(t, statusInvalid, "sandbox chaos --break reorder")
	short("sandbox", "check-history", filepath.Join(dir, "none.jsonl")).wantOneLine(t, statusInvalid, "none.jsonl")
	short("sandbox", "check-history", broken).wantOneLine(t, statusInvalid, "line 1")
	short("nonsense").wantOneLine(t, statusInvalid)
	short("app", "--unit", "u", "--console", "http://127.0.0.1:1", "--dsn", "not a dsn", "--listen", "127.0.0.1:0").wantOneLine(t, statusInvalid, "DSN")

	l, err := net.Listen("tcp", "127.0.0.1:9950")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	sub := filepath.Join(dir, "s")
	short("sandbox", "up", "--dir", sub, "--port-base", "9950").wantOneLine(t, statusFailed, "9950")
	if _, err := os.Stat(filepath.Join(sub, "unit-a")); err == nil {
		t.Error("a port in use, and something was made all the same")
	}
	t.Setenv("PATH", "/nowhere")
	r = short("sandbox", "up", "--dir", sub, "--port-base", "9700")
	if r.status == statusDone {
		run(t, time.Minute, path, "sandbox", "down", "--dir", sub)
	}
}

// TestTwoSandboxes runs two side by side, and Ctrl-C on one of them.
func TestTwoSandboxes(t *testing.T) {
	path := program(t, "atoll")
	_, one := sandbox(t, path)
	_, two := sandbox(t, path)
	wholeFlow(t, one, one.Units[0].Gateway, "alice", "one")
	wholeFlow(t, two, two.Units[0].Gateway, "alice", "two")
}
