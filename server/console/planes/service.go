package planes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/server/console/store"
)

// Service is the Planes service of one console.
type Service struct {
	cfg     Config
	feed    *feed
	reader  *reader
	leases  *leaseBook
	calls   *calls
	streams atomic.Int64

	mu      sync.Mutex
	live    map[string]*life // by plane name
	heard   chan struct{}    // closed and replaced at each report
	stopped bool
}

var _ atollv1connect.PlanesHandler = (*Service)(nil)

// life is what this console has from one incarnation of a plane.
type life struct {
	incarnation string
	plane       *atollv1.Plane
	report      *atollv1.ReportRequest
	at          time.Time
	stop        context.CancelCauseFunc // ends its stream, nil without one
}

// New returns a service that answers once Run has filled its feed.
func New(cfg Config) (*Service, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	return &Service{
		cfg: cfg, feed: newFeed(cfg.Store, cfg.Log), reader: newReader(cfg.Store),
		leases: newLeaseBook(cfg.Clock()), calls: newCalls(), live: map[string]*life{}, heard: make(chan struct{}),
	}, nil
}

// Run follows the store until ctx ends; streams end then too.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.feed.run(ctx) })
	wg.Go(func() { s.reader.run(ctx) })
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, l := range s.live {
		if l.stop != nil {
			l.stop(errStopping)
		}
	}
	return nil
}

var errStopping = errors.New("console is stopping")

// Ready is closed once the service has read the store.
func (s *Service) Ready() <-chan struct{} { return s.feed.ready }

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func unavailable(err error) error { return connect.NewError(connect.CodeUnavailable, err) }

// Register writes the plane down before it may write unit data. A new
// incarnation replaces the old one of the same name; one that was replaced,
// forgotten or deregistered does not come back.
func (s *Service) Register(ctx context.Context, r *connect.Request[atollv1.RegisterRequest]) (*connect.Response[atollv1.RegisterResponse], error) {
	plane := r.Msg.GetPlane()
	if err := checkPlane(plane); err != nil {
		return nil, err
	}
	for {
		err := s.register(ctx, plane)
		switch {
		case err == nil:
			return connect.NewResponse(&atollv1.RegisterResponse{}), nil
		case errors.Is(err, store.ErrConflict) && ctx.Err() == nil: // two at once: look again
		case connect.CodeOf(err) != connect.CodeUnknown:
			return nil, err
		default:
			return nil, unavailable(err)
		}
	}
}

func checkPlane(p *atollv1.Plane) error {
	for _, f := range []struct{ what, value string }{
		{"name", p.GetName()}, {"kind", p.GetKind()}, {"incarnation", p.GetIncarnation()},
	} {
		if f.value == "" {
			return invalid("register a plane: its %s is missing", f.what)
		}
	}
	for _, value := range []string{p.GetName(), p.GetKind(), p.GetUnit(), p.GetCell(), p.GetIncarnation(), p.GetAddress(), p.GetVersion()} {
		if len(value) > maxName {
			return invalid("register a plane: %q… is longer than %d bytes", value[:20], maxName)
		}
	}
	return nil
}

func (s *Service) register(ctx context.Context, plane *atollv1.Plane) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	record, err := s.record(ctx, plane.GetName())
	if err != nil {
		return err
	}
	gone, err := s.cfg.Store.Get(ctx, store.FormerKey(plane.GetName()))
	if err != nil {
		return err
	}
	former, err := store.ReadFormer(gone)
	if err != nil {
		return err
	}
	record.Former = append(former, record.Former...)
	if err := s.mayRegister(ctx, record, plane); err != nil {
		return err
	}
	op, err := record.Replace(plane, time.Now().UTC()).Put()
	if err != nil {
		return err
	}
	_, err = s.cfg.Store.Commit(ctx, store.Txn{
		If:   []store.Compare{record.Item.Unchanged(), gone.Unchanged()},
		Then: []store.Op{op, store.Delete(gone.Key)},
	})
	if err == nil && record.Plane.GetIncarnation() != plane.GetIncarnation() {
		// Its first registration. One that registers again may hold leases that
		// it had before this console's start.
		s.leases.registered(plane.GetName(), plane.GetIncarnation())
	}
	return err
}

