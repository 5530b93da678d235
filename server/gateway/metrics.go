package gateway

import "sync/atomic"

// figures count since the start, except held_now and in_flight_now.
type figures struct {
	requests  atomic.Int64
	forwarded atomic.Int64 // sent to a peer
	replayed  atomic.Int64 // decided and sent again after a 421
	heldNow   atomic.Int64
	heldTotal atomic.Int64
	holdFull  atomic.Int64 // refused since too many were held
	holdEnded atomic.Int64 // refused since held for too long
	refused   atomic.Int64 // answered by the gateway itself with an error
	failed    atomic.Int64 // of those: no answer from the application or a peer
}

func (g *Gateway) readFigures() map[string]int64 {
	f := &g.figures
	down := int64(0)
	for _, p := range g.peers {
		if p.trouble() != "" {
			down++
		}
	}
	return map[string]int64{
		"requests": f.requests.Load(), "forwarded": f.forwarded.Load(), "replayed": f.replayed.Load(),
		"held_now": f.heldNow.Load(), "held_total": f.heldTotal.Load(), "hold_full": f.holdFull.Load(), "hold_ended": f.holdEnded.Load(),
		"refused": f.refused.Load(), "failed": f.failed.Load(),
		"in_flight_now": int64(g.gate.inFlight()), "peers_down": down,
	}
}
