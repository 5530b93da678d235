package sandbox

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/supervise"
	"github.com/atoll-live/atoll/server/sandbox/wan"
)

// Programs are the paths of what a sandbox runs.
type Programs struct {
	Atoll     string
	MariaDB   string // mariadbd
	InstallDB string // mariadb-install-db
	Redis     string // redis-server
}

// Secrets are made once for a sandbox and kept in its directory.
type Secrets struct {
	Database string `json:"database"` // of user atoll on every database
	Proxy    string `json:"proxy"`    // of user shop at the proxies
	Hop      string `json:"hop"`      // shared by the gateways
}

// Layout is all that a sandbox consists of. It is a value: nothing has been
// started or written.
type Layout struct {
	Options   Options
	Files     []File
	Databases []Database
	Servers   []supervise.Process // first: databases, caches, the relay
	Consoles  []supervise.Process // then the console, and what lies in its name
	Planes    [][]supervise.Process
	Ports     []Port
	WAN       wan.Config
	Info      Info

	sites []*site
}

// File is written before anything starts.
type File struct {
	Path string
	Mode fs.FileMode
	Text string
}

// Database is a data directory that is made when it does not exist.
type Database struct {
	Unit string
	Dir  string
	Tmp  string // for temporary tables, of this server alone
	Log  string // takes what the installation said when it failed
}

// Port is one port on 127.0.0.1 and who listens there.
type Port struct {
	Number int
	Owner  string
}

// The names of sites. The first unit is the center.
const (
	UnitA   = "unit-a"
	UnitB   = "unit-b"
	UnitC   = "unit-c"
	Witness = "witness"
)

var unitCodes = [UnitsMax]string{UnitA, UnitB, UnitC}

// Places of ports within the block of a sandbox and within that of a unit.
const (
	portWAN     = 0
	portConsole = 1
	portLiar    = 5 // and one more a unit
	portUnits   = 10
	portsPer    = 30
)

const (
	portGateway = iota
	portGatewayStatus
	portApp
	portAppStatus
	portProxy
	portProxyStatus
	portSyncStatus
	portMariaDB
	portRedis
	portRedisCenter
	portOthers // relay links whose clients stand in the unit, and what a unit has not always; up to the end of its block
)

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// plan makes a Layout.
type plan struct {
	Layout
	programs Programs
	secrets  Secrets
	root     bool // mariadbd wants to be told that it may serve root
}

// NewLayout computes the sandbox. It reads and writes nothing; asRoot says
// that the servers will run as root.
func NewLayout(o Options, programs Programs, secrets Secrets, asRoot bool) (*Layout, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &plan{Layout: Layout{Options: o}, programs: programs, secrets: secrets, root: asRoot}
	for n := range o.Units {
		p.sites = append(p.sites, p.newSite(n))
	}
	p.Info = Info{Dir: o.Dir, Break: o.Break,
		Console: []string{p.consoleURL()},
		WAN:     WANInfo{Status: "http://" + p.addr(portWAN), RTTMs: p.rtt().Milliseconds()}}
	p.file("secrets.json", jsonText(secrets))
	p.file("database.pw", secrets.Database)
	p.file("proxy.pw", secrets.Proxy)
	p.file("hop.secret", secrets.Hop)
	p.servers()
	p.consoles()
	p.planes()
	p.relay()
	for n := range p.spaces() {
		p.Info.add(p.spaceInfo(n))
	}
	return &p.Layout, nil
}

func (p *plan) rtt() time.Duration      { return max(p.Options.WANRTT, 0) }
func (p *plan) path(name string) string { return filepath.Join(p.Options.Dir, name) }
func (p *plan) addr(port int) string    { return loopback(p.Options.PortBase + port) }
func (p *plan) consoleURL() string      { return "http://" + p.addr(portConsole) }

// listen notes a port of the block and gives its address.
func (p *plan) listen(port int, owner string) string {
	p.Ports = append(p.Ports, Port{port, owner})
	return loopback(port)
}

