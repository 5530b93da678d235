package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/atoll-live/atoll/server/sandbox"
	"github.com/atoll-live/atoll/server/sandbox/liar"
)

// SandboxCmd runs everything on one machine.
type SandboxCmd struct {
	Up   SandboxUpCmd   `cmd:"" help:"Start the sites, the console and the network between them; returns when all is ready."`
	Down SandboxDownCmd `cmd:"" help:"Stop a sandbox; its data stay."`
	Info SandboxInfoCmd `cmd:"" help:"Show addresses, passwords and processes."`
	Load SandboxLoadCmd `cmd:"" help:"Let buyers come for a while, then audit all databases."`
	Demo SandboxDemoCmd `cmd:"" help:"Bring a sandbox up, move users from unit to unit and back under load, judge, take it down."`

	Soak  SandboxSoakCmd  `cmd:"" help:"The same with many moves in a row: where the time goes, and what the processes hold before and after."`
	Chaos SandboxChaosCmd `cmd:"" help:"The same all the time, while processes are killed and stopped and links cut; judge what must hold all the same."`
	Cut   SandboxCutCmd   `cmd:"" help:"Stall the links of a unit to the other sites, or a lane's."`
	Heal  SandboxHealCmd  `cmd:"" help:"Let the links of a unit, or a lane's, go on."`
	Liar  SandboxLiarCmd  `cmd:"" hidden:"" help:"Stand between a plane and the console, for a negative control."`

	CheckHistory SandboxCheckHistoryCmd `cmd:"" help:"Check again what clients saw in a run of chaos."`
}

// sandboxError gives an error of the sandbox its exit status.
func sandboxError(err error) error {
	var wrong *sandbox.InvalidError
	switch {
	case errors.As(err, &wrong):
		return usageError(err)
	case errors.Is(err, sandbox.ErrNotRunning):
		return unreachableError(err)
	}
	return err
}

// SandboxUpCmd starts a sandbox.
type SandboxUpCmd struct {
	Dir           string        `default:".atoll/sandbox" help:"Directory of the sandbox, made when it is not there."`
	PortBase      int           `default:"7200" placeholder:"7200" help:"First of its 100 ports on 127.0.0.1."`
	Units         int           `default:"2" placeholder:"2" help:"Number of units, 1 to 3; one unit is a ONE_REGION_LIVE space."`
	Cells         int           `default:"1" placeholder:"1" help:"Cells of each unit, 1 or 2, each with an application of its own."`
	Spaces        int           `default:"1" placeholder:"1" help:"Number of spaces, 1 or 2: shop and shop2, each with gateways, proxies, applications and a schema of its own."`
	Consoles      int           `default:"1" placeholder:"1" help:"Number of consoles; one stands at the witness."`
	WANRTT        time.Duration `name:"wan-rtt" default:"30ms" help:"Round trip between two sites."`
	FenceTTL      time.Duration `name:"fence-ttl" default:"5s" help:"How long a proxy that hears no console goes on writing."`
	FenceDeadline time.Duration `default:"400ms" help:"How long open transactions may take to end under a fence."`
	NoRestart     bool          `help:"Leave dead what dies."`
	Fast          bool          `help:"Let the databases answer before a transaction is on disk."`
	Fresh         bool          `help:"Remove what an ended sandbox left in the directory first."`
	Foreground    bool          `help:"Stay, and stop the sandbox at Ctrl-C."`
	Break         string        `hidden:"" help:"Negative control to put to work."`
	ReportFD      int           `hidden:"" help:"Descriptor that takes progress lines."`
}

func (c *SandboxUpCmd) options() sandbox.Options {
	o := sandbox.Options{
		Dir: c.Dir, PortBase: c.PortBase, Units: c.Units, Cells: c.Cells, Spaces: c.Spaces, Consoles: c.Consoles, WANRTT: c.WANRTT,
		FenceTTL: c.FenceTTL, FenceDeadline: c.FenceDeadline, NoRestart: c.NoRestart, Fast: c.Fast, Fresh: c.Fresh, Break: c.Break,
	}
	if c.WANRTT == 0 {
		o.WANRTT = -1 // none, where zero stands for the default
	}
	return o
}

// Run starts the sandbox.
func (c *SandboxUpCmd) Run(ctx context.Context, out *Output) error {
	if c.Foreground {
		return sandboxError(c.foreground(ctx, out))
	}
	info, err := bringUp(ctx, c.options(), out)
	if err != nil {
		return sandboxError(err)
	}
	return printInfo(out, info, sandboxReady)
}

// printInfo writes JSON on several lines: people and sed read it too.
func printInfo(out *Output, info *sandbox.Info, table func(io.Writer, *sandbox.Info) error) error {
	if out.Format == "json" {
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(info)
	}
	return out.Print(info, func(w io.Writer) error { return table(w, info) })
}

