package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary plays the children and, for the test of sudden death, the
// supervisor too.
func TestMain(m *testing.M) {
	switch os.Getenv("STANDIN") {
	case "":
		goleak.VerifyTestMain(m)
	case "child":
		standIn()
	case "supervisor":
		supervisorProcess()
	}
}

// standIn serves /ready on STANDIN_ADDR, writes what happens to it into
// STANDIN_FILE, and ends on SIGTERM, unless it is stubborn, or when asked for
// /die. A broken one ends at once.
func standIn() {
	name, file := os.Getenv("STANDIN_NAME"), os.Getenv("STANDIN_FILE")
	write := func(what string) {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			os.Exit(7)
		}
		defer f.Close()
		fmt.Fprintf(f, "%s %s %d\n", what, name, os.Getpid())
	}
	write("start")
	if os.Getenv("STANDIN_BROKEN") != "" {
		fmt.Fprintln(os.Stderr, "the flux is empty: fill it")
		os.Exit(3)
	}
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM)
	http.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(9) })
	go func() { _ = http.ListenAndServe(os.Getenv("STANDIN_ADDR"), nil) }()
	for range terms {
		write("stop")
		if os.Getenv("STANDIN_STUBBORN") == "" {
			os.Exit(0)
		}
	}
}

type fixture struct {
	t    *testing.T
	dir  string
	file string
}

func newFixture(t *testing.T) *fixture {
	dir := t.TempDir()
	return &fixture{t: t, dir: dir, file: filepath.Join(dir, "events")}
}

func (f *fixture) process(name string, env ...string) Process {
	return standInProcess(f.t.TempDir(), f.file, name, freeAddr(f.t), env...)
}

func standInProcess(dir, file, name, addr string, env ...string) Process {
	return Process{
		Name: name, Kind: "stand-in", Unit: "unit-a", Path: os.Args[0], Log: filepath.Join(dir, name+".log"),
		Env:   append([]string{"STANDIN=child", "STANDIN_NAME=" + name, "STANDIN_FILE=" + file, "STANDIN_ADDR=" + addr}, env...),
		Ready: Probe{URL: "http://" + addr + "/ready"},
	}
}

// freeAddr gives ports below those that the kernel gives out by itself, so
// that nobody takes one between here and the child's start.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 300 {
		addr := fmt.Sprintf("127.0.0.1:%d", 27000+(int(nextPort.Add(1))+os.Getpid())%400)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port between 27000 and 27400")
	return ""
}

var nextPort atomic.Int64

// events are the lines "start a 123" that the children wrote.
func (f *fixture) events() []string {
	text, _ := os.ReadFile(f.file)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// order is what happened without process ids.
func (f *fixture) order(what string) string {
	var names []string
	for _, e := range f.events() {
		if fields := strings.Fields(e); len(fields) == 3 && fields[0] == what {
			names = append(names, fields[1])
		}
	}
	return strings.Join(names, " ")
}

func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	end := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", limit, what)
		}
		<-tick.C
	}
}

// run runs a supervisor with the stages until the test ends or stop is called.
func (f *fixture) run(cfg Config, stages ...[]Process) (s *Supervisor, stop func() error) {
	f.t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	s = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(ctx context.Context) error {
			for _, stage := range stages {
				if err := s.Start(ctx, stage...); err != nil {
					return err
				}
			}
			close(ready)
			return nil
		})
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("the supervisor did not stop within 20 s")
		}
	})
	f.t.Cleanup(func() { _ = stop() })
	select {
	case <-ready:
	case err := <-done:
		done <- err
	case <-time.After(20 * time.Second):
		f.t.Fatal("the stages are not ready after 20 s")
	}
	return s, stop
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestSupervisor_StartsInOrderAndStopsInReverse(t *testing.T) {
	f := newFixture(t)
	s, stop := f.run(Config{}, []Process{f.process("a")}, []Process{f.process("b")}, []Process{f.process("c")})
	states := s.States()
	if got := f.order("start"); got != "a b c" {
		t.Errorf("started in the order %q", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := f.order("stop"); got != "c b a" {
		t.Errorf("stopped in the order %q", got)
	}
	for _, st := range states {
		if st.PID == 0 || alive(st.PID) {
			t.Errorf("%s: pid %d, still there: %v", st.Name, st.PID, alive(st.PID))
		}
	}
}

func TestSupervisor_RestartsWhatDied(t *testing.T) {
	f := newFixture(t)
	var mu sync.Mutex
	var told []State
	p := f.process("a")
	s, _ := f.run(Config{Changed: func(all []State) {
		mu.Lock()
		defer mu.Unlock()
		told = all
	}}, []Process{p})
	first := s.States()[0].PID
	for n := range 2 {
		before := s.States()[0].PID
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, 10*time.Second, "the child to be back", func() bool {
			st := s.States()[0]
			return st.Restarts == n+1 && st.PID != 0 && st.PID != before && p.Ready.Check(t.Context()) == nil
		})
	}
	within(t, 5*time.Second, "the new pid to be told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == 1 && told[0].PID == s.States()[0].PID && told[0].PID != first
	})
	if st := s.States()[0]; st.Ended != "ended with signal: killed" {
		t.Errorf("it is said to have %q", st.Ended)
	}
}

