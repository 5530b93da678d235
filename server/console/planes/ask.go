package planes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/pause"
)

// ErrNobody is the answer when there is no plane that could be asked.
var ErrNobody = errors.New("nobody can be asked")

// lookEvery is how often the registered planes are read, at most, while one is
// waited for.
const lookEvery = 50 * time.Millisecond

// maxAsks is how many calls may want something of one plane at a time.
const maxAsks = 16

// calls are the asks that belong to a call in this console, by plane. They are
// in no store: they end with the call.
type calls struct {
	mu      sync.Mutex
	asks    map[string][]*atollv1.Ask
	changed chan struct{} // closed and replaced at each change
}

func newCalls() *calls {
	return &calls{asks: map[string][]*atollv1.Ask{}, changed: make(chan struct{})}
}

func (c *calls) add(plane string, ask *atollv1.Ask) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.asks[plane]); n >= maxAsks {
		return fmt.Errorf("%d others ask plane %s already (try again)", n, plane)
	}
	c.asks[plane] = append(slices.Clone(c.asks[plane]), ask)
	c.wakeLocked()
	return nil
}

func (c *calls) drop(plane string, ask *atollv1.Ask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(c.asks[plane]), func(a *atollv1.Ask) bool { return a == ask })
	if c.asks[plane] = left; len(left) == 0 {
		delete(c.asks, plane)
	}
	c.wakeLocked()
}

func (c *calls) wakeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// change is closed at the next change after this call.
func (c *calls) change() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *calls) of(plane string) []*atollv1.Ask {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asks[plane]
}

// asks is all that is wanted of a plane now, the movers' first.
func (s *Service) asks(plane *atollv1.Plane) []*atollv1.Ask {
	return append(slices.Clip(s.cfg.Asker.Asks(plane)), s.calls.of(plane.GetName())...)
}

// Ask wants one thing of one plane of a kind in a unit, for the call whose ctx
// it is, and returns the plane's ack. The ask's move is a name that nothing
// else has. A plane that is started anew meanwhile is asked again. ErrNobody:
// no such plane is registered. One that is registered and stays silent is
// another error, since its unit may hold data.
func (s *Service) Ask(ctx context.Context, kind, unit string, ask *atollv1.Ask) (*atollv1.Ack, error) {
	name, err := s.answerer(ctx, kind, unit)
	if err != nil {
		return nil, err
	}
	if err := s.calls.add(name, ask); err != nil {
		return nil, err
	}
	defer s.calls.drop(name, ask)
	for {
		heard := s.heardNext()
		if ack := s.acked(name, ask); ack != nil {
			return ack, nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return nil, fmt.Errorf("plane %s did not answer: %w (look at it with `atoll planes`)", name, context.Cause(ctx))
		}
	}
}

func (s *Service) acked(plane string, ask *atollv1.Ask) *atollv1.Ack {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.live[plane]
	if l == nil {
		return nil
	}
	acks := l.report.GetAcks()
	i := slices.IndexFunc(acks, func(a *atollv1.Ack) bool {
		return a.GetMove() == ask.GetMove() && a.GetSpace() == ask.GetSpace() && a.GetEpoch() == ask.GetEpoch()
	})
	if i < 0 {
		return nil
	}
	return acks[i]
}

// answerer is a connected plane of a kind in a unit. One that is registered and
// not heard is waited for as long as it takes a plane to count as silent: after
// this console's start all of them are like that for a moment.
func (s *Service) answerer(ctx context.Context, kind, unit string) (string, error) {
	grace, cancel := context.WithTimeout(ctx, s.cfg.Silent)
	defer cancel()
	for {
		heard := s.heardNext()
		list, err := s.Standings(ctx)
		if err != nil {
			return "", fmt.Errorf("look for a %s plane of %s: %w", kind, unit, err)
		}
		var silent []string
		for _, st := range list {
			if st.Plane.GetKind() != kind || st.Plane.GetUnit() != unit {
				continue
			}
			if st.Connected {
				return st.Plane.GetName(), nil
			}
			silent = append(silent, st.Plane.GetName())
		}
		if len(silent) == 0 {
			return "", fmt.Errorf("%w: no %s plane of %s is registered", ErrNobody, kind, unit)
		}
		pause.For(grace, lookEvery) // reports of a thousand planes are no reason to read the store as often
		select {
		case <-heard:
		case <-grace.Done():
			if err := ctx.Err(); err != nil {
				return "", context.Cause(ctx)
			}
			return "", fmt.Errorf("%s is silent (bring it back, or take it out with `atoll planes forget NAME`)", strings.Join(silent, ", "))
		}
	}
}
