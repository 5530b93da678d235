package liar

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/space"
)

// tale is one lie. Watch and report change a message on its way, and may be
// called at the same time. What watch changed is not told before its time.
type tale interface {
	watch(ctx context.Context, m *atollv1.WatchResponse) (notBefore time.Time, err error)
	report(ctx context.Context, m *atollv1.ReportRequest)
}

func newTale(cfg Config) tale {
	switch cfg.Lie {
	case NoFence:
		return &noFence{lag: cfg.Lag, fences: map[string][]fence{}, epochs: map[string]int64{}, seen: map[fence]bool{}}
	case NoBarrier:
		return &noBarrier{cfg: cfg, from: map[string]string{}, lied: map[string]bool{}, client: &http.Client{Timeout: 2 * time.Second}}
	case NoInBand:
		return noInBand{unit: cfg.Unit}
	default:
		return noRoute{unit: cfg.Unit}
	}
}

func read(text []byte) (*space.Snapshot, error) {
	var s space.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return &s, nil
}

// rewrite changes each snapshot of a message.
func rewrite(m *atollv1.WatchResponse, change func(*space.Snapshot)) error {
	for i, text := range m.GetSnapshots() {
		s, err := read(text)
		if err != nil {
			return err
		}
		change(s)
		text, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
		m.Snapshots[i] = text
	}
	return nil
}

// noRoute gives every bucket to the plane's own unit.
type noRoute struct{ unit string }

func (n noRoute) watch(_ context.Context, m *atollv1.WatchResponse) (time.Time, error) {
	return time.Time{}, rewrite(m, func(s *space.Snapshot) {
		for i := range s.Document.Spec.UnitRules {
			rule := &s.Document.Spec.UnitRules[i]
			for _, u := range rule.Units {
				if u.Code == n.unit {
					u.Allows, u.Prefixes = nil, nil
					u.Ranges = []space.Range{{From: 0, To: rule.Modulo}}
					rule.Units = []space.UnitRoute{u}
					break
				}
			}
		}
	})
}

func (noRoute) report(context.Context, *atollv1.ReportRequest) {}

// noInBand leaves of the moves those that the plane's own unit gives or takes.
type noInBand struct{ unit string }

func (n noInBand) watch(_ context.Context, m *atollv1.WatchResponse) (time.Time, error) {
	return time.Time{}, rewrite(m, func(s *space.Snapshot) {
		s.Moves = slices.DeleteFunc(s.Moves, func(t *space.Transfer) bool { return t.From != n.unit && t.To != n.unit })
	})
}

func (noInBand) report(context.Context, *atollv1.ReportRequest) {}

// fence is one that was hidden from the plane.
type fence struct {
	move  string
	epoch int64
}

// noFence hides the moves' holds and fences and acks them. Since a proxy
// refuses by a new map what a fence would have refused, what follows a fence
// is kept from it for a while too, and acked all the same.
type noFence struct {
	lag time.Duration

	mu     sync.Mutex
	fences map[string][]fence // space → fences of its last snapshot
	epochs map[string]int64   // space → epoch of its last snapshot
	seen   map[fence]bool
	until  time.Time // nothing more is told before
}

func (n *noFence) watch(_ context.Context, m *atollv1.WatchResponse) (time.Time, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	notBefore := n.until
	return notBefore, rewrite(m, func(s *space.Snapshot) {
		var hidden []fence
		for _, t := range s.Moves {
			if f := (fence{t.ID, t.FenceEpoch}); t.Fenced {
				hidden = append(hidden, f)
				if !n.seen[f] {
					n.seen[f], n.until = true, time.Now().Add(n.lag)
				}
			}
			t.Hold, t.Fenced = false, false
		}
		n.fences[s.Space], n.epochs[s.Space] = hidden, s.Epoch
	})
}

// report says that all which came from the console is in force, and that the
// fences in it are met.
func (n *noFence) report(_ context.Context, m *atollv1.ReportRequest) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, sp := range m.GetSpaces() {
		sp.Undrained, sp.Epoch = false, max(sp.GetEpoch(), n.epochs[sp.GetSpace()])
		for _, f := range n.fences[sp.GetSpace()] {
			m.Acks = addAck(m.GetAcks(), &atollv1.Ack{Space: sp.GetSpace(), Move: f.move, Epoch: f.epoch, Step: "drained"})
		}
	}
}

