package idgen

import (
	"errors"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func fixed(t time.Time) func() time.Time { return func() time.Time { return t } }

func newGenerator(t testing.TB, clock func() time.Time) *Generator {
	t.Helper()
	g, err := New(Config{Unit: 3, Worker: 17, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLayout(t *testing.T) {
	g := newGenerator(t, fixed(start))
	now := Tick(start)
	g.SetReservation(now, now+100)
	for i := range 5 {
		id, err := g.Next(9999)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		want := Parts{Tick: now + int64(i)/2, Unit: 3, Worker: 17, Sequence: i % 2, Bucket: 9999}
		want.Time = TickTime(want.Tick)
		if p != want {
			t.Errorf("id %d: %+v, want %+v", i, p, want)
		}
		if id&16383 != 9999 || Bucket(id) != 9999 {
			t.Errorf("id %d: the bucket is not its low 14 bits", id)
		}
	}
	if timeBits+unitBits+workerBits+sequenceBits+bucketBits != 63 {
		t.Error("the layout has not 63 bits")
	}
	if _, err := Parse(-1); err == nil {
		t.Error("a negative id was parsed")
	}
	if got := TickTime(MaxTick).Year(); got != 2303 {
		t.Errorf("the last tick is in %d", got)
	}
	if !TickTime(now).Before(start.Add(1)) || start.Sub(TickTime(now)) >= TickLength {
		t.Errorf("tick %d begins %s", now, TickTime(now))
	}
}

func TestLimits(t *testing.T) {
	now := Tick(start)
	g := newGenerator(t, fixed(start))
	if _, err := g.Next(1); !errors.Is(err, ErrUnreserved) {
		t.Errorf("without a reservation: %v", err)
	}
	g.SetReservation(now, now+1)
	for i := range 4 {
		if _, err := g.Next(1); err != nil {
			t.Fatalf("id %d: %v", i, err)
		}
	}
	if _, err := g.Next(1); !errors.Is(err, ErrUnreserved) {
		t.Errorf("beyond the reservation: %v", err)
	}
	if _, err := g.Next(2); err != nil {
		t.Errorf("another bucket: %v", err)
	}
	g.SetReservation(now, now+1_000_000)
	n := 4
	for ; ; n++ {
		if _, err := g.Next(1); err != nil {
			if !errors.Is(err, ErrBusy) {
				t.Errorf("burst: %v", err)
			}
			break
		}
	}
	if n != 2*(63+1) { // this tick and 2 s = 63 ticks ahead
		t.Errorf("a burst of %d ids", n)
	}
	g.SetReservation(0, 0) // neither end goes down
	if _, err := g.Next(3); err != nil {
		t.Errorf("after a lower reservation: %v", err)
	}
	for _, bucket := range []int{-1, MaxBucket + 1} {
		if _, err := g.Next(bucket); err == nil {
			t.Errorf("bucket %d was taken", bucket)
		}
	}
}

func TestDue(t *testing.T) {
	now := Tick(start)
	at := start
	g := newGenerator(t, func() time.Time { return at })
	until, due := g.Due()
	if !due || until != now+313 { // 10 s
		t.Fatalf("at first: until %d, due %v", until-now, due)
	}
	g.SetReservation(now, until)
	if _, due := g.Due(); due {
		t.Error("due at once again")
	}
	at = start.Add(4 * time.Second)
	if until, due := g.Due(); !due || until <= now+313 {
		t.Errorf("after 4 s: until %d, due %v", until-now, due)
	}
	g.SetReservation(now+10_000, now+10_100) // taken over behind another's time
	if until, _ := g.Due(); until != now+10_000+313 {
		t.Errorf("after a take-over: until %d", until-now)
	}
	id, err := g.Next(0)
	if p, _ := Parse(id); err != nil || p.Tick != now+10_000 {
		t.Errorf("first tick after a take-over: %d, %v", p.Tick-now, err)
	}
}

func TestRefusesConfig(t *testing.T) {
	for _, c := range []Config{
		{Unit: 16, Clock: time.Now}, {Unit: -1, Clock: time.Now}, {Worker: 64, Clock: time.Now},
		{Worker: -1, Clock: time.Now}, {}, {Clock: time.Now, Borrow: -1}, {Clock: time.Now, Reserve: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// Many goroutines on one bucket, and a reservation that grows meanwhile, never
// give one id twice.
func TestConcurrent(t *testing.T) {
	const workers, each = 8, 30_000
	g, err := New(Config{Clock: fixed(start), Borrow: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	now := Tick(start)
	g.SetReservation(now, now)
	got := make([][]int64, workers)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			<-begin
			for until := now; len(got[w]) < each; {
				id, err := g.Next(7)
				if err != nil {
					until += 1000
					g.SetReservation(now, until)
					continue
				}
				got[w] = append(got[w], id)
			}
		})
	}
	close(begin)
	wg.Wait()
	seen := make(map[int64]bool, workers*each)
	for _, ids := range got {
		last := int64(0)
		for _, id := range ids {
			if seen[id] {
				t.Fatalf("id %d stands twice", id)
			}
			if id <= last {
				t.Fatalf("id %d after %d", id, last)
			}
			seen[id], last = true, id
		}
	}
}

// store is the console's side: what is reserved, for ever, per worker.
type store struct{ until int64 }

func (s *store) takeOver(now, until int64) (int64, int64) {
	from := max(now, s.until+1)
	s.until = max(from, until)
	return from, s.until
}

func (s *store) extend(until int64) int64 {
	s.until = max(s.until, until)
	return s.until
}

// A worker that restarts at any time, with a clock that steps anywhere, makes
// no id twice, and its ids of one bucket only rise.
func TestRestartsAndClockSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := start
		clock := func() time.Time { return at }
		s := &store{until: -1}
		var g *Generator
		var from int64
		restart := func() {
			var err error
			if g, err = New(Config{Unit: 1, Worker: 1, Clock: clock}); err != nil {
				t.Fatal(err)
			}
			until, _ := g.Due()
			from, until = s.takeOver(Tick(at), until)
			g.SetReservation(from, until)
		}
		restart()
		seen := map[int64]bool{}
		last := map[int]int64{}
		t.Repeat(map[string]func(*rapid.T){
			"next": func(t *rapid.T) {
				bucket := rapid.IntRange(0, 2).Draw(t, "bucket")
				for range rapid.IntRange(1, 200).Draw(t, "ids") {
					id, err := g.Next(bucket)
					if err != nil {
						return
					}
					if seen[id] || id <= last[bucket] {
						t.Fatalf("id %d after %d, seen %v", id, last[bucket], seen[id])
					}
					seen[id], last[bucket] = true, id
				}
			},
			"clock": func(t *rapid.T) {
				at = at.Add(time.Duration(rapid.IntRange(-20_000, 20_000).Draw(t, "ms")) * time.Millisecond)
			},
			"reserve": func(*rapid.T) {
				if until, due := g.Due(); due {
					g.SetReservation(from, s.extend(until))
				}
			},
			"restart": func(*rapid.T) { restart() },
		})
	})
}

func TestNextDoesNotAllocate(t *testing.T) {
	g := newGenerator(t, time.Now)
	g.SetReservation(0, MaxTick)
	bucket := 0
	if n := testing.AllocsPerRun(1000, func() {
		bucket = (bucket + 1) % 10_000
		if _, err := g.Next(bucket); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations an id", n)
	}
}

func BenchmarkNext(b *testing.B) {
	g := newGenerator(b, time.Now)
	g.SetReservation(0, MaxTick)
	b.RunParallel(func(pb *testing.PB) {
		for bucket := 0; pb.Next(); bucket = (bucket + 1) % 10_000 {
			_, _ = g.Next(bucket)
		}
	})
}
