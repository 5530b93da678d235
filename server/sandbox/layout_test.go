package sandbox

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-live/atoll/server/sandbox/supervise"

	"github.com/atoll-live/atoll/space"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/*.txt anew; read the diff before you accept it")

func testLayout(t *testing.T, o Options) *Layout {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "/sandbox"
	}
	l, err := NewLayout(o, Programs{Atoll: "/bin/atoll", MariaDB: "/sbin/mariadbd", InstallDB: "/bin/mariadb-install-db", Redis: "/bin/redis-server"},
		Secrets{Database: "dbpw", Proxy: "proxypw", Hop: "hop"}, true)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// text is the layout for people to compare.
func (l *Layout) text() string {
	var b strings.Builder
	stage := 0
	show := func(title string, n int, each func(int)) {
		fmt.Fprintf(&b, "== %s\n", title)
		for i := range n {
			each(i)
		}
	}
	all := l.Processes()
	show("processes", len(all), func(i int) {
		p := all[i]
		fmt.Fprintf(&b, "%s (%s) unit=%q ready=%s%s log=%s\n  %s\n", p.Name, p.Kind, p.Unit, p.Ready.URL, p.Ready.TCP, p.Log, p.Path)
		for _, a := range p.Args {
			fmt.Fprintf(&b, "    %s\n", a)
		}
		stage++
	})
	show("links", len(l.WAN.Links), func(i int) {
		k := l.WAN.Links[i]
		fmt.Fprintf(&b, "%-36s %s > %s  %s > %s\n", k.Name, k.From, k.To, k.Listen, k.Target)
	})
	show("files", len(l.Files), func(i int) {
		fmt.Fprintf(&b, "%s %v %d bytes\n", l.Files[i].Path, l.Files[i].Mode, len(l.Files[i].Text))
	})
	show("ports", len(l.Ports), func(i int) { fmt.Fprintf(&b, "%d %s\n", l.Ports[i].Number, l.Ports[i].Owner) })
	fmt.Fprintf(&b, "== info\n%s", jsonText(l.Info))
	docs, err := space.JSON(l.documents()...)
	fmt.Fprintf(&b, "== documents %v\n%s", err, docs)
	return b.String()
}

func TestNewLayout_Golden(t *testing.T) {
	got := testLayout(t, Options{PortBase: 7200}).text()
	const file = "testdata/layout.txt"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the layout changed (-want +got; write it with -rewrite):\n%s", diff)
	}
}

func TestNewLayout_PortsStayInTheirBlock(t *testing.T) {
	for _, control := range append(Breaks(), BreakNone) {
		seen := map[int]string{}
		for _, base := range []int{7200, 7300} {
			l := testLayout(t, Options{PortBase: base, Break: control})
			for _, p := range l.Ports {
				if p.Number < base || p.Number >= base+PortsPerSandbox {
					t.Errorf("%q: %s has port %d outside of %d–%d", control, p.Owner, p.Number, base, base+PortsPerSandbox-1)
				}
				if other := seen[p.Number]; other != "" {
					t.Errorf("%q: %s and %s both have port %d", control, p.Owner, other, p.Number)
				}
				seen[p.Number] = p.Owner
			}
			assertNoOtherPorts(t, l)
		}
	}
}

// assertNoOtherPorts finds ports in arguments that are in nobody's block.
func assertNoOtherPorts(t *testing.T, l *Layout) {
	t.Helper()
	for _, p := range l.Processes() {
		for _, a := range p.Args {
			i := strings.LastIndex(a, "127.0.0.1:")
			if i < 0 {
				continue
			}
			port, err := strconv.Atoi(a[i+len("127.0.0.1:"):])
			if err != nil {
				t.Errorf("%s: argument %s", p.Name, a)
			}
			if !slices.ContainsFunc(l.Ports, func(p Port) bool { return p.Number == port }) {
				t.Errorf("%s speaks to port %d, where nobody listens", p.Name, port)
			}
		}
	}
}

// No process of a site knows an address in another site: all its ways there
// are links of the relay.
func TestNewLayout_EveryCrossSiteWayIsALink(t *testing.T) {
	l := testLayout(t, Options{})
	site := map[int]string{} // port → site that listens there; a link counts for the site of its clients
	for _, p := range l.Ports {
		site[p.Number] = Witness
		for i, code := range []string{UnitA, UnitB} {
			base := DefaultPortBase + portUnits + i*portsPer
			if p.Number >= base && p.Number < base+portsPer {
				site[p.Number] = code
			}
		}
	}
	for _, p := range l.Processes() {
		if p.Unit == "" {
			continue
		}
		for i, a := range p.Args {
			if i > 0 && p.Args[i-1] == "--endpoint" { // told to clients, not dialled
				continue
			}
			at := strings.LastIndex(a, "127.0.0.1:")
			if at < 0 {
				continue
			}
			port, _ := strconv.Atoi(a[at+len("127.0.0.1:"):])
			if site[port] != p.Unit {
				t.Errorf("%s in %s dials %s in %s without the relay", p.Name, p.Unit, a, site[port])
			}
		}
	}
	for _, k := range l.WAN.Links {
		if k.From == k.To {
			t.Errorf("link %s stays in %s", k.Name, k.From)
		}
	}
	if err := l.WAN.Validate(); err != nil {
		t.Error(err)
	}
}

func TestNewLayout_Liars(t *testing.T) {
	for control, want := range map[string]string{
		BreakWriteTwice: "dbproxy@unit-a dbproxy@unit-b",
		BreakNone:       "", BreakDropRow: "", BreakNoFence: "dbproxy@unit-a", BreakNoBarrier: "dbsync@unit-a dbsync@unit-b", BreakNoRoute: "gateway@unit-a gateway@unit-b",
	} {
		l := testLayout(t, Options{Break: control})
		var lied []string
		for _, p := range l.Consoles {
			if p.Kind != "liar" {
				continue
			}
			plane := p.Args[slices.Index(p.Args, "--plane")+1]
			listen := p.Args[slices.Index(p.Args, "--listen")+1]
			lied = append(lied, plane)
			for _, other := range l.Processes() {
				hears := slices.Contains(other.Args, "http://"+listen)
				if hears != (other.Name == plane) && control != BreakWriteTwice { // its clients are no processes of the sandbox
					t.Errorf("%s: %s hears the liar of %s: %v", control, other.Name, plane, hears)
				}
			}
		}
		if got := strings.Join(lied, " "); got != want {
			t.Errorf("%q lies to %q, want %q", control, got, want)
		}
	}
}

// The liars about statements stand where clients find the proxies. The
// application goes to its proxy itself.
func TestNewLayout_SQLLiars(t *testing.T) {
	honest := testLayout(t, Options{}).Info.Units
	for _, control := range HistoryBreaks() {
		l := testLayout(t, Options{Break: control})
		for i, u := range l.Info.Units {
			at := slices.IndexFunc(l.Consoles, func(p supervise.Process) bool { return p.Kind == "liar" && p.Unit == u.Code })
			if at < 0 {
				t.Fatalf("%s: no liar in %s", control, u.Code)
			}
			args := strings.Join(l.Consoles[at].Args, " ")
			real, lies := loopback(honest[i].DBProxy.Port), loopback(u.DBProxy.Port)
			if real == lies || !strings.Contains(args, "--break "+control) || !strings.Contains(args, "--listen "+lies) || !strings.Contains(args, "--proxy "+real) {
				t.Errorf("%s: clients go to %s, the dbproxy is at %s, the liar has %s", control, lies, real, args)
			}
			for _, p := range l.Processes() {
				if p.Kind == "app" && p.Unit == u.Code && !slices.Contains(p.Args, real) {
					t.Errorf("%s: the application does not go to its dbproxy: %v", control, p.Args)
				}
			}
		}
	}
}

func TestOptions_BadInput(t *testing.T) {
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"three units":         {Options{Units: 3}, "--units 3 is not built yet"},
		"four units":          {Options{Units: 4}, "--units 4: want 2"},
		"two cells":           {Options{Cells: 2}, "--cells 2 is not built yet"},
		"three consoles":      {Options{Consoles: 3}, "--consoles 3 is not built yet"},
		"two consoles":        {Options{Consoles: 2}, "--consoles 2: want 1"},
		"low port":            {Options{PortBase: 80}, "--port-base 80: want 1024 to 65436"},
		"high port":           {Options{PortBase: 65500}, "--port-base 65500"},
		"slow network":        {Options{WANRTT: time.Minute}, "--wan-rtt 1m0s"},
		"short lease":         {Options{FenceTTL: time.Millisecond}, "--fence-ttl 1ms"},
		"deadline over lease": {Options{FenceTTL: 2 * time.Second, FenceDeadline: 3 * time.Second}, "--fence-deadline 3s"},
		"unknown control":     {Options{Break: "everything"}, "--break everything: want one of no-fence, no-barrier, drop-row, no-route"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewLayout(tt.o, Programs{}, Secrets{}, false)
			var wrong *InvalidError
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if l := testLayout(t, Options{WANRTT: -1}); l.WAN.RTTMs != 0 {
		t.Errorf("without a delay the round trip is %d ms", l.WAN.RTTMs)
	}
}
