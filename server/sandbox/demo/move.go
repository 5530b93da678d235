package demo

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/sandbox/load"
)

// canaryMargin is how long canaries write before a move, and are shown in the
// plot around it. They end when the keys are released: their pause is measured
// up to there.
const canaryMargin = 500 * time.Millisecond

// finished is a move that ended.
type finished struct {
	id, state, from, to, buckets, reason string
	proto                                *atollv1.Move
	moved                                func(key string) bool
	hold, release                        time.Time // begin of HOLD, end of RELEASE
}

// move runs one move to its end, with canaries writing around it. Buckets ""
// means a share of all.
func (r *run) move(ctx context.Context, from, to, buckets string) (*finished, error) {
	r.load.Canary(true)
	defer r.load.Canary(false)
	if !sleepUntil(ctx, time.Now().Add(canaryMargin)) {
		return nil, fmt.Errorf("move %s → %s: the load ended before it", from, to)
	}
	req := &atollv1.MoveRequest{Space: r.cfg.Info.Space, Rule: r.cfg.Info.Rule, From: from, To: to, Buckets: buckets}
	if buckets == "" {
		req.Percent = movePercent
	}
	started, err := r.client.Moves().Start(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, fmt.Errorf("start the move %s → %s: %w", from, to, err)
	}
	last := started.Msg.GetMove()
	r.screen.moveBegins(last)
	if last, err = r.followMove(ctx, last); err != nil {
		return nil, err
	}
	r.screen.moveEnds(last)
	return r.finish(last)
}

// followMove draws the phases as they happen. A stream that breaks is opened
// again: the console may be restarted while a move runs.
func (r *run) followMove(ctx context.Context, m *atollv1.Move) (*atollv1.Move, error) {
	for !over(m.GetState()) {
		stream, err := r.client.Moves().Follow(ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: m.GetId()}))
		if err == nil {
			for stream.Receive() {
				m = stream.Msg().GetMove()
				r.screen.movePhase(m)
				if m.GetPhase() == "SETTLE" {
					r.load.Canary(false)
				}
			}
			_ = stream.Close()
		}
		if !over(m.GetState()) && !sleepUntil(ctx, time.Now().Add(200*time.Millisecond)) {
			return nil, fmt.Errorf("follow move %s: the load ended while it was in %s, waiting for %v", m.GetId(), m.GetPhase(), m.GetWaitingFor())
		}
	}
	return m, nil
}

func over(state string) bool { return state == "done" || state == "aborted" || state == "failed" }

func (r *run) finish(m *atollv1.Move) (*finished, error) {
	f := &finished{
		id: m.GetId(), state: m.GetState(), from: m.GetFrom(), to: m.GetTo(), buckets: m.GetBuckets(), reason: m.GetReason(), proto: m,
	}
	var err error
	if f.moved, err = r.rule.inBuckets(m.GetBuckets()); err != nil {
		return nil, err
	}
	for _, p := range m.GetPhases() {
		began, err := time.Parse(time.RFC3339Nano, p.GetStartedAt())
		if err != nil {
			return nil, fmt.Errorf("start of phase %s: %w", p.GetName(), err)
		}
		switch p.GetName() {
		case "HOLD":
			f.hold = began
		case "RELEASE":
			f.release = began.Add(time.Duration(p.GetMs()) * time.Millisecond)
		}
	}
	return f, nil
}

func (f *finished) delays(writes []load.Write) []load.Write {
	var out []load.Write
	for _, w := range writes {
		if w.Outcome == load.Acked && f.moved(w.Key) && w.Scheduled.After(f.hold.Add(-canaryMargin)) && w.Scheduled.Before(f.release.Add(canaryMargin)) {
			out = append(out, w)
		}
	}
	return out
}

func (f *finished) report(writes []load.Write) MoveReport {
	m := MoveReport{
		ID: f.id, State: f.state, From: f.from, To: f.to, Buckets: f.buckets, Reason: f.reason,
		EpochBefore: f.proto.GetEpochBefore(), EpochAfter: f.proto.GetEpochAfter(), DurationMS: f.proto.GetDurationMs(),
		WritePauseMS: load.Summary(load.Pauses(writes, f.moved, f.hold, f.release)),
		TxKilled:     f.proto.GetFigures()["tx_killed"],
	}
	for _, p := range f.proto.GetPhases() {
		m.Phases = append(m.Phases, PhaseMS{Name: p.GetName(), MS: p.GetMs()})
	}
	return m
}
