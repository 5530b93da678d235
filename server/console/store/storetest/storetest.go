package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/console/store"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// Run runs the suite. open returns an empty store that the test's cleanup
// closes.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for name, test := range map[string]func(*testing.T, context.Context, store.Store){
		"ReadsWhatWasWritten":      readsWhatWasWritten,
		"ListsAsOfARevision":       listsAsOfARevision,
		"KeysComeWithoutValues":    keysComeWithoutValues,
		"CommitsAllOrNothing":      commitsAllOrNothing,
		"OneOfManyWins":            oneOfManyWins,
		"RefusesTooMuch":           refusesTooMuch,
		"WatchesFromARevision":     watchesFromARevision,
		"WatchEndsWithItsContext":  watchEndsWithItsContext,
		"LeaseKeepsAndEndsKeys":    leaseKeepsAndEndsKeys,
		"ElectsOne":                electsOne,
		"ElectsOneAtATime":         electsOneAtATime,
		"FencesAFormerLeader":      fencesAFormerLeader,
		"TakesOverFromFormerLife":  takesOverFromFormerLife,
		"CandidateStopsByContext":  candidateStopsByContext,
		"AnswersACancelledContext": answersACancelledContext,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			test(t, ctx, open(t))
		})
	}
}

func put(t *testing.T, ctx context.Context, s store.Store, key, value string) int64 {
	t.Helper()
	rev, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put(key, []byte(value))}})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func get(t *testing.T, ctx context.Context, s store.Store, key string) store.Item {
	t.Helper()
	it, err := s.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func readsWhatWasWritten(t *testing.T, ctx context.Context, s store.Store) {
	if it := get(t, ctx, s, "/a"); it.Exists() || it.Key != "/a" {
		t.Fatalf("absent key: %+v", it)
	}
	first := put(t, ctx, s, "/a", "1")
	second := put(t, ctx, s, "/a", "2")
	if second <= first {
		t.Fatalf("revision fell from %d to %d", first, second)
	}
	it := get(t, ctx, s, "/a")
	if string(it.Value) != "2" || it.Revision != second || it.Created != first {
		t.Fatalf("got %+v, want value 2 of %d created %d", it, second, first)
	}
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Delete("/a"), store.Delete("/never")}}); err != nil {
		t.Fatal(err)
	}
	if it := get(t, ctx, s, "/a"); it.Exists() {
		t.Fatalf("deleted key: %+v", it)
	}
}

func listsAsOfARevision(t *testing.T, ctx context.Context, s store.Store) {
	put(t, ctx, s, "/l/b", "old")
	then := put(t, ctx, s, "/l/a", "old")
	put(t, ctx, s, "/l/a", "new")
	put(t, ctx, s, "/l/c", "new")
	put(t, ctx, s, "/lx", "other")
	for _, c := range []struct {
		at   int64
		want string
	}{{0, "/l/a=new /l/b=old /l/c=new"}, {then, "/l/a=old /l/b=old"}} {
		l, err := s.List(ctx, "/l/", c.at)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, it := range l.Items {
			got = append(got, it.Key+"="+string(it.Value))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("at %d: %v, want %s", c.at, got, c.want)
		}
		if l.Revision < then || (c.at != 0 && l.Revision != c.at) {
			t.Errorf("listing of %d is of revision %d", c.at, l.Revision)
		}
	}
}

func keysComeWithoutValues(t *testing.T, ctx context.Context, s store.Store) {
	put(t, ctx, s, "/k/b", "x")
	rev := put(t, ctx, s, "/k/a", "x")
	l, err := s.Keys(ctx, "/k/")
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Items) != 2 || l.Items[0].Key != "/k/a" || l.Items[0].Revision != rev || len(l.Items[0].Value) != 0 || l.Revision < rev {
		t.Fatalf("keys: %+v", l)
	}
}

