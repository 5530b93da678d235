package planes_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
)

func (w *world) worker(unit, holder string, worker int32, now, until int64) (*atollv1.LeaseWorkerResponse, error) {
	res, err := w.client.LeaseWorker(w.ctx, connect.NewRequest(&atollv1.LeaseWorkerRequest{
		Unit: unit, Holder: holder, Worker: worker, NowTick: now, UntilTick: until,
	}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func TestLeaseWorker(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct {
		unit, holder string
		worker       int32
		now, until   int64
		want         string
	}{
		{"unit-a", "first", -1, 1000, 1300, "worker 0 of unit 0: 1000–1300"},
		{"unit-a", "first", 0, 1100, 1400, "worker 0 of unit 0: 1000–1400"},  // extended
		{"unit-a", "first", -1, 1050, 1350, "worker 0 of unit 0: 1000–1400"}, // an answer that was lost
		{"unit-a", "other", -1, 1100, 1400, "worker 1 of unit 0: 1100–1400"},
		{"unit-b", "third", -1, 1100, 1400, "worker 0 of unit 1: 1100–1400"},
		// The process comes back with its clock stepped back: it begins after
		// everything that its former life may have used.
		{"unit-a", "again", 0, 500, 800, "worker 0 of unit 0: 1401–1701"},
		{"unit-a", "again", 0, 1600, 1900, "worker 0 of unit 0: 1401–1900"},
		// The former life lives on and asks: it gets ticks after those of the new.
		{"unit-a", "first", 0, 1600, 1900, "worker 0 of unit 0: 1901–2201"},
	} {
		res, err := w.worker(c.unit, c.holder, c.worker, c.now, c.until)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("worker %d of unit %d: %d–%d", res.GetWorker(), res.GetUnitNumber(), res.GetFromTick(), res.GetUntilTick())
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestLeaseWorker_KeepsItsPromiseOverARestart(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.worker("unit-a", "first", -1, 1000, 1300); err != nil {
		t.Fatal(err)
	}
	w.run(nil) // another console over the same store
	res, err := w.worker("unit-a", "second", 0, 10, 310)
	if err != nil || res.GetFromTick() != 1301 {
		t.Fatalf("%v, %v", res, err)
	}
}

// All workers and unit numbers taken at once, by many: none is given twice.
func TestLeaseWorker_ManyAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	var mu sync.Mutex
	taken := map[string]string{}
	numbers := map[int32]string{}
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			unit, holder := fmt.Sprint("unit-", i%4), fmt.Sprint("h", i)
			res, err := w.worker(unit, holder, -1, 1, 2)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			key := fmt.Sprint(unit, res.GetWorker())
			if taken[key] != "" {
				t.Errorf("%s is of %s and of %s", key, taken[key], holder)
			}
			taken[key] = holder
			if was := numbers[res.GetUnitNumber()]; was != "" && was != unit {
				t.Errorf("number %d is of %s and of %s", res.GetUnitNumber(), was, unit)
			}
			numbers[res.GetUnitNumber()] = unit
		})
	}
	wg.Wait()
	if len(numbers) != 4 {
		t.Errorf("numbers of four units: %v", numbers)
	}
}

func TestLeaseWorker_Limits(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct {
		unit, holder string
		worker       int32
		now, until   int64
	}{
		{"", "h", -1, 1, 2}, {"u", "", -1, 1, 2}, {"u", "h", -2, 1, 2}, {"u", "h", 64, 1, 2},
		{"u", "h", 0, 2, 1}, {"u", "h", 0, -1, 1}, {"u", "h", 0, 1, 1 << 30},
		{"u", "h", 0, 1 << 37, 1<<37 + 1}, // a clock a century ahead
	} {
		if _, err := w.worker(c.unit, c.holder, c.worker, c.now, c.until); code(err) != connect.CodeInvalidArgument {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for i := range 64 {
		if _, err := w.worker("u", fmt.Sprint(i), -1, 10, 20+int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.worker("u", "late", -1, 20, 30); code(err) != connect.CodeResourceExhausted {
		t.Errorf("a 65th worker: %v", err)
	}
	res, err := w.worker("u", "late", -1, 21, 30)
	if err != nil || res.GetWorker() != 0 || res.GetFromTick() != 21 {
		t.Errorf("a worker whose reservation is over: %v, %v", res, err)
	}
	for i := range 15 {
		if _, err := w.worker(fmt.Sprint("unit-", i), "h", -1, 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.worker("unit-too-many", "h", -1, 1, 2); code(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "16") {
		t.Errorf("a 17th unit: %v", err)
	}
}
