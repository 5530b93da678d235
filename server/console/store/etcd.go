package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// EtcdConfig describes one member of the console's etcd.
type EtcdConfig struct {
	Name string // of the member, unique in its cluster
	Dir  string // data directory; one process at a time
	// PeerListen is the host:port that other members reach this one at. Empty:
	// the only member, which listens nowhere.
	PeerListen string
	// InitialCluster is "name=http://host:port,…" of all members at the first
	// start. Empty: this member alone.
	InitialCluster string
	StartTimeout   time.Duration // 30 s when zero
	Logger         *slog.Logger  // errors of etcd go here; nil: nowhere
}

// Etcd is the Store inside this process. It has no client port: nothing but
// the console writes it.
type Etcd struct {
	server *embed.Etcd
	client *clientv3.Client
	lock   *os.File
	quiet  *atomic.Bool
}

var _ Store = (*Etcd)(nil)

// Etcd's own limits stand above ours, so that ours speak first. Its history is
// kept for an hour: a watch that lags more lists again.
const (
	etcdMaxRequestBytes = MaxTxnBytes + 1<<20
	etcdQuotaBytes      = 4 << 30
	etcdRetention       = "1h"
	defaultStart        = 30 * time.Second
	soleTickMs          = 20
	soleElectionMs      = 200
	soleMemberPeer      = "http://127.0.0.1:2380" // a name in the member list; nobody listens there
)

// OpenEtcd starts the member and returns once it serves. Close stops it.
func OpenEtcd(ctx context.Context, cfg EtcdConfig) (*Etcd, error) {
	ec, quiet, err := etcdConfig(cfg)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	server, err := embed.StartEtcd(ec)
	if err != nil {
		quiet.Store(true)
		lock.Close()
		return nil, fmt.Errorf("start the store in %s: %w", cfg.Dir, err)
	}
	e := &Etcd{server: server, lock: lock, quiet: quiet}
	timeout := cfg.StartTimeout
	if timeout == 0 {
		timeout = defaultStart
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-server.Server.ReadyNotify():
		e.client = v3client.New(server.Server)
		return e, nil
	case err = <-server.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = fmt.Errorf("no quorum within %v: %w", timeout, ErrUnavailable)
	}
	e.Close()
	return nil, fmt.Errorf("start the store in %s: %w", cfg.Dir, err)
}

func etcdConfig(cfg EtcdConfig) (*embed.Config, *atomic.Bool, error) {
	if cfg.Name == "" || cfg.Dir == "" {
		return nil, nil, errors.New("a store needs a name and a directory")
	}
	peer := soleMemberPeer
	if cfg.PeerListen != "" {
		if err := portFree(cfg.PeerListen); err != nil {
			return nil, nil, err
		}
		peer = "http://" + cfg.PeerListen
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return nil, nil, fmt.Errorf("peer address %s: %w", cfg.PeerListen, err)
	}
	ec := embed.NewConfig()
	ec.Name, ec.Dir = cfg.Name, filepath.Join(cfg.Dir, "etcd")
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, nil
	ec.ListenPeerUrls = nil
	if cfg.PeerListen != "" {
		ec.ListenPeerUrls = []url.URL{*peerURL}
	}
	ec.AdvertisePeerUrls = []url.URL{*peerURL}
	ec.InitialCluster = cfg.InitialCluster
	if ec.InitialCluster == "" {
		ec.InitialCluster = cfg.Name + "=" + peer
		// A member that is alone has nobody to wait for at its start.
		ec.TickMs, ec.ElectionMs = soleTickMs, soleElectionMs
	}
	ec.MaxTxnOps, ec.MaxRequestBytes = MaxTxnOps, etcdMaxRequestBytes
	ec.QuotaBackendBytes = etcdQuotaBytes
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModePeriodic, etcdRetention
	quiet := &atomic.Bool{}
	logger := zapTo(cfg.Logger, quiet)
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	return ec, quiet, nil
}

// portFree says in one line what etcd would say in several.
func portFree(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for other consoles on %s: %w", address, err)
	}
	return l.Close()
}

// lockDir keeps a second process out of the directory. etcd itself would wait
// for the first without a word.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store's directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("store directory %s is in use by another process (stop that one, or take another --dir)", dir)
	}
	return f, nil
}

// Failed delivers the error of a member that stopped by itself. Without one
// the process must end: what it would answer is no longer the truth.
func (e *Etcd) Failed() <-chan error { return e.server.Err() }

// Close stops the member. What was committed is on disk.
func (e *Etcd) Close() {
	e.quiet.Store(true)
	if e.client != nil {
		e.client.Close()
	}
	e.server.Close()
	e.lock.Close()
}

// Get implements Store.
func (e *Etcd) Get(ctx context.Context, key string) (Item, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	r, err := e.client.Get(ctx, key)
	if err != nil {
		return Item{}, fmt.Errorf("get %s: %w", key, storeError(err))
	}
	if len(r.Kvs) == 0 {
		return Item{Key: key}, nil
	}
	kv := r.Kvs[0]
	return Item{Key: key, Value: kv.Value, Revision: kv.ModRevision, Created: kv.CreateRevision}, nil
}

