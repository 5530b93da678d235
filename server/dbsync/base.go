package dbsync

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// baseSQL writes, for each space of a lane whose stored base is of an older
// epoch, the document and the moves that the lane judges by; a restart starts
// from them, also when the snapshot has dropped a move in between.
func (s *Sync) baseSQL(l *lane, stored map[string]int64) (own []string, epochs map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	epochs = map[string]int64{}
	for _, name := range l.spec.Spaces {
		v := s.views[name]
		if v == nil || stored[name] >= v.Snapshot.Epoch {
			continue
		}
		base := space.Snapshot{Space: name, Epoch: v.Snapshot.Epoch, Document: v.Snapshot.Document,
			Moves: append(slices.Clone(v.Snapshot.Moves), l.kept[name]...)}
		text, err := json.Marshal(&base)
		if err != nil {
			continue // it came as JSON, so it goes as JSON
		}
		epochs[name] = base.Epoch
		own = append(own, fmt.Sprintf("REPLACE INTO %s.lane_base (lane, space, epoch, document) VALUES (%s,%s,%d,%s)",
			sitedb.Schema, apply.Quote(l.name), apply.Quote(name), base.Epoch, apply.Quote(string(text))))
	}
	return own, epochs
}

func (s *Sync) baseChanged(l *lane, stored map[string]int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(l.spec.Spaces, func(name string) bool {
		v := s.views[name]
		return v != nil && stored[name] < v.Snapshot.Epoch
	})
}

func tokenSQL(lane string, t tokenID, seq int64, m *space.Transfer, position string) string {
	text := ""
	if m != nil {
		if b, err := json.Marshal(m); err == nil {
			text = string(b)
		}
	}
	return fmt.Sprintf("INSERT INTO %s.lane_token (lane, space, move, epoch, kind, seq, transfer, position) VALUES (%s,%s,%s,%d,%s,%d,%s,%s) ON DUPLICATE KEY UPDATE seq=VALUES(seq)",
		sitedb.Schema, apply.Quote(lane), apply.Quote(t.space), apply.Quote(t.move), t.epoch, apply.Quote(t.kind), seq, apply.Quote(text), apply.Quote(position))
}
