package demo

import (
	"context"
	"fmt"
	"slices"
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
	stalled                              bool      // it was tried while a lane that it needs stood still
}

// move runs one move to its end, with canaries writing around it.
func (r *run) move(ctx context.Context, from, to, buckets string) (*finished, error) {
	r.load.Canary(true)
	defer r.load.Canary(false)
	if !sleepUntil(ctx, time.Now().Add(canaryMargin)) {
		return nil, nil
	}
	return r.attempt(ctx, from, to, buckets)
}

// attempt runs one move to its end. Buckets "" means a share of all. It is nil
// when the run ended before it began; one that is still under way when patience
// ends is for the verdict.
func (r *run) attempt(ctx context.Context, from, to, buckets string) (*finished, error) {
	req := &atollv1.MoveRequest{Space: r.cfg.Info.Space, Rule: r.cfg.Info.Rule, From: from, To: to, Buckets: buckets}
	if buckets == "" {
		req.Percent = movePercent
	}
	last, err := r.startMove(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("start the move %s → %s: %w", from, to, err)
	}
	r.screen.moveBegins(last)
	last = r.followMove(ctx, last)
	r.screen.moveEnds(last)
	return r.finish(last)
}

// startMove starts a move. Where faults are at work the answer may be lost: the
// move that is on its way is then the one.
func (r *run) startMove(ctx context.Context, req *atollv1.MoveRequest) (*atollv1.Move, error) {
	started, err := r.client.Moves().Start(ctx, connect.NewRequest(req))
	if err == nil {
		return started.Msg.GetMove(), nil
	}
	if r.faults == nil {
		return nil, err
	}
	list, listErr := r.client.Moves().List(ctx, connect.NewRequest(&atollv1.ListMovesRequest{Space: req.GetSpace(), Limit: 5}))
	if listErr != nil {
		return nil, err
	}
	known := func(m *atollv1.Move) bool {
		return slices.ContainsFunc(r.moves, func(f *finished) bool { return f.id == m.GetId() })
	}
	for _, m := range list.Msg.GetMoves() {
		if !known(m) {
			return m, nil
		}
	}
	return nil, err
}

// followMove draws the phases as they happen. A stream that breaks is opened
// again: the console may be restarted while a move runs.
func (r *run) followMove(ctx context.Context, m *atollv1.Move) *atollv1.Move {
	for !over(m.GetState()) {
		stream, err := r.client.Moves().Follow(ctx, connect.NewRequest(&atollv1.MoveIDRequest{Id: m.GetId()}))
		if err == nil {
			for stream.Receive() {
				m = stream.Msg().GetMove()
				r.screen.movePhase(m)
				if r.faults != nil {
					r.faults.saw(m.GetPhase())
				}
				if m.GetPhase() == "SETTLE" {
					r.load.Canary(false)
				}
			}
			_ = stream.Close()
		}
		if !over(m.GetState()) && !sleepUntil(ctx, time.Now().Add(200*time.Millisecond)) {
			m.Reason = fmt.Sprintf("in %s when the run ended, waiting for %v", m.GetPhase(), m.GetWaitingFor())
			return m
		}
	}
	return m
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
		ID: f.id, State: f.state, From: f.from, To: f.to, Buckets: f.buckets, Reason: f.reason, Stalled: f.stalled,
		EpochBefore: f.proto.GetEpochBefore(), EpochAfter: f.proto.GetEpochAfter(), DurationMS: f.proto.GetDurationMs(),
		WritePauseMS: load.Summary(load.Pauses(writes, f.moved, f.hold, f.release)),
		PauseByWay:   map[load.Via]load.Pause{},
		TxKilled:     f.proto.GetFigures()["tx_killed"],
	}
	for _, via := range []load.Via{load.ViaHTTP, load.ViaCanary, load.ViaSQL, load.ViaSQLTx} {
		of := slices.DeleteFunc(slices.Clone(writes), func(w load.Write) bool { return w.Via != via })
		if p := load.Summary(load.Pauses(of, f.moved, f.hold, f.release)); p.N > 0 {
			m.PauseByWay[via] = p
		}
	}
	for _, p := range f.proto.GetPhases() {
		m.Phases = append(m.Phases, PhaseMS{Name: p.GetName(), MS: p.GetMs()})
	}
	return m
}
