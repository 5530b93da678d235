package dbsync

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// baseKey names a stored base.
type baseKey struct{ lane, space string }

// storeBases writes, for each lane and space, the document and the moves that
// the lane judges by, when they are newer than what is stored. A restart starts
// from them, also when the snapshot has dropped a move in between.
func (s *Sync) storeBases(ctx context.Context, db *sql.DB, stored map[baseKey]int64) error {
	for key, base := range s.newBases(stored) {
		text, err := json.Marshal(base)
		if err != nil {
			return fmt.Errorf("write base of lane %s: %w", key.lane, err)
		}
		_, err = db.ExecContext(ctx, "REPLACE INTO "+sitedb.Schema+".lane_base (lane, space, epoch, document) VALUES (?,?,?,?)", key.lane, key.space, base.Epoch, string(text))
		if err != nil {
			return fmt.Errorf("write base of lane %s: %w", key.lane, err)
		}
		stored[key] = base.Epoch
	}
	return nil
}

func (s *Sync) newBases(stored map[baseKey]int64) map[baseKey]*space.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[baseKey]*space.Snapshot{}
	for _, l := range s.lanes {
		for _, name := range l.spec.Spaces {
			v, key := s.views[name], baseKey{l.name, name}
			if v == nil || !l.loaded || stored[key] >= v.Snapshot.Epoch {
				continue
			}
			out[key] = &space.Snapshot{Space: name, Epoch: v.Snapshot.Epoch, Document: v.Snapshot.Document,
				Moves: append(slices.Clone(v.Snapshot.Moves), l.kept[name]...)}
		}
	}
	return out
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
