package planes

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
)

// Report hears a plane and answers with its leases. It fails only with
// Unavailable: a plane takes any other code for the end.
func (s *Service) Report(ctx context.Context, r *connect.Request[atollv1.ReportRequest]) (*connect.Response[atollv1.ReportResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	report, arrived := r.Msg, s.cfg.Clock()
	name := report.GetPlane()
	barred := s.leases.begin(name)
	var granted []*atollv1.Lease
	defer func() { s.leases.finish(name, arrived, granted) }()

	record, err := s.record(ctx, name)
	if err != nil {
		return nil, unavailable(fmt.Errorf("hear plane %s: %w", name, err))
	}
	if record.Plane == nil || record.Plane.GetIncarnation() != report.GetIncarnation() {
		return connect.NewResponse(&atollv1.ReportResponse{UnknownPlane: true}), nil
	}
	if !s.hear(record.Plane, report, arrived) {
		return connect.NewResponse(&atollv1.ReportResponse{}), nil // overtaken by a newer one
	}
	if barred { // it is being forgotten
		return connect.NewResponse(&atollv1.ReportResponse{}), nil
	}
	if granted, err = s.grant(ctx, report); err != nil {
		return nil, unavailable(fmt.Errorf("hear plane %s: %w", name, err))
	}
	return connect.NewResponse(&atollv1.ReportResponse{Leases: granted}), nil
}

// hear keeps a report and tells the mover, unless a newer one of the same
// incarnation was first.
func (s *Service) hear(plane *atollv1.Plane, report *atollv1.ReportRequest, arrived time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lifeLocked(plane)
	if l.report != nil && report.GetBoottimeNs() <= l.report.GetBoottimeNs() {
		return false
	}
	l.report, l.at = report, arrived
	close(s.heard)
	s.heard = make(chan struct{})
	// Under the lock, so that the mover hears one plane's reports in order.
	s.cfg.Hearer.Heard(plane, report)
	return true
}

// lifeLocked is the entry of the registered incarnation; an older one's is
// dropped, its stream ended.
func (s *Service) lifeLocked(plane *atollv1.Plane) *life {
	l := s.live[plane.GetName()]
	if l == nil || l.incarnation != plane.GetIncarnation() {
		if l != nil && l.stop != nil {
			l.stop(errReplaced)
		}
		l = &life{incarnation: plane.GetIncarnation()}
		s.live[plane.GetName()] = l
	}
	l.plane = plane
	return l
}

// grant is the rules of leases. L1: the epoch in force at the plane is the one
// that stands in the store at a moment after the report came in. L2: a plane
// with a fence not yet drained gets nothing for that space.
func (s *Service) grant(ctx context.Context, report *atollv1.ReportRequest) ([]*atollv1.Lease, error) {
	if len(report.GetSpaces()) == 0 {
		return nil, nil
	}
	revisions, err := s.reader.read(ctx)
	if err != nil {
		return nil, err
	}
	var granted []*atollv1.Lease
	seen := map[string]bool{}
	for _, sp := range report.GetSpaces() {
		code := sp.GetSpace()
		// The feed says which epoch and settings belong to the revision read. If
		// it is behind, the plane is renewed with its next report.
		p, ok := s.feed.at(code, revisions[code])
		if !ok || seen[code] || sp.GetUndrained() || sp.GetEpoch() != p.epoch {
			continue
		}
		seen[code] = true
		granted = append(granted, &atollv1.Lease{Space: code, Epoch: p.epoch, TtlNs: int64(p.ttl)})
	}
	return granted, nil
}
