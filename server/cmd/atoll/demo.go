package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/atoll-live/atoll/server/sandbox"
	"github.com/atoll-live/atoll/server/sandbox/demo"
)

// TrafficFlags say what traffic to make.
type TrafficFlags struct {
	Seconds  int     `default:"90" placeholder:"S" help:"How long buyers come."`
	Rate     float64 `default:"150" placeholder:"R" help:"Orders a second offered, over HTTP and SQL together."`
	Canaries int     `default:"20" placeholder:"N" help:"Buyers who write every 100 ms while their keys move."`
	Seed     uint64  `help:"Seed of buyers and choices; a random one when zero."`
	Report   string  `placeholder:"FILE" help:"File for the report."`
}

func (f *TrafficFlags) validate() error {
	switch {
	case f.Seconds < 1 || f.Seconds > 24*3600:
		return usageError(fmt.Errorf("--seconds %d: want 1 to 86400", f.Seconds))
	case f.Rate <= 0 || f.Rate > 100_000:
		return usageError(fmt.Errorf("--rate %v: want more than 0, up to 100000", f.Rate))
	case f.Canaries < 1 || f.Canaries > 1000:
		return usageError(fmt.Errorf("--canaries %d: want 1 to 1000", f.Canaries))
	}
	return nil
}

// run completes what a command wants and judges it.
func (f *TrafficFlags) run(ctx context.Context, want demo.Config, out *Output) error {
	want.Duration, want.Rate, want.Canaries, want.Seed, want.Report = time.Duration(f.Seconds)*time.Second, f.Rate, f.Canaries, f.Seed, f.Report
	want.Break, want.WANRTT = want.Info.Break, time.Duration(want.Info.WAN.RTTMs)*time.Millisecond
	want.Out, want.Terminal = out.Stderr, isTerminal(out.Stderr)
	report, err := demo.Run(ctx, want)
	if err != nil {
		return err
	}
	if out.Format == "json" || out.Format == "yaml" {
		if err := out.Print(report, nil); err != nil {
			return err
		}
	}
	if report.Verdict != demo.Pass {
		return &exitError{code: exitFailed}
	}
	return nil
}

// SandboxLoadCmd is the shop's traffic with the auditor, without moves.
type SandboxLoadCmd struct {
	TrafficFlags
	Dir   string `default:".atoll/sandbox" help:"Directory of the sandbox."`
	Space string `default:"shop" help:"Space whose shop they visit."`
}

// Run makes the traffic and judges it.
func (c *SandboxLoadCmd) Run(ctx context.Context, out *Output) error {
	if err := c.validate(); err != nil {
		return err
	}
	info, err := sandbox.ReadInfo(c.Dir)
	if err == nil {
		info, err = info.Of(c.Space)
	}
	if err != nil {
		return sandboxError(err)
	}
	return c.run(ctx, demo.Config{Info: info}, out)
}

// SandboxDemoCmd brings a sandbox up, runs load and a round of moves over it,
// judges, and takes it down again.
type SandboxDemoCmd struct {
	TrafficFlags
	Dir      string        `default:".atoll/demo" help:"Directory of the sandbox; what a former demo left there is removed."`
	PortBase int           `default:"7000" placeholder:"N" help:"First of its 100 ports on 127.0.0.1."`
	Units    int           `default:"2" placeholder:"2" help:"Number of units, 2 or 3: users move from each to the next and back to the first."`
	Cells    int           `default:"1" placeholder:"1" help:"Cells of each unit, 1 or 2."`
	SlowLane bool          `help:"With three units: let the lane from the first into the third stand still over two moves."`
	WANRTT   time.Duration `name:"wan-rtt" default:"30ms" help:"Round trip between two sites."`
	PauseMax time.Duration `default:"1s" help:"Write pause p99 at which the verdict is fail."`
	Break    string        `help:"Negative control: no-fence, no-barrier, drop-row, no-route, no-loop-guard or no-in-band."`
	Keep     bool          `help:"Leave the sandbox running."`
}

