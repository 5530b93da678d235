package gateway

import (
	"fmt"
	"net/http"
	"time"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// maxAttempts is how often a request is sent at most: once, and again when
// the application answered 421, which says that it did not do it.
const maxAttempts = 3

// exchange is one request on its way through the gateway.
type exchange struct {
	g    *Gateway
	w    http.ResponseWriter
	r    *http.Request
	read reading
	from passage
	safe bool

	// What the last decision was, and by what.
	state  *state
	view   *route.View
	d      route.Decision
	ticket *ticket

	heldUntil time.Time // zero: not held yet
	holding   bool      // counted in held_now
	waited    bool      // for a snapshot that a peer has already
	turn      *turn     // among those that are or were held; nil for others

	cell string // that served the request, when it is known
	kept []byte // the body, for a second attempt; nil when it is not kept
}

// run decides, waits, sends, and does so again after a 421.
func (x *exchange) run() {
	defer x.leave()
	for attempt := 1; ; attempt++ {
		to, no := x.settle()
		x.unhold()
		if no == nil {
			no = x.keep(to)
		}
		if no != nil {
			x.refuse(no)
			return
		}
		if again := x.pass(to, attempt < maxAttempts); !again {
			return
		}
		x.leave()
		x.turn = nil
		x.g.figures.replayed.Add(1)
		x.await(x.state, x.g.cfg.SnapshotWait)
	}
}

// leave ends the admission.
func (x *exchange) leave() {
	if x.turn != nil {
		x.g.turns.done(x.turn)
	}
	if x.ticket != nil {
		x.g.gate.end(x.ticket)
		x.ticket = nil
	}
}

// settle decides until the request may go on, and says where.
func (x *exchange) settle() (*target, *refusal) {
	for {
		x.state = x.g.gate.now.Load()
		x.view, x.d = x.state.decide(&x.read)
		if x.behind() && !x.waited {
			x.waited = true
			x.await(x.state, x.g.cfg.SnapshotWait)
			continue
		}
		if no := x.judge(); no != nil {
			return nil, no
		}
		if x.safe {
			return x.target()
		}
		t, v := x.g.gate.admit(x.state, x.view, x.d, x.from.epoch)
		switch v {
		case admitted:
			x.ticket = t
			return x.target()
		case held:
			if no := x.hold(); no != nil {
				return nil, no
			}
		}
	}
}

// behind tells whether the peer that passed the request on has a later
// snapshot than this gateway, which would pass it on again. To wait a moment
// for that snapshot is better than to bounce.
func (x *exchange) behind() bool {
	if x.from.hop == 0 || x.d.Unit == x.g.cfg.Unit {
		return false
	}
	return x.view == nil || x.from.epoch > x.view.Snapshot.Epoch
}

// await waits for a later state, for the time given at most.
func (x *exchange) await(s *state, limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-s.renewed:
	case <-t.C:
	case <-x.r.Context().Done():
	case <-x.g.stopping:
	}
}

// judge refuses what no unit serves.
func (x *exchange) judge() *refusal {
	switch {
	case len(x.state.views) == 0:
		return &refusal{status: http.StatusServiceUnavailable, retry: true,
			text: "this gateway has no snapshot yet", mend: "wait until it has reached its console"}
	case x.view == nil:
		return &refusal{status: http.StatusNotFound,
			text: fmt.Sprintf("no live domain has the host %q", x.r.Host), mend: "add the domain to a MultiLiveSpace and apply it"}
	case x.d.Path == "":
		return &refusal{status: http.StatusNotFound,
			text: fmt.Sprintf("no path of the domain %q leads to a rule for this path", x.d.Domain), mend: "add the path to the domain"}
	case x.d.Action == route.Reject && x.d.Unit == "":
		return &refusal{status: http.StatusForbidden,
			text: fmt.Sprintf("the request has no %q and rule %q rejects it without", x.d.Variable, x.d.Rule),
			mend: "send the variable where the rule reads it"}
	}
	return x.judgeAccess()
}

// judgeAccess refuses what the access mode of the unit, or of the cell, forbids.
func (x *exchange) judgeAccess() *refusal {
	mode, what := x.view.UnitAccess(x.d.Unit), fmt.Sprintf("unit %q", x.d.Unit)
	if mode == space.ReadWrite && x.d.Cell != "" {
		mode, what = x.view.CellAccess(x.d.Rule, x.d.Unit, x.d.Cell), fmt.Sprintf("cell %q of unit %q", x.d.Cell, x.d.Unit)
	}
	switch {
	case mode == space.NoAccess || x.d.Action == route.Reject:
		return &refusal{status: http.StatusServiceUnavailable, retry: true,
			text: what + " serves nothing now (access mode NONE)", mend: "move its users, or open it by its access mode"}
	case mode == space.ReadOnly && !x.safe:
		return &refusal{status: http.StatusServiceUnavailable, retry: true,
			text: what + " takes no writes now (access mode READ_ONLY)", mend: "move its users, or open it by its access mode"}
	}
	return nil
}

// hold waits for the next state, within the limits of number and time.
func (x *exchange) hold() *refusal {
	g := x.g
	if !x.holding {
		x.holding = true
		if g.figures.heldNow.Add(1) > int64(g.cfg.HoldLimit) {
			g.figures.holdFull.Add(1)
			return &refusal{status: http.StatusServiceUnavailable, retry: true,
				text: "its users are moving and too many requests wait already", mend: "try again"}
		}
		if x.from.hop == 0 { // one that a peer held before is counted there
			g.figures.heldTotal.Add(1)
		}
	}
	if x.heldUntil.IsZero() {
		limit := x.view.Snapshot.Settings.HoldMax
		if limit <= 0 {
			limit = g.cfg.HoldMax
		}
		x.heldUntil = time.Now().Add(limit)
		x.turn = g.turns.arrive()
	}
	if g.turns.wait(x.turn, x.state, time.Until(x.heldUntil), x.r.Context().Done(), g.stopping) {
		return nil
	}
	g.figures.holdEnded.Add(1)
	return &refusal{status: http.StatusServiceUnavailable, retry: true,
		text: "its users are moving for longer than requests are held", mend: "try again"}
}

func (x *exchange) unhold() {
	if x.holding {
		x.holding = false
		x.g.figures.heldNow.Add(-1)
	}
}

// target says where the request goes by its decision.
func (x *exchange) target() (*target, *refusal) {
	g := x.g
	if x.d.Unit == g.cfg.Unit {
		return g.local(x.d.Cell), nil
	}
	if x.from.hop >= maxHops {
		return nil, &refusal{status: http.StatusLoopDetected, retry: true,
			text: fmt.Sprintf("%d gateways passed this request on and none owns its key", x.from.hop),
			mend: "compare the epochs that the gateways report"}
	}
	p := g.peers[x.d.Unit]
	if p == nil {
		return nil, &refusal{status: http.StatusServiceUnavailable,
			text: fmt.Sprintf("unit %q owns the key and this gateway does not know the way there", x.d.Unit),
			mend: fmt.Sprintf("start the gateway with --peer %s=URL", x.d.Unit)}
	}
	if why := p.trouble(); why != "" {
		return nil, &refusal{status: http.StatusServiceUnavailable, retry: true,
			text: fmt.Sprintf("unit %q owns the key and its gateway cannot be reached: %s", x.d.Unit, why),
			mend: "try again; or ask the owner's gateway itself, see " + headerEndpoint}
	}
	return &target{peer: p, backends: []backend{{url: p.url}}}, nil
}
