package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// probePath is asked of a peer's public side to see whether it is there. It
// is served to gateways only; to clients it is a path like any other.
const probePath = "/.atoll/peer"

// peer is the gateway of another unit. A link that swallows everything looks
// alive to a request until its time is over, so each peer is probed, and one
// that answered nothing for PeerSilence fails at once.
type peer struct {
	unit string
	url  *url.URL

	mu      sync.Mutex
	heard   time.Time // of the last good answer; zero before probes began
	why     string    // the last probe's failure
	silence time.Duration
	down    bool // as last logged
}

// trouble says why the peer is down, "" when it is not.
func (p *peer) trouble() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard.IsZero() || time.Since(p.heard) < p.silence {
		return ""
	}
	if p.why == "" {
		return "it is silent"
	}
	return p.why
}

// watch probes the peer until ctx ends.
func (g *Gateway) watch(ctx context.Context, p *peer) {
	p.mu.Lock()
	p.heard = time.Now() // a peer is up until it was silent for long enough
	p.mu.Unlock()
	tick := time.NewTicker(g.cfg.PeerSilence / 4)
	defer tick.Stop()
	for {
		err := g.probe(ctx, p)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		if err == nil {
			p.heard, p.why = time.Now(), ""
		} else {
			p.why = err.Error()
		}
		p.mu.Unlock()
		g.note(p)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// note logs when a peer went down or came back.
func (g *Gateway) note(p *peer) {
	why := p.trouble()
	p.mu.Lock()
	was := p.down
	p.down = why != ""
	p.mu.Unlock()
	switch {
	case why != "" && !was:
		g.cfg.Log.Warn("peer down: requests of its keys are refused", "peer", p.unit, "err", why)
	case why == "" && was:
		g.cfg.Log.Info("peer up again", "peer", p.unit)
	}
}

func (g *Gateway) probe(ctx context.Context, p *peer) error {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.PeerSilence/2)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url.String()+probePath, nil)
	if err != nil {
		return err
	}
	passage{unit: g.cfg.Unit, hop: 1}.send(r, g.cfg.HopSecret)
	res, err := g.transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10))
	_ = res.Body.Close()
	switch {
	case res.StatusCode == http.StatusForbidden:
		return errors.New("it does not know our hop secret")
	case res.StatusCode != http.StatusNoContent:
		return fmt.Errorf("it is no gateway: status %d", res.StatusCode)
	case res.Header.Get(headerUnit) != p.unit:
		return fmt.Errorf("it is the gateway of unit %q", res.Header.Get(headerUnit))
	}
	return nil
}
