package load

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Outcome is what a client knows of its write.
type Outcome string

// The outcomes.
const (
	Acked   Outcome = "acked"    // the client was told that it is done
	NotDone Outcome = "not-done" // the client was told, or can be certain, that it is not
	Unknown Outcome = "unknown"  // neither
)

// Via is the way that a write took.
type Via string

// The ways.
const (
	ViaHTTP   Via = "http"
	ViaSQL    Via = "sql"    // one statement, autocommit
	ViaSQLTx  Via = "sql-tx" // a transaction, some held open
	ViaCanary Via = "canary" // over HTTP, outside the offered load
)

// Write is one attempt to place one order, under one client id. An attempt
// that is certainly not done ends its client id: the next try has a new one,
// so that a ghost of the first can be told.
type Write struct {
	Key       string
	ClientID  string
	OrderID   string // known when acked
	Via       Via
	Outcome   Outcome
	Scheduled time.Time     // when the client wanted to write
	Done      time.Time     // when it knew the outcome
	Held      time.Duration // how long the client itself kept its transactions open, in all tries
	Paid      bool          // a payment of the order was acknowledged
}

// Ledger is what clients were told. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	writes  []Write
	paid    map[string]bool // order ids with an acknowledged payment
	counts  Counts
	refused map[string]int64 // SQL refusals by number
	samples []string         // first surprising answers, for people
}

// Counts are running totals of a load.
type Counts struct {
	Offered      int64 `json:"offered"`       // orders scheduled, canaries not counted
	Acked        int64 `json:"acked"`         // of them acknowledged, after repeats
	GivenUp      int64 `json:"given_up"`      // of them never acknowledged
	Unresolved   int64 `json:"unresolved"`    // of them of unknown outcome at the end
	Shed         int64 `json:"shed"`          // not begun, since too many were on their way
	HTTPRefused  int64 `json:"http_refused"`  // HTTP writes answered "not done"
	HTTPUnknown  int64 `json:"http_unknown"`  // HTTP writes whose outcome was unknown at first
	SQLUnknown   int64 `json:"sql_unknown"`   // SQL writes whose outcome was unknown at first
	SQLWrites    int64 `json:"sql_writes"`    // acknowledged SQL writes
	HTTPWrites   int64 `json:"http_writes"`   // acknowledged HTTP orders and payments, canaries not counted
	CanaryWrites int64 `json:"canary_writes"` // acknowledged canary writes
	Reads        int64 `json:"reads"`         // reads checked against what was acknowledged before they began
	StaleReads   int64 `json:"stale_reads"`
	ReadErrors   int64 `json:"read_errors"` // reads answered with an error, then repeated
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{refused: map[string]int64{}, paid: map[string]bool{}}
}

// Record adds one attempt.
func (l *Ledger) Record(w Write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes = append(l.writes, w)
	if w.Outcome != Acked {
		return
	}
	switch w.Via {
	case ViaHTTP:
		l.counts.HTTPWrites++
	case ViaCanary:
		l.counts.CanaryWrites++
	case ViaSQL, ViaSQLTx:
		l.counts.SQLWrites++
	}
}

// Pay records an acknowledged payment.
func (l *Ledger) Pay(orderID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paid[orderID] = true
	l.counts.HTTPWrites++
}

// Count changes the totals.
func (l *Ledger) Count(change func(*Counts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.counts)
}

// Refuse counts a refusal of a proxy by its number.
func (l *Ledger) Refuse(code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[code]++
}

// samplesMax bounds the surprising answers that are kept for the report.
const samplesMax = 20

// Sample keeps a surprising answer for people.
func (l *Ledger) Sample(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.samples) < samplesMax && !slices.Contains(l.samples, text) {
		l.samples = append(l.samples, text)
	}
}

// Totals are the counts so far.
func (l *Ledger) Totals() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// Refusals are the refusals of proxies by number.
func (l *Ledger) Refusals() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.refused)
}

// Samples are the first surprising answers.
func (l *Ledger) Samples() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.samples)
}

// Writes are all attempts, with payments filled in.
func (l *Ledger) Writes() []Write {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.writes)
	for i := range all {
		all[i].Paid = all[i].OrderID != "" && l.paid[all[i].OrderID]
	}
	return all
}

// Recent gives the attempts recorded after the first n, for a live display.
func (l *Ledger) Recent(n int) []Write {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n >= len(l.writes) {
		return nil
	}
	return slices.Clone(l.writes[n:])
}
