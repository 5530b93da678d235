package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/sandbox/history"
	"github.com/atoll-live/atoll/server/sandbox/workload"
)

// HistoryReport is what clients saw who read, wrote, swapped and appended
// beside the load, as the history checker judged it.
type HistoryReport struct {
	Workload   string                  `json:"workload"` // follows from the seed
	File       string                  `json:"file"`
	Operations int                     `json:"operations"`
	Outcomes   map[string]int          `json:"outcomes"` // operations by outcome
	Kinds      map[string]int          `json:"kinds"`    // operations that ended ok, by kind
	Keys       int                     `json:"keys"`
	Objects    int                     `json:"objects"`
	Violations int                     `json:"violations"`
	Anomalies  map[history.Anomaly]int `json:"anomalies"` // violations by name
	Undecided  int                     `json:"undecided"`
	Unread     int64                   `json:"unread"`  // objects that could not be read at the end
	Skipped    int64                   `json:"skipped"` // operations left out, since their key had no rows by their time
	Samples    []string                `json:"samples,omitempty"`
}

// historyTail is how long before the load the clients of the history stop.
const historyTail = 3 * time.Second

// prepareHistory makes the clients, when a history is wanted.
func (r *run) prepareHistory() (err error) {
	if r.cfg.History == "" {
		return nil
	}
	cfg := workload.Config{
		Host: r.cfg.Info.Host, Duration: r.cfg.Duration - historyTail, Seed: r.cfg.Seed, Moving: r.rule.moving(r.cfg.Info), Log: r.cfg.Log,
	}
	for _, s := range sites(r.cfg.Info) {
		cfg.Sites = append(cfg.Sites, workload.Site{Unit: s.Unit, Gateway: s.Gateway, DSN: s.DSN})
	}
	if err := os.WriteFile(r.cfg.History, nil, 0o644); err != nil { // at the end of a long run it would be too late
		return fmt.Errorf("write history: %w (give another --history)", err)
	}
	if r.history, err = workload.New(cfg); err == nil {
		r.screen.line("history: %s", r.history.Describe())
	}
	return err
}

// runHistory ends by itself; without a history at once.
func (r *run) runHistory(ctx context.Context) error {
	if r.history == nil {
		return nil
	}
	return r.history.Run(ctx)
}

// checkHistory stores what clients saw and judges it.
func (r *run) checkHistory() error {
	if r.history == nil {
		return nil
	}
	f, err := os.Create(r.cfg.History)
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	if err := errors.Join(r.history.Store(f), f.Close()); err != nil {
		return err
	}
	res, err := history.Check(r.history.Ops(), history.Limits{})
	if err != nil {
		return fmt.Errorf("check history: %w", err)
	}
	h := &HistoryReport{
		Workload: r.history.Describe(), File: r.cfg.History, Operations: res.Operations, Outcomes: res.Outcomes, Kinds: res.Kinds,
		Keys: res.Keys, Objects: res.Objects, Violations: len(res.Violations), Anomalies: res.Anomalies(), Undecided: len(res.Undecided),
		Unread: r.history.Unread(), Skipped: r.history.Skipped(),
	}
	for i := range res.Violations[:min(len(res.Violations), samplesShown)] {
		h.Samples = append(h.Samples, res.Violations[i].String())
	}
	for _, u := range res.Undecided[:min(len(res.Undecided), samplesShown)] {
		h.Samples = append(h.Samples, fmt.Sprintf("undecided: %s of key %s with %d operations: %s", u.Object, u.Key, u.Operations, u.Why))
	}
	r.report.History = h
	r.screen.line("history: %d operations %v on %d keys, violations %d %v, undecided %d; stored in %s",
		h.Operations, h.Outcomes, h.Keys, h.Violations, h.Anomalies, h.Undecided, h.File)
	return nil
}

// broken are the promises that a history shows to be broken, and those of the
// checker itself: it has seen enough, and judged all of it.
func (h *HistoryReport) broken(all *reasons) {
	if h == nil {
		return
	}
	var names []string
	for _, a := range slices.Sorted(maps.Keys(h.Anomalies)) {
		names = append(names, fmt.Sprintf("%s %d", a, h.Anomalies[a]))
	}
	first := ""
	if len(h.Samples) > 0 {
		first = h.Samples[0]
	}
	all.broken(h.Violations > 0, "%d notes or baskets have a history that no order explains: %s (first: %s)", h.Violations, strings.Join(names, ", "), first)
	all.broken(h.Undecided > 0, "%d histories could not be decided (first: %s)", h.Undecided, first)
	all.broken(h.Unread > 0, "%d notes or baskets could not be read at the end", h.Unread)
	all.broken(h.Skipped > int64(h.Operations), "%d operations were left out of the histories, more than were done (%d)", h.Skipped, h.Operations)
	for _, k := range []history.Kind{history.Read, history.Write, history.CAS, history.Append, history.List} {
		all.broken(h.Kinds[string(k)] == 0, "no %s stands in the histories", k)
	}
}
