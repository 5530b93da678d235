package demo

import (
	"context"
	"time"

	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/server/sandbox"
	"github.com/atoll-live/atoll/server/sandbox/audit"
)

// When the moves of a round begin: the first after a quarter of the load, the
// last ends well before it; what they carry.
const (
	firstMoveAt = 0.25
	movesWithin = 0.70 // from the first one on
	movePercent = 30   // of all buckets
)

// startOf is when a move of a round begins, as a share of the load's duration.
func startOf(move, moves int) float64 { return firstMoveAt + movesWithin*float64(move)/float64(moves) }

// moveRound moves a share of the buckets from the first unit to the second, the
// same on to the next unit, and so round to the first. A move that does not end
// well is for the verdict, not an error of the run.
func (r *run) moveRound(ctx context.Context, began time.Time) error {
	units, at := r.cfg.Info.Units, 0
	if r.cfg.SlowLane {
		sleepUntil(ctx, r.startOf(began, 0))
		if err := r.moveWhileSlow(ctx); err != nil {
			return err
		}
		if at = r.carried(); at == 0 {
			return nil
		}
	}
	for ; at < len(units); at++ {
		if !sleepUntil(ctx, r.startOf(began, at)) {
			return nil
		}
		m, err := r.move(ctx, units[at].Code, units[(at+1)%len(units)].Code, r.buckets())
		if err != nil || m == nil {
			return err
		}
		r.moves = append(r.moves, m)
		if m.state != "done" {
			return nil
		}
	}
	return nil
}

func (r *run) startOf(began time.Time, move int) time.Time {
	return began.Add(share(r.cfg.Duration, startOf(move, len(r.cfg.Info.Units))))
}

// carried is how many units the keys have gone on.
func (r *run) carried() (n int) {
	for _, m := range r.moves {
		if m.state == "done" {
			n++
		}
	}
	return n
}

// buckets are those of the round, "" before its first move has named them.
func (r *run) buckets() string {
	if len(r.moves) == 0 {
		return ""
	}
	return r.moves[0].buckets
}

// moveWhileSlow makes the first move of the round, and tries the second, while
// the slow lane stands still. The try must not get anywhere: the third unit does
// not have what the first one wrote of the keys.
func (r *run) moveWhileSlow(ctx context.Context) error {
	units := r.cfg.Info.Units
	if err := r.stall(ctx); err != nil {
		return err
	}
	defer r.unstall(ctx)
	m, err := r.move(ctx, units[0].Code, units[1].Code, "")
	if err != nil || m == nil {
		return err
	}
	r.moves = append(r.moves, m)
	if m.state != "done" {
		return nil
	}
	m, err = r.attempt(ctx, units[1].Code, units[2].Code, r.buckets())
	if err != nil || m == nil {
		return err
	}
	m.stalled = true
	r.moves = append(r.moves, m)
	r.report.SlowLaneBehind, err = audit.Behind(ctx, r.sides[0], r.sides[2])
	return err
}

// slowLane is the lane from the first unit into the third.
func (r *run) slowLane() string { return r.cfg.Info.Units[0].Code + ">" + r.cfg.Info.Units[2].Code }

// stall lets the slow lane stand still.
func (r *run) stall(ctx context.Context) error {
	r.report.SlowLane = r.slowLane()
	r.screen.line("%s", r.screen.colour("33", "lane "+r.slowLane()+" stands still"))
	return sandbox.Cut(ctx, r.cfg.Info, r.slowLane())
}

// unstall lets it go on, also when ctx has ended. If that fails, the auditor
// waits for the lane in vain and says so.
func (r *run) unstall(ctx context.Context) {
	r.screen.line("lane %s goes on", r.slowLane())
	if err := sandbox.Heal(context.WithoutCancel(ctx), r.cfg.Info, r.slowLane()); err != nil {
		r.screen.line("  %v", err)
	}
}

// moveAllTheTime moves the same buckets round and round until the time given. A
// move that aborted is tried again.
func (r *run) moveAllTheTime(ctx context.Context, until time.Time) {
	units, at, buckets := r.cfg.Info.Units, 0, ""
	for time.Now().Before(until) && ctx.Err() == nil {
		next := (at + 1) % len(units)
		m, err := r.move(ctx, units[at].Code, units[next].Code, buckets)
		r.faults.saw("")
		if err != nil { // a console that is away, or has just come back
			r.screen.line("  %v", err)
		}
		if m != nil {
			r.moves, buckets = append(r.moves, m), m.buckets
			if m.state == "done" {
				at = next
			}
		}
		pause.For(ctx, time.Second)
	}
}

func share(d time.Duration, of float64) time.Duration { return time.Duration(float64(d) * of) }

func sleepUntil(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
