package mover

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/space"
)

// fakePlane speaks the Planes protocol as an agent does: it registers, watches
// and reports, each second and at once when it has something to say. It meets
// holds, fences and asks at once, unless its bed is deaf to the joint.
type fakePlane struct {
	b                *bed
	name, kind, unit string
	incarnation      string
	cancel           context.CancelFunc
	redial           chan struct{}

	mu       sync.Mutex
	view     *route.View
	asks     []*atollv1.Ask
	boottime int64
}

func (b *bed) startPlane(name string) *fakePlane {
	kind, unit, _ := strings.Cut(name, "@")
	ctx, cancel := context.WithCancel(b.ctx)
	b.mu.Lock()
	n := 1
	var view *route.View
	if former := b.planes[name]; former != nil {
		_, _ = fmt.Sscanf(former.incarnation, "%d", &n)
		n++
		view = former.view // from its disk
	}
	p := &fakePlane{b: b, name: name, kind: kind, unit: unit, incarnation: fmt.Sprint(n), cancel: cancel, redial: make(chan struct{}, 1), view: view}
	b.planes[name] = p
	b.mu.Unlock()
	b.wg.Go(func() { p.run(ctx) })
	return p
}

// stop kills the plane: it stays registered.
func (b *bed) stop(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.planes[name].cancel()
}

// reconnect makes the plane look for its console anew.
func (p *fakePlane) reconnect() {
	select {
	case p.redial <- struct{}{}:
	default:
	}
}

func (p *fakePlane) client() atollv1connect.PlanesClient {
	return atollv1connect.NewPlanesClient(p.b.reached().client, "http://console")
}

func (p *fakePlane) run(ctx context.Context) {
	for ctx.Err() == nil {
		_, err := p.client().Register(ctx, connect.NewRequest(&atollv1.RegisterRequest{Plane: &atollv1.Plane{
			Name: p.name, Kind: p.kind, Unit: p.unit, Incarnation: p.incarnation,
		}}))
		if err == nil {
			break
		}
		pause.For(ctx, 50*time.Millisecond)
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.watch(ctx) })
	wg.Go(func() { p.reports(ctx) })
	wg.Wait()
}

func (p *fakePlane) watch(ctx context.Context) {
	for ctx.Err() == nil {
		p.watchOnce(ctx)
		pause.For(ctx, 20*time.Millisecond)
	}
}

func (p *fakePlane) watchOnce(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	held := map[string]int64{}
	if p.view != nil {
		held["shop"] = p.view.Snapshot.Epoch
	}
	p.mu.Unlock()
	stream, err := p.client().Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: p.name, Incarnation: p.incarnation, Epochs: held}))
	if err != nil {
		return
	}
	defer func() { _ = stream.Close() }()
	gone := make(chan struct{})
	defer func() { <-gone }()
	defer cancel()
	go func() {
		defer close(gone)
		select {
		case <-p.redial:
			cancel()
		case <-ctx.Done():
		}
	}()
	for stream.Receive() {
		pause.For(ctx, p.b.oneWay)
		p.take(stream.Msg())
	}
}

func (p *fakePlane) take(m *atollv1.WatchResponse) {
	for _, raw := range m.GetSnapshots() {
		s := new(space.Snapshot)
		if err := json.Unmarshal(raw, s); err != nil {
			panic(err)
		}
		view, err := route.NewView(s)
		if err != nil {
			panic(err)
		}
		p.b.awaitOnTime(p, s)
		p.mu.Lock()
		if p.view == nil || s.Epoch > p.view.Snapshot.Epoch {
			p.view = view
		}
		p.mu.Unlock()
		p.b.judge()
	}
	if m.GetAsksSet() {
		p.mu.Lock()
		p.asks = m.GetAsks()
		p.mu.Unlock()
	}
	p.obey()
	p.b.set(func() {})
}

// awaitOnTime waits as long as the plane is late with the new map.
func (b *bed) awaitOnTime(p *fakePlane, s *space.Snapshot) {
	switched := len(s.Moves) > 0 && s.Moves[len(s.Moves)-1].Outcome == space.OutcomeSwitched
	for switched {
		touched := b.touch()
		b.mu.Lock()
		late := b.late[p.name]
		b.mu.Unlock()
		if !late {
			return
		}
		select {
		case <-touched:
		case <-b.ctx.Done():
			return
		}
	}
}

// obey does what is asked: a token runs through the lane in laneTime.
func (p *fakePlane) obey() {
	p.mu.Lock()
	asks := p.asks
	p.mu.Unlock()
	for _, a := range asks {
		if a.GetStep() != move.AskClose || p.b.isDeaf(move.Closed) {
			continue
		}
		target := "unit-a"
		if p.unit == target {
			target = "unit-b"
		}
		lane := move.Lane(p.unit, target)
		key := fmt.Sprintf("%s/%s/%d", lane, a.GetMove(), a.GetEpoch())
		p.b.wg.Go(func() {
			pause.For(p.b.ctx, p.b.laneTime)
			if !p.b.isDeaf(move.Joint("lane " + lane)) {
				p.b.set(func() { p.b.tokens[key] = true })
			}
		})
	}
}

