package planes

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/store"
)

// Standing is what is known of one registered plane.
type Standing struct {
	Plane     *atollv1.Plane
	Connected bool                   // it reported within Config.Silent
	Heard     time.Time              // last report by the console's clock, zero: none of this incarnation
	Report    *atollv1.ReportRequest // the newest, nil: none. Not to be changed
}

// Epoch is the epoch in force that the plane last reported of a space, 0
// without one.
func (s Standing) Epoch(space string) int64 {
	for _, sp := range s.Report.GetSpaces() {
		if sp.GetSpace() == space {
			return sp.GetEpoch()
		}
	}
	return 0
}

// Standings are all planes registered at a moment after this call, by name,
// with their last reports.
func (s *Service) Standings(ctx context.Context) ([]Standing, error) {
	records, _, err := store.Planes(ctx, s.cfg.Store)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Clock()
	list := make([]Standing, len(records))
	for i, r := range records {
		list[i] = s.standing(r.Plane, now)
	}
	return list, nil
}

func (s *Service) standing(plane *atollv1.Plane, now time.Time) Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Standing{Plane: plane}
	if l := s.live[plane.GetName()]; l != nil && l.incarnation == plane.GetIncarnation() && l.report != nil {
		st.Heard, st.Report = l.at, l.report
		st.Connected = now.Sub(l.at) <= s.cfg.Silent
	}
	return st
}

func (s *Service) connected(name, incarnation string, now time.Time) bool {
	return s.standing(&atollv1.Plane{Name: name, Incarnation: incarnation}, now).Connected
}

func (s *Service) reportOf(name, incarnation string) *atollv1.ReportRequest {
	return s.standing(&atollv1.Plane{Name: name, Incarnation: incarnation}, time.Time{}).Report
}

// LeaseEnd is when the last lease that a registered plane may hold of a space
// ends, by the console's clock, with the margin for clock rates; the zero time
// when it holds none. forEver: it may hold one that does not end.
func (s *Service) LeaseEnd(plane *atollv1.Plane, space string, ttl time.Duration) (end time.Time, forEver bool) {
	return s.leases.end(plane.GetName(), plane.GetIncarnation(), space, ttl, s.cfg.Clock())
}

// heardNext is closed at the next report of any plane after this call.
func (s *Service) heardNext() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// AwaitEpoch returns when every connected plane reported at least an epoch of
// a space, or when ctx ends, with an error that names those that did not.
func (s *Service) AwaitEpoch(ctx context.Context, space string, epoch int64) error {
	tick := time.NewTicker(s.cfg.KeepAlive) // a plane may also fall silent
	defer tick.Stop()
	var late []string // as last seen
	for {
		heard := s.heardNext()
		list, err := s.Standings(ctx)
		switch {
		case err == nil:
			if late = behind(list, space, epoch); len(late) == 0 {
				return nil
			}
		case ctx.Err() == nil:
			return fmt.Errorf("wait for epoch %d of %s: %w", epoch, space, err)
		}
		select {
		case <-heard:
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("epoch %d of %s is published, but not in force yet at: %s", epoch, space, strings.Join(late, ", "))
		}
	}
}

func behind(list []Standing, space string, epoch int64) []string {
	var names []string
	for _, st := range list {
		if e := st.Epoch(space); st.Connected && e < epoch {
			names = append(names, fmt.Sprintf("%s (epoch %d)", st.Plane.GetName(), e))
		}
	}
	return names
}

// List answers with every registered plane; with a space, with those that
// report it or have not reported yet.
func (s *Service) List(ctx context.Context, r *connect.Request[atollv1.ListPlanesRequest]) (*connect.Response[atollv1.ListPlanesResponse], error) {
	list, err := s.Standings(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	now := s.cfg.Clock()
	res := &atollv1.ListPlanesResponse{}
	for _, st := range list {
		if code := r.Msg.GetSpace(); code != "" && st.Report != nil && st.Epoch(code) == 0 {
			continue
		}
		status := &atollv1.PlaneStatus{Plane: st.Plane, Connected: st.Connected, SilentMs: -1, Report: st.Report}
		if st.Report != nil {
			status.SilentMs = now.Sub(st.Heard).Milliseconds()
		}
		res.Planes = append(res.Planes, status)
	}
	sort.Slice(res.Planes, func(i, j int) bool { return res.Planes[i].Plane.GetName() < res.Planes[j].Plane.GetName() })
	return connect.NewResponse(res), nil
}
