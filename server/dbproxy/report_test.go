package dbproxy_test

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/atoll-live/atoll/api/apitest"
	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/server/dbproxy"
)

// granting answers each report with a lease, as a console does.
type granting struct {
	atollv1connect.UnimplementedPlanesHandler
	reports chan struct{}
}

func (g *granting) Register(context.Context, *connect.Request[atollv1.RegisterRequest]) (*connect.Response[atollv1.RegisterResponse], error) {
	return connect.NewResponse(&atollv1.RegisterResponse{}), nil
}

func (g *granting) Watch(ctx context.Context, _ *connect.Request[atollv1.WatchRequest], _ *connect.ServerStream[atollv1.WatchResponse]) error {
	<-ctx.Done()
	return nil
}

func (g *granting) Report(context.Context, *connect.Request[atollv1.ReportRequest]) (*connect.Response[atollv1.ReportResponse], error) {
	g.reports <- struct{}{}
	return connect.NewResponse(&atollv1.ReportResponse{Leases: []*atollv1.Lease{{Space: "shop", Epoch: 1, TtlNs: int64(5 * time.Second)}}}), nil
}

// TestRenewalIsNoReasonToReport: a proxy that reported at each renewal would
// report as often as the way to the console and back allows.
func TestRenewalIsNoReasonToReport(t *testing.T) {
	g := &granting{reports: make(chan struct{}, 1000)}
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewPlanesHandler(g))
	p, err := dbproxy.New(dbproxy.Config{
		Plane: "dbproxy@unit-a", Unit: "unit-a", Space: "shop", Database: "shop", User: "app", Password: "app-secret",
		Listen: "127.0.0.1:" + strconv.Itoa(freePort(t)), Consoles: []string{apitest.Serve(t, mux)},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the proxy ended: %v", err)
		}
	}()
	<-g.reports
	begun := time.Now()
	const further = 4 // some may have a reason of their own
	for range further {
		select {
		case <-g.reports:
		case <-time.After(waitMost):
			t.Fatal("the proxy no longer reports")
		}
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("%d reports in %v, though one a second is due", further, took)
	}
}