func (p *plan) file(name, text string) string {
	path := p.path(name)
	p.Files = append(p.Files, File{path, 0o600, text})
	return path
}

func jsonText(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err)) // plain structs of ours
	}
	return string(text) + "\n"
}

// process is a child of the atoll program that serves /ready at status.
func (p *plan) process(name, kind, unit, status string, args ...string) supervise.Process {
	return supervise.Process{
		Name: name, Kind: kind, Unit: unit, Path: p.programs.Atoll, Args: args,
		Log: p.path("log/" + name + ".log"), Ready: supervise.Probe{URL: "http://" + status + "/ready"},
	}
}

// link adds a relayed way from a site and gives the address that its clients
// dial. Each client process has links of its own, so that one can be cut alone.
func (p *plan) link(s *site, client, server, to, target string) string {
	name := client + ">" + server
	addr := p.listen(s.next(), "wan link "+name)
	p.WAN.Links = append(p.WAN.Links, wan.Link{Name: name, From: s.code, To: to, Listen: addr, Target: target})
	return addr
}

func (p *plan) others(s *site) []*site {
	var all []*site
	for _, o := range p.sites {
		if o != s {
			all = append(all, o)
		}
	}
	return all
}

// relay comes last: by then all links are known.
func (p *plan) relay() {
	status := p.listen(p.Options.PortBase+portWAN, "wan")
	p.WAN.Status, p.WAN.RTTMs = status, p.rtt().Milliseconds()
	config := p.file("wan.json", jsonText(p.WAN))
	relay := p.process("wan", "wan", "", status, "wan", "--config", config)
	p.Servers = append([]supervise.Process{relay}, p.Servers...)
}

// spaceInfo is the part of Info that is about one space.
func (p *plan) spaceInfo(n int) SpaceInfo {
	sp := &shopSpaces[n]
	info := SpaceInfo{Space: sp.code, Rule: sp.rule, Host: sp.host}
	for _, s := range p.sites {
		unit := p.unitInfo(s.stands[n])
		if n == 0 { // a control lies about the first space
			unit.DBProxy.Port = p.sqlLiar(s, unit.DBProxy.Port)
		}
		info.Units = append(info.Units, unit)
	}
	return info
}

func (p *plan) unitInfo(t *stand) UnitInfo {
	s, kind := t.site, "UNIT"
	if s.center {
		kind = "CENTER"
	}
	server := func(port int, user, password string) ServerInfo {
		return ServerInfo{Host: "127.0.0.1", Port: port, User: user, Password: password, Database: t.space.code}
	}
	var cells []CellInfo
	for _, a := range t.apps {
		cells = append(cells, CellInfo{Code: a.cell, URL: "http://" + loopback(a.port), Process: a.name})
	}
	return UnitInfo{
		Code: s.code, Type: kind,
		Gateway:  "http://" + loopback(t.gateway),
		App:      cells[0].URL,
		Cells:    cells,
		DBProxy:  server(t.proxy, proxyUser, p.secrets.Proxy),
		Database: server(s.base+portMariaDB, databaseUser, p.secrets.Database),
		Redis:    RedisInfo{Unit: s.addr(portRedis), Center: p.redisCenter(s)},
	}
}

// redisCenter is where a unit reaches the center's Redis.
func (p *plan) redisCenter(s *site) string {
	if s.center {
		return s.addr(portRedisCenter)
	}
	for _, l := range p.WAN.Links {
		if l.Name == redisLink(s) {
			return l.Listen
		}
	}
	return ""
}

func redisLink(s *site) string { return "app@" + s.code + ">redis-center" }

// Processes is all that the supervisor starts, in the order of stages.
func (l *Layout) Processes() []supervise.Process {
	all := append(append([]supervise.Process{}, l.Servers...), l.Consoles...)
	for _, stage := range l.Planes {
		all = append(all, stage...)
	}
	return all
}