func commitsAllOrNothing(t *testing.T, ctx context.Context, s store.Store) {
	held := put(t, ctx, s, "/held", "x")
	put(t, ctx, s, "/moved", "x")
	_, err := s.Commit(ctx, store.Txn{
		If:   []store.Compare{{Key: "/held", Revision: held}, store.Absent("/free"), {Key: "/moved", Revision: held}},
		Then: []store.Op{store.Put("/free", nil), store.Delete("/held")},
	})
	var conflict *store.ConflictError
	if !errors.Is(err, store.ErrConflict) || !errors.As(err, &conflict) || conflict.Key != "/moved" {
		t.Fatalf("conflict on /moved: %v", err)
	}
	if get(t, ctx, s, "/free").Exists() || !get(t, ctx, s, "/held").Exists() {
		t.Fatal("a refused transaction wrote")
	}
	rev, err := s.Commit(ctx, store.Txn{
		If:   []store.Compare{get(t, ctx, s, "/held").Unchanged(), get(t, ctx, s, "/free").Unchanged()},
		Then: []store.Op{store.Put("/free", []byte("y")), store.Delete("/held")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if it := get(t, ctx, s, "/free"); it.Revision != rev {
		t.Fatalf("%+v, want revision %d", it, rev)
	}
	_, err = s.Commit(ctx, store.Txn{If: []store.Compare{store.Absent("/free")}, Then: []store.Op{store.Put("/free", nil)}})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("create of what is there: %v", err)
	}
}

func oneOfManyWins(t *testing.T, ctx context.Context, s store.Store) {
	const writers, rounds = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				it, err := s.Get(ctx, "/counter")
				if err != nil {
					t.Error(err)
					return
				}
				next := append(bytes.Clone(it.Value), '+')
				_, err = s.Commit(ctx, store.Txn{If: []store.Compare{it.Unchanged()}, Then: []store.Op{store.Put("/counter", next)}})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(get(t, ctx, s, "/counter").Value); n != writers*rounds {
		t.Fatalf("%d increments, want %d", n, writers*rounds)
	}
}

func refusesTooMuch(t *testing.T, ctx context.Context, s store.Store) {
	_, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/big", make([]byte, store.MaxTxnBytes))}})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("too many bytes: %v", err)
	}
	ops := make([]store.Op, store.MaxTxnOps+1)
	for i := range ops {
		ops[i] = store.Put(fmt.Sprintf("/many/%d", i), nil)
	}
	if _, err := s.Commit(ctx, store.Txn{Then: ops}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("too many operations: %v", err)
	}
	ops = ops[:store.MaxTxnOps]
	ops[0].Value = make([]byte, store.MaxTxnBytes-64*store.MaxTxnOps)
	if _, err := s.Commit(ctx, store.Txn{Then: ops}); err != nil {
		t.Errorf("as much as is allowed: %v", err)
	}
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/twice", nil), store.Delete("/twice")}}); err == nil {
		t.Error("one key written twice was taken")
	}
}

// collect reads a watch until it has delivered n events.
func collect(t *testing.T, ctx context.Context, changes <-chan store.Changes, n int) []string {
	t.Helper()
	var got []string
	last := int64(0)
	for len(got) < n {
		select {
		case c, ok := <-changes:
			if !ok || c.Err != nil {
				t.Fatalf("watch ended after %v: %v", got, c.Err)
			}
			for _, e := range c.Events {
				if e.Item.Revision < last {
					t.Fatalf("revision fell from %d to %d", last, e.Item.Revision)
				}
				last = e.Item.Revision
				sign := "="
				if e.Deleted {
					sign = "-"
				}
				got = append(got, e.Item.Key+sign+string(e.Item.Value))
			}
			if c.Revision < last {
				t.Fatalf("changes say revision %d and hold %d", c.Revision, last)
			}
		case <-ctx.Done():
			t.Fatalf("watch delivered only %v", got)
		}
	}
	return got
}

func watchesFromARevision(t *testing.T, ctx context.Context, s store.Store) {
	put(t, ctx, s, "/w/old", "0")
	from := put(t, ctx, s, "/w/a", "1")
	put(t, ctx, s, "/other", "x")
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/w/a", []byte("2")), store.Put("/w/b", []byte("2"))}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := s.Watch(ctx, "/w/", from)
	if got := fmt.Sprint(collect(t, ctx, changes, 3)); got != "[/w/a=1 /w/a=2 /w/b=2]" {
		t.Fatalf("the past: %s", got)
	}
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Delete("/w/a")}}); err != nil {
		t.Fatal(err)
	}
	put(t, ctx, s, "/w/c", "3")
	if got := fmt.Sprint(collect(t, ctx, changes, 2)); got != "[/w/a- /w/c=3]" {
		t.Fatalf("the present: %s", got)
	}
	const many = 500
	var writer sync.WaitGroup
	defer writer.Wait() // an event can come before the answer to its commit
	writer.Go(func() {
		for i := range many {
			if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/w/n", []byte{byte(i)})}}); err != nil {
				t.Error(err)
			}
		}
	})
	if got := collect(t, ctx, changes, many); len(got) != many {
		t.Fatalf("%d events of %d", len(got), many)
	}
}

func watchEndsWithItsContext(t *testing.T, ctx context.Context, s store.Store) {
	watching, cancel := context.WithCancel(ctx)
	changes := s.Watch(watching, "/e/", 1)
	put(t, ctx, s, "/e/a", "1")
	collect(t, ctx, changes, 1)
	cancel()
	for {
		select {
		case c, ok := <-changes:
			if !ok {
				return
			}
			if c.Err != nil && ctx.Err() == nil {
				t.Fatalf("a watch that its context ended reports %v", c.Err)
			}
		case <-ctx.Done():
			t.Fatal("the watch goes on after its context")
		}
	}
}