// bringUp starts a sandbox in the background and tells people the steps.
func bringUp(ctx context.Context, o sandbox.Options, out *Output) (*sandbox.Info, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	return sandbox.Up(ctx, o, sandboxArgs(o), func(step string) { fmt.Fprintln(out.Stderr, "sandbox:", step) })
}

// sandboxArgs are the arguments with which this program runs a sandbox in the
// foreground for somebody who has its report.
func sandboxArgs(o sandbox.Options) []string {
	args := []string{"sandbox", "up", "--foreground", "--dir=" + o.Dir,
		"--port-base=" + strconv.Itoa(o.PortBase), "--units=" + strconv.Itoa(o.Units),
		"--cells=" + strconv.Itoa(o.Cells), "--spaces=" + strconv.Itoa(o.Spaces), "--consoles=" + strconv.Itoa(o.Consoles),
		"--wan-rtt=" + max(o.WANRTT, 0).String(), "--fence-ttl=" + o.FenceTTL.String(),
		"--fence-deadline=" + o.FenceDeadline.String(), "--break=" + o.Break}
	for flag, set := range map[string]bool{"--no-restart": o.NoRestart, "--fast": o.Fast, "--fresh": o.Fresh} {
		if set {
			args = append(args, flag)
		}
	}
	return append(args, "--report-fd")
}

func (c *SandboxUpCmd) foreground(ctx context.Context, out *Output) error {
	hooks := sandbox.Hooks{
		Log:      slog.New(slog.NewTextHandler(out.Stderr, nil)),
		Progress: func(step string) { fmt.Fprintln(out.Stderr, "sandbox:", step) },
		Ready: func(info *sandbox.Info) {
			_ = printInfo(out, info, sandboxReady)
		},
	}
	if c.ReportFD == 0 {
		return sandbox.Run(ctx, c.options(), hooks)
	}
	r, err := sandbox.NewReporter(c.ReportFD)
	if err != nil {
		return err
	}
	hooks.Progress = func(step string) { r.Say(sandbox.Message{Progress: step}) }
	hooks.Ready = func(*sandbox.Info) { r.Say(sandbox.Message{Ready: true}); r.Close() }
	err = sandbox.Run(ctx, c.options(), hooks)
	if wrong, ok := errors.AsType[*sandbox.InvalidError](err); ok {
		r.Say(sandbox.Message{Invalid: wrong.Error()})
	} else if err != nil {
		r.Say(sandbox.Message{Error: err.Error()})
	}
	return err
}

func sandboxReady(w io.Writer, info *sandbox.Info) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "ready in %s\n", info.Dir)
	fmt.Fprintf(t, "console\t%s\n", strings.Join(info.Console, " "))
	for _, s := range info.Spaces() {
		for _, u := range s.Units {
			fmt.Fprintf(t, "%s\tgateway %s\tdbproxy %s:%d\t(Host: %s)\n", u.Code, u.Gateway, u.DBProxy.Host, u.DBProxy.Port, s.Host)
		}
	}
	fmt.Fprintf(t, "stop it with\tatoll sandbox down --dir %s\n", info.Dir)
	return t.Flush()
}

// SandboxDownCmd stops a sandbox.
type SandboxDownCmd struct {
	Dir string `default:".atoll/sandbox" help:"Directory of the sandbox."`
}

// Run returns when no process is left.
func (c *SandboxDownCmd) Run(ctx context.Context, out *Output) error {
	was, err := sandbox.Down(ctx, c.Dir, func(step string) { fmt.Fprintln(out.Stderr, "sandbox:", step) })
	if err == nil && !was {
		fmt.Fprintf(out.Stderr, "sandbox: none runs in %s\n", c.Dir)
	}
	return sandboxError(err)
}

// SandboxInfoCmd shows a running sandbox.
type SandboxInfoCmd struct {
	Dir string `default:".atoll/sandbox" help:"Directory of the sandbox."`
}

// Run prints what is known of it.
func (c *SandboxInfoCmd) Run(_ context.Context, out *Output) error {
	info, err := sandbox.ReadInfo(c.Dir)
	if err != nil {
		return sandboxError(err)
	}
	return printInfo(out, info, sandboxTable)
}

func sandboxTable(w io.Writer, info *sandbox.Info) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "directory\t%s\n", info.Dir)
	fmt.Fprintf(t, "console\t%s\n", strings.Join(info.Console, " "))
	fmt.Fprintf(t, "host\t%s\n", info.Host)
	fmt.Fprintf(t, "round trip\t%d ms\n", info.WAN.RTTMs)
	for i, s := range info.Spaces() {
		if i > 0 {
			fmt.Fprintf(t, "\nspace\t%s\nhost\t%s\n", s.Space, s.Host)
		}
		for _, u := range s.Units {
			unitTable(t, u)
		}
	}
	fmt.Fprintf(t, "\nprocess\tpid\trestarts\tlog\nsupervisor\t%d\n", info.Supervisor)
	for _, p := range info.Processes {
		pid := strconv.Itoa(p.PID)
		if p.PID == 0 {
			pid = "dead"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", p.Name, pid, p.Restarts, p.Log)
	}
	return t.Flush()
}

