package dbsync

import (
	"cmp"
	"slices"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// tokenID names a token within one lane.
type tokenID struct {
	space, move string
	epoch       int64
	kind        string
}

// token is one that a lane has met in its origin's binary log.
type token struct {
	tokenID
	seq      int64
	position string
	transfer *space.Transfer // as far as it was known then; nil: not at all
}

// verdict says what a lane does with a row.
type verdict int

const (
	owned   verdict = iota // its origin owned the key: apply
	foreign                // it did not: park
	wait                   // that is not known yet
)

// book says of one lane and space who owned a key at the place in the origin's
// log that the lane has come to: what the tokens passed say, else what follows
// from the moves whose tokens are still ahead, else the document. It is never
// changed once made.
type book struct {
	origin string
	table  *route.Table
	moves  []*space.Transfer // known ones
	tokens []*token          // passed ones, in order
	coming *space.Transfer   // of a BARRIER that is the last token passed: its OPEN is still ahead, or never comes
	ahead  []*space.Transfer // moves that the document shows and the lane has yet to come to, in order
}

// newBook makes the book from the snapshot in force, the moves that the lane
// keeps beyond the snapshot, and all tokens that it has passed.
func newBook(origin string, v *route.View, kept []*space.Transfer, passed []*token) *book {
	b := &book{origin: origin, table: v.Table, moves: slices.Clone(v.Snapshot.Moves)}
	for _, m := range kept {
		if find(v.Snapshot.Moves, m.ID) == nil {
			b.moves = append(b.moves, m)
		}
	}
	for _, t := range passed {
		if t.space == v.Snapshot.Space {
			b.tokens = append(b.tokens, t)
		}
	}
	slices.SortStableFunc(b.tokens, func(a, c *token) int { return cmp.Compare(a.seq, c.seq) })
	if n := len(b.tokens); n > 0 && b.tokens[n-1].kind == sitedb.TokenBarrier {
		b.coming = b.tokens[n-1].transfer
	}
	// Tokens of moves that have left the snapshot are in the document; they only
	// matter behind one that has not.
	first := slices.IndexFunc(b.tokens, func(t *token) bool { return find(b.moves, t.move) != nil })
	if first < 0 {
		first = len(b.tokens)
	}
	b.tokens = b.tokens[first:]
	for _, m := range b.moves {
		if m.Outcome == space.OutcomeSwitched && !b.past(m) {
			b.ahead = append(b.ahead, m)
		}
	}
	slices.SortFunc(b.ahead, func(a, c *space.Transfer) int { return cmp.Compare(a.FenceEpoch, c.FenceEpoch) })
	return b
}

// past tells whether the lane is past what a switched move changed for its
// origin. A move between other units changes nothing for it.
func (b *book) past(m *space.Transfer) bool {
	kind := ""
	switch b.origin {
	case m.From:
		kind = sitedb.TokenClose
	case m.To:
		kind = sitedb.TokenOpen
	default:
		return true
	}
	return slices.ContainsFunc(b.tokens, func(t *token) bool {
		return t.kind == kind && t.move == m.ID && t.epoch == m.FenceEpoch
	})
}

func find(moves []*space.Transfer, id string) *space.Transfer {
	if i := slices.IndexFunc(moves, func(m *space.Transfer) bool { return m.ID == id }); i >= 0 {
		return moves[i]
	}
	return nil
}

// judgement is the answer about one key. With owned and an OPEN the rows also
// wait, at a third unit, for the CLOSE of the same move.
type judgement struct {
	verdict
	by   *token          // the token that decided, nil: the document
	move *space.Transfer // of that token
	unit string          // the owner, as far as this lane can tell
	odd  bool            // the text is no key: nobody can say who owns it
}

// judge says whether the origin owned a key here. The latest token that says
// something about the key decides; when its move has left the snapshot, the
// document shows what it said.
func (b *book) judge(rule, key string) judgement {
	d := b.table.DecideKey(rule, key)
	if m := b.coming; m != nil && m.Rule == rule && m.To == b.origin && route.Contains(m.Keys, d) {
		return judgement{verdict: foreign, unit: m.From}
	}
	for _, t := range slices.Backward(b.tokens) {
		m, live := find(b.moves, t.move), true
		if m == nil {
			m, live = t.transfer, false
		}
		if m == nil || m.Rule != rule || !route.Contains(m.Keys, d) {
			continue
		}
		if t.kind == sitedb.TokenBarrier || t.kind == sitedb.TokenOpen && m.To != b.origin || t.kind == sitedb.TokenClose && m.From != b.origin {
			continue
		}
		if !live {
			break
		}
		if t.kind == sitedb.TokenOpen {
			return judgement{verdict: owned, by: t, move: m, unit: b.origin}
		}
		switch outcome(m, t.epoch) {
		case space.OutcomeAborted:
			continue
		case space.OutcomeSwitched:
			return judgement{verdict: foreign, by: t, move: m, unit: m.To}
		}
		return judgement{verdict: wait, by: t, move: m, unit: d.Unit}
	}
	for _, m := range b.ahead {
		if m.Rule != rule || !route.Contains(m.Keys, d) {
			continue
		}
		// The next thing that happens to the key in this log: it goes away, so it
		// is here still, or it comes, so it is not here yet.
		if m.From == b.origin {
			return judgement{verdict: owned, unit: b.origin}
		}
		return judgement{verdict: foreign, unit: m.From}
	}
	if d.Unit == b.origin {
		return judgement{verdict: owned, unit: d.Unit}
	}
	return judgement{verdict: foreign, unit: d.Unit}
}

// outcome of the attempt that fenced at an epoch: an attempt that a later one
// of the same move has followed was aborted.
func outcome(m *space.Transfer, epoch int64) space.Outcome {
	if m.FenceEpoch > epoch {
		return space.OutcomeAborted
	}
	return m.Outcome
}

// overlap tells whether two moves may carry the same key. Named keys and
// prefixes are taken to lie in any bucket.
func overlap(a, b *space.Transfer) bool {
	if a.Rule != b.Rule {
		return false
	}
	x, y := &a.Keys, &b.Keys
	named := func(k *space.KeySet) bool { return len(k.Keys)+len(k.Prefixes) > 0 }
	if named(x) && named(y) && len(x.Buckets)+len(y.Buckets)+len(x.Prefixes)+len(y.Prefixes) == 0 {
		return slices.ContainsFunc(x.Keys, func(k string) bool { return slices.Contains(y.Keys, k) })
	}
	if named(x) || named(y) {
		return true
	}
	return slices.ContainsFunc(x.Buckets, func(p space.Range) bool {
		return slices.ContainsFunc(y.Buckets, func(q space.Range) bool { return p.From < q.To && q.From < p.To })
	})
}
