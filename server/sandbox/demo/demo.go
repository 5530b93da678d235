package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/ids"
	"github.com/atoll-live/atoll/server/sandbox"
	"github.com/atoll-live/atoll/server/sandbox/audit"
	"github.com/atoll-live/atoll/server/sandbox/load"
	"github.com/atoll-live/atoll/server/sandbox/workload"
)

// Config says what to run over a sandbox that is up.
type Config struct {
	Info     *sandbox.Info
	Duration time.Duration
	Rate     float64
	Canaries int           // 20 when zero
	PauseMax time.Duration // DefaultPause when zero
	Moves    bool          // move a share of the buckets from unit to unit, back to the first at last
	SlowLane bool          // with Moves and three units: the lane from the first into the third stands still over two moves
	InARow   int           // so many moves there and back in a row, then the load ends; 0: as Moves says
	Holders  int           // SQL writers that keep transactions open; 12 when zero, none when negative
	Break    string        // the negative control at work, "" for none
	Faults   bool          // move round all the time, and break something every few seconds
	WANRTT   time.Duration
	Report   string // file to write, "" for none
	History  string // file for what clients saw, who are checked key by key; "": there are none
	Seed     uint64 // 0: a random one
	Out      io.Writer
	Terminal bool
	Log      *slog.Logger
}

// How long the auditor waits for lanes and late rows.
const (
	lanePatience = 30 * time.Second
	rowPatience  = 15 * time.Second
	movePatience = 30 * time.Second // for a move that is under way when the load ends
)

// run is one demo on its way.
type run struct {
	cfg    Config
	client *console.Client
	rule   *rule
	load   *load.Load
	sides  []audit.Side
	screen *screen
	report Report
	moves  []*finished
	faults *injector // nil without faults
	prober *prober   // too

	history *workload.Workload // nil without a history
}

// Run drives the load and the moves, audits, prints a short verdict and writes
// the report. The error is for a run that could not be made or judged; a run
// that was judged bad has verdict "fail" and no error.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	if cfg.PauseMax == 0 {
		cfg.PauseMax = DefaultPause
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if units := len(cfg.Info.Units); cfg.Moves && units < 2 || cfg.Faults && units < 2 || cfg.SlowLane && units < 3 {
		return nil, fmt.Errorf("%d units are too few for these moves: bring up a sandbox with more of them", units)
	}
	r := &run{cfg: cfg, screen: newScreen(cfg.Out, cfg.Terminal)}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer r.closeSides()
	if err := r.drive(ctx); err != nil {
		return nil, err
	}
	if err := r.audit(ctx); err != nil {
		return nil, err
	}
	wanted := 0
	if cfg.Moves {
		wanted = len(cfg.Info.Units)
	}
	wanted = max(wanted, cfg.InARow)
	if cfg.Faults {
		r.report.judgeFaults()
	} else {
		r.report.judge(wanted, cfg.PauseMax)
	}
	r.screen.verdict(&r.report)
	if cfg.Report != "" {
		if err := r.report.write(cfg.Report); err != nil {
			return nil, err
		}
	}
	return &r.report, nil
}

func (r *run) prepare(ctx context.Context) error {
	var err error
	if r.client, err = console.NewClient(r.cfg.Info.Console, ""); err != nil {
		return err
	}
	if r.rule, err = fetchRule(ctx, r.client, r.cfg.Info.Space, r.cfg.Info.Rule); err != nil {
		return err
	}
	if r.sides, err = openSides(r.cfg.Info); err != nil {
		return err
	}
	r.report.Seed, r.report.Break = r.cfg.Seed, r.cfg.Break
	r.report.Seconds, r.report.Rate, r.report.WANRTT = r.cfg.Duration.Seconds(), r.cfg.Rate, r.cfg.WANRTT.String()
	return nil
}

// drive runs the load, and the moves in its middle, until both are over.
func (r *run) drive(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	worker, err := ids.New(ids.Config{Unit: r.cfg.Info.Units[0].Code, Consoles: r.cfg.Info.Console, Log: r.cfg.Log})
	if err != nil {
		return err
	}
	if err := r.prepareTraffic(ctx, worker); err != nil {
		return err
	}
	defer r.closeProber()
	began := time.Now()
	r.screen.begin(r.cfg, began)
	var wg sync.WaitGroup
	loaded, moved, seen := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var moveErr, idErr, historyErr error
	wg.Go(func() {
		if err := worker.Run(ctx); ctx.Err() == nil {
			idErr = err
		}
	})
	wg.Go(func() { r.screen.follow(ctx, r.load.Ledger(), loaded) })
	if r.cfg.Faults {
		r.faults = newInjector(r, began)
		wg.Go(func() { r.faults.run(ctx) })
	}
	wg.Go(func() {
		defer close(moved)
		moveErr = r.makeMoves(ctx, began)
	})
	wg.Go(func() {
		defer close(seen)
		historyErr = r.runHistory(ctx)
	})
	loadErr := r.load.Run(ctx)
	close(loaded)
	<-seen // it has limits of its own
	select {
	case <-moved:
	case <-time.After(movePatience):
	case <-ctx.Done():
	}
	cancel(errLoadOver)
	wg.Wait()
	return errors.Join(loadErr, moveErr, idErr, historyErr)
}

