package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Exit statuses of the program.
const (
	statusDone    = 0
	statusFailed  = 1
	statusInvalid = 2
	statusNoReach = 3
)

// program is the built binary, plain or race-built.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not built: run `make test-e2e`", path)
	}
	return path
}

// result is how one command ended.
type result struct {
	status int
	stdout string
	stderr string
}

// run runs the program to its end, or kills it at the limit.
func run(t *testing.T, limit time.Duration, path string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), "ATOLL_CONSOLE=", "GORACE=halt_on_error=0 exitcode=66")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, stderr.String())
	}
	return result{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

func (r result) want(t *testing.T, status int, what string) {
	t.Helper()
	if r.status != status {
		t.Fatalf("%s: exit status %d, want %d\nstdout: %s\nstderr: %s", what, r.status, status, tail(r.stdout), tail(r.stderr))
	}
}

func tail(text string) string {
	const most = 6000
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("not one JSON value: %v\n%s", err, tail(text))
	}
}

// portBase gives each sandbox of this run ports of its own.
var sandboxes atomic.Int64

func portBase() string { return strconv.Itoa(9000 + 200*int(sandboxes.Add(1))) }

// info is the part of `sandbox info -o json` that these tests use.
type info struct {
	Host    string   `json:"host"`
	Console []string `json:"console"`
	Units   []struct {
		Code    string `json:"code"`
		Gateway string `json:"gateway"`
		App     string `json:"app"`
		// Database is the server itself, with all rights.
		Database struct {
			Host     string `json:"host"`
			Port     int    `json:"port"`
			User     string `json:"user"`
			Password string `json:"password"`
			Database string `json:"database"`
		} `json:"database"`
	} `json:"units"`
	Processes []struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
		Unit string `json:"unit"`
		PID  int    `json:"pid"`
	} `json:"processes"`
}

// sandbox brings one up and takes it down when the test ends.
func sandbox(t *testing.T, path string, args ...string) (dir string, in info) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "s")
	up := append([]string{"sandbox", "up", "--dir", dir, "--port-base", portBase()}, args...)
	run(t, 3*time.Minute, path, up...).want(t, statusDone, "sandbox up")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, path, "sandbox", "down", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("sandbox down: %v\n%s", err, out)
		}
		raceReports(t, dir)
	})
	r := run(t, time.Minute, path, "sandbox", "info", "--dir", dir, "-o", "json")
	r.want(t, statusDone, "sandbox info")
	decode(t, r.stdout, &in)
	return dir, in
}

// raceReports finds what the race detector said in the logs of the processes.
func raceReports(t *testing.T, dir string) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(dir, "log", "*"))
	for _, name := range logs {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if i := bytes.Index(raw, []byte("WARNING: DATA RACE")); i >= 0 {
			t.Errorf("data race in %s:\n%s", filepath.Base(name), raw[i:min(len(raw), i+4000)])
		}
		if i := bytes.Index(raw, []byte("panic: ")); i >= 0 {
			t.Errorf("panic in %s:\n%s", filepath.Base(name), raw[i:min(len(raw), i+4000)])
		}
	}
}