func TestSupervisor_NoRestartLeavesItDead(t *testing.T) {
	f := newFixture(t)
	s, stop := f.run(Config{NoRestart: true}, []Process{f.process("a"), f.process("b")})
	for _, st := range s.States() {
		if st.Name == "a" {
			_ = syscall.Kill(st.PID, syscall.SIGKILL)
		}
	}
	within(t, 5*time.Second, "the death to be seen", func() bool { return s.States()[0].PID == 0 })
	died := time.Now()
	within(t, 5*time.Second, "a restart's time to be over", func() bool { return time.Since(died) > 3*backoffMin })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(f.order("start")); len(got) != 2 {
		t.Errorf("started %v: the dead one came back", got)
	}
}

func TestSupervisor_StubbornChildIsKilledAfterItsGrace(t *testing.T) {
	f := newFixture(t)
	p := f.process("a", "STANDIN_STUBBORN=1")
	p.Grace = 300 * time.Millisecond
	s, stop := f.run(Config{}, []Process{p})
	pid := s.States()[0].PID
	began := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < p.Grace || d > 10*time.Second {
		t.Errorf("the stop took %v with a grace of %v", d, p.Grace)
	}
	if alive(pid) {
		t.Error("the stubborn child is still there")
	}
}

func TestSupervisor_FailedStageStopsTheOthers(t *testing.T) {
	f := newFixture(t)
	broken := f.process("b", "STANDIN_BROKEN=1")
	s, stop := f.run(Config{}, []Process{f.process("a")}, []Process{broken}, []Process{f.process("c")})
	err := stop()
	if err == nil {
		t.Fatal("a stage with a broken child is ready")
	}
	for _, want := range []string{"start b", "exit status 3", "the flux is empty: fill it", broken.Log} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if got := f.order("start"); got != "a b" {
		t.Errorf("started %q: want no start after the failure, and no restart", got)
	}
	for _, st := range s.States() {
		if st.PID != 0 && alive(st.PID) {
			t.Errorf("%s is left behind", st.Name)
		}
	}
}

func TestSupervisor_MissingProgram(t *testing.T) {
	f := newFixture(t)
	p := f.process("a")
	p.Path = filepath.Join(f.dir, "no-such-program")
	_, stop := f.run(Config{}, []Process{p})
	if err := stop(); err == nil || !strings.Contains(err.Error(), "start a") {
		t.Errorf("start of a missing program: %v", err)
	}
}

func TestSupervisor_StopWhileStarting(t *testing.T) {
	f := newFixture(t)
	p := f.process("a")
	p.Ready = Probe{TCP: "127.0.0.1:1"} // never
	s := New(Config{Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(ctx context.Context) error { return s.Start(ctx, p) }) }()
	within(t, 5*time.Second, "the child to run", func() bool { return f.order("start") == "a" })
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the supervisor did not stop")
	}
	if st := s.States()[0]; st.PID != 0 {
		t.Errorf("the child is left behind: %+v", st)
	}
}

// supervisorProcess supervises three stand-ins and prints their pids.
func supervisorProcess() {
	dir := os.Getenv("STANDIN_DIR")
	var stage []Process
	for i, addr := range strings.Split(os.Getenv("STANDIN_ADDRS"), ",") {
		stage = append(stage, standInProcess(dir, filepath.Join(dir, "events"), fmt.Sprintf("c%d", i), addr, "STANDIN_STUBBORN=1"))
	}
	s := New(Config{Log: slog.New(slog.DiscardHandler)})
	err := s.Run(context.Background(), func(ctx context.Context) error {
		if err := s.Start(ctx, stage...); err != nil {
			return err
		}
		for _, st := range s.States() {
			fmt.Println("pid", st.PID)
		}
		fmt.Println("ready")
		return nil
	})
	fmt.Println("ended", err)
	os.Exit(1)
}

// However suddenly the supervisor dies, its children end within 5 s.
func TestSupervisor_ChildrenEndWithIt(t *testing.T) {
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STANDIN=supervisor", "STANDIN_DIR="+t.TempDir(), "STANDIN_ADDRS="+strings.Join(addrs, ","))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		pid, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "pid "))
		if err != nil {
			t.Fatalf("the supervisor says %q", lines.Text())
		}
		pids = append(pids, pid)
	}
	if len(pids) != 3 || slices.ContainsFunc(pids, func(p int) bool { return !alive(p) }) {
		t.Fatalf("children %v do not run", pids)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	within(t, 5*time.Second, "all children to end", func() bool { return !slices.ContainsFunc(pids, running) })
	// A process shows as dead while its last threads still let go of its files.
	for _, a := range addrs {
		within(t, 5*time.Second, "nobody to listen on "+a, func() bool {
			c, err := net.Dial("tcp", a)
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
	}
}

// running tells a process from one that is dead and not yet reaped by
// whoever inherited it.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func TestProbe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("+PONG\r\n"))
			_ = c.Close()
		}
	})
	defer wg.Wait()
	defer ln.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/no", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no snapshot yet", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/yes", func(http.ResponseWriter, *http.Request) {})
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	wg.Go(func() { _ = server.Serve(web) })
	defer server.Close()
	base := "http://" + web.Addr().String()
	tests := []struct {
		name string
		p    Probe
		want string
	}{
		{"none", Probe{}, ""},
		{"tcp", Probe{TCP: ln.Addr().String()}, ""},
		{"greeting", Probe{TCP: ln.Addr().String(), Say: "PING\r\n", Greets: "+PONG"}, ""},
		{"other greeting", Probe{TCP: ln.Addr().String(), Greets: "HELLO"}, "answers"},
		{"nobody", Probe{TCP: "127.0.0.1:1"}, "refused"},
		{"url", Probe{URL: base + "/yes"}, ""},
		{"url not ready", Probe{URL: base + "/no"}, "no snapshot yet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.p.Check(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("check: %v, want %q", err, tt.want)
			}
		})
	}
}
