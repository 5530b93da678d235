package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/wan"
)

// Defaults of Options.
const (
	DefaultDir           = ".atoll/sandbox"
	DefaultPortBase      = 7200
	DefaultFenceTTL      = 5 * time.Second
	DefaultFenceDeadline = 400 * time.Millisecond
	// PortsPerSandbox is how many ports from PortBase on belong to a sandbox.
	PortsPerSandbox = 100
	// The most that a sandbox has ports for.
	UnitsMax  = 3
	CellsMax  = 2 // in a unit
	SpacesMax = 2
)

// Break names a negative control: a lie told to one kind of plane.
const (
	BreakNone      = ""
	BreakNoFence   = "no-fence"   // a dbproxy does not see fences and says that it met them
	BreakNoBarrier = "no-barrier" // a lane says that it passed a barrier while it is stalled
	BreakDropRow   = "drop-row"   // one replicated row is deleted behind everybody's back
	BreakNoRoute   = "no-route"   // gateways keep everybody

	BreakNoLoopGuard = "no-loop-guard" // lanes carry on what other lanes have written
	BreakNoInBand    = "no-in-band"    // a third unit's lanes judge rows by the snapshot of the moment

	// What stands in front of each dbproxy lies about some statements; the
	// history checker, which runs beside chaos, must find it.
	BreakOKWithoutWrite = "ok-without-write" // a write is answered and not done
	BreakWriteTwice     = "write-twice"      // a write is done again
	BreakStaleRead      = "stale-read"       // a read gets an answer of before
	BreakReorder        = "reorder"          // a write is answered, and done behind the next one
)

// HistoryBreaks are the negative controls of the history checker.
func HistoryBreaks() []string {
	return []string{BreakOKWithoutWrite, BreakWriteTwice, BreakStaleRead, BreakReorder}
}

// Breaks are the negative controls that there are.
func Breaks() []string {
	return append([]string{BreakNoFence, BreakNoBarrier, BreakDropRow, BreakNoRoute, BreakNoLoopGuard, BreakNoInBand}, HistoryBreaks()...)
}

// Options say which sandbox to run. The zero value, with defaults, is good.
type Options struct {
	Dir           string        `json:"dir"`
	PortBase      int           `json:"portBase"`
	Units         int           `json:"units"`
	Cells         int           `json:"cells"`
	Spaces        int           `json:"spaces"`
	Consoles      int           `json:"consoles"`
	WANRTT        time.Duration `json:"wanRTT"` // negative: none
	FenceTTL      time.Duration `json:"fenceTTL"`
	FenceDeadline time.Duration `json:"fenceDeadline"`
	NoRestart     bool          `json:"noRestart"`
	// Fast lets the databases answer before a transaction is on disk.
	Fast  bool   `json:"fast"`
	Fresh bool   `json:"-"` // first remove what an ended sandbox left in Dir
	Break string `json:"break"`
}

// InvalidError is wrong usage: nothing was changed.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

func invalid(format string, a ...any) error { return &InvalidError{fmt.Sprintf(format, a...)} }

// WithDefaults fills in what is zero and makes Dir absolute.
func (o Options) WithDefaults() (Options, error) {
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("find directory %s: %w", o.Dir, err)
	}
	o.Dir = dir
	setDefault(&o.PortBase, DefaultPortBase)
	setDefault(&o.Units, 2)
	setDefault(&o.Cells, 1)
	setDefault(&o.Spaces, 1)
	setDefault(&o.Consoles, 1)
	setDefault(&o.WANRTT, wan.DefaultRTT)
	setDefault(&o.FenceTTL, DefaultFenceTTL)
	setDefault(&o.FenceDeadline, DefaultFenceDeadline)
	return o, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

const (
	rttMax      = 2 * time.Second
	fenceTTLMax = time.Hour
)

// Validate gives an InvalidError with the mend.
func (o Options) Validate() error {
	switch {
	case o.PortBase < 1024 || o.PortBase+PortsPerSandbox > 65536:
		return invalid("--port-base %d: want 1024 to %d", o.PortBase, 65536-PortsPerSandbox)
	case o.Units < 1 || o.Units > UnitsMax:
		return invalid("--units %d: want 1 to %d", o.Units, UnitsMax)
	case o.Cells < 1 || o.Cells > CellsMax:
		return invalid("--cells %d: want 1 to %d", o.Cells, CellsMax)
	case o.Spaces < 1 || o.Spaces > SpacesMax:
		return invalid("--spaces %d: want 1 to %d", o.Spaces, SpacesMax)
	case o.Spaces == SpacesMax && o.Cells == CellsMax && o.Units == UnitsMax:
		return invalid("--units %d --cells %d --spaces %d: a sandbox has ports for two of these", o.Units, o.Cells, o.Spaces)
	case o.Consoles != 1 && o.Consoles != 3:
		return invalid("--consoles %d: want 1", o.Consoles)
	case o.Consoles == 3:
		return invalid("--consoles 3 is not built yet: leave it at 1")
	case o.WANRTT > rttMax:
		return invalid("--wan-rtt %v: want up to %v", o.WANRTT, rttMax)
	case o.FenceTTL < time.Second || o.FenceTTL > fenceTTLMax:
		return invalid("--fence-ttl %v: want 1s to %v", o.FenceTTL, fenceTTLMax)
	case o.FenceDeadline <= 0 || o.FenceDeadline >= o.FenceTTL:
		return invalid("--fence-deadline %v: want less than --fence-ttl %v", o.FenceDeadline, o.FenceTTL)
	case o.Break != BreakNone && !slices.Contains(Breaks(), o.Break):
		return invalid("--break %s: want one of %s", o.Break, strings.Join(Breaks(), ", "))
	case o.Break != BreakNone && o.Units < 2:
		return invalid("--break %s: a space of one unit keeps none of these promises, want --units 2", o.Break)
	case o.Break == BreakNoInBand && o.Units < 3:
		return invalid("--break %s: it lies to a third unit, want --units 3", o.Break)
	}
	return nil
}

// ErrNotRunning is what a command gets that needs a running sandbox.
var ErrNotRunning = errors.New("no sandbox runs there")
