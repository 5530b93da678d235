package sandbox

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-live/atoll/server/sandbox/supervise"
	"github.com/atoll-live/atoll/server/sandbox/wan"
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
	for file, o := range map[string]Options{
		"testdata/layout.txt":     {PortBase: 7200},
		"testdata/mesh.txt":       {PortBase: 7200, Units: 3, Cells: 2},
		"testdata/one-region.txt": {PortBase: 7200, Units: 1, Cells: 2},
		"testdata/spaces.txt":     {PortBase: 7200, Spaces: 2},
	} {
		t.Run(file, func(t *testing.T) { golden(t, file, testLayout(t, o).text()) })
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
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
	for _, o := range everyShape() {
		seen := map[int]string{}
		for _, base := range []int{7200, 7300} {
			o.PortBase = base
			l := testLayout(t, o)
			for _, p := range l.Ports {
				if p.Number < base || p.Number >= base+PortsPerSandbox {
					t.Errorf("%+v: %s has port %d outside of %d–%d", o, p.Owner, p.Number, base, base+PortsPerSandbox-1)
				}
				if other := seen[p.Number]; other != "" {
					t.Errorf("%+v: %s and %s both have port %d", o, p.Owner, other, p.Number)
				}
				seen[p.Number] = p.Owner
			}
			assertNoOtherPorts(t, l)
		}
	}
}

// everyShape is every number of units and cells with every control that there
// may be, for tests of what must hold in all.
func everyShape() []Options {
	var all []Options
	for units := 1; units <= UnitsMax; units++ {
		for cells := 1; cells <= CellsMax; cells++ {
			for spaces := 1; spaces <= SpacesMax; spaces++ {
				all = append(all, withControls(Options{Units: units, Cells: cells, Spaces: spaces})...)
			}
		}
	}
	return all
}

func withControls(o Options) []Options {
	var all []Options
	for _, o.Break = range append(Breaks(), BreakNone) {
		if filled, err := o.WithDefaults(); err == nil && filled.Validate() == nil {
			all = append(all, o)
		}
	}
	return all
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
	for _, o := range everyShape() {
		if o.Break == BreakNone {
			everyWayIsALink(t, testLayout(t, o))
		}
	}
}

