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
func (w *world) ends(p *atollv1.Plane, a *atollv1.Ack, meanwhile func()) error {
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
			meanwhile()
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
	dead := &atollv1.Plane{Name: "dbproxy@unit-b", Kind: "dbproxy", Unit: "unit-b", Incarnation: "one"}
	w.mustRegister(dead)
	w.publish("shop", 1, 20*time.Second)
	w.leases("shop@1:20s", dead, at("shop", 1))
	w.clock.advance(21 * time.Second)
	p := syncPlane("one")
	w.mustRegister(p)
	forget := func(a *atollv1.Ack, meanwhile func()) (int64, error) {
		if _, err := w.report(p); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- w.ends(p, a, meanwhile) }()
		res, err := w.client.Forget(w.ctx, connect.NewRequest(&atollv1.ForgetRequest{Name: "dbproxy@unit-b"}))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err != nil {
			return 0, err
		}
		return res.Msg.GetThreadsEnded(), nil
	}
	nothing := func() {}
	if _, err := forget(&atollv1.Ack{Error: "the server is down"}, nothing); code(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "the server is down") {
		t.Errorf("forgotten though its threads are not ended: %v", err)
	}
	// A process that only stood still comes back in the middle of it.
	back := func() {
		if res, err := w.report(dead, at("shop", 1)); err != nil || len(res.GetLeases()) > 0 {
			t.Errorf("leases of a plane that is being forgotten: %v, %v", res, err)
		}
	}
	if _, err := forget(&atollv1.Ack{}, back); code(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "is back") {
		t.Errorf("forgotten though it is back: %v", err)
	}
	w.leases("shop@1:20s", dead, at("shop", 1))
	w.clock.advance(21 * time.Second)
	if n, err := forget(&atollv1.Ack{Figures: map[string]int64{"threads_ended": 3}}, nothing); err != nil || n != 3 {
		t.Errorf("forget: %d threads, %v", n, err)
	}
	if list, _, _ := store.Planes(w.ctx, w.store); len(list) != 1 {
		t.Errorf("registered: %v", list)
	}
}
