package route

import (
	"fmt"
	"slices"

	"github.com/atoll-live/atoll/space"
)

// Contains tells whether the keys of a move include the key of a decision.
// The decision must be one by the rule of the move.
func Contains(keys space.KeySet, d Decision) bool {
	if d.Key == "" {
		return false
	}
	return byParts(&keys, &d) || slices.Contains(keys.Keys, d.Key)
}

// byParts tells whether the prefix or the bucket that decided is in the set.
func byParts(keys *space.KeySet, d *Decision) bool {
	reason := d.Reason
	if reason == BySubdomain {
		reason = d.OwnedBy
	}
	switch reason {
	case ByPrefix:
		return slices.Contains(keys.Prefixes, d.Prefix)
	case ByRange:
		for _, r := range keys.Buckets {
			if r.From <= d.Bucket && d.Bucket < r.To {
				return true
			}
		}
	}
	return false
}

// View is a compiled Snapshot: what a plane consults at each decision. It is
// immutable and safe for concurrent use.
type View struct {
	*Table
	Snapshot *space.Snapshot
	moves    []movingKeys // those that hold or fence
}

// movingKeys is a transfer with its named keys in a set.
type movingKeys struct {
	transfer *space.Transfer
	named    map[string]struct{}
}

// NewView compiles a snapshot. The snapshot must not change afterwards.
func NewView(s *space.Snapshot) (*View, error) {
	t, err := Compile(s.Document)
	if err != nil {
		return nil, fmt.Errorf("snapshot of space %q, epoch %d: %w", s.Space, s.Epoch, err)
	}
	v := &View{Table: t, Snapshot: s}
	for _, m := range s.Moves {
		if !m.Hold && !m.Fenced {
			continue
		}
		named := make(map[string]struct{}, len(m.Keys.Keys))
		for _, key := range m.Keys.Keys {
			named[key] = struct{}{}
		}
		v.moves = append(v.moves, movingKeys{m, named})
	}
	return v, nil
}

// Held is the transfer that holds the key of a decision, or nil.
func (v *View) Held(d Decision) *space.Transfer {
	for i := range v.moves {
		if m := &v.moves[i]; m.transfer.Hold && m.contains(&d) {
			return m.transfer
		}
	}
	return nil
}

// Fenced is the transfer that fences the key of a decision, or nil.
func (v *View) Fenced(d Decision) *space.Transfer {
	for i := range v.moves {
		if m := &v.moves[i]; m.transfer.Fenced && m.contains(&d) {
			return m.transfer
		}
	}
	return nil
}

func (m *movingKeys) contains(d *Decision) bool {
	if d.Key == "" || d.Rule != m.transfer.Rule {
		return false
	}
	if byParts(&m.transfer.Keys, d) {
		return true
	}
	_, ok := m.named[d.Key]
	return ok
}