func everyWayIsALink(t *testing.T, l *Layout) {
	t.Helper()
	site := map[int]string{} // port → site that listens there; a link counts for the site of its clients
	for _, p := range l.Ports {
		site[p.Number] = Witness
		for i, code := range unitCodes {
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
		BreakNone: "", BreakDropRow: "", BreakNoFence: "dbproxy@unit-a", BreakNoInBand: "dbsync@unit-c",
		BreakNoBarrier: "dbsync@unit-a dbsync@unit-b dbsync@unit-c", BreakNoRoute: "gateway@unit-a gateway@unit-b gateway@unit-c",
		BreakWriteTwice: "dbproxy@unit-a dbproxy@unit-b dbproxy@unit-c",
	} {
		l := testLayout(t, Options{Break: control, Units: 3})
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

// Each lane of the mesh has a link of its own, so that one can stand still and
// its neighbours not; each unit has every bucket once.
func TestNewLayout_FullMesh(t *testing.T) {
	l := testLayout(t, Options{Units: 3})
	for _, into := range unitCodes {
		for _, from := range unitCodes {
			found := slices.ContainsFunc(l.WAN.Links, func(k wan.Link) bool {
				return k.Name == laneLink(into, from) && k.From == into && k.To == from
			})
			if found != (into != from) {
				t.Errorf("lane %s>%s has a link: %v", from, into, found)
			}
		}
	}
	next := 0
	for _, u := range l.space(l.Info.Spaces()[0]).Spec.UnitRules[0].Units {
		if len(u.Ranges) != 1 || u.Ranges[0].From != next {
			t.Errorf("%s has %v, want buckets from %d on", u.Code, u.Ranges, next)
		}
		next = u.Ranges[0].To
	}
	if next != Modulo {
		t.Errorf("buckets from %d on have no owner", next)
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
		"four units":          {Options{Units: 4}, "--units 4: want 1 to 3"},
		"no unit":             {Options{Units: -1}, "--units -1: want 1 to 3"},
		"three cells":         {Options{Cells: 3}, "--cells 3: want 1 to 2"},
		"control of nothing":  {Options{Units: 1, Break: BreakNoFence}, "--break no-fence: a space of one unit"},
		"three spaces":        {Options{Spaces: 3}, "--spaces 3: want 1 to 2"},
		"all at once":         {Options{Units: 3, Cells: 2, Spaces: 2}, "--units 3 --cells 2 --spaces 2: a sandbox has ports for two of these"},
		"no third unit":       {Options{Break: BreakNoInBand}, "--break no-in-band: it lies to a third unit, want --units 3"},
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

func TestInfo_OfASpace(t *testing.T) {
	info := testLayout(t, Options{Spaces: 2}).Info
	first, err := info.Of(SpaceCode)
	if err != nil || first.Rule != RuleID || first.Units[0].Gateway != info.Units[0].Gateway {
		t.Errorf("the first space: %+v, %v", first, err)
	}
	second, err := info.Of("shop2")
	if err != nil || second.Rule != "2003" || second.Host != "shop2.atoll.test" || second.Dir != info.Dir {
		t.Fatalf("the second space: %+v, %v", second, err)
	}
	for i, u := range second.Units {
		of := info.Units[i]
		if u.Code != of.Code || u.Gateway == of.Gateway || u.App == of.App || u.DBProxy.Port == of.DBProxy.Port ||
			u.Database.Port != of.Database.Port || u.Database.Database != "shop2" || u.DBProxy.Database != "shop2" {
			t.Errorf("%s has %+v for the second space and %+v for the first", u.Code, u, of)
		}
	}
	var wrong *InvalidError
	if _, err := info.Of("none"); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "it has shop, shop2") {
		t.Errorf("an unknown space: %v", err)
	}
}

func TestLinksOf_SitesAndLanes(t *testing.T) {
	info := testLayout(t, Options{Units: 3}).Info
	for what, want := range map[string]string{
		"unit-b": "unit=unit-b", "unit-a>unit-c": "link=dbsync%40unit-c%3Emariadb%40unit-a", "unit-c>unit-a": "link=dbsync%40unit-a%3Emariadb%40unit-c",
	} {
		if got, err := linksOf(&info, what); err != nil || got.Encode() != want {
			t.Errorf("%s: %s, %v; want %s", what, got.Encode(), err, want)
		}
	}
	var wrong *InvalidError
	for _, what := range []string{"unit-a>", ">unit-a", "unit-a>unit-d", "unit-a>unit-a", "unit-a>unit-b>unit-c"} {
		if _, err := linksOf(&info, what); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "want two units of unit-a, unit-b, unit-c") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAdopt_KeepsTheShapeOfADirectory(t *testing.T) {
	made := Options{Dir: t.TempDir(), PortBase: 7200, Units: 3, Cells: 2}
	text := strings.Replace(jsonText(made), `"spaces": 0,`, "", 1) // as a sandbox wrote them that knew of one space only
	if err := os.WriteFile(filepath.Join(made.Dir, optionsFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Options)
		fits   bool
	}{
		"the same":      {func(*Options) {}, true},
		"other network": {func(o *Options) { o.WANRTT = time.Second }, true},
		"fewer units":   {func(o *Options) { o.Units = 2 }, false},
		"one cell":      {func(o *Options) { o.Cells = 1 }, false},
		"another space": {func(o *Options) { o.Spaces = 2 }, false},
	} {
		o, err := made.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		tt.change(&o)
		err = adopt(o)
		var wrong *InvalidError
		if (err == nil) != tt.fits || err != nil && (!errors.As(err, &wrong) || !strings.Contains(err.Error(), "made with --units 3 --cells 2 --spaces 1")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
