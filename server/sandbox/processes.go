package sandbox

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/supervise"
)

// Accounts of the sandbox.
const (
	databaseUser = "atoll"
	proxyUser    = "shop"
)

// servers are the databases and caches of the units.
func (p *plan) servers() {
	for _, s := range p.sites {
		p.mariadb(s)
		p.redis(s, "redis", portRedis)
		if s.center {
			p.redis(s, "redis-center", portRedisCenter)
		}
	}
	for _, s := range p.sites {
		if !s.center {
			p.link(s, "app@"+s.code, "redis-center", p.sites[0].code, p.sites[0].addr(portRedisCenter))
		}
	}
}

// mariadb serves a unit on TCP alone: without a socket file the length of the
// directory's name does not matter. The account is made by the server itself
// at each start, outside the binlog.
func (p *plan) mariadb(s *site) {
	name, port := "mariadb@"+s.code, s.base+portMariaDB
	p.listen(port, name)
	data := filepath.Join(s.dir, "mariadb")
	p.Databases = append(p.Databases, Database{Unit: s.code, Dir: data, Tmp: filepath.Join(s.dir, "tmp"), Log: p.path("log/install@" + s.code + ".log")})
	var begin strings.Builder
	fmt.Fprintf(&begin, `SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS '%[1]s'@'127.0.0.1' IDENTIFIED BY '%[2]s';
ALTER USER '%[1]s'@'127.0.0.1' IDENTIFIED BY '%[2]s';
GRANT ALL ON *.* TO '%[1]s'@'127.0.0.1' WITH GRANT OPTION;
`, databaseUser, p.secrets.Database)
	for _, sp := range p.spaces() {
		fmt.Fprintf(&begin, "CREATE DATABASE IF NOT EXISTS %s CHARACTER SET utf8mb4;\n", sp.code)
	}
	start := p.file(s.code+"/init.sql", begin.String())
	number := strconv.Itoa(s.number + 1)
	args := []string{
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + filepath.Join(s.dir, "tmp"), "--socket=", "--pid-file=" + filepath.Join(s.dir, "mariadb.pid"), "--init-file=" + start,
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--skip-name-resolve", "--max-connections=600",
		"--character-set-server=utf8mb4", "--default-time-zone=+00:00", "--performance-schema=OFF", "--max-allowed-packet=64M",
		"--server-id=" + number, "--gtid-domain-id=" + number, "--gtid-strict-mode=ON",
		"--log-bin=binlog", "--log-slave-updates=ON", "--max-binlog-size=128M", "--binlog-expire-logs-seconds=86400",
		"--binlog-format=ROW", "--binlog-row-image=FULL", "--binlog-row-metadata=FULL", "--binlog-annotate-row-events=OFF",
		"--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--innodb-log-buffer-size=8M",
		"--innodb-buffer-pool-dump-at-shutdown=OFF", "--innodb-buffer-pool-load-at-startup=OFF",
		"--key-buffer-size=1M", "--aria-pagecache-buffer-size=4M", "--table-open-cache=400",
	}
	if p.Options.Fast {
		args = append(args, "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0")
	} else {
		args = append(args, "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1")
	}
	if p.root {
		args = append(args, "--user=root")
	}
	p.Servers = append(p.Servers, supervise.Process{
		Name: name, Kind: "mariadb", Unit: s.code, Path: p.programs.MariaDB, Args: args, Log: p.path("log/" + name + ".log"),
		Ready: supervise.Probe{Func: databaseReady(loopback(port), p.secrets.Database)}, Grace: 20 * time.Second,
	})
}