func (b *bed) isDeaf(j move.Joint) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.deaf[string(j)]
}

// reports sends what holds now, at each touch of the bed and each second.
func (p *fakePlane) reports(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last string
	for ctx.Err() == nil {
		touched := p.b.touch()
		r := p.report()
		if text := fmt.Sprint(r.GetSpaces(), r.GetAcks(), r.GetLanes()); text != last {
			last = text
			p.send(ctx, r)
		}
		select {
		case <-touched:
		case <-tick.C:
			last = ""
		case <-ctx.Done():
		}
	}
}

func (p *fakePlane) send(ctx context.Context, r *atollv1.ReportRequest) {
	pause.For(ctx, p.b.oneWay)
	p.mu.Lock()
	p.boottime++
	r.BoottimeNs = time.Now().UnixNano() + p.boottime
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = p.client().Report(ctx, connect.NewRequest(r)) // a lost report is said again
}

func (p *fakePlane) report() *atollv1.ReportRequest {
	p.mu.Lock()
	view, asks := p.view, p.asks
	p.mu.Unlock()
	r := &atollv1.ReportRequest{Plane: p.name, Incarnation: p.incarnation}
	if view == nil {
		return r
	}
	epoch := view.Snapshot.Epoch
	r.Spaces = []*atollv1.SpaceReport{{Space: "shop", Epoch: epoch}}
	ack := func(t string, j move.Joint, epoch int64, lane string) {
		if !p.b.isDeaf(j) && !p.b.isDeaf(move.Joint(string(j)+" "+p.name)) {
			p.b.mu.Lock()
			figures := p.b.figures[string(j)]
			p.b.mu.Unlock()
			r.Acks = append(r.Acks, &atollv1.Ack{Space: "shop", Move: t, Epoch: epoch, Step: string(j), Lane: lane, Detail: "gtid " + p.unit, Figures: figures})
		}
	}
	for _, t := range view.Snapshot.Moves {
		switch {
		case p.kind == "gateway" && t.Hold && !t.Fenced:
			ack(t.ID, move.Quiet, epoch, "")
		case p.kind == "dbproxy" && t.Fenced:
			ack(t.ID, move.Drained, t.FenceEpoch, "")
		}
	}
	if p.kind == "dbsync" {
		p.reportLanes(r, view, asks, ack)
	}
	return r
}

func (p *fakePlane) reportLanes(r *atollv1.ReportRequest, view *route.View, asks []*atollv1.Ask, ack func(string, move.Joint, int64, string)) {
	source := "unit-a"
	if p.unit == source {
		source = "unit-b"
	}
	lane := move.Lane(source, p.unit)
	p.b.mu.Lock()
	lag := p.b.lag[lane]
	var passed []*space.Transfer
	for _, t := range view.Snapshot.Moves {
		if p.b.tokens[fmt.Sprintf("%s/%s/%d", lane, t.ID, t.FenceEpoch)] {
			passed = append(passed, t)
		}
	}
	p.b.mu.Unlock()
	r.Lanes = []*atollv1.LaneReport{{Name: lane, Space: "shop", State: "running", LagMs: lag}}
	p.b.mu.Lock()
	if p.b.laneIs != nil {
		p.b.laneIs(r.Lanes[0])
	}
	p.b.mu.Unlock()
	for _, t := range passed {
		ack(t.ID, move.Passed, t.FenceEpoch, lane)
	}
	for _, a := range asks {
		switch a.GetStep() {
		case move.AskClose:
			ack(a.GetMove(), move.Closed, a.GetEpoch(), "")
		case move.AskOpen:
			ack(a.GetMove(), move.Opened, a.GetEpoch(), "")
		case move.AskSettle:
			ack(a.GetMove(), move.Settled, a.GetEpoch(), "")
		case "end": // of what a forgotten proxy left
			r.Acks = append(r.Acks, &atollv1.Ack{Move: a.GetMove(), Step: "ended"})
		}
	}
}

// judge looks whether two units can write the same key.
func (b *bed) judge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range []string{"u1", "u2", "u3", "u4", "u5", "u6", "u7", "vip"} {
		writable := map[string]string{}
		for name, p := range b.planes {
			p.mu.Lock()
			view := p.view
			p.mu.Unlock()
			if p.kind != "dbproxy" || view == nil {
				continue
			}
			d := view.DecideKey("1003", key)
			if d.Unit == p.unit && view.Fenced(d) == nil {
				writable[p.unit] = fmt.Sprintf("%s at epoch %d", name, view.Snapshot.Epoch)
			}
		}
		if len(writable) > 1 && b.broken == "" {
			b.broken = fmt.Sprintf("key %s can be written in two units: %v", key, writable)
		}
	}
}
