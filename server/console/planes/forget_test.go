package planes_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/store"
)

// ends watches as a dbsync plane and answers the first ask of step end.
func (w *world) ends(p *atollv1.Plane, a *atollv1.Ack) error {
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	stream, err := w.client.Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: p.GetName(), Incarnation: p.GetIncarnation()}))
	if err != nil {
		return err
	}
	for stream.Receive() {
		for _, ask := range stream.Msg().GetAsks() {
			if ask.GetStep() != "end" || ask.GetPlane() != "dbproxy@unit-b" {
				continue
			}
			a.Move, a.Step = ask.GetMove(), "ended"
			if list, _, _ := store.Planes(w.ctx, w.store); len(list) != 2 {
				w.t.Error("the plane is forgotten before its threads are ended")
			}
			_, err := w.client.Report(ctx, connect.NewRequest(&atollv1.ReportRequest{
				Plane: p.GetName(), Incarnation: p.GetIncarnation(), BoottimeNs: boottime.Add(1), Acks: []*atollv1.Ack{a},
			}))
			return err
		}
	}
	return stream.Err()
}

// A dbproxy is forgotten once what it left at its server is seen gone, and not
// when that fails.
func TestForget_EndsServerThreads(t *testing.T) {
	w := newWorld(t, nil)
	w.mustRegister(&atollv1.Plane{Name: "dbproxy@unit-b", Kind: "dbproxy", Unit: "unit-b", Incarnation: "one"})
	p := syncPlane("one")
	w.mustRegister(p)
	forget := func(a *atollv1.Ack) (int64, error) {
		if _, err := w.report(p); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- w.ends(p, a) }()
		res, err := w.client.Forget(w.ctx, connect.NewRequest(&atollv1.ForgetRequest{Name: "dbproxy@unit-b"}))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err != nil {
			return 0, err
		}
		return res.Msg.GetThreadsEnded(), nil
	}
	if _, err := forget(&atollv1.Ack{Error: "the server is down"}); code(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "the server is down") {
		t.Errorf("forgotten though its threads are not ended: %v", err)
	}
	if n, err := forget(&atollv1.Ack{Figures: map[string]int64{"threads_ended": 3}}); err != nil || n != 3 {
		t.Errorf("forget: %d threads, %v", n, err)
	}
	if list, _, _ := store.Planes(w.ctx, w.store); len(list) != 1 {
		t.Errorf("registered: %v", list)
	}
}
