package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/space"
)

// Plane is a process that obeys snapshots. The Agent calls Install and Ask
// from one goroutine; Report and Renew may come from several at once.
type Plane interface {
	// Install puts a snapshot in force. The Agent then stores it, and tells the
	// console of an epoch, and of acks that rest on it, once it is on disk: a
	// plane that told of an epoch has it after a crash. An error keeps the plane
	// at its former epoch; the Agent tries again.
	Install(ctx context.Context, s *space.Snapshot) error
	// Ask gives the plane all that is wanted of it now; it replaces the former
	// list. It must not block.
	Ask(asks []*atollv1.Ask)
	// Report fills in epochs in force, acks, lanes, figures and trouble. The
	// Agent adds name, incarnation, boot time and the figure "goroutines".
	Report(r *atollv1.ReportRequest)
	// Renew extends a lease: until is a boot time, guard.Forever for ever.
	Renew(space string, epoch int64, until time.Duration)
}

// Config says who the plane is and where its console stands.
type Config struct {
	URLs     []string       // consoles, tried in turn: "http://127.0.0.1:7400"
	Token    string         // bearer token, "" for none
	Identity *atollv1.Plane // name, kind, unit, cell, address; the incarnation is made by NewAgent when empty
	Dir      string         // where snapshots are kept; "" keeps none
	Interval time.Duration  // between reports, 1 s when zero
	Log      *slog.Logger
}

// How long the Agent waits before it gives up on one exchange.
const (
	reportTimeout = 3 * time.Second
	watchSilence  = 4 * time.Second // the console says something each second
	retryMax      = 2 * time.Second
	reportsAtOnce = 4 // an ack that comes to hold while a report travels does not wait for its answer
)

// Agent keeps one plane in touch with its console.
type Agent struct {
	cfg    Config
	plane  Plane
	client *Client
	disk   *disk
	poke   chan struct{}
	last   atomic.Int64 // boot time of the newest report: reports are told apart and ordered by it

	mu     sync.Mutex
	epochs map[string]int64 // space → epoch in force
	stored map[string]int64 // space → epoch that a crash leaves
}

// NewAgent starts nothing; Run does.
func NewAgent(cfg Config, p Plane) (*Agent, error) {
	if cfg.Identity == nil || cfg.Identity.GetName() == "" || cfg.Identity.GetKind() == "" {
		return nil, errors.New("agent: identity needs a name and a kind")
	}
	client, err := NewClient(cfg.URLs, cfg.Token)
	if err != nil {
		return nil, err
	}
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Identity.Incarnation == "" {
		cfg.Identity.Incarnation = newIncarnation()
	}
	if cfg.Identity.Pid == 0 {
		cfg.Identity.Pid = int64(os.Getpid())
	}
	return &Agent{cfg: cfg, plane: p, client: client, disk: newDisk(cfg.Dir), poke: make(chan struct{}, 1), epochs: map[string]int64{}, stored: map[string]int64{}}, nil
}

func newIncarnation() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}

// Incarnation is new at every start of the plane.
func (a *Agent) Incarnation() string { return a.cfg.Identity.GetIncarnation() }

// Poke makes the Agent report at once. It never blocks.
func (a *Agent) Poke() {
	select {
	case a.poke <- struct{}{}:
	default:
	}
}

// Run puts the stored snapshots in force, registers the plane, and watches and
// reports until ctx ends. It returns only for ctx, for a stored snapshot that
// cannot be read, or for a registration that the console refuses.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.installStored(ctx); err != nil {
		return err
	}
	if err := a.register(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(a.watch(ctx)) })
	wg.Go(func() { cancel(a.reports(ctx)) })
	wg.Wait()
	return context.Cause(ctx)
}

// register repeats until the console answers. A refusal is final.
func (a *Agent) register(ctx context.Context) error {
	for wait := retryMin; ; wait = backoff(ctx, wait) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		err := a.client.try(ctx, reportTimeout, func(ctx context.Context, s *services) error {
			_, err := s.planes.Register(ctx, connect.NewRequest(&atollv1.RegisterRequest{Plane: a.cfg.Identity}))
			return err
		})
		switch {
		case err == nil:
			return nil
		case refused(err):
			return fmt.Errorf("register plane %q: %w", a.cfg.Identity.GetName(), err)
		}
		a.cfg.Log.Warn("console does not answer, trying again", "err", err)
	}
}

// refused tells a refusal by the console from a failure on the way.
func refused(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeAlreadyExists, connect.CodePermissionDenied,
		connect.CodeUnauthenticated, connect.CodeFailedPrecondition, connect.CodeNotFound:
		return true
	default:
		return false
	}
}

// watch keeps a stream of snapshots and asks open. A stream that ends, or that
// says nothing for watchSilence, is opened again.
func (a *Agent) watch(ctx context.Context) error {
	wait := retryMin
	for ctx.Err() == nil {
		began := time.Now()
		err := a.watchOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > watchSilence {
			wait = retryMin
		}
		a.cfg.Log.Warn("watch of the console ended, opening it again", "err", err)
		a.client.next()
		wait = backoff(ctx, wait)
	}
	return context.Cause(ctx)
}

