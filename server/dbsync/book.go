package dbsync

import (
	"cmp"
	"fmt"
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

// book says of one lane and one space who owned a key at the place in the
// origin's log that the lane has come to: what the document says, as it was
// before the moves whose tokens are still ahead, and what the tokens passed
// say since. It is never changed once made.
type book struct {
	origin string
	base   *route.Table
	moves  []*space.Transfer // known ones
	tokens []*token          // passed ones that still decide, in order
}

// newBook makes the book from the snapshot in force, the moves that the lane
// keeps beyond the snapshot, and all tokens that it has passed.
func newBook(origin string, v *route.View, kept []*space.Transfer, passed []*token) (*book, error) {
	b := &book{origin: origin, base: v.Table, moves: slices.Clone(v.Snapshot.Moves)}
	for _, m := range kept {
		if find(v.Snapshot.Moves, m.ID) == nil {
			b.moves = append(b.moves, m)
		}
	}
	for _, t := range passed {
		if t.space == v.Snapshot.Space && (t.kind == sitedb.TokenClose || t.kind == sitedb.TokenOpen) && find(b.moves, t.move) != nil {
			b.tokens = append(b.tokens, t)
		}
	}
	slices.SortStableFunc(b.tokens, func(a, c *token) int { return cmp.Compare(a.seq, c.seq) })
	ahead := b.ahead()
	if len(ahead) == 0 {
		return b, nil
	}
	doc := v.Snapshot.Document
	for _, m := range ahead {
		back := *m
		back.From, back.To = m.To, m.From
		var err error
		if doc, err = route.Switch(doc, &back); err != nil {
			return nil, fmt.Errorf("take move %s back: %w", m.ID, err)
		}
	}
	t, err := route.Compile(doc)
	if err != nil {
		return nil, fmt.Errorf("compile document before the moves ahead: %w", err)
	}
	b.base = t
	return b, nil
}

// ahead lists the moves that the document already shows and whose token the
// lane has not passed, latest first.
func (b *book) ahead() []*space.Transfer {
	var out []*space.Transfer
	for _, m := range b.moves {
		if m.Outcome == space.OutcomeSwitched && !b.past(m) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, c *space.Transfer) int { return cmp.Compare(c.FenceEpoch, a.FenceEpoch) })
	return out
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
	unit string          // the owner by the document
}

// judge says whether the origin owned a key here. The latest token that says
// something about the key decides.
func (b *book) judge(rule, key string) judgement {
	d := b.base.DecideKey(rule, key)
	j := judgement{verdict: foreign, unit: d.Unit}
	for i := len(b.tokens) - 1; i >= 0; i-- {
		t := b.tokens[i]
		m := find(b.moves, t.move)
		if m.Rule != rule || !route.Contains(m.Keys, d) {
			continue
		}
		j.by, j.move = t, m
		if t.kind == sitedb.TokenOpen {
			if m.To != b.origin {
				continue
			}
			j.verdict = owned
			return j
		}
		if m.From != b.origin {
			continue
		}
		switch outcome(m, t.epoch) {
		case space.OutcomeAborted:
			continue
		case space.OutcomeSwitched:
			return j
		}
		j.verdict = wait
		return j
	}
	j.by, j.move = nil, nil
	if d.Unit == b.origin {
		j.verdict = owned
	}
	return j
}

// outcome of the attempt that fenced at an epoch: an attempt that a later one
// of the same move has followed was aborted.
func outcome(m *space.Transfer, epoch int64) space.Outcome {
	if m.FenceEpoch > epoch {
		return space.OutcomeAborted
	}
	return m.Outcome
}