// The least seconds of a demo: room for each move with the canaries around it,
// and for one that is tried in vain.
const (
	secondsPerMove = 10
	secondsInVain  = 10
)

func (c *SandboxDemoCmd) validate() error {
	if err := c.TrafficFlags.validate(); err != nil {
		return err
	}
	least := secondsPerMove * c.Units
	if c.SlowLane {
		least += secondsInVain
	}
	switch {
	case c.Units < 2 || c.Units > sandbox.UnitsMax:
		return usageError(fmt.Errorf("--units %d: want 2 to %d, so that there is a unit to move to", c.Units, sandbox.UnitsMax))
	case c.SlowLane && c.Units < 3:
		return usageError(errors.New("--slow-lane and --break no-in-band are about the lane into a third unit: want --units 3"))
	case c.Seconds < least:
		return usageError(fmt.Errorf("--seconds %d: want at least %d, so that the moves fit in", c.Seconds, least))
	}
	return nil
}

// Run is the main job from end to end.
func (c *SandboxDemoCmd) Run(ctx context.Context, out *Output) (err error) {
	c.SlowLane = c.SlowLane || c.Break == sandbox.BreakNoInBand // the lie shows where a lane is late
	if err := c.validate(); err != nil {
		return err
	}
	if slices.Contains(sandbox.HistoryBreaks(), c.Break) {
		return usageError(fmt.Errorf("--break %s: the history checker finds it, which the demo does not run: use `atoll sandbox chaos --break %s`", c.Break, c.Break))
	}
	up := SandboxUpCmd{
		Dir: c.Dir, PortBase: c.PortBase, Units: c.Units, Cells: c.Cells, Consoles: 1, WANRTT: c.WANRTT, FenceTTL: sandbox.DefaultFenceTTL,
		FenceDeadline: sandbox.DefaultFenceDeadline, Fresh: true, Break: c.Break,
	}
	info, err := bringUp(ctx, up.options(), out)
	if err != nil {
		return sandboxError(err)
	}
	if !c.Keep {
		defer func() { err = errors.Join(err, c.down(ctx)) }()
	}
	return c.run(ctx, demo.Config{Info: info, Moves: true, SlowLane: c.SlowLane, PauseMax: c.PauseMax}, out)
}

// down stops the sandbox also when ctx has ended by Ctrl-C.
func (c *SandboxDemoCmd) down(ctx context.Context) error { return takeDown(ctx, c.Dir) }

func takeDown(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	_, err := sandbox.Down(ctx, dir, nil)
	return err
}

// SandboxSoakCmd brings a sandbox up, moves users there and back many times in
// a row, tells where the time goes and what the processes hold before and
// after, and takes it down again.
type SandboxSoakCmd struct {
	Moves    int           `default:"20" placeholder:"N" help:"Moves in a row, there and back."`
	Rate     float64       `default:"200" placeholder:"R" help:"Orders a second offered, over HTTP and SQL together."`
	Canaries int           `default:"20" placeholder:"N" help:"Buyers who write every 100 ms while their keys move."`
	OpenTx   int           `name:"open-transactions" default:"0" placeholder:"N" help:"SQL writers that keep transactions open for 50–1,500 ms: a fence then waits for its deadline."`
	PauseMax time.Duration `default:"500ms" help:"Write pause p99 of all moves together above which the verdict is fail."`
	Seed     uint64        `help:"Seed of buyers and choices; a random one when zero."`
	Report   string        `placeholder:"FILE" help:"File for the report."`
	Dir      string        `default:".atoll/soak" help:"Directory of the sandbox; what a former run left there is removed."`
	PortBase int           `default:"7000" placeholder:"N" help:"First of its 100 ports on 127.0.0.1."`
	WANRTT   time.Duration `name:"wan-rtt" default:"30ms" help:"Round trip between two sites."`
}

