package dbproxy

import (
	"context"
	"time"

	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/server/dbproxy/source"
	"github.com/atoll-live/atoll/server/sitedb"
)

// pressEvery is how often the enforcer looks again while something must end.
const pressEvery = 10 * time.Millisecond

// enforce ends, by this proxy's own clock, what fences and lapsed leases leave
// open. It is one goroutine; what takes time it leaves to others.
func (p *Proxy) enforce(ctx context.Context) error {
	for {
		p.lapseIfDue()
		next := p.pressFences(ctx)
		timer := time.NewTimer(min(next, p.untilLapse()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-p.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

const farOff = time.Hour

// pressFences presses each open transaction of a fence whose deadline is
// over, and returns when to look again.
func (p *Proxy) pressFences(ctx context.Context) time.Duration {
	v, fences := p.verdicts()
	if v == nil {
		return farOff
	}
	deadline := v.Snapshot.Settings.FenceDeadline
	if deadline <= 0 {
		deadline = defaultFenceDeadline
	}
	next := farOff
	for _, f := range fences {
		if len(f.Open) == 0 {
			continue
		}
		p.mu.Lock()
		since, ok := p.fenced[fenceID{f.Transfer.ID, f.Transfer.FenceEpoch}]
		p.mu.Unlock()
		if !ok {
			next = min(next, pressEvery) // Install is about to note it
			continue
		}
		if left := deadline - time.Since(since); left > 0 {
			next = min(next, left)
			continue
		}
		for _, t := range f.Open {
			t.Owner.(*session).press(ctx, t, f.Transfer.ID)
		}
		next = min(next, pressEvery)
	}
	return next
}

// lapseIfDue ends what a lapsed lease had admitted.
func (p *Proxy) lapseIfDue() {
	p.leaseMu.Lock()
	lapsed := over(p.guard.LeaseEnd(), p.cfg.Clock())
	p.leaseMu.Unlock()
	if lapsed {
		p.lapse()
	}
}

// lapse ends, without an OK, all that is doomed: server threads are killed,
// clients are cut off. It may end a transaction that a fence had doomed too;
// that one was to end anyway.
func (p *Proxy) lapse() {
	for _, t := range p.guard.Lapse() {
		if t.Owner.(*session).abandon(t) {
			p.figures.txKilled.Add(1)
		}
	}
}

// lapseLook is how late the end of a lease may be noticed: well below the grace
// of a forced move. A timer alone is not enough, since it stands still while the
// machine is suspended, and leases do not.
const lapseLook = 200 * time.Millisecond

func (p *Proxy) untilLapse() time.Duration {
	end := p.guard.LeaseEnd()
	if end == 0 || end == guard.Forever {
		return farOff
	}
	return min(max(end-p.cfg.Clock(), time.Millisecond), lapseLook)
}

// leaseHolds says whether an OK for unit data may still be given.
func (p *Proxy) leaseHolds() bool {
	end := p.guard.LeaseEnd()
	return end != 0 && p.cfg.Clock() < end
}

// reap sees a server thread gone, and only then counts t, what it had open, as
// ended. It goes on until the server answers or the proxy ends for good.
func (p *Proxy) reap(s *source.Source, th sitedb.Thread, t *guard.Tx) {
	p.work.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			defer cancel()
			select {
			case <-p.ended:
			case <-ctx.Done():
			}
		}()
		if err := s.SeeGone(ctx, th); err != nil {
			p.log.Warn("server thread not seen gone, the next life will end it", "unit", s.Unit, "thread", th.ID, "err", err)
			return
		}
		if t != nil {
			t.End()
		}
		if err := s.Unmark(p.owner(), th); err != nil {
			p.log.Warn("mark of a server thread stays", "unit", s.Unit, "thread", th.ID, "err", err)
		}
	})
}

// sweepEvery is how long a client whose server connection ended may believe
// that it lives.
const sweepEvery = time.Second

// sweep ends sessions whose server has ended its side, so that a client's own
// check finds its connection closed, as it would without a proxy.
func (p *Proxy) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		p.mu.Lock()
		sessions := make([]*session, 0, len(p.sessions))
		for s := range p.sessions {
			sessions = append(sessions, s)
		}
		p.mu.Unlock()
		for _, s := range sessions {
			s.sweep()
		}
	}
}
