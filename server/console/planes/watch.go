package planes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
)

var errReplaced = errors.New("the plane registered again or was forgotten")

// deadlineKey carries the connection's SetWriteDeadline in a request's context.
type deadlineKey struct{}

// Bounded gives streams the means to end a send that their reader does not
// take. The Planes handler is served through it.
func Bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set := http.NewResponseController(w).SetWriteDeadline
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), deadlineKey{}, set)))
	})
}

// stream is one Watch: what its plane has been sent.
type stream struct {
	s           *Service
	out         *connect.ServerStream[atollv1.WatchResponse]
	plane       *atollv1.Plane
	revision    int64            // of the registration it was opened under
	held        map[string]int64 // space → epoch
	asks        []*atollv1.Ask
	spaces      []string
	asked       bool // asks and spaces have been sent
	setDeadline func(time.Time) error
}

// Watch streams snapshots with higher epochs and asks, each as
// soon as it changes, and an empty message each KeepAlive. One stream a plane:
// a new one ends the former. A stream holds no queue: a slow plane gets the
// newest state when it takes the next message, and one that takes nothing for
// SendTimeout is cut off.
func (s *Service) Watch(ctx context.Context, r *connect.Request[atollv1.WatchRequest], out *connect.ServerStream[atollv1.WatchResponse]) error {
	if err := s.feed.awaitFilled(ctx); err != nil {
		return unavailable(err)
	}
	w, ctx, end, err := s.openStream(ctx, r.Msg, out)
	if err != nil {
		return err
	}
	defer end()
	tick := time.NewTicker(s.cfg.KeepAlive)
	defer tick.Stop()
	for {
		feedChanged, asksChanged, callsChanged := s.feed.change(), s.cfg.Asker.Changed(), s.calls.change()
		if s.feed.replaced(w.plane.GetName(), w.plane.GetIncarnation(), w.revision) {
			return connect.NewError(connect.CodeAborted, errReplaced)
		}
		if err := w.send(); err != nil {
			return err
		}
		select {
		case <-feedChanged:
			continue
		case <-asksChanged:
			continue
		case <-callsChanged:
			continue
		case <-tick.C:
			if err := w.write(&atollv1.WatchResponse{}); err != nil {
				return err
			}
		case <-ctx.Done():
			return connect.NewError(connect.CodeAborted, context.Cause(ctx))
		}
	}
}

// openStream checks the registration and takes the place of a former stream.
func (s *Service) openStream(ctx context.Context, r *atollv1.WatchRequest, out *connect.ServerStream[atollv1.WatchResponse]) (*stream, context.Context, func(), error) {
	reading, cancelRead := context.WithTimeout(ctx, storeTimeout)
	defer cancelRead()
	record, err := s.record(reading, r.GetPlane())
	if err != nil {
		return nil, nil, nil, unavailable(err)
	}
	if record.Plane == nil || record.Plane.GetIncarnation() != r.GetIncarnation() {
		return nil, nil, nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("plane %q is not registered with this incarnation (register first)", r.GetPlane()))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		cancel(nil)
		return nil, nil, nil, unavailable(errStopping)
	}
	l := s.lifeLocked(record.Plane)
	if l.stop != nil {
		l.stop(errors.New("the plane opened another stream"))
	}
	l.stop = cancel
	w := &stream{s: s, out: out, plane: record.Plane, revision: record.Item.Revision, held: maps.Clone(r.GetEpochs())}
	if w.held == nil {
		w.held = map[string]int64{}
	}
	w.setDeadline, _ = ctx.Value(deadlineKey{}).(func(time.Time) error)
	s.streams.Add(1)
	return w, ctx, func() { cancel(nil); s.streams.Add(-1) }, nil
}

// Streams is the number of open Watch streams.
func (s *Service) Streams() int { return int(s.streams.Load()) }

// send sends what the plane does not have yet, if anything.
func (w *stream) send() error {
	snapshots, spaces := w.s.feed.newer(w.held)
	asks := w.s.asks(w.plane)
	m := &atollv1.WatchResponse{}
	if !w.asked || !slices.Equal(spaces, w.spaces) || !slices.EqualFunc(asks, w.asks, func(a, b *atollv1.Ask) bool { return proto.Equal(a, b) }) {
		m.Asks, m.AsksSet, m.Spaces = asks, true, spaces
		w.asks, w.spaces, w.asked = asks, spaces, true
	}
	size := 0
	for _, p := range snapshots {
		if size > 0 && size+len(p.raw) > messageTarget {
			if err := w.write(m); err != nil {
				return err
			}
			m, size = &atollv1.WatchResponse{}, 0
		}
		m.Snapshots = append(m.Snapshots, p.raw)
		size += len(p.raw)
		w.held[p.space] = p.epoch
	}
	if len(m.Snapshots) == 0 && !m.AsksSet {
		return nil
	}
	return w.write(m)
}

func (w *stream) write(m *atollv1.WatchResponse) error {
	if w.setDeadline != nil {
		if err := w.setDeadline(time.Now().Add(w.s.cfg.SendTimeout)); err != nil {
			return unavailable(fmt.Errorf("bound a send to plane %s: %w", w.plane.GetName(), err))
		}
	}

	if err := w.out.Send(m); err != nil {

		return unavailable(fmt.Errorf("send to plane %s: %w", w.plane.GetName(), err))
	}
	return nil
}
