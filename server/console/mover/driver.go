package mover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/server/pause"
)

// How often a driver looks by itself, where no event tells it.
const (
	checkEvery = 100 * time.Millisecond // the checks, at most
	lapseEvery = 200 * time.Millisecond // ends of leases, behind SWITCH
	pauseMax   = 320 * time.Millisecond // after a turn that failed, at most
)

// driver drives one move, in one goroutine, from when this console leads until
// the move is over or the leadership is.
type driver struct {
	m      *Mover
	leader *store.Leadership
	space  string
	id     string

	state    move.State
	revision int64         // of the state in the store
	switched time.Time     // when this driver first knew the move to be switched
	retry    time.Duration // pause before the next turn after one that failed; 0: the last one did not
	checked  time.Time     // when the checks were last made

	wake  chan struct{}
	news  map[string]bool // planes heard since; guarded by m.mu
	stale bool            // the registered planes may have changed; guarded by m.mu
	told  bool            // the wish to abort was told since the state was read
}

func (d *driver) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *driver) newsLocked(plane string) {
	d.news[plane] = true
	d.wakeUp()
}

// run returns nil when the move is over, and an error when it is no longer
// this console's to drive.
func (d *driver) run(ctx context.Context) error {
	if err := d.reload(ctx); err != nil {
		return err
	}
	var err error
	for err == nil && ctx.Err() == nil && !d.state.Phase.Over() {
		switch err = d.turn(ctx); {
		case err == nil:
			d.retry = 0
			d.wait(ctx)
		case errors.Is(err, errAgain):
			err = nil
			pause.For(ctx, d.retry) // whatever is new meanwhile
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		d.m.cfg.Log.Info("move is over", "move", d.id, "space", d.space, "phase", d.state.Phase, "reason", d.state.Reason)
		return d.pruneHistory(ctx)
	}
	return err
}

// errAgain ends a turn in which something did not succeed. The next one begins
// with all that is known, after a pause.
var errAgain = errors.New("not done, to be tried again")

// turn tells the machine all that is new, in an order in which nothing is told
// too early, and a person's wish before what would lead on: who drives, what
// is wanted, who is registered, what they said, the time.
func (d *driver) turn(ctx context.Context) error {
	for _, tell := range []func(context.Context) error{
		d.tellLeader, d.tellWish, d.tellRegistered, d.tellReports, d.tellChecks, d.tellLapses,
	} {
		if err := tell(ctx); err != nil {
			return err
		}
	}
	tick := move.Tick{At: d.m.now()}
	if !tick.At.Before(d.state.Deadline) {
		tick.Silent = d.m.silent(d.state)
	}
	return d.step(ctx, tick)
}

// wait returns when something is new or due.
func (d *driver) wait(ctx context.Context) {
	// What was published in this turn makes the set of planes old.
	if d.state.Phase.Over() || d.state.AsOf < d.state.Epoch {
		return
	}
	now := d.m.now()
	next := time.Duration(-1)
	sooner := func(after time.Duration) {
		if next < 0 || after < next {
			next = max(after, 0)
		}
	}
	if at := d.state.Wake(now); !at.IsZero() {
		sooner(at.Sub(now))
	}
	switch {
	case d.state.Phase == move.Check:
		sooner(checkEvery)
	case d.state.Phase.Committed():
		sooner(lapseEvery)
	}
	var timer <-chan time.Time
	if next >= 0 {
		t := time.NewTimer(next)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-d.wake:
	case <-timer:
	case <-ctx.Done():
	}
}

// step gives the machine an event and carries out what it commands. After a
// write that did not succeed the state is read again, and errAgain returned.
func (d *driver) step(ctx context.Context, e move.Event) error {
	if d.state.Phase.Over() {
		return nil
	}
	next, commands := move.Step(d.state, e)
	d.state = next
	err := d.carryOut(ctx, commands)
	if err == nil {
		if _, tick := e.(move.Tick); !tick || len(commands) > 0 {
			d.m.show(d.state)
		}
		return nil
	}
	if lost := d.lost(ctx, err); lost != nil {
		return lost
	}
	if err := d.again(ctx, err); !errors.Is(err, errAgain) {
		return err
	}
	if err := d.reload(ctx); err != nil {
		return err
	}
	d.state, _ = move.Step(d.state, move.Conflict{At: d.m.now(), Why: err.Error()})
	d.m.show(d.state)
	return errAgain
}

// again notes why the turn ends and how long the pause before the next is.
func (d *driver) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.m.cfg.Log.Warn("move does not get on, trying again", "move", d.id, "phase", d.state.Phase, "err", err)
	d.retry = min(max(2*d.retry, retryMin), pauseMax)
	return errAgain
}

// lost tells whether an error means that another console leads.
func (d *driver) lost(ctx context.Context, err error) error {
	var conflict *store.ConflictError
	if errors.As(err, &conflict) && conflict.Key == d.leader.Compare().Key {
		return fmt.Errorf("another console leads: %w", err)
	}
	return ctx.Err()
}

// reload reads the state until the store answers, and forgets what was told to
// the machine since.
func (d *driver) reload(ctx context.Context) error {
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		it, err := d.m.cfg.Store.Get(ctx, store.MoveKey(d.space, d.id))
		if err == nil {
			d.state, err = decode(it)
			d.revision = it.Revision
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.m.cfg.Log.Warn("move cannot be read, trying again", "move", d.id, "err", err)
		pause.For(ctx, wait)
	}
	d.m.keep(d.state, d.revision)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.stale, d.told = true, false
	for name := range d.m.heard {
		d.news[name] = true
	}
	d.wakeUp()
	return nil
}

