package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/atoll-live/atoll/api/apitest"
	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
)

func get(t *testing.T, url string) (int, map[string]any) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, _ := io.ReadAll(res.Body)
	m := map[string]any{}
	_ = json.Unmarshal(raw, &m)
	return res.StatusCode, m
}

func TestStatusSide(t *testing.T) {
	g, url := start(t, Config{Unit: "unit-a", Backends: map[string]string{"": app(t, "a", nil)}, Peers: map[string]string{"unit-b": "http://" + freeAddr(t)}})
	side := httptest.NewServer(g.StatusHandler())
	t.Cleanup(side.Close)
	if code, _ := get(t, side.URL+"/ready"); code != 503 {
		t.Errorf("ready without a snapshot: %d", code)
	}
	g.must(t, snapshot(11, document(), moving(false)))
	if code, _ := get(t, side.URL+"/ready"); code != 200 {
		t.Errorf("not ready: %d", code)
	}
	_, m := get(t, side.URL+"/.atoll/explain?host=SHOP.atoll.test:80&path=/order/1&query=user%3Danna")
	for name, want := range map[string]any{"unit": "unit-a", "reason": "allow", "action": "route", "epoch": 11.0, "held": "m1", "fenced": nil, "cell": nil, "rule": "1003", "key": "anna"} {
		if got, ok := m[name]; !ok || got != want {
			t.Errorf("explain: %s is %v, want %v", name, got, want)
		}
	}
	if _, m := get(t, side.URL+"/.atoll/explain?host=nobody"); m["bucket"] != nil || m["unit"] != nil || m["reason"] != "none" {
		t.Errorf("explain of nothing: %v", m)
	}
	_, m = get(t, side.URL+"/status")
	if epochs, _ := m["epochs"].(map[string]any); epochs["shop"] != 11.0 {
		t.Errorf("status %v", m)
	}
	if code, _ := get(t, url+"/.atoll/explain?host=x"); code != 404 {
		t.Errorf("explain on the public side: %d", code)
	}
	if code, _ := get(t, url+probePath); code != 404 {
		t.Errorf("the probe is served to clients: %d", code)
	}
}

// oneConsole hands out one snapshot and keeps the last report.
type oneConsole struct {
	atollv1connect.UnimplementedPlanesHandler
	snapshots chan []byte
	plane     chan *atollv1.Plane
	reports   chan *atollv1.ReportRequest
}

func (c *oneConsole) Register(_ context.Context, r *connect.Request[atollv1.RegisterRequest]) (*connect.Response[atollv1.RegisterResponse], error) {
	c.plane <- r.Msg.GetPlane()
	return connect.NewResponse(&atollv1.RegisterResponse{}), nil
}

func (c *oneConsole) Watch(ctx context.Context, _ *connect.Request[atollv1.WatchRequest], s *connect.ServerStream[atollv1.WatchResponse]) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case raw := <-c.snapshots:
			if err := s.Send(&atollv1.WatchResponse{Snapshots: [][]byte{raw}}); err != nil {
				return err
			}
		}
	}
}

func (c *oneConsole) Report(_ context.Context, r *connect.Request[atollv1.ReportRequest]) (*connect.Response[atollv1.ReportResponse], error) {
	select {
	case c.reports <- r.Msg:
	default:
	}
	return connect.NewResponse(&atollv1.ReportResponse{}), nil
}

func TestGatewayIsAPlaneOfItsConsole(t *testing.T) {
	c := &oneConsole{snapshots: make(chan []byte, 1), plane: make(chan *atollv1.Plane, 1), reports: make(chan *atollv1.ReportRequest, 100)}
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewPlanesHandler(c))
	url := apitest.Serve(t, mux)
	g, _ := start(t, Config{Unit: "unit-a", Cell: "c1", Backends: map[string]string{"": "http://127.0.0.1:1"},
		Consoles: []string{url}, Dir: t.TempDir()})
	if p := <-c.plane; p.GetName() != "gateway@unit-a" || p.GetKind() != "gateway" || p.GetUnit() != "unit-a" || p.GetCell() != "c1" {
		t.Errorf("registered as %v", p)
	}
	raw, err := json.Marshal(snapshot(11, document(), moving(false)))
	if err != nil {
		t.Fatal(err)
	}
	c.snapshots <- raw
	wait(t, "ready", g.Ready)
	wait(t, "a report with the epoch and the ack", func() bool {
		r := <-c.reports
		return len(r.GetSpaces()) == 1 && r.GetSpaces()[0].GetEpoch() == 11 && len(r.GetAcks()) == 1 && r.GetFigures()["requests"] == 0
	})
}