// prepareTraffic makes all that will write, and writes nothing yet but a
// control's sentinel.
func (r *run) prepareTraffic(ctx context.Context, worker *ids.Worker) error {
	products, err := productIDs(ctx, r.sides[0].DB)
	if err != nil {
		return err
	}
	cfg := load.Config{
		Host: r.cfg.Info.Host, Duration: r.cfg.Duration, Rate: r.cfg.Rate, Products: products, Seed: r.cfg.Seed, Canaries: r.cfg.Canaries,
		Holders: r.cfg.Holders, Bucket: r.rule.bucket, NextID: worker.Next, Log: r.cfg.Log, Sites: sites(r.cfg.Info),
	}
	if r.cfg.Moves || r.cfg.Faults || r.cfg.InARow > 0 {
		cfg.Moving = r.rule.moving(r.cfg.Info)
	}
	if r.load, err = load.New(cfg); err != nil {
		return err
	}
	if r.cfg.Break == sandbox.BreakDropRow {
		if err := r.load.Sentinel(ctx); err != nil {
			return err
		}
	}
	if r.cfg.Faults {
		if r.prober, err = newProber(r.cfg.Info, r.rule, worker.Next); err != nil {
			return err
		}
	}
	return r.prepareHistory()
}

func (r *run) closeProber() {
	if r.prober != nil {
		r.prober.close()
	}
}

// makeMoves makes the moves that the run is about.
func (r *run) makeMoves(ctx context.Context, began time.Time) error {
	switch {
	case r.cfg.Faults:
		r.moveAllTheTime(ctx, began.Add(r.cfg.Duration-quietEnd))
	case r.cfg.InARow > 0:
		return r.moveInARow(ctx, r.cfg.InARow)
	case r.cfg.Moves:
		return r.moveRound(ctx, began)
	}
	return nil
}

var errLoadOver = errors.New("the load is over")

// audit fills the report from the ledger and the databases.
func (r *run) audit(ctx context.Context) error {
	ledger := r.load.Ledger()
	if err := r.checkHistory(); err != nil {
		return err
	}
	if r.cfg.Break == sandbox.BreakDropRow {
		if err := sandbox.DropRow(ctx, r.cfg.Info); err != nil {
			return err
		}
	}
	r.screen.say("waiting for the lanes to carry everything over")
	if err := audit.Idle(ctx, r.sides, lanePatience); err != nil {
		return err
	}
	r.screen.say("comparing every row of all databases, and all binlogs with the owners")
	findings, err := audit.Orders(ctx, ledger.Writes(), r.sides)
	if err != nil {
		return err
	}
	rep := &r.report
	rep.OrdersAcked, rep.OrdersLost, rep.OrdersDoubled, rep.Ghosts = findings.Acked, findings.Lost, findings.Doubled, findings.Ghosts
	rep.Samples = slices.Concat(findings.Samples, ledger.Samples())
	rep.RowsCompared, rep.Differences, err = audit.Rows(ctx, r.sides, r.rule.synced(), rowPatience)
	if err != nil {
		return err
	}
	rep.RowsDifferent = len(rep.Differences)
	rep.Differences = rep.Differences[:min(len(rep.Differences), samplesShown)]
	parked, err := audit.Parked(ctx, r.sides)
	if err != nil {
		return err
	}
	owners, err := audit.Ownerships(ctx, r.sides, r.movedKeys(), r.rule.keyColumns())
	if err != nil {
		return err
	}
	rep.GroupsChecked, rep.OwnerViolations = owners.Groups, owners.Violations
	rep.RowsParked, rep.RowsReturned = len(parked), len(audit.Returned(parked, owners))
	if len(parked) > 0 {
		p := parked[0]
		rep.Samples = append(rep.Samples, fmt.Sprintf("lane %s parked a row of %s with key %s at %s: %s", p.Lane, p.Table, p.Key, p.Position, p.Reason))
	}
	rep.Samples = append(rep.Samples, owners.Samples...)
	r.fillLoad(ledger)
	if r.faults != nil {
		rep.Faults = r.faults.report(ledger.Writes(), r.rule.moving(r.cfg.Info))
	}
	return nil
}

func (r *run) fillLoad(ledger *load.Ledger) {
	rep, c := &r.report, ledger.Totals()
	rep.Load, rep.SQLRefusals = c, ledger.Refusals()
	rep.StaleReads, rep.WritesRefused, rep.Unresolved = c.StaleReads, c.HTTPRefused, c.Unresolved
	if c.Offered > 0 {
		rep.AckedShare = float64(c.Acked) / float64(c.Offered)
	}
	if all := c.SQLWrites + c.HTTPWrites; all > 0 {
		rep.SQLShare = float64(c.SQLWrites) / float64(all)
	}
	writes := ledger.Writes()
	if rep.Soak != nil {
		r.fillSoak(writes)
	}
	for _, m := range r.moves {
		one := m.report(writes)
		rep.TxKilled += one.TxKilled
		rep.Moves = append(rep.Moves, one)
		if rep.Soak == nil && r.faults == nil {
			r.screen.pauses(one, m.delays(writes))
		}
	}
}

func (r *run) movedKeys() []audit.Move {
	var all []audit.Move
	for _, m := range r.moves {
		all = append(all, audit.Move{ID: m.id, From: m.from, To: m.to, Switched: m.state == "done", Moved: m.moved})
	}
	return all
}
