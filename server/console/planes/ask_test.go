package planes_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/planes"
)

func syncPlane(incarnation string) *atollv1.Plane {
	return &atollv1.Plane{Name: "dbsync@unit-b", Kind: "dbsync", Unit: "unit-b", Incarnation: incarnation, Pid: 8}
}

// answers watches as a plane and acks the first ask of step compare that comes
// beside the mover's; then it waits for the list without it.
func (w *world) answers(p *atollv1.Plane, detail string) error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	stream, err := w.client.Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: p.GetName(), Incarnation: p.GetIncarnation()}))
	if err != nil {
		return err
	}
	acked := false
	for stream.Receive() {
		m := stream.Msg()
		if !m.GetAsksSet() {
			continue
		}
		asks := m.GetAsks()
		if len(asks) == 0 || asks[0].GetStep() != "close" {
			return errors.New("the mover's ask is not the first")
		}
		switch {
		case len(asks) == 2 && !acked:
			acked = true
			if _, err := w.client.Report(ctx, connect.NewRequest(&atollv1.ReportRequest{
				Plane: p.GetName(), Incarnation: p.GetIncarnation(), BoottimeNs: boottime.Add(1),
				Acks: []*atollv1.Ack{{Move: "another", Step: "compared"}, {Move: asks[1].GetMove(), Step: "compared", Detail: detail}},
			})); err != nil {
				return err
			}
		case len(asks) == 1 && acked:
			return nil
		}
	}
	return stream.Err()
}

// sees watches as a plane until it is asked n things.
func (w *world) sees(p *atollv1.Plane, n int) error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	stream, err := w.client.Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: p.GetName(), Incarnation: p.GetIncarnation()}))
	if err != nil {
		return err
	}
	for stream.Receive() {
		if stream.Msg().GetAsksSet() && len(stream.Msg().GetAsks()) == n {
			return nil
		}
	}
	return stream.Err()
}

func TestAsk(t *testing.T) {
	w := newWorld(t, nil)
	w.mover.ask(&atollv1.Ask{Space: "shop", Move: "m1", Epoch: 3, Step: "close"})
	p := syncPlane("one")
	w.mustRegister(p)
	if _, err := w.report(p); err != nil {
		t.Fatal(err)
	}
	plane := make(chan error, 1)
	go func() { plane <- w.answers(p, "hello") }()
	ack, err := w.s.Ask(w.ctx, "dbsync", "unit-b", &atollv1.Ask{Move: "apply-1", Step: "compare"})
	if err != nil || ack.GetDetail() != "hello" {
		t.Errorf("answer: %v, %v", ack, err)
	}
	if err := <-plane; err != nil {
		t.Error(err)
	}
}

// A plane that is started anew while it is asked is asked again.
func TestAsk_OutlivesThePlane(t *testing.T) {
	w := newWorld(t, nil)
	w.mover.ask(&atollv1.Ask{Space: "shop", Move: "m1", Epoch: 3, Step: "close"})
	w.mustRegister(syncPlane("one"))
	if _, err := w.report(syncPlane("one")); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		ack, err := w.s.Ask(w.ctx, "dbsync", "unit-b", &atollv1.Ask{Move: "apply-1", Step: "compare"})
		if err != nil {
			t.Error(err)
		}
		answered <- ack.GetDetail()
	}()
	if err := w.sees(syncPlane("one"), 2); err != nil {
		t.Fatal(err)
	}
	w.mustRegister(syncPlane("two"))
	if err := w.answers(syncPlane("two"), "the second"); err != nil {
		t.Error(err)
	}
	if got := <-answered; got != "the second" {
		t.Errorf("answer %q", got)
	}
}

func TestAsk_NobodyThere(t *testing.T) {
	w := newWorld(t, func(c *planes.Config) { c.Silent = 50 * time.Millisecond })
	ask := &atollv1.Ask{Move: "apply-1", Step: "compare"}
	w.mustRegister(plane("dbproxy@unit-b", "one"))
	if _, err := w.s.Ask(w.ctx, "dbsync", "unit-b", ask); !errors.Is(err, planes.ErrNobody) || !strings.Contains(err.Error(), "no dbsync plane of unit-b is registered") {
		t.Errorf("with no plane of the kind: %v", err)
	}
	w.mustRegister(syncPlane("one"))
	if _, err := w.s.Ask(w.ctx, "dbsync", "unit-b", ask); errors.Is(err, planes.ErrNobody) || err == nil || !strings.Contains(err.Error(), "dbsync@unit-b is silent") {
		t.Errorf("with a silent plane: %v", err)
	}
	if _, err := w.report(syncPlane("one")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(w.ctx, 50*time.Millisecond, errors.New("50ms are over"))
	defer cancel()
	if _, err := w.s.Ask(ctx, "dbsync", "unit-b", ask); err == nil || errors.Is(err, planes.ErrNobody) || !strings.Contains(err.Error(), "plane dbsync@unit-b did not answer: 50ms are over") {
		t.Errorf("with a plane that does not answer: %v", err)
	}
}

// What is asked of one plane at a time has a limit.
func TestAsk_ManyCalls(t *testing.T) {
	w := newWorld(t, nil)
	w.mustRegister(syncPlane("one"))
	if _, err := w.report(syncPlane("one")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	const many = 40
	ended := make(chan error, many)
	for range many {
		go func() {
			_, err := w.s.Ask(ctx, "dbsync", "unit-b", &atollv1.Ask{Move: "apply", Step: "compare"})
			ended <- err
		}()
	}
	for range many - 16 {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "16 others ask plane dbsync@unit-b already (try again)") {
			t.Errorf("beyond the limit: %v", err)
		}
	}
	cancel()
	for range 16 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("within the limit: %v", err)
		}
	}
}
