package dbsync_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/dbsync"
	"github.com/atoll-live/atoll/space"
)

// TestExactlyOnceUnderKills writes at both units while planes are ended at
// random points and servers are killed. Owned rows must end equal; rows that a
// unit does not own are parked, and a table of parked rows shows a group that
// was applied twice or never.
func TestExactlyOnceUnderKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, unit := range []string{"unit-a", "unit-b"} {
		own, foreign := w.keys(unit, 3), w.keys(unitName(1-i), 1)[0]
		wg.Go(func() { w.chatter(unit, own, foreign, i, stop) })
	}
	for round := range 10 {
		pause := time.NewTimer(time.Duration(200+random.IntN(300)) * time.Millisecond)
		<-pause.C
		unit := unitName(random.IntN(2))
		switch random.IntN(3) {
		case 0:
			w.sites[unit].server.Kill()
			w.sites[unit].server.Restart(t)
		case 1:
			w.sites[unit].stop()
			w.start(unit)
		case 2: // the plane loses its connections, not its mind
			w.hangUp(unit)
		}
		t.Logf("round %d: %s", round, unit)
	}
	close(stop)
	wg.Wait()
	w.idle()
	for i, unit := range []string{"unit-a", "unit-b"} {
		other := unitName(1 - i)
		owned := fmt.Sprintf("SELECT * FROM orders WHERE id%%2=%d AND note='own' ORDER BY id", i)
		w.same(owned, unit, other)
		w.strays(unit, other, i)
	}
}

// unlike lists what two sorted lists do not share.
func unlike(got, want []string) []string {
	count := map[string]int{}
	for _, g := range got {
		count[g]++
	}
	for _, g := range want {
		count[g]--
	}
	var out []string
	for g, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%s: %+d", g, n))
		}
	}
	slices.Sort(out)
	return out
}

// hangUp ends the connections of planes to a unit's server.
func (w *world) hangUp(unit string) {
	db := w.sites[unit].db
	ids := query(w.t, db, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER='atoll' AND ID<>CONNECTION_ID() AND DB IS NULL")
	for id := range strings.SplitSeq(ids, "\n") {
		_, _ = db.Exec("KILL " + id) // some end by themselves in between
	}
}

// chatter writes transactions until stop; an error is an unknown outcome, and
// what the unit's own table holds in the end is what counts.
func (w *world) chatter(unit string, own []string, foreign string, parity int, stop chan struct{}) {
	db := w.sites[unit].db
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		id := n*2 + parity
		tx, err := db.Begin()
		if err != nil {
			continue
		}
		_, err = tx.Exec("INSERT INTO orders VALUES (?,?,?,'own')", id, own[n%len(own)], n)
		if err == nil && n%3 == 0 {
			_, err = tx.Exec("UPDATE orders SET amount=amount+1 WHERE note='own' AND id%2=? AND id>?-20", parity, id)
		}
		if err == nil && n%7 == 0 {
			_, err = tx.Exec("DELETE FROM orders WHERE id=? AND note='own'", id-10)
		}
		if err == nil && n%10 == 0 {
			_, err = tx.Exec("INSERT INTO orders VALUES (?,?,0,'stray')", 1_000_000+id, foreign)
		}
		if err != nil {
			_ = tx.Rollback()
			continue
		}
		_ = tx.Commit()
	}
}

// laneProcess names, in its environment, the snapshot of a test binary that is
// started again as a plane of unit-b.
const laneProcess = "ATOLL_TEST_LANE_PROCESS"

func runLaneProcess(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	var snap space.Snapshot
	if err := json.Unmarshal(text, &snap); err != nil {
		panic(err)
	}
	s, err := dbsync.New(dbsync.Config{Unit: "unit-b", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	if err := s.Install(context.Background(), &snap); err != nil {
		panic(err)
	}
	if err := s.Run(context.Background()); err != nil {
		panic(err)
	}
}

// TestExactlyOnceUnderKillNine runs the plane as a process and kills it again
// and again, at random moments of a busy lane.
func TestExactlyOnceUnderKillNine(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.startAll()
	w.sites["unit-b"].stop()
	file := filepath.Join(t.TempDir(), "snapshot.json")
	text, err := json.Marshal(w.snap)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { w.chatter("unit-a", w.keys("unit-a", 3), w.keys("unit-b", 1)[0], 0, stop) })
	seq := func() int {
		n, err := strconv.Atoi(query(t, w.sites["unit-b"].db, "SELECT seq FROM atoll.lane WHERE lane='unit-a>unit-b'"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), laneProcess+"="+file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		from := seq()
		eventually(t, "the process works", func() (bool, string) { n := seq(); return n > from+rand.IntN(40), fmt.Sprint(n) })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	close(stop)
	wg.Wait()
	w.start("unit-b")
	w.running("unit-a", "unit-b")
	w.idle()
	w.same("SELECT * FROM orders WHERE note='own' ORDER BY id", "unit-a", "unit-b")
	w.strays("unit-a", "unit-b", 0)
}

// strays compares the rows that a unit wrote without owning their keys with
// those parked at another.
func (w *world) strays(unit, other string, parity int) {
	w.t.Helper()
	want := query(w.t, w.sites[unit].db, fmt.Sprintf("SELECT id FROM orders WHERE id%%2=%d AND note='stray' ORDER BY id", parity))
	got := query(w.t, w.sites[other].db, "SELECT CAST(JSON_VALUE(change_json,'$.after.id') AS INT) AS id FROM atoll.parked WHERE lane='"+unit+">"+other+"' ORDER BY id")
	if got != want {
		w.t.Errorf("rows parked at %s, and rows that should be: %s", other, unlike(strings.Split(got, "\n"), strings.Split(want, "\n")))
	}
	if want == "" {
		w.t.Errorf("%s wrote nothing", unit)
	}
}

// TestStalledLinkResumes cuts a lane's link as a WAN is cut: nothing is reset,
// nothing comes through, new connections hang.
func TestStalledLinkResumes(t *testing.T) {
	w := newWorld(t, 2, ordersTable, ddlOrders, ddlProducts, ddlStock)
	w.sites["unit-b"].cfg.Idle = 1500 * time.Millisecond
	w.startAll()
	link := w.proxied("unit-a", "unit-b")
	k := w.keys("unit-a", 1)[0]
	for round := range 2 {
		link.stall()
		w.order("unit-a", k, round*10+1)
		eventually(t, "the lane sees the dead link", func() (bool, string) {
			l := w.lane("unit-a", "unit-b")
			return l.State == "waiting" && l.LagMs > 1500, l.String()
		})
		if round == 1 { // a plane that starts while the link is dead
			w.sites["unit-b"].stop()
			w.start("unit-b")
		}
		w.order("unit-a", k, round*10+2)
		link.heal()
		w.same(allOrders, "unit-a", "unit-b")
		w.running("unit-a", "unit-b")
	}
}