func (s *Service) mayRegister(ctx context.Context, record store.PlaneRecord, plane *atollv1.Plane) error {
	name, was := plane.GetName(), record.Plane
	switch {
	case slices.Contains(record.Former, plane.GetIncarnation()):
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"this process was plane %s, and was replaced by a later one of that name or forgotten (start it anew, under a name that no other process has)", name))
	case was == nil:
		return s.roomForOne(ctx)
	case was.GetKind() != plane.GetKind() || was.GetUnit() != plane.GetUnit():
		return connect.NewError(connect.CodeAlreadyExists, fmt.Errorf(
			"plane %s is registered as %s of unit %q, not as %s of unit %q (take another name, or `atoll planes forget %s` if that one will never return)",
			name, was.GetKind(), was.GetUnit(), plane.GetKind(), plane.GetUnit(), name))
	}
	return nil
}

func (s *Service) roomForOne(ctx context.Context) error {
	l, err := s.cfg.Store.Keys(ctx, store.PlanePrefix)
	if err != nil {
		return err
	}
	if len(l.Items) >= MaxPlanes {
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d planes are registered, no more are taken (forget those that will never return)", len(l.Items)))
	}
	return nil
}

// record reads a plane's registration linearizably.
func (s *Service) record(ctx context.Context, name string) (store.PlaneRecord, error) {
	it, err := s.cfg.Store.Get(ctx, store.PlaneKey(name))
	if err != nil {
		return store.PlaneRecord{}, err
	}
	return store.ReadPlane(it)
}

// Deregister takes a plane out of the set that movers wait for. It must have
// nothing open under a fence.
func (s *Service) Deregister(ctx context.Context, r *connect.Request[atollv1.DeregisterRequest]) (*connect.Response[atollv1.DeregisterResponse], error) {
	name := r.Msg.GetName()
	record, err := s.record(ctx, name)
	if err != nil {
		return nil, unavailable(err)
	}
	if record.Plane.GetIncarnation() != r.Msg.GetIncarnation() || record.Plane == nil {
		return connect.NewResponse(&atollv1.DeregisterResponse{}), nil // gone already, or another life's
	}
	for _, sp := range s.reportOf(name, r.Msg.GetIncarnation()).GetSpaces() {
		if sp.GetUndrained() {
			return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
				"plane %s still has writes open under a fence of space %s", name, sp.GetSpace()))
		}
	}
	if err := s.remove(ctx, record, nil); err != nil {
		return nil, err
	}
	return connect.NewResponse(&atollv1.DeregisterResponse{}), nil
}

func (s *Service) remove(ctx context.Context, record store.PlaneRecord, also []store.Op) error {
	ops, err := record.Remove()
	if err != nil {
		return err
	}
	_, err = s.cfg.Store.Commit(ctx, store.Txn{If: []store.Compare{record.Item.Unchanged()}, Then: append(ops, also...)})
	switch {
	case errors.Is(err, store.ErrConflict):
		return connect.NewError(connect.CodeAborted, fmt.Errorf("plane %s registered again meanwhile", record.Plane.GetName()))
	case err != nil:
		return unavailable(err)
	}
	s.leases.forget(record.Plane.GetName())
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.live[record.Plane.GetName()]; l != nil {
		if l.stop != nil {
			l.stop(errReplaced)
		}
		delete(s.live, record.Plane.GetName())
	}
	return nil
}

// Prune drops the oldest memories of planes that are no longer registered, so
// that names that are never used again do not pile up.
func (s *Service) Prune(ctx context.Context) error {
	l, err := s.cfg.Store.Keys(ctx, store.FormerPrefix)
	if err != nil {
		return fmt.Errorf("prune planes: %w", err)
	}
	slices.SortFunc(l.Items, func(a, b store.Item) int { return cmp.Compare(a.Revision, b.Revision) })
	for _, it := range l.Items[:max(0, len(l.Items)-MaxPlanes)] {
		t := store.Txn{If: []store.Compare{it.Unchanged()}, Then: []store.Op{store.Delete(it.Key)}}
		if _, err := s.cfg.Store.Commit(ctx, t); err != nil && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("prune planes: %w", err)
		}
	}
	return nil
}
