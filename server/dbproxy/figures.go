package dbproxy

import (
	"strconv"
	"sync/atomic"
)

// The numbers of refusals. 9603 to 9606 come from package prove too.
const (
	codeNotOwner   = 9601
	codeFenced     = 9602
	codeUnprovable = 9603
	codeUnlisted   = 9604
	codeCenter     = 9605
	codeTwoOwners  = 9606
	codeNoLease    = 9607

	firstCode = codeNotOwner
	lastCode  = codeNoLease
)

// figures are counters since the start, and what is now.
type figures struct {
	statements      atomic.Int64
	sessions        atomic.Int64 // now
	parked          atomic.Int64 // now
	parkedTotal     atomic.Int64
	txKilled        atomic.Int64 // transactions and statements ended by a fence or a lapsed lease
	unknownOutcomes atomic.Int64 // commits and writes whose answer never came
	refused         [lastCode - firstCode + 1]atomic.Int64
}

func (f *figures) refuse(code int) {
	if code >= firstCode && code <= lastCode {
		f.refused[code-firstCode].Add(1)
	}
}

// Figures are the counters as reports carry them.
func (p *Proxy) Figures() map[string]int64 {
	f := &p.figures
	m := map[string]int64{
		"statements": f.statements.Load(), "sessions": f.sessions.Load(),
		"parked_now": f.parked.Load(), "parked_total": f.parkedTotal.Load(),
		"tx_killed": f.txKilled.Load(), "unknown_outcomes": f.unknownOutcomes.Load(),
	}
	for i := range f.refused {
		m["refused_"+strconv.Itoa(firstCode+i)] = f.refused[i].Load()
	}
	return m
}
