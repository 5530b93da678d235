package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// loadReport is the part of a load's report that these tests read.
type loadReport struct {
	report
	SQLRefusals map[string]int `json:"sql_refusals"`
	Unresolved  int            `json:"unresolved"`
	Samples     []string       `json:"samples"`
	Load        struct {
		Offered     int `json:"offered"`
		Acked       int `json:"acked"`
		HTTPRefused int `json:"http_refused"`
		HTTPUnknown int `json:"http_unknown"`
		SQLUnknown  int `json:"sql_unknown"`
		Reads       int `json:"reads"`
		ReadErrors  int `json:"read_errors"`
	} `json:"load"`
}

// beginLoad starts buyers in the background; the function that it gives waits
// for the verdict about them.
func beginLoad(t *testing.T, path, dir string, args ...string) func() loadReport {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), path, append([]string{"sandbox", "load", "--dir", dir, "-o", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	return func() loadReport {
		t.Helper()
		select {
		case err := <-ended:
			if stdout.Len() == 0 {
				t.Fatalf("load %v: %v\n%s", args, err, tail(stderr.String()))
			}
		case <-time.After(4 * time.Minute):
			t.Fatalf("the load %v did not end\n%s", args, tail(stderr.String()))
		}
		var r loadReport
		decode(t, stdout.String(), &r)
		return r
	}
}

// wantNoFailure checks that no client of a load was told no, or nothing.
func (r loadReport) wantNoFailure(t *testing.T) {
	t.Helper()
	l := r.Load
	if r.Verdict != "pass" || l.HTTPRefused+l.HTTPUnknown+l.SQLUnknown+l.ReadErrors+r.Unresolved > 0 || l.Acked != l.Offered {
		t.Errorf("verdict %s, %+v, refusals %v, samples %q", r.Verdict, l, r.SQLRefusals, r.Samples)
	}
	if l.Acked == 0 || l.Reads == 0 {
		t.Errorf("a load that did nothing: %+v", l)
	}
}

// eventually asks again until something holds.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	limit := time.Now().Add(30 * time.Second)
	for {
		ok, text := holds()
		if ok {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("waited 30 s for %s: %s", what, text)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// document is a document of the console as it can be changed and applied.
func document(t *testing.T, path, dir, kind, name string) map[string]any {
	t.Helper()
	r := run(t, time.Minute, path, "get", kind, name, "-o", "json", "--dir", dir)
	r.want(t, statusDone, "get")
	var d any
	decode(t, r.stdout, &d)
	if list, ok := d.([]any); ok && len(list) == 1 {
		d = list[0]
	}
	return d.(map[string]any)
}

func apply(t *testing.T, path, dir string, d map[string]any) {
	t.Helper()
	run(t, time.Minute, path, "apply", "-f", write(t, d), "--wait", "--dir", dir).want(t, statusDone, "apply")
}

// cellRoute is a cell's part of the first rule of a space.
func cellRoute(t *testing.T, d map[string]any, cell string) map[string]any {
	t.Helper()
	rule := d["spec"].(map[string]any)["unitRules"].([]any)[0].(map[string]any)
	for _, u := range rule["units"].([]any) {
		for _, c := range u.(map[string]any)["cells"].([]any) {
			if c := c.(map[string]any); c["code"] == cell {
				return c
			}
		}
	}
	t.Fatalf("no cell %s in %v", cell, rule)
	return nil
}

// served counts in which cells forty buyers are served, by any gateway.
func served(t *testing.T, in info) map[string]int {
	t.Helper()
	cells := map[string]int{}
	for n := range 40 {
		user := fmt.Sprintf("%c%dprobe", 'a'+n%26, n)
		status, answer, header := call(t, in, in.Units[n%len(in.Units)].Gateway, http.MethodGet, "/product?user="+user+"&id=p01", nil)
		if status != http.StatusOK {
			t.Fatalf("browse: %d %v", status, answer)
		}
		cells[header.Get("X-Live-Cell")]++
	}
	return cells
}

// plane is one line of `atoll planes -o json`.
type plane struct {
	Name    string           `json:"name"`
	Epochs  map[string]int64 `json:"epochs"`
	Figures map[string]int64 `json:"figures"`
}

func planes(t *testing.T, path, dir string) map[string]plane {
	t.Helper()
	r := run(t, time.Minute, path, "planes", "-o", "json", "--dir", dir)
	r.want(t, statusDone, "planes")
	var list struct {
		Planes []plane `json:"planes"`
	}
	decode(t, r.stdout, &list)
	all := map[string]plane{}
	for _, p := range list.Planes {
		all[p.Name] = p
	}
	return all
}

// underWay waits until applications report orders of a load.
func underWay(t *testing.T, path, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		first := planes(t, path, dir)[name].Figures["orders_placed"]
		eventually(t, "orders at "+name, func() (bool, string) {
			n := planes(t, path, dir)[name].Figures["orders_placed"]
			return n > first, fmt.Sprintf("%d orders", n)
		})
	}
}

// quiet waits until an application has served nothing over two seconds, longer
// than a request takes and a report is old.
func quiet(t *testing.T, path, dir, name string) {
	t.Helper()
	last, since := int64(-1), time.Now()
	eventually(t, name+" to be quiet", func() (bool, string) {
		n, known := planes(t, path, dir)[name].Figures["requests"]
		if !known {
			t.Fatalf("%s reports no requests", name)
		}
		if n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 2*time.Second, fmt.Sprintf("%d requests", n)
	})
}

// TestCells drains one cell of each unit under load, one by its weight and one
// by its access mode, kills its application once it has nothing to do, and lets
// both cells serve again. No client sees anything of it.
func TestCells(t *testing.T) {
	path := program(t, "atoll")
	dir, in := sandbox(t, path, "--cells", "2")
	all := []string{"unit-a-1", "unit-a-2", "unit-b-1", "unit-b-2"}
	want := func(when string, drained ...string) {
		t.Helper()
		cells := served(t, in)
		for _, c := range all {
			if (cells[c] == 0) != strings.Contains(strings.Join(drained, " "), c) {
				t.Errorf("%s: cells served %v", when, cells)
			}
		}
	}
	want("at first")
	wait := beginLoad(t, path, dir, "--seconds", "30", "--rate", "30")
	underWay(t, path, dir, "app@unit-a-1", "app@unit-b-2")
	before := document(t, path, dir, "multilivespace", "shop")
	drained := document(t, path, dir, "multilivespace", "shop")
	cellRoute(t, drained, "unit-a-1")["weight"] = 0
	cellRoute(t, drained, "unit-b-2")["accessMode"] = "NONE"
	apply(t, path, dir, drained)
	want("drained", "unit-a-1", "unit-b-2")
	quiet(t, path, dir, "app@unit-a-1")
	quiet(t, path, dir, "app@unit-b-2")
	killed := kill(t, path, dir, "app@unit-a-1")
	eventually(t, "the killed application to be back", func() (bool, string) {
		p := process(t, path, dir, "app@unit-a-1")
		return p != 0 && p != killed, fmt.Sprintf("pid %d", p)
	})
	want("killed", "unit-a-1", "unit-b-2")
	eventually(t, "the application to have its snapshot", func() (bool, string) {
		p := planes(t, path, dir)["app@unit-a-1"]
		return p.Epochs["shop"] > 0, fmt.Sprint(p.Epochs)
	})
	apply(t, path, dir, before)
	want("back again")
	r := wait()
	r.wantNoFailure(t)
	t.Logf("%d orders and %d reads without a failure", r.Load.Acked, r.Load.Reads)
	undrained(t, path, dir, "app@unit-a-1")
}

// undrained is the negative control: the same application dies with requests in
// hand. The others serve its users, but those who wait for an answer see it.
func undrained(t *testing.T, path, dir, name string) {
	t.Helper()
	wait := beginLoad(t, path, dir, "--seconds", "8", "--rate", "40")
	underWay(t, path, dir, name)
	pid := process(t, path, dir, name)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "requests in hand", func() (bool, string) {
		n := planes(t, path, dir)["gateway@unit-a"].Figures["in_flight_now"]
		return n > 3, fmt.Sprintf("%d in flight", n)
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if l := wait().Load; l.HTTPUnknown+l.HTTPRefused+l.ReadErrors == 0 {
		t.Errorf("an application died with requests in hand, and no client saw it: %+v", l)
	}
}

// process is the pid of a child of the sandbox, 0 while it is dead.
func process(t *testing.T, path, dir, name string) int {
	t.Helper()
	r := run(t, time.Minute, path, "sandbox", "info", "--dir", dir, "-o", "json")
	r.want(t, statusDone, "sandbox info")
	var in info
	decode(t, r.stdout, &in)
	for _, p := range in.Processes {
		if p.Name == name {
			return p.PID
		}
	}
	t.Fatalf("no process %s", name)
	return 0
}

func kill(t *testing.T, path, dir, name string) int {
	t.Helper()
	pid := process(t, path, dir, name)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s with pid %d: %v", name, pid, err)
	}
	return pid
}

// TestOneRegion is a space of one unit with two cells: it serves as others do.
func TestOneRegion(t *testing.T) {
	path := program(t, "atoll")
	dir, in := sandbox(t, path, "--units", "1", "--cells", "2")
	d := document(t, path, dir, "multilivespace", "shop")
	rule := d["spec"].(map[string]any)["unitRules"].([]any)[0].(map[string]any)
	if rule["liveType"] != "ONE_REGION_LIVE" || len(rule["units"].([]any)) != 1 || len(in.Units) != 1 {
		t.Fatalf("rule %v, units %v", rule, in.Units)
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		wholeFlow(t, in, in.Units[0].Gateway, user, "one-"+user)
	}
	if cells := served(t, in); cells["unit-a-1"] == 0 || cells["unit-a-2"] == 0 {
		t.Errorf("cells served %v", cells)
	}
	r := run(t, time.Minute, path, "explain", "--dir", dir, "--space", "shop", "--rule", "1003", "--key", "alice", "-o", "json")
	r.want(t, statusDone, "explain")
	if !strings.Contains(r.stdout, `"reason":"single"`) {
		t.Errorf("explain: %s", r.stdout)
	}
	wait := beginLoad(t, path, dir, "--seconds", "8", "--rate", "30")
	report := wait()
	report.wantNoFailure(t)
	if report.SQLRefusals["9601"] > 0 {
		t.Errorf("the only unit refused as not the owner: %v", report.SQLRefusals)
	}
}