// tellLeader tells the machine who drives, until that is written down.
func (d *driver) tellLeader(ctx context.Context) error {
	leader := fmt.Sprintf("%s/%d", d.m.cfg.Member, d.leader.Term())
	if d.state.Leader == leader {
		return nil
	}
	return d.step(ctx, move.TakenOver{At: d.m.now(), Leader: leader})
}

// tellRegistered reads the registered planes if they may have changed, or were
// read before the last snapshot was published.
func (d *driver) tellRegistered(ctx context.Context) error {
	d.m.mu.Lock()
	stale := d.stale
	d.stale = false
	d.m.mu.Unlock()
	if !stale && d.state.AsOf >= d.state.Epoch {
		return nil
	}
	asOf := d.state.Epoch // committed before the read below begins
	records, _, err := store.Planes(ctx, d.m.cfg.Store)
	if err != nil {
		d.m.mu.Lock()
		d.stale = true
		d.m.mu.Unlock()
		return d.again(ctx, err)
	}
	planes := registered(records)
	d.m.mu.Lock()
	maps.DeleteFunc(d.m.heard, func(name string, h hearing) bool {
		_, registered := planes[name]
		return !registered && d.m.cfg.Clock().Sub(h.at) > time.Minute
	})
	for name, h := range d.m.heard { // a new life may have reported before it was known
		if known, ok := d.state.Planes[name]; !ok || known.Incarnation != h.report.GetIncarnation() {
			d.news[name] = true
		}
	}
	d.m.mu.Unlock()
	return d.step(ctx, move.Registered{At: d.m.now(), AsOf: asOf, Planes: planes})
}

// tellReports tells the machine what planes said since, if it is news.
func (d *driver) tellReports(ctx context.Context) error {
	d.m.mu.Lock()
	heard := make([]hearing, 0, len(d.news))
	for _, name := range slices.Sorted(maps.Keys(d.news)) {
		if h, ok := d.m.heard[name]; ok {
			heard = append(heard, h)
		}
	}
	clear(d.news)
	d.m.mu.Unlock()
	news := move.Reports{At: d.m.now()}
	for _, h := range heard {
		if e := d.reported(h.report); d.state.News(e) {
			news.List = append(news.List, e)
		}
	}
	if len(news.List) == 0 {
		return nil
	}
	return d.step(ctx, news)
}

// reported is the part of a report that concerns this move.
func (d *driver) reported(r *atollv1.ReportRequest) move.Reported {
	e := move.Reported{At: d.m.now(), Plane: r.GetPlane(), Incarnation: r.GetIncarnation()}
	for _, sp := range r.GetSpaces() {
		if sp.GetSpace() == d.space {
			e.Epoch = max(e.Epoch, sp.GetEpoch())
		}
	}
	for _, a := range r.GetAcks() {
		if a.GetSpace() == d.space && a.GetMove() == d.id {
			e.Answers = append(e.Answers, move.Answer{
				Joint: move.Joint(a.GetStep()), Lane: a.GetLane(), Epoch: a.GetEpoch(),
				Detail: a.GetDetail(), Error: a.GetError(), Figures: maps.Clone(a.GetFigures()),
			})
		}
	}
	return e
}

// tellWish tells the machine that a person wants the move aborted, once for
// each reading of the state.
func (d *driver) tellWish(ctx context.Context) error {
	d.m.mu.Lock()
	by, ok := d.m.wishes[d.id]
	d.m.mu.Unlock()
	if !ok || d.told {
		return nil
	}
	d.told = true
	return d.step(ctx, move.Abort{At: d.m.now(), By: by})
}

// tellChecks makes the checks, now and then, as long as they are wanted.
func (d *driver) tellChecks(ctx context.Context) error {
	now := d.m.now()
	if d.state.Phase != move.Check || now.Sub(d.checked) < checkEvery || d.state.AsOf < d.state.Epoch {
		return nil
	}
	d.checked = now
	current, err := publish.Load(ctx, d.m.cfg.Store, d.space)
	if err != nil {
		return d.again(ctx, err)
	}
	return d.step(ctx, move.Checked{At: now, Checks: d.m.checks(d.state, current.Snapshot)})
}

// tellLapses tells of planes that are still waited for behind SWITCH and can
// do nothing any more by an epoch before it.
//
// A planned move never rests on this alone: every proxy that was registered
// at the fence has it in force, and one that came later has a lease of that
// epoch or a higher one only.
func (d *driver) tellLapses(ctx context.Context) error {
	if d.state.SwitchEpoch == 0 {
		return nil
	}
	now := d.m.cfg.Clock()
	if d.switched.IsZero() {
		d.switched = now
	}
	if now.Sub(d.switched) < d.m.cfg.Grace { // nothing has lapsed this early
		return nil
	}
	var ttl time.Duration
	read := false
	for _, w := range d.state.Waiting() {
		if w.Plane == "" || (w.Joint != move.Switched && w.Joint != move.Released) {
			continue
		}
		leased := slices.ContainsFunc(d.state.Participants, func(p move.Participant) bool { return p.Kind == w.Kind && p.Leased })
		if leased && !read {
			current, err := publish.Load(ctx, d.m.cfg.Store, d.space)
			if err != nil {
				return d.again(ctx, err)
			}
			ttl, read = current.Snapshot.Settings.FenceTTL, true
		}
		if !d.m.past(w, d.space, leased, ttl, d.switched, now) {
			continue
		}
		e := move.Lapsed{At: d.m.now(), Plane: w.Plane, Incarnation: d.state.Planes[w.Plane].Incarnation}
		d.m.cfg.Log.Warn("silent plane is not waited for any longer", "move", d.id, "plane", w.Plane, "leased", leased)
		if err := d.step(ctx, e); err != nil {
			return err
		}
	}
	return nil
}