// soakMoveMax is longer than any good move; soakRest is for what comes before
// and after all moves.
const (
	soakMoveMax = 10 * time.Second
	soakRest    = 30 * time.Second
)

// Run makes the moves and judges them together.
func (c *SandboxSoakCmd) Run(ctx context.Context, out *Output) (err error) {
	if c.Moves < 2 || c.Moves > 1000 {
		return usageError(fmt.Errorf("--moves %d: want 2 to 1000", c.Moves))
	}
	if c.OpenTx < 0 || c.OpenTx > 100 {
		return usageError(fmt.Errorf("--open-transactions %d: want 0 to 100", c.OpenTx))
	}
	limit := time.Duration(c.Moves)*soakMoveMax + soakRest
	traffic := TrafficFlags{Seconds: int(limit.Seconds()), Rate: c.Rate, Canaries: c.Canaries, Seed: c.Seed, Report: c.Report}
	if err := traffic.validate(); err != nil {
		return err
	}
	up := SandboxUpCmd{
		Dir: c.Dir, PortBase: c.PortBase, Units: 2, Cells: 1, Consoles: 1, WANRTT: c.WANRTT, FenceTTL: sandbox.DefaultFenceTTL,
		FenceDeadline: sandbox.DefaultFenceDeadline, Fresh: true,
	}
	info, err := bringUp(ctx, up.options(), out)
	if err != nil {
		return sandboxError(err)
	}
	defer func() { err = errors.Join(err, takeDown(ctx, c.Dir)) }()
	holders := c.OpenTx
	if holders == 0 {
		holders = -1 // none
	}
	return traffic.run(ctx, demo.Config{Info: info, InARow: c.Moves, Holders: holders, PauseMax: c.PauseMax}, out)
}

// SandboxChaosCmd brings a sandbox up, moves users round under load all the
// time while processes are killed and stopped and links cut, judges, and
// takes it down again.
type SandboxChaosCmd struct {
	TrafficFlags
	Dir      string        `default:".atoll/chaos" help:"Directory of the sandbox; what a former run left there is removed."`
	PortBase int           `default:"7000" placeholder:"N" help:"First of its 100 ports on 127.0.0.1."`
	Units    int           `default:"2" placeholder:"2" help:"Number of units, 2 or 3."`
	WANRTT   time.Duration `name:"wan-rtt" default:"30ms" help:"Round trip between two sites."`
	Break    string        `help:"Negative control: ok-without-write, write-twice, stale-read or reorder for the history checker; those of the demo for the auditor."`
	History  string        `placeholder:"FILE" help:"File for what clients saw, for check-history; history.jsonl in the directory when not given."`
}

// chaosSecondsMin leaves room for some faults and the quiet end.
const chaosSecondsMin = 30

// Run is the main job while things break.
func (c *SandboxChaosCmd) Run(ctx context.Context, out *Output) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	if c.Seconds < chaosSecondsMin {
		return usageError(fmt.Errorf("--seconds %d: want at least %d, so that some faults and a quiet end fit in", c.Seconds, chaosSecondsMin))
	}
	if c.Units < 2 || c.Units > sandbox.UnitsMax {
		return usageError(fmt.Errorf("--units %d: want 2 to %d, so that there is a unit to move to", c.Units, sandbox.UnitsMax))
	}
	up := SandboxUpCmd{
		Dir: c.Dir, PortBase: c.PortBase, Units: c.Units, Cells: 1, Consoles: 1, WANRTT: c.WANRTT, FenceTTL: sandbox.DefaultFenceTTL,
		FenceDeadline: sandbox.DefaultFenceDeadline, Fresh: true, Break: c.Break,
	}
	info, err := bringUp(ctx, up.options(), out)
	if err != nil {
		return sandboxError(err)
	}
	defer func() { err = errors.Join(err, takeDown(ctx, c.Dir)) }()
	history := cmp.Or(c.History, filepath.Join(info.Dir, "history.jsonl"))
	return c.run(ctx, demo.Config{Info: info, Faults: true, History: history}, out)
}
