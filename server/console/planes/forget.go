package planes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/auth"
	"github.com/atoll-live/atoll/server/console/store"
)

// EndLimit is how long what a dead proxy left at its server may take to end.
const EndLimit = 20 * time.Second

// The kind whose planes leave something behind, and the one that ends it.
const (
	leavingKind = "dbproxy"
	endingKind  = "dbsync"
)

// Forget removes a plane that will never return, on the word of an operator.
// What a dbproxy left at its database server is ended first: no move waits for
// it any more once it is forgotten. Meanwhile it gets no lease.
func (s *Service) Forget(ctx context.Context, r *connect.Request[atollv1.ForgetRequest]) (*connect.Response[atollv1.ForgetResponse], error) {
	name := r.Msg.GetName()
	record, err := s.record(ctx, name)
	if err != nil {
		return nil, unavailable(err)
	}
	if record.Plane == nil {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("no plane %q is registered", name))
	}
	reporting := s.leases.bar(name)
	defer s.leases.unbar(name)
	if err := s.mayForget(name, record.Plane.GetIncarnation(), reporting); err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	answer, left := &atollv1.ForgetResponse{}, ""
	switch {
	case record.Plane.GetKind() != leavingKind:
	case r.Msg.GetLeaveThreads():
		left = ", its server threads left"
	default:
		if answer.ThreadsEnded, err = s.endThreads(ctx, record.Plane); err != nil {
			return nil, connect.NewError(connect.CodeFailedPrecondition, err)
		}
		left = fmt.Sprintf(", %d server threads of it ended", answer.GetThreadsEnded())
	}
	if s.connected(name, record.Plane.GetIncarnation(), s.cfg.Clock()) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("plane %s is back (stop it first)", name))
	}
	op, err := audit.Op(audit.Entry{At: time.Now().UTC(), By: auth.By(ctx), Action: "plane.forget", Object: name,
		Detail: fmt.Sprintf("%s of unit %q, pid %d%s", record.Plane.GetKind(), record.Plane.GetUnit(), record.Plane.GetPid(), left)})
	if err != nil {
		return nil, err
	}
	if err := s.remove(ctx, record, []store.Op{op}); err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

// mayForget refuses for a plane that lives or whose lease has an end that is
// still to come. A lease for ever has none: there the operator's word stands.
func (s *Service) mayForget(name, incarnation string, reporting bool) error {
	now := s.cfg.Clock()
	if reporting || s.connected(name, incarnation, now) {
		return fmt.Errorf("plane %s is connected (stop it first)", name)
	}
	snapshots, _ := s.feed.newer(nil)
	for _, p := range snapshots {
		end, forEver := s.leases.end(name, incarnation, p.space, p.ttl, now)
		if !forEver && end.After(now) {
			return fmt.Errorf("plane %s may hold a lease of space %s for another %v (wait for it)", name, p.space, end.Sub(now).Round(10*time.Millisecond))
		}
	}
	return nil
}

// endThreads has a plane at the dead proxy's server end what it left there.
func (s *Service) endThreads(ctx context.Context, p *atollv1.Plane) (int64, error) {
	cause := fmt.Errorf("%v are over", EndLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, EndLimit, cause)
	defer cancel()
	ack, err := s.Ask(ctx, endingKind, p.GetUnit(), &atollv1.Ask{Move: "forget-" + rand.Text(), Step: "end", Plane: p.GetName(), LimitMs: EndLimit.Milliseconds()})
	if err == nil && ack.GetError() != "" {
		err = errors.New(ack.GetError())
	}
	if err != nil {
		return 0, fmt.Errorf("what %s left at the database server of %s is not ended: %w (mend that and forget it again; if that server is gone or was started again since, "+
			"`atoll planes forget %s --leave-threads`)", p.GetName(), p.GetUnit(), err, p.GetName())
	}
	return ack.GetFigures()["threads_ended"], nil
}