func unitTable(w io.Writer, u sandbox.UnitInfo) {
	fmt.Fprintf(w, "\n%s\t%s\n", u.Code, u.Type)
	fmt.Fprintf(w, "  gateway\t%s\n", u.Gateway)
	for _, c := range u.Cells {
		fmt.Fprintf(w, "  app\t%s\tcell %s\n", c.URL, c.Code)
	}
	for _, s := range []struct {
		name string
		at   sandbox.ServerInfo
	}{{"dbproxy", u.DBProxy}, {"database", u.Database}} {
		fmt.Fprintf(w, "  %s\t%s:%d\tuser %s\tpassword %s\tdatabase %s\n", s.name, s.at.Host, s.at.Port, s.at.User, s.at.Password, s.at.Database)
	}
	fmt.Fprintf(w, "  redis\t%s\tcenter %s\n", u.Redis.Unit, u.Redis.Center)
}

// SandboxCutCmd stalls links.
type SandboxCutCmd struct {
	Unit string `arg:"" help:"Unit, or witness for the console's site; or a lane: 'unit-a>unit-b'."`
	Dir  string `default:".atoll/sandbox" help:"Directory of the sandbox."`
}

// Run cuts the unit off. Streams stall without an end, new ones hang.
func (c *SandboxCutCmd) Run(ctx context.Context, _ *Output) error {
	info, err := sandbox.ReadInfo(c.Dir)
	if err == nil {
		err = sandbox.Cut(ctx, info, c.Unit)
	}
	return sandboxError(err)
}

// SandboxHealCmd restores links.
type SandboxHealCmd struct {
	Unit string `arg:"" help:"Unit, or witness for the console's site; or a lane: 'unit-a>unit-b'."`
	Dir  string `default:".atoll/sandbox" help:"Directory of the sandbox."`
}

// Run lets the unit's streams go on where they stopped.
func (c *SandboxHealCmd) Run(ctx context.Context, _ *Output) error {
	info, err := sandbox.ReadInfo(c.Dir)
	if err == nil {
		err = sandbox.Heal(ctx, info, c.Unit)
	}
	return sandboxError(err)
}

// SandboxLiarCmd is a part of the negative controls.
type SandboxLiarCmd struct {
	Break    string   `required:""`
	Plane    string   `required:""`
	Unit     string   `required:""`
	Listen   string   `required:""`
	Console  string   // for a lie about what a console and a plane say
	WAN      string   `name:"wan"`
	LaneLink []string `sep:"none"`
	Source   string   // for a lie about a database's binlog
	Proxy    string   // for a lie about statements
	User     string
	Password string `name:"password-file"`
}

// binlogLate is longer than the time between a buyer's order and its payment,
// which are two updates of one row.
const binlogLate = 300 * time.Millisecond

// Run lies until ctx ends.
func (c *SandboxLiarCmd) Run(ctx context.Context, out *Output) error {
	switch {
	case slices.Contains(liar.SQLLies(), c.Break):
		return c.sql(ctx, out)
	case c.Break == liar.NoLoopGuard:
		l, err := liar.NewBinlogLiar(liar.BinlogConfig{Listen: c.Listen, Source: c.Source, Late: binlogLate, Log: siteLog(out, "liar", c.Unit)})
		if err != nil {
			return usageError(err)
		}
		return l.Run(ctx)
	}
	links, err := pairs("lane-link", c.LaneLink, false)
	if err != nil {
		return usageError(err)
	}
	l, err := liar.New(liar.Config{Lie: c.Break, Plane: c.Plane, Unit: c.Unit, Listen: c.Listen, Console: c.Console,
		WAN: c.WAN, LaneLinks: links, Log: siteLog(out, "liar", c.Unit)})
	if err != nil {
		return usageError(err)
	}
	return l.Run(ctx)
}

func (c *SandboxLiarCmd) sql(ctx context.Context, out *Output) error {
	password, err := secretFile("password-file", c.Password)
	if err != nil {
		return err
	}
	l, err := liar.NewSQLLiar(liar.SQLConfig{Lie: c.Break, Listen: c.Listen, Proxy: c.Proxy, User: c.User, Password: password, Log: siteLog(out, "liar", c.Unit)})
	if err != nil {
		return usageError(err)
	}
	return l.Run(ctx)
}
