package dbsync_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
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
		strays := query(t, w.sites[unit].db, fmt.Sprintf("SELECT id FROM orders WHERE id%%2=%d AND note='stray' ORDER BY id", i))
		parked := query(t, w.sites[other].db, "SELECT CAST(JSON_VALUE(change_json,'$.after.id') AS INT) AS id FROM atoll.parked WHERE lane='"+unit+">"+other+"' ORDER BY id")
		if strays != parked {
			t.Errorf("rows parked at %s, and rows that should be: %s", other, unlike(strings.Split(parked, "\n"), strings.Split(strays, "\n")))
		}
		if strays == "" {
			t.Errorf("%s wrote nothing", unit)
		}
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