func (a *Agent) watchOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(watchSilence, func() { cancel(errors.New("the console is silent")) })
	defer silence.Stop()
	a.mu.Lock()
	epochs := maps.Clone(a.stored)
	a.mu.Unlock()
	stream, err := a.client.current().planes.Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{
		Plane: a.cfg.Identity.GetName(), Incarnation: a.Incarnation(), Unit: a.cfg.Identity.GetUnit(), Epochs: epochs,
	}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		silence.Stop() // an Install that waits for a database is no silence of the console
		if err := a.take(ctx, stream.Msg()); err != nil {
			return err
		}
		silence.Reset(watchSilence)
	}
	return errors.Join(stream.Err(), context.Cause(ctx))
}

func (a *Agent) take(ctx context.Context, m *atollv1.WatchResponse) error {
	for _, raw := range m.GetSnapshots() {
		s := new(space.Snapshot)
		if err := json.Unmarshal(raw, s); err != nil {
			return fmt.Errorf("decode snapshot: %w", err)
		}
		if err := a.install(ctx, s, raw); err != nil {
			return err
		}
	}
	if m.GetAsksSet() {
		a.plane.Ask(m.GetAsks())
	}
	if len(m.GetSnapshots()) > 0 || m.GetAsksSet() {
		a.Poke()
	}
	return nil
}

// install puts a snapshot in force and then stores it. What it allows has been
// published for everyone, and what it forbids is forbidden the sooner; nobody
// counts on this plane before report tells of it.
func (a *Agent) install(ctx context.Context, s *space.Snapshot, raw []byte) error {
	a.mu.Lock()
	inForce, stored := a.epochs[s.Space], a.stored[s.Space]
	a.mu.Unlock()
	if s.Epoch > inForce {
		if err := a.plane.Install(ctx, s); err != nil {
			return fmt.Errorf("install snapshot of %q at epoch %d: %w", s.Space, s.Epoch, err)
		}
	}
	if s.Epoch < inForce || s.Epoch <= stored {
		return nil
	}
	a.mu.Lock()
	a.epochs[s.Space] = s.Epoch
	a.mu.Unlock()
	if raw != nil {
		if err := a.disk.store(s.Space, raw); err != nil {
			return err
		}
	}
	a.mu.Lock()
	a.stored[s.Space] = s.Epoch
	a.mu.Unlock()
	return nil
}

// withhold takes out of a report what rests on snapshots that are not stored
// yet.
func (a *Agent) withhold(r *atollv1.ReportRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range r.GetSpaces() {
		s.Epoch = min(s.GetEpoch(), a.stored[s.GetSpace()])
	}
	r.Acks = slices.DeleteFunc(r.GetAcks(), func(k *atollv1.Ack) bool { return k.GetEpoch() > a.stored[k.GetSpace()] })
}

func (a *Agent) installStored(ctx context.Context) error {
	stored, err := a.disk.load()
	if err != nil {
		return err
	}
	for _, s := range stored {
		if err := a.install(ctx, s, nil); err != nil {
			a.cfg.Log.Warn("stored snapshot not in force, waiting for the console", "space", s.Space, "err", err)
		}
	}
	return nil
}

// reports sends a report each interval and at once after a Poke, at most
// reportsAtOnce on the way at a time; further ones wait for a free place and
// then say what holds at that moment.
func (a *Agent) reports(ctx context.Context) error {
	ticker := time.NewTicker(a.cfg.Interval)
	defer ticker.Stop()
	free := make(chan struct{}, reportsAtOnce)
	var wg sync.WaitGroup
	defer wg.Wait()
	refusal := make(chan error, 1)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-refusal:
			return err
		case <-ticker.C:
		case <-a.poke:
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wg.Go(func() {
			defer func() { <-free }()
			if err := a.report(ctx); err != nil && refused(err) {
				select {
				case refusal <- err:
				default:
				}
			}
		})
	}
}

func (a *Agent) report(ctx context.Context) error {
	sent := a.reportTime()
	r := &atollv1.ReportRequest{Plane: a.cfg.Identity.GetName(), Incarnation: a.Incarnation(), BoottimeNs: int64(sent)}
	a.plane.Report(r)
	if r.Figures == nil {
		r.Figures = map[string]int64{}
	}
	r.Figures["goroutines"] = int64(runtime.NumGoroutine())
	a.withhold(r)
	var answer *atollv1.ReportResponse
	err := a.client.try(ctx, reportTimeout, func(ctx context.Context, s *services) error {
		res, err := s.planes.Report(ctx, connect.NewRequest(r))
		if err == nil {
			answer = res.Msg
		}
		return err
	})
	if err != nil {
		a.cfg.Log.Debug("report not delivered", "err", err)
		return err
	}
	if answer.GetUnknownPlane() {
		return a.register(ctx)
	}
	for _, l := range answer.GetLeases() {
		until := guard.Forever
		if l.GetTtlNs() > 0 {
			until = sent + time.Duration(l.GetTtlNs())
		}
		a.plane.Renew(l.GetSpace(), l.GetEpoch(), until)
	}
	return nil
}

// reportTime is the boot time of a report, taken before its content is read.
// It strictly rises, so that the console can drop a report that was overtaken.
func (a *Agent) reportTime() time.Duration {
	for {
		last, now := a.last.Load(), int64(Boottime())
		if now <= last {
			now = last + 1
		}
		if a.last.CompareAndSwap(last, now) {
			return time.Duration(now)
		}
	}
}
