package ids

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/idgen"
	"github.com/atoll-live/atoll/sdk/console"
)

// anyWorker asks for the number that the holder has, or for one that is free.
const anyWorker = -1

// retryMax is the longest pause between two calls that fail.
const retryMax = 2 * time.Second

// Worker makes ids for one process.
type Worker struct {
	cfg     Config
	clients []*console.Client // one for each console
	at      int               // of clients, the one in use
	now     atomic.Pointer[lease]
	wake    chan struct{} // somebody found no id
}

// lease is one worker number that this process holds.
type lease struct {
	worker    int32
	from      int64 // first tick of it; another one means that somebody had it in between
	generator *idgen.Generator
}

// New makes a worker. It has no ids before Run has reserved time.
func New(cfg Config) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("id worker: %w", err)
	}
	cfg = cfg.withDefaults()
	if cfg.Holder == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails: see crypto/rand
		cfg.Holder = hex.EncodeToString(b[:])
	}
	w := &Worker{cfg: cfg, wake: make(chan struct{}, 1)}
	for _, u := range cfg.Consoles {
		c, err := console.NewClient([]string{u}, cfg.Token)
		if err != nil {
			return nil, fmt.Errorf("id worker: %w", err)
		}
		w.clients = append(w.clients, c)
	}
	return w, nil
}

// Next makes an id for a bucket: idgen.ErrUnreserved while no time is
// reserved, idgen.ErrBusy when the bucket has had too many for a moment. It is
// safe for concurrent use and does not wait.
func (w *Worker) Next(bucket int) (int64, error) {
	l := w.now.Load()
	if l == nil {
		return 0, idgen.ErrUnreserved
	}
	id, err := l.generator.Next(bucket)
	if err == idgen.ErrUnreserved { //nolint:errorlint // the hot path; the generator does not wrap it
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return id, err
}

// Ready tells whether ids can be made.
func (w *Worker) Ready() bool { return w.now.Load() != nil }

// Run reserves time, and more of it while it is used up, until ctx ends. A
// console that does not answer is tried again for ever: ids are made for as
// long as time is reserved.
func (w *Worker) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.Check)
	defer tick.Stop()
	wait, failing := w.cfg.Check, false
	for ctx.Err() == nil {
		err := w.extend(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if failing {
				w.cfg.Log.Info("id worker has time reserved again")
			}
			wait, failing = w.cfg.Check, false
		case !failing:
			w.cfg.Log.Warn("id worker reserves no time, trying again", "err", err)
			wait, failing = 50*time.Millisecond, true
		default:
			wait = min(2*wait, retryMax)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-w.wake:
			if failing { // a wake is no reason to call a console faster
				<-t.C
			}
		case <-ctx.Done():
		}
		t.Stop()
	}
	return nil
}

// extend reserves more time when it is due. It always asks for any worker
// number: the console gives the one that this holder has. If that went to
// somebody else while no console was heard, it gives a new one, where to insist
// on the old number would in turn take it from its new holder.
func (w *Worker) extend(ctx context.Context) error {
	l := w.now.Load()
	until := idgen.Tick(w.cfg.Clock()) + w.ticks()
	if l != nil {
		var due bool
		if until, due = l.generator.Due(); !due {
			return nil
		}
	}
	got, err := w.ask(ctx, until)
	if err != nil {
		return err
	}
	if l == nil || got.GetWorker() != l.worker || got.GetFromTick() != l.from {
		return w.take(got)
	}
	l.generator.SetReservation(l.from, got.GetUntilTick())
	return nil
}

func (w *Worker) ticks() int64 { return int64(w.cfg.Reserve / idgen.TickLength) }

// take begins with a worker number. What was reserved under the former one is
// given up: nobody else ever uses it.
func (w *Worker) take(got *atollv1.LeaseWorkerResponse) error {
	g, err := idgen.New(idgen.Config{
		Unit: int(got.GetUnitNumber()), Worker: int(got.GetWorker()), Clock: w.cfg.Clock, Reserve: w.cfg.Reserve,
	})
	if err != nil {
		return fmt.Errorf("take id worker %d: %w", got.GetWorker(), err)
	}
	g.SetReservation(got.GetFromTick(), got.GetUntilTick())
	w.now.Store(&lease{worker: got.GetWorker(), from: got.GetFromTick(), generator: g})
	w.cfg.Log.Info("id worker taken", "worker", got.GetWorker(), "from_tick", got.GetFromTick())
	return nil
}

// ask makes one call, and leaves a console that does not answer for the next.
func (w *Worker) ask(ctx context.Context, until int64) (*atollv1.LeaseWorkerResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	res, err := w.clients[w.at].Planes().LeaseWorker(ctx, connect.NewRequest(&atollv1.LeaseWorkerRequest{
		Unit: w.cfg.Unit, Holder: w.cfg.Holder, Worker: anyWorker, UntilTick: until, NowTick: idgen.Tick(w.cfg.Clock()),
	}))
	if err != nil {
		w.at = (w.at + 1) % len(w.clients)
		return nil, fmt.Errorf("reserve id time: %w", err)
	}
	return res.Msg, nil
}