// List implements Store.
func (e *Etcd) List(ctx context.Context, prefix string, revision int64) (Listing, error) {
	l, err := e.list(ctx, prefix, clientv3.WithRev(revision))
	if revision != 0 {
		l.Revision = revision
	}
	return l, err
}

// Keys implements Store.
func (e *Etcd) Keys(ctx context.Context, prefix string) (Listing, error) {
	return e.list(ctx, prefix, clientv3.WithKeysOnly())
}

func (e *Etcd) list(ctx context.Context, prefix string, option clientv3.OpOption) (Listing, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	r, err := e.client.Get(ctx, prefix, clientv3.WithPrefix(), option)
	if err != nil {
		return Listing{}, fmt.Errorf("list %s: %w", prefix, storeError(err))
	}
	l := Listing{Revision: r.Header.Revision, Items: make([]Item, len(r.Kvs))}
	for i, kv := range r.Kvs {
		l.Items[i] = Item{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision, Created: kv.CreateRevision}
	}
	return l, nil
}

// Commit implements Store.
func (e *Etcd) Commit(ctx context.Context, t Txn) (int64, error) {
	if err := t.check(); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var compares []clientv3.Cmp
	var read, write []clientv3.Op
	for _, c := range t.If {
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.Revision))
		read = append(read, clientv3.OpGet(c.Key, clientv3.WithKeysOnly()))
	}
	for _, op := range t.Then {
		switch {
		case op.Delete:
			write = append(write, clientv3.OpDelete(op.Key))
		default:
			write = append(write, clientv3.OpPut(op.Key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease))))
		}
	}
	r, err := e.client.Txn(ctx).If(compares...).Then(write...).Else(read...).Commit()
	if err != nil {
		return 0, fmt.Errorf("commit: %w", storeError(err))
	}
	if r.Succeeded {
		return r.Header.Revision, nil
	}
	return 0, fmt.Errorf("commit: %w", conflictOf(t, r))
}

// conflictOf finds the compare that did not hold, from what the transaction
// read instead of writing.
func conflictOf(t Txn, r *clientv3.TxnResponse) error {
	for i, c := range t.If {
		found := int64(0)
		if kvs := r.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			found = kvs[0].ModRevision
		}
		if found != c.Revision {
			return &ConflictError{Key: c.Key}
		}
	}
	return ErrConflict
}

// Watch implements Store.
func (e *Etcd) Watch(ctx context.Context, prefix string, from int64) <-chan Changes {
	out := make(chan Changes)
	in := e.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(from))
	go func() {
		defer close(out)
		for r := range in {
			c := Changes{Revision: r.Header.Revision, Events: make([]Event, len(r.Events))}
			if err := r.Err(); err != nil {
				c.Err = fmt.Errorf("watch %s: %w", prefix, storeError(err))
			}
			for i, ev := range r.Events {
				c.Events[i] = Event{
					Item:    Item{Key: string(ev.Kv.Key), Value: ev.Kv.Value, Revision: ev.Kv.ModRevision, Created: ev.Kv.CreateRevision},
					Deleted: ev.Type == clientv3.EventTypeDelete,
				}
			}
			if len(c.Events) == 0 && c.Err == nil {
				continue
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return // the client stops its side for the same ctx
			}
		}
		if ctx.Err() == nil {
			select {
			case out <- Changes{Err: fmt.Errorf("watch %s: %w", prefix, ErrUnavailable)}:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

type etcdLease struct {
	client *clientv3.Client
	id     clientv3.LeaseID
	cancel context.CancelFunc
	done   chan struct{}
}

// Grant implements Store.
func (e *Etcd) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	asking, cancelAsk := bounded(ctx)
	defer cancelAsk()
	seconds := int64(max(ttl, time.Second) / time.Second)
	r, err := e.client.Grant(asking, seconds)
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", storeError(err))
	}
	// The renewal outlives the request: Revoke or Close ends it.
	renewing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	renewals, err := e.client.KeepAlive(renewing, r.ID)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("renew a lease: %w", storeError(err))
	}
	l := &etcdLease{client: e.client, id: r.ID, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for range renewals { // ends when the lease has, by the client's own clock too
		}
	}()
	return l, nil
}

func (l *etcdLease) ID() int64             { return int64(l.id) }
func (l *etcdLease) Done() <-chan struct{} { return l.done }

func (l *etcdLease) Revoke(ctx context.Context) error {
	defer func() { l.cancel(); <-l.done }()
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := l.client.Revoke(ctx, l.id)
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoke a lease: %w", storeError(err))
	}
	return nil
}

// storeError turns etcd's errors into the seam's. A caller's own cancellation
// stays what it is.
func storeError(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("%w: %w", ErrCompacted, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