func (p *plan) redis(s *site, kind string, port int) {
	name := kind + "@" + s.code
	addr := p.listen(s.base+port, name)
	p.Servers = append(p.Servers, supervise.Process{
		Name: name, Kind: "redis", Unit: s.code, Path: p.programs.Redis, Log: p.path("log/" + name + ".log"),
		Args: []string{"--port", strconv.Itoa(s.base + port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
			"--daemonize", "no", "--set-proc-title", "no", "--maxmemory", "64mb", "--dir", s.dir},
		Ready: supervise.Probe{TCP: addr, Say: "PING\r\n", Greets: "+PONG"},
	})
}

// consoles stand in no site; one stands at the witness.
func (p *plan) consoles() {
	const name = "console@" + Witness
	listen := p.listen(p.Options.PortBase+portConsole, name)
	p.Consoles = append(p.Consoles, supervise.Process{
		Name: name, Kind: "console", Path: p.programs.Atoll, Log: p.path("log/" + name + ".log"),
		Args: []string{"console", "--name", name, "--dir", p.path("console"), "--listen", listen,
			"--fence-ttl", p.Options.FenceTTL.String(), "--fence-deadline", p.Options.FenceDeadline.String()},
		Ready: supervise.Probe{URL: "http://" + listen + "/ready"},
	})
}

// planes are started from the database up, and stopped from the door down.
func (p *plan) planes() {
	var data, apps, doors []supervise.Process
	for _, s := range p.sites {
		console := p.link(s, s.code, "console", Witness, p.addr(portConsole))
		for _, t := range s.stands {
			data = append(data, p.dbproxy(t, console))
		}
		data = append(data, p.dbsync(s, console))
		for _, t := range s.stands {
			apps = append(apps, p.apps(t, console)...)
			doors = append(doors, p.gateway(t, console))
		}
	}
	p.Planes = [][]supervise.Process{data, apps, doors}
}

// plane has the flags that all planes have.
func (p *plan) plane(s *site, kind, name, data, console string, status int, args ...string) supervise.Process {
	addr := p.listen(status, name+" status")
	common := []string{kind, "--name", name, "--unit", s.code, "--console", p.liar(s, kind, name, console), "--status", addr, "--data", data}
	return p.process(name, kind, s.code, addr, append(common, args...)...)
}

// reach gives a process its ways to the other units' databases.
func (p *plan) reach(s *site, kind, name string) []string {
	var args []string
	for _, o := range p.others(s) {
		addr := p.link(s, name, "mariadb@"+o.code, o.code, o.addr(portMariaDB))
		if kind == "dbsync" {
			addr = p.binlogLiar(s, o, addr)
		}
		args = append(args, "--reach", o.code+"="+addr)
	}
	return args
}

func (p *plan) dbproxy(t *stand, console string) supervise.Process {
	name := t.name("dbproxy", t.site.code)
	args := []string{"--listen", p.listen(t.proxy, name), "--user", proxyUser, "--password-file", p.path("proxy.pw")}
	if t.space.suffix != "" {
		args = append(args, "--space", t.space.code, "--database", t.space.code)
	}
	args = append(args, p.reach(t.site, "dbproxy", name)...)
	return p.plane(t.site, "dbproxy", name, t.dir("dbproxy"), console, t.proxyStatus, args...)
}

func (p *plan) dbsync(s *site, console string) supervise.Process {
	name := "dbsync@" + s.code
	return p.plane(s, "dbsync", name, filepath.Join(s.dir, "dbsync"), console, s.base+portSyncStatus, p.reach(s, "dbsync", name)...)
}

// apps are a space's applications in a site, one in each cell.
func (p *plan) apps(t *stand, console string) []supervise.Process {
	var all []supervise.Process
	for _, a := range t.apps {
		args := []string{"--listen", p.listen(a.port, a.name), "--dbproxy", loopback(t.proxy), "--user", proxyUser,
			"--password-file", p.path("proxy.pw"), "--database", t.space.code}
		if t.space.suffix != "" {
			args = append(args, "--space", t.space.code)
		}
		dir := t.dir("app")
		if len(t.apps) > 1 {
			args, dir = append(args, "--cell", a.cell), t.dir(a.cell+"-app")
		}
		all = append(all, p.plane(t.site, "app", a.name, dir, console, a.status, args...))
	}
	return all
}

func (p *plan) gateway(t *stand, console string) supervise.Process {
	name := t.name("gateway", t.site.code)
	args := []string{"--listen", p.listen(t.gateway, name)}
	for _, a := range t.apps {
		backend := "http://" + loopback(a.port)
		if len(t.apps) > 1 {
			backend = a.cell + "=" + backend
		}
		args = append(args, "--backend", backend)
	}
	args = append(args, "--hop-secret-file", p.path("hop.secret"))
	for _, o := range p.others(t.site) {
		other := t.in(o)
		peer := p.link(t.site, name, other.name("gateway", o.code), o.code, loopback(other.gateway))
		args = append(args, "--peer", o.code+"=http://"+peer, "--endpoint", o.code+"=http://"+loopback(other.gateway))
	}
	return p.plane(t.site, "gateway", name, t.dir("gateway"), console, t.gatewayStatus, args...)
}

// liars says which planes are lied to under each negative control. no-fence
// needs one proxy that goes on writing; a lane or a door can lead either way;
// no-in-band is about what a third unit knows of a move.
func liars(control, kind string, s *site) bool {
	switch control {
	case BreakNoFence:
		return kind == "dbproxy" && s.center
	case BreakNoBarrier:
		return kind == "dbsync"
	case BreakNoInBand:
		return kind == "dbsync" && s.code == UnitC
	case BreakNoRoute:
		return kind == "gateway"
	default:
		return false
	}
}

// liar gives the console's URL as a plane shall use it: that of the relayed
// link, or of a liar that stands between the plane and the link.
func (p *plan) liar(s *site, kind, name, console string) string {
	url := "http://" + console
	if name != kind+"@"+s.code || !liars(p.Options.Break, kind, s) { // one space is enough to lie about
		return url
	}
	listen := p.listen(p.Options.PortBase+portLiar+s.number, "liar@"+s.code)
	args := []string{"sandbox", "liar", "--break", p.Options.Break, "--plane", name, "--unit", s.code,
		"--listen", listen, "--console", url, "--wan", "http://" + p.addr(portWAN)}
	for _, o := range p.others(s) {
		args = append(args, "--lane-link", fmt.Sprintf("%s=%s", o.code, laneLink(s.code, o.code)))
	}
	p.Consoles = append(p.Consoles, p.process("liar@"+s.code, "liar", s.code, listen, args...))
	return "http://" + listen
}

// binlogLiar gives the address of another unit's database as the lanes of a site
// shall use it: the relayed link's, or that of a liar in front of it.
func (p *plan) binlogLiar(s, of *site, addr string) string {
	if p.Options.Break != BreakNoLoopGuard {
		return addr
	}
	name, port := "liar@"+s.code, p.Options.PortBase+portLiar+s.number
	if len(p.sites) > 2 { // one for each lane into the site
		name, port = name+"<"+of.code, s.next()
	}
	listen := p.listen(port, name)
	l := p.process(name, "liar", s.code, listen, "sandbox", "liar", "--break", p.Options.Break, "--plane", "dbsync@"+s.code, "--unit", s.code,
		"--listen", listen, "--source", addr)
	l.Ready = supervise.Probe{TCP: listen}
	p.Consoles = append(p.Consoles, l)
	return listen
}

// sqlLiar gives the port at which clients find a site's dbproxy: its own, or
// that of a liar in front of it. The site's application always goes to its own,
// so that it sees what the others were lied to about.
func (p *plan) sqlLiar(s *site, port int) int {
	if !slices.Contains(HistoryBreaks(), p.Options.Break) {
		return port
	}
	lies := p.Options.PortBase + portLiar + s.number
	listen := p.listen(lies, "liar@"+s.code)
	l := p.process("liar@"+s.code, "liar", s.code, listen, "sandbox", "liar", "--break", p.Options.Break, "--plane", "dbproxy@"+s.code, "--unit", s.code,
		"--listen", listen, "--proxy", loopback(port), "--user", proxyUser, "--password-file", p.path("proxy.pw"))
	l.Ready = supervise.Probe{TCP: listen}
	p.Consoles = append(p.Consoles, l)
	return lies
}

// laneLink is the link through which the lanes into a unit read another's binlog.
func laneLink(into, from string) string { return "dbsync@" + into + ">mariadb@" + from }
