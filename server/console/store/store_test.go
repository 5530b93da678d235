package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/server/console/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openEtcd(t *testing.T, cfg store.EtcdConfig) *store.Etcd {
	t.Helper()
	s, err := store.OpenEtcd(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}

func TestEtcd(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s := openEtcd(t, store.EtcdConfig{Name: "one", Dir: t.TempDir()})
		t.Cleanup(s.Close)
		return s
	})
}

func TestMemoryWatchOfWhatIsCompacted(t *testing.T) {
	m := store.NewMemory()
	ctx := t.Context()
	rev, err := m.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/a", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	m.Compact(rev + 5)
	c := <-m.Watch(ctx, "/a", rev)
	if !errors.Is(c.Err, store.ErrCompacted) {
		t.Fatalf("watch of a compacted revision: %+v", c)
	}
	if _, err := m.List(ctx, "/a", rev); !errors.Is(err, store.ErrCompacted) {
		t.Fatalf("list of a compacted revision: %v", err)
	}
}

func TestMemoryDown(t *testing.T) {
	m := store.NewMemory()
	m.SetDown(true)
	if _, err := m.Get(context.Background(), "/a"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("get without quorum: %v", err)
	}
}

func TestLeadershipEndsWithItsLease(t *testing.T) {
	m := store.NewMemory()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := store.Campaign(ctx, m, "mover", "one", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	m.EndLeases()
	select {
	case <-l.Done():
	case <-ctx.Done():
		t.Fatal("the leadership outlives its lease")
	}
	if id, err := store.Leader(ctx, m, "mover"); err != nil || id != "" {
		t.Fatalf("leader %q, %v", id, err)
	}
}

func TestEtcdKeepsEverythingOverARestart(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	var log bytes.Buffer
	cfg := store.EtcdConfig{Name: "one", Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s := openEtcd(t, cfg)
	before, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/a", []byte("kept"))}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Campaign(ctx, s, "mover", "one", 60*time.Second); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openEtcd(t, cfg)
	defer s.Close()
	it, err := s.Get(ctx, "/a")
	if err != nil || string(it.Value) != "kept" || it.Revision != before {
		t.Fatalf("after the restart: %+v, %v", it, err)
	}
	after, err := s.Commit(ctx, store.Txn{If: []store.Compare{it.Unchanged()}, Then: []store.Op{store.Put("/a", nil)}})
	if err != nil || after <= before {
		t.Fatalf("revision %d after %d, %v", after, before, err)
	}
	// The member's own former leadership does not stand in its way.
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := store.Campaign(soon, s, "mover", "one", time.Second); err != nil {
		t.Fatalf("lead again after a restart: %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("an orderly close and start log:\n%s", log.String())
	}
}

func TestEtcdRefusesWhatItCannotHave(t *testing.T) {
	dir := t.TempDir()
	s := openEtcd(t, store.EtcdConfig{Name: "one", Dir: dir})
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		cfg  store.EtcdConfig
		want string
	}{
		{store.EtcdConfig{Name: "one", Dir: dir}, "is in use by another process"},
		{store.EtcdConfig{Name: "one", Dir: t.TempDir(), PeerListen: l.Addr().String()}, "address already in use"},
		{store.EtcdConfig{Name: "one", Dir: "/proc/no/such"}, "make the store's directory"},
		{store.EtcdConfig{Name: "one"}, "needs a name and a directory"},
	} {
		_, err := store.OpenEtcd(context.Background(), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want one line with %q", c.cfg, err, c.want)
		}
	}
}

func TestKeysKeepTheirLevel(t *testing.T) {
	for _, name := range []string{"shop", "a/b", "active", "ü %2F?", ".."} {
		key := store.MoveKey("s/p", name)
		if got := store.Name(key); got != name {
			t.Errorf("%q comes back as %q", name, got)
		}
		if !strings.HasPrefix(key, store.MoveSpacePrefix("s/p")+"id/") || strings.Count(key, "/") != 5 {
			t.Errorf("%q leaves its level: %s", name, key)
		}
	}
	if store.HistoryKey("Database", "shop", 9) >= store.HistoryKey("Database", "shop", 10) {
		t.Error("history keys are not in the order of epochs")
	}
	if store.DocKey("MultiLiveSpace", "shop") != "/atoll/doc/multilivespace/shop" {
		t.Error(store.DocKey("MultiLiveSpace", "shop"))
	}
}

func TestPlaneRecord(t *testing.T) {
	m, ctx := store.NewMemory(), context.Background()
	var r store.PlaneRecord
	for i := range 20 {
		r = r.Replace(&atollv1.Plane{Name: "a/b", Kind: "gateway", Incarnation: fmt.Sprint(i)}, time.Unix(int64(i), 0).UTC())
	}
	op, err := r.Put()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Commit(ctx, store.Txn{Then: []store.Op{op}}); err != nil {
		t.Fatal(err)
	}
	list, _, err := store.Planes(ctx, m)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	got := list[0]
	if got.Plane.GetName() != "a/b" || got.Plane.GetIncarnation() != "19" || !got.Registered.Equal(time.Unix(19, 0)) || len(got.Former) != 16 || got.Former[15] != "18" {
		t.Errorf("%+v", got)
	}
	ops, err := got.Remove()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Commit(ctx, store.Txn{Then: ops}); err != nil {
		t.Fatal(err)
	}
	it, err := m.Get(ctx, store.FormerKey("a/b"))
	if err != nil {
		t.Fatal(err)
	}
	if former, err := store.ReadFormer(it); err != nil || len(former) != 16 || former[15] != "19" {
		t.Errorf("%v, %v", former, err)
	}
}

func FuzzReadPlane(f *testing.F) {
	f.Add([]byte(`{"plane":{"name":"a","pid":"7"},"registered":"2026-01-01T00:00:00Z","former":["x"]}`))
	f.Add([]byte(`{"plane":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, value []byte) {
		it := store.Item{Key: store.PlaneKey("a"), Value: value, Revision: 1}
		if r, err := store.ReadPlane(it); err == nil {
			if _, err := r.Put(); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
		_, _ = store.ReadFormer(it) // must not panic
	})
}