func leaseKeepsAndEndsKeys(t *testing.T, ctx context.Context, s store.Store) {
	lease, err := s.Grant(ctx, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	op := store.Put("/lease/a", []byte("1"))
	op.Lease = lease.ID()
	rev, err := s.Commit(ctx, store.Txn{Then: []store.Op{op}})
	if err != nil {
		t.Fatal(err)
	}
	if !get(t, ctx, s, "/lease/a").Exists() {
		t.Fatal("key of a live lease is gone")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := s.Watch(ctx, "/lease/", rev+1)
	if err := lease.Revoke(ctx); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(collect(t, ctx, changes, 1)); got != "[/lease/a-]" {
		t.Fatalf("after the lease: %s", got)
	}
	await(t, ctx, lease.Done(), "a revoked lease to be done")
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{op}}); err == nil {
		t.Fatal("a key was put under an ended lease")
	}
}

func await(t *testing.T, ctx context.Context, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatalf("waited in vain for %s", what)
	}
}

func campaign(t *testing.T, ctx context.Context, s store.Store, id string) *store.Leadership {
	t.Helper()
	l, err := store.Campaign(ctx, s, "mover", id, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func electsOne(t *testing.T, ctx context.Context, s store.Store) {
	first := campaign(t, ctx, s, "one")
	put(t, ctx, s, store.LeaderKey("mover2"), "a neighbour's key changes")
	won := make(chan *store.Leadership, 1)
	go func() {
		l, err := store.Campaign(ctx, s, "mover", "two", 5*time.Second)
		if err != nil {
			t.Error(err)
		}
		won <- l
	}()
	if id, err := store.Leader(ctx, s, "mover"); err != nil || id != "one" {
		t.Fatalf("leader %q, %v", id, err)
	}
	if _, err := s.Commit(ctx, store.Txn{If: []store.Compare{first.Compare()}, Then: []store.Op{store.Put("/led", nil)}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-won:
		t.Fatal("two lead")
	default:
	}
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, first.Done(), "a resigned leadership to be done")
	second := <-won
	if second == nil {
		t.Fatal("nobody leads")
	}
	if second.Term() <= first.Term() {
		t.Fatalf("term fell from %d to %d", first.Term(), second.Term())
	}
	if err := second.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if id, err := store.Leader(ctx, s, "mover"); err != nil || id != "" {
		t.Fatalf("leader %q after all resigned, %v", id, err)
	}
}

// Everybody leads in turn, and while one does nobody else can write as leader.
func electsOneAtATime(t *testing.T, ctx context.Context, s store.Store) {
	const members = 6
	var leading atomic.Int32
	var wg sync.WaitGroup
	for i := range members {
		wg.Go(func() {
			l, err := store.Campaign(ctx, s, "mover", fmt.Sprint("member", i), 5*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			if n := leading.Add(1); n != 1 {
				t.Errorf("%d lead at once", n)
			}
			if _, err := s.Commit(ctx, store.Txn{If: []store.Compare{l.Compare()}, Then: []store.Op{store.Put("/led", nil)}}); err != nil {
				t.Error(err)
			}
			leading.Add(-1)
			if err := l.Resign(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func fencesAFormerLeader(t *testing.T, ctx context.Context, s store.Store) {
	former := campaign(t, ctx, s, "one")
	if err := former.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	campaign(t, ctx, s, "two")
	_, err := s.Commit(ctx, store.Txn{If: []store.Compare{former.Compare()}, Then: []store.Op{store.Put("/zombie", nil)}})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a former leader wrote: %v", err)
	}
}

func takesOverFromFormerLife(t *testing.T, ctx context.Context, s store.Store) {
	former := campaign(t, ctx, s, "one")
	again := campaign(t, ctx, s, "one")
	_, err := s.Commit(ctx, store.Txn{If: []store.Compare{former.Compare()}, Then: []store.Op{store.Put("/zombie", nil)}})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a former life wrote: %v", err)
	}
	// The former life's lease must not take the key of the new one with it.
	if err := former.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, store.Txn{If: []store.Compare{again.Compare()}, Then: []store.Op{store.Put("/led", nil)}}); err != nil {
		t.Fatal(err)
	}
}

func candidateStopsByContext(t *testing.T, ctx context.Context, s store.Store) {
	campaign(t, ctx, s, "one")
	waiting, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := store.Campaign(waiting, s, "mover", "two", 5*time.Second)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("a stopped candidate: %v", err)
	}
}

func answersACancelledContext(t *testing.T, ctx context.Context, s store.Store) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Get(ctx, "/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/a", nil)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
}
