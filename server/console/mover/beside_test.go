package mover

import (
	"context"
	"slices"
	"strings"
	"testing"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/space"
)

// TestCenterBeside: a move waits for the lane of a center that is neither end
// and writes tables that the new owner reads, and looks at it before it begins.
func TestCenterBeside(t *testing.T) {
	m := newSim(1, none, false).leader().mover
	draft := func(from, to, buckets string) (move.State, *space.Snapshot) {
		t.Helper()
		st, current, err := m.draft(context.Background(), &atollv1.MoveRequest{Space: simSpace, Rule: simRule, From: from, To: to, Buckets: buckets})
		if err != nil {
			t.Fatal(err)
		}
		return st, current.Snapshot
	}
	if st, _ := draft("unit-a", "unit-c", "0"); st.Center != "" {
		t.Errorf("a move from the center waits for %q besides", st.Center)
	}
	if st, _ := draft("unit-b", "unit-a", "1"); st.Center != "" {
		t.Errorf("a move to the center waits for %q besides", st.Center)
	}
	st, snapshot := draft("unit-b", "unit-c", "1")
	if st.Center != "unit-a" {
		t.Fatalf("a move beside the center waits for %q, want unit-a", st.Center)
	}
	checks := m.checks(st, snapshot)
	i := slices.IndexFunc(checks, func(c move.CheckResult) bool { return c.Name == lanesRunning })
	if checks[i].OK || !strings.Contains(checks[i].Detail, "unit-a>unit-c: nobody reports it") {
		t.Errorf("the check of lanes does not look at the center's: %+v", checks[i])
	}
	for name, change := range map[string]func(db *space.Database){
		"no center-unit table":            func(db *space.Database) { db.Spec.Tables = db.Spec.Tables[:1] },
		"the new owner has no such table": func(db *space.Database) { db.Spec.Sources = db.Spec.Sources[:2] },
	} {
		db := *snapshot.Databases[0]
		change(&db)
		other := *snapshot
		other.Databases = []*space.Database{&db}
		if got := beside(&other, "unit-b", "unit-c"); got != "" {
			t.Errorf("%s: the move waits for %q", name, got)
		}
	}
}
