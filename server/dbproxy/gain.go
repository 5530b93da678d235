package dbproxy

import (
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// gains remembers which keys this unit became the owner of, and when. A
// transaction that was open before has, for its plain reads, a picture of the
// database from before the last writes of the former owner came in.
type gains struct {
	list  []gain
	seen  map[fenceID]bool
	floor int64 // gains up to this epoch are forgotten
}

type gain struct {
	epoch    int64
	transfer *space.Transfer
}

const maxGains = 64

// note takes the gains of a snapshot that is put in force.
func (g *gains) note(unit string, s *space.Snapshot) {
	seen := map[fenceID]bool{}
	for _, m := range s.Moves {
		if m.To != unit || m.Outcome != space.OutcomeSwitched {
			continue
		}
		id := fenceID{m.ID, m.FenceEpoch}
		seen[id] = true
		if !g.seen[id] {
			g.list = append(g.list, gain{s.Epoch, m})
		}
	}
	g.seen = seen
	if over := len(g.list) - maxGains; over > 0 {
		g.floor = g.list[over-1].epoch
		g.list = append([]gain(nil), g.list[over:]...)
	}
}

// since says whether the key of a decision was gained after an epoch. For a
// time that is forgotten it says yes.
func (g *gains) since(epoch int64, d route.Decision) bool {
	if epoch < g.floor {
		return true
	}
	for i := len(g.list) - 1; i >= 0 && g.list[i].epoch > epoch; i-- {
		if m := g.list[i].transfer; m.Rule == d.Rule && route.Contains(m.Keys, d) {
			return true
		}
	}
	return false
}

// gainedSince says whether any of the keys was gained after an epoch.
func (p *Proxy) gainedSince(epoch int64, v *route.View, rule string, keys []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.gains.list) == 0 && p.gains.floor == 0 {
		return false
	}
	for _, key := range keys {
		if p.gains.since(epoch, v.DecideKey(rule, key)) {
			return true
		}
	}
	return false
}
