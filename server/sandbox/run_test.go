package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/server/sandbox/wan"
)

// The test binary plays the atoll program: its wan, and its supervisor.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "wan" {
		playWAN(os.Args[3])
	}
	if len(os.Args) > 2 && os.Args[1] == "standin-up" {
		playSupervisor(os.Args[2:])
	}
	goleak.VerifyTestMain(m)
}

func playWAN(file string) {
	cfg, err := wan.ReadConfig(file)
	if err == nil {
		var r *wan.Relay
		if r, err = wan.New(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil))); err == nil {
			err = r.Run(untilTerminated())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func untilTerminated() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() { <-signals; cancel() }()
	return ctx
}

// playSupervisor runs the servers of a sandbox, without console and planes.
func playSupervisor(args []string) {
	base, _ := strconv.Atoi(args[1])
	fd, _ := strconv.Atoi(args[len(args)-1])
	r, err := NewReporter(fd)
	if err != nil {
		os.Exit(2)
	}
	err = run(untilTerminated(), Options{Dir: args[0], PortBase: base}, Hooks{
		Progress: func(s string) { r.Say(Message{Progress: s}) },
		Ready:    func(*Info) { r.Say(Message{Ready: true}); r.Close() },
	}, serversOnly(&noSteps{hang: args[2] == "hang"}))
	if _, ok := errors.AsType[*InvalidError](err); ok {
		r.Say(Message{Invalid: err.Error()})
	} else if err != nil {
		r.Say(Message{Error: err.Error()})
	}
	os.Exit(0)
}

type noSteps struct{ hang bool }

func (n *noSteps) before(ctx context.Context) error {
	if n.hang {
		<-ctx.Done()
	}
	return ctx.Err()
}
func (*noSteps) after(context.Context) error { return nil }

// serversOnly leaves databases, caches and the relay of a layout.
func serversOnly(s steps) func(*runner) error {
	return func(r *runner) error {
		r.steps = s
		r.layout.Consoles, r.layout.Planes = nil, nil
		return nil
	}
}

// block gives each sandbox of the tests ports of its own, below those that
// the kernel gives out by itself.
var blocks atomic.Int64

func block(t *testing.T) int {
	t.Helper()
	n := int(blocks.Add(1)) - 1
	if n >= 15 {
		t.Fatal("no more blocks of ports between 27400 and 28900")
	}
	return 27400 + n*PortsPerSandbox
}

func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	if !waitFor(t.Context(), limit, done) {
		t.Fatalf("waited %v for %s", limit, what)
	}
}

// start runs the servers in this process; stop ends them.
func start(t *testing.T, o Options) (info *Info, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan *Info, 1), make(chan error, 1)
	go func() {
		done <- run(ctx, o, Hooks{Ready: func(i *Info) { ready <- i }}, serversOnly(&noSteps{}))
	}()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(60 * time.Second):
			return errors.New("the sandbox did not stop within 60 s")
		}
	}
	t.Cleanup(func() { _ = stop() })
	select {
	case info = <-ready:
	case err := <-done:
		stopped = true
		t.Fatalf("sandbox: %v", err)
	case <-time.After(60 * time.Second):
		t.Fatal("the sandbox is not ready after 60 s")
	}
	return info, stop
}

func setting(t *testing.T, u UnitInfo, query string) string {
	t.Helper()
	db := open(u.Database)
	defer db.Close()
	var v string
	if err := db.QueryRowContext(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s in %s: %v", query, u.Code, err)
	}
	return v
}

func execIn(t *testing.T, u UnitInfo, statements ...string) {
	t.Helper()
	db := open(u.Database)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s in %s: %v", s, u.Code, err)
		}
	}
}