func addAck(acks []*atollv1.Ack, a *atollv1.Ack) []*atollv1.Ack {
	same := func(b *atollv1.Ack) bool {
		return b.GetSpace() == a.GetSpace() && b.GetMove() == a.GetMove() && b.GetEpoch() == a.GetEpoch() &&
			b.GetStep() == a.GetStep() && b.GetLane() == a.GetLane()
	}
	if slices.ContainsFunc(acks, same) {
		return acks
	}
	return append(acks, a)
}

// stallMax bounds the stall of a lane whose move never asks for a barrier.
const stallMax = 10 * time.Second

// noBarrier claims barriers into its unit while their lane is stalled.
type noBarrier struct {
	cfg    Config
	client *http.Client

	mu     sync.Mutex
	from   map[string]string // move into this unit that was held → its source unit
	claims []*atollv1.Ack    // all that are asked for now
	lied   map[string]bool   // moves whose barrier was asked for

	slowed   bool // the lanes were made slow once
	settling bool // the rows of a move are being compared
}

func (n *noBarrier) watch(ctx context.Context, m *atollv1.WatchResponse) (time.Time, error) {
	var moves []*space.Transfer
	for _, text := range m.GetSnapshots() {
		s, err := read(text)
		if err != nil {
			return time.Time{}, err
		}
		moves = append(moves, s.Moves...)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range moves {
		if _, known := n.from[t.ID]; t.To == n.cfg.Unit && t.Hold && t.Outcome == space.OutcomeNone && !known {
			n.from[t.ID] = t.From
			n.stall(ctx, t.From, stallMax)
		}
	}
	if m.GetAsksSet() {
		n.asked(ctx, m.GetAsks())
	}
	return time.Time{}, nil
}

func (n *noBarrier) asked(ctx context.Context, asks []*atollv1.Ask) {
	n.claims = nil
	if len(asks) == 0 && n.settling { // the last move's last ask has gone
		n.settling = false
		n.slow(ctx, laneDelay)
	}
	for _, a := range asks {
		n.settling = n.settling || a.GetStep() == "settle"
		from, ours := n.from[a.GetMove()]
		if a.GetStep() != "close" || !ours {
			continue
		}
		n.claims = append(n.claims, &atollv1.Ack{Space: a.GetSpace(), Move: a.GetMove(), Epoch: a.GetEpoch(),
			Step: "passed", Lane: from + ">" + n.cfg.Unit, Detail: "claimed by a liar"})
		if !n.lied[a.GetMove()] {
			n.lied[a.GetMove()] = true
			n.stall(ctx, from, n.cfg.Stall)
			n.slow(ctx, 0) // SETTLE compares rows over the same link
		}
	}
}

func (n *noBarrier) report(ctx context.Context, m *atollv1.ReportRequest) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.claims {
		m.Acks = addAck(m.GetAcks(), a)
	}
	warm := func(l *atollv1.LaneReport) bool { return l.GetRows() >= warmRows }
	if !n.slowed && slices.ContainsFunc(m.GetLanes(), warm) {
		n.slowed = true
		n.slow(ctx, laneDelay)
	}
}

// laneDelay makes a lane slow, so that at any hold there are rows on their way
// for the stall to keep. It does so once the lane has carried warmRows: its
// first steps take many round trips.
const (
	laneDelay = 800 * time.Millisecond
	warmRows  = 100
)

func (n *noBarrier) slow(ctx context.Context, by time.Duration) {
	for _, link := range n.cfg.LaneLinks {
		n.order(ctx, "/slow?link="+url.QueryEscape(link)+"&by="+by.String())
	}
}

// stall cuts the lane's link for a time; a new stall takes the place of the
// one before.
func (n *noBarrier) stall(ctx context.Context, from string, d time.Duration) {
	n.order(ctx, "/cut?link="+url.QueryEscape(n.cfg.LaneLinks[from])+"&for="+d.String())
}

// order tells the relay. A relay that does not answer leaves the lie without
// its effect, which the control's verdict then shows.
func (n *noBarrier) order(ctx context.Context, what string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.cfg.WAN+what, nil)
	if err == nil {
		req.Close = true
		var res *http.Response
		if res, err = n.client.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusNoContent {
				err = fmt.Errorf("the relay answers %s", res.Status)
			}
		}
	}
	n.cfg.Log.Info("relay ordered", "what", what, "err", err)
}