func TestRun_ServersOfTwoSites(t *testing.T) {
	dir, base := filepath.Join(t.TempDir(), "s"), block(t)
	info, stop := start(t, Options{Dir: dir, PortBase: base})
	for i, u := range info.Units {
		for query, want := range map[string]string{
			"SELECT @@gtid_domain_id": strconv.Itoa(i + 1), "SELECT @@server_id": strconv.Itoa(i + 1), "SELECT @@binlog_format": "ROW",
			"SELECT @@binlog_row_image": "FULL", "SELECT @@binlog_row_metadata": "FULL", "SELECT @@sync_binlog": "1",
			"SELECT @@innodb_flush_log_at_trx_commit": "1", "SELECT @@gtid_binlog_pos": "", "SELECT DATABASE()": "shop",
		} {
			if got := setting(t, u, query); got != want {
				t.Errorf("%s: %s is %q, want %q", u.Code, query, got, want)
			}
		}
	}
	execIn(t, info.Units[0], "CREATE TABLE keepsake (id INT PRIMARY KEY)", "INSERT INTO keepsake VALUES (7)")

	// A child that dies is started again, and info.json follows.
	redis := process(t, dir, "redis@unit-b")
	if err := syscall.Kill(redis.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "redis to be back", func() bool {
		p := process(t, dir, "redis@unit-b")
		return p.PID != 0 && p.PID != redis.PID && p.Restarts == 1
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	assertGone(t, dir, base, info.Processes)

	// Data and passwords stay over a stop.
	again, stop := start(t, Options{Dir: dir, PortBase: base})
	if got := setting(t, again.Units[0], "SELECT id FROM keepsake"); got != "7" {
		t.Errorf("the row is %q after the sandbox was started again", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var wrong *InvalidError
	err := Run(t.Context(), Options{Dir: dir, PortBase: base + 1000}, Hooks{})
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), fmt.Sprintf("made with --port-base %d", base)) {
		t.Errorf("another port base over the same directory: %v", err)
	}

	// Fresh begins anew.
	fresh, stop := start(t, Options{Dir: dir, PortBase: base, Fresh: true})
	if got := setting(t, fresh.Units[0], "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'keepsake'"); got != "0" {
		t.Error("the table is still there after --fresh")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func process(t *testing.T, dir, name string) ProcessInfo {
	t.Helper()
	info, err := ReadInfo(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range info.Processes {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no process %s", name)
	return ProcessInfo{}
}

func assertGone(t *testing.T, dir string, base int, processes []ProcessInfo) {
	t.Helper()
	for _, p := range processes {
		if ours(p.PID, dir) {
			t.Errorf("%s with pid %d is left", p.Name, p.PID)
		}
	}
	for port := base; port < base+PortsPerSandbox; port++ {
		if err := tryPort(t.Context(), port); err != nil {
			t.Errorf("port %d is left: %v", port, err)
		}
	}
	if _, err := ReadInfo(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("info of a stopped sandbox: %v", err)
	}
}

func up(t *testing.T, dir string, base int, how string) (*Info, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	return Up(ctx, Options{Dir: dir, PortBase: base}, []string{"standin-up", dir, strconv.Itoa(base), how}, func(string) {})
}

func down(t *testing.T, dir string) bool {
	t.Helper()
	was, err := Down(t.Context(), dir, func(string) {})
	if err != nil {
		t.Errorf("down: %v", err)
	}
	return was
}

func TestUpDown_TwoSandboxesSideBySide(t *testing.T) {
	root := t.TempDir()
	dirs, bases := []string{filepath.Join(root, "one"), filepath.Join(root, "two")}, []int{block(t), block(t)}
	var infos []*Info
	for i, dir := range dirs {
		t.Cleanup(func() { _, _ = Down(context.Background(), dir, func(string) {}) })
		info, err := up(t, dir, bases[i], "")
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	if _, err := up(t, dirs[0], bases[0], ""); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("already runs in %s with pid %d", dirs[0], infos[0].Supervisor)) {
		t.Errorf("a second start in the same directory: %v", err)
	}
	if _, err := up(t, filepath.Join(root, "three"), bases[1], ""); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d", bases[1]/100)) {
		t.Errorf("a start on taken ports: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "three")); err == nil {
		t.Error("the start that failed left a directory")
	}
	if !down(t, dirs[0]) {
		t.Error("down says that none was running")
	}
	assertGone(t, dirs[0], bases[0], infos[0].Processes)
	for _, u := range infos[1].Units {
		if got := setting(t, u, "SELECT 1"); got != "1" {
			t.Errorf("%s of the other sandbox answers %q", u.Code, got)
		}
	}
	if down(t, dirs[0]) {
		t.Error("a second down says that one was running")
	}
	if !down(t, dirs[1]) {
		t.Error("down says that none was running")
	}
	assertGone(t, dirs[1], bases[1], infos[1].Processes)
}

// However suddenly the supervisor dies, databases, caches and relay end
// within 5 s, and the sandbox can be started again at once.
func TestUp_SupervisorKilled(t *testing.T) {
	dir, base := filepath.Join(t.TempDir(), "s"), block(t)
	t.Cleanup(func() { _, _ = Down(context.Background(), dir, func(string) {}) })
	info, err := up(t, dir, base, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Processes) != 6 {
		t.Fatalf("%d processes", len(info.Processes))
	}
	if err := syscall.Kill(info.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "all children to end", func() bool { return len(leftovers(dir)) == 0 })
	for _, p := range info.Processes {
		if ours(p.PID, dir) {
			t.Errorf("%s with pid %d is left", p.Name, p.PID)
		}
	}
	if _, err := up(t, dir, base, ""); err != nil {
		t.Errorf("start after the supervisor was killed: %v", err)
	}
}

func TestUp_InterruptedWhileStarting(t *testing.T) {
	dir, base := filepath.Join(t.TempDir(), "s"), block(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	_, err := Up(ctx, Options{Dir: dir, PortBase: base}, []string{"standin-up", dir, strconv.Itoa(base), "hang"}, func(step string) {
		if strings.HasPrefix(step, "starting wan") {
			go func() {
				waitFor(ctx, 20*time.Second, func() bool { c, err := net.Dial("tcp", loopback(base)); closeIt(c); return err == nil })
				cancel()
			}()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "stopped while it started") {
		t.Errorf("an interrupted start: %v", err)
	}
	assertGone(t, dir, base, nil)
}

func closeIt(c net.Conn) {
	if c != nil {
		_ = c.Close()
	}
}

func TestRun_BadInput(t *testing.T) {
	root := t.TempDir()
	foreign := filepath.Join(root, "foreign")
	if err := errors.Join(os.Mkdir(foreign, 0o755), os.WriteFile(filepath.Join(foreign, "thesis.txt"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	base := block(t)
	taken, err := net.Listen("tcp", loopback(base+portUnits+portMariaDB))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"foreign files":   {Options{Dir: foreign, PortBase: base + 100}, "holds files that no sandbox made (such as thesis.txt)"},
		"not a directory": {Options{Dir: filepath.Join(foreign, "thesis.txt", "s"), PortBase: base + 100}, "choose another --dir"},
		"port in use":     {Options{Dir: filepath.Join(root, "s"), PortBase: base}, fmt.Sprintf("port %d, wanted for mariadb@unit-a, is in use", base+portUnits+portMariaDB)},
		"not built":       {Options{Dir: filepath.Join(root, "s"), Consoles: 3}, "not built yet"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tt.o, Hooks{}, serversOnly(&noSteps{}))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(root, "s")); err == nil {
		t.Error("a start that failed left its directory")
	}
	blocks.Add(1) // base + 100
}

func TestFindPrograms_Missing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := findPrograms()
	want := "mariadb-install-db, mariadbd, redis-server not found on PATH or in /usr/sbin: run `make setup`"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestDropRow_TakesOneReplicatedRowUnlogged(t *testing.T) {
	dir, base := filepath.Join(t.TempDir(), "s"), block(t)
	info, _ := start(t, Options{Dir: dir, PortBase: base})
	b := *info.Unit(UnitB)
	if err := DropRow(t.Context(), info); err == nil {
		t.Error("dropped a row where there are no tables")
	}
	if err := makeTables(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := DropRow(t.Context(), info); err == nil || !strings.Contains(err.Error(), "no orders yet") {
		t.Errorf("with empty tables: %v", err)
	}
	execIn(t, b, "INSERT INTO orders VALUES (1,'u','c1','p01',1,5,'new',NOW(6)), (2,'u','c2','p01',1,5,'paid',NOW(6)), (3,'u','c3','p01',1,5,'paid',NOW(6))",
		"INSERT INTO payments VALUES (2,'u',5,NOW(6)), (3,'u',5,NOW(6))")
	before := setting(t, b, "SELECT @@gtid_binlog_pos")
	if err := DropRow(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	if got := setting(t, b, "SELECT CONCAT((SELECT COUNT(*) FROM orders), ' ', (SELECT GROUP_CONCAT(order_id) FROM payments))"); got != "3 3" {
		t.Errorf("orders and payments left: %q", got)
	}
	if after := setting(t, b, "SELECT @@gtid_binlog_pos"); after != before {
		t.Errorf("the deletion was logged: %s, before %s", after, before)
	}
}

func TestCutHeal(t *testing.T) {
	dir, base := filepath.Join(t.TempDir(), "s"), block(t)
	info, _ := start(t, Options{Dir: dir, PortBase: base, WANRTT: 2 * time.Millisecond})
	if err := Cut(t.Context(), info, UnitB); err != nil {
		t.Fatal(err)
	}
	var wrong *InvalidError
	if err := Cut(t.Context(), info, "unit-z"); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "there are unit-a, unit-b, witness") {
		t.Errorf("cut of an unknown unit: %v", err)
	}
	// The center's Redis, as unit-b reaches it, hangs until the heal.
	c, err := net.Dial("tcp", info.Unit(UnitB).Redis.Center)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("PING\r\n"))
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.Read(make([]byte, 7)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an answer over a cut link: %v", err)
	}
	if err := Heal(t.Context(), info, UnitB); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 7)); err != nil {
		t.Errorf("after the heal: %v", err)
	}
}

func TestInfo_KeepsItsContract(t *testing.T) {
	text, err := json.Marshal(testLayout(t, Options{}).Info)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir", "space", "rule", "host", "console", "units", "processes"} {
		if _, ok := got[name]; !ok {
			t.Errorf("info has no %q", name)
		}
	}
	unit := got["units"].([]any)[0].(map[string]any)
	for _, name := range []string{"code", "type", "gateway", "app", "dbproxy", "database", "redis"} {
		if _, ok := unit[name]; !ok {
			t.Errorf("a unit's info has no %q", name)
		}
	}
	for _, name := range []string{"host", "port", "user", "password", "database"} {
		if _, ok := unit["dbproxy"].(map[string]any)[name]; !ok {
			t.Errorf("a proxy's info has no %q", name)
		}
	}
}
