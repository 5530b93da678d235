package planes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/idgen"
	"github.com/atoll-live/atoll/server/console/store"
)

// What ids have room for, and how far ahead ticks are reserved at most.
const (
	Units        = idgen.MaxUnit + 1   // unit numbers, over all spaces
	Workers      = idgen.MaxWorker + 1 // workers of a unit
	MaxAhead     = 1 << 20             // ticks, nine hours
	workerRounds = 20                  // tries against others who take workers at the same time
)

// workerRecord is what stands under a WorkerKey. Ticks from From to Until are
// the holder's, and nobody else's ever.
type workerRecord struct {
	Holder string `json:"holder"`
	From   int64  `json:"from"`
	Until  int64  `json:"until"`
}

// LeaseWorker reserves ticks for one id worker of a unit. The reservation is
// durable before it is answered, and a new holder begins after everything that
// was ever reserved for the worker: so no clock that steps back, and no holder
// that lives on, makes an id twice. The same holder extends its reservation by
// asking again.
func (s *Service) LeaseWorker(ctx context.Context, r *connect.Request[atollv1.LeaseWorkerRequest]) (*connect.Response[atollv1.LeaseWorkerResponse], error) {
	m := r.Msg
	if err := checkWorker(m); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	unit, err := s.unitNumber(ctx, m.GetUnit())
	if err != nil {
		return nil, workerError(err)
	}
	for range workerRounds {
		worker, record, err := s.leaseWorker(ctx, m)
		switch {
		case err == nil:
			return connect.NewResponse(&atollv1.LeaseWorkerResponse{
				Worker: worker, FromTick: record.From, UntilTick: record.Until, UnitNumber: unit,
			}), nil
		case !errors.Is(err, store.ErrConflict):
			return nil, workerError(err)
		}
	}
	return nil, unavailable(fmt.Errorf("lease an id worker of %s: %d others were faster", m.GetUnit(), workerRounds))
}

func checkWorker(m *atollv1.LeaseWorkerRequest) error {
	switch {
	case m.GetUnit() == "" || m.GetHolder() == "" || len(m.GetUnit()) > maxName || len(m.GetHolder()) > maxName:
		return invalid("lease an id worker: unit and holder are needed, of at most %d bytes", maxName)
	case m.GetWorker() < -1 || m.GetWorker() >= Workers:
		return invalid("lease an id worker: worker %d is not in 0–%d (-1: any)", m.GetWorker(), Workers-1)
	case m.GetNowTick() < 0 || m.GetUntilTick() < m.GetNowTick():
		return invalid("lease an id worker: until tick %d is before tick %d", m.GetUntilTick(), m.GetNowTick())
	case m.GetUntilTick()-m.GetNowTick() > MaxAhead:
		return invalid("lease an id worker: %d ticks ahead, at most %d", m.GetUntilTick()-m.GetNowTick(), MaxAhead)
	case m.GetUntilTick() > idgen.Tick(time.Now())+MaxAhead:
		// Ticks once reserved are gone: a clock that runs ahead would use up the
		// worker's future.
		return invalid("lease an id worker: tick %d is hours ahead of the console's clock (set the holder's clock)", m.GetUntilTick())
	}
	return nil
}

func workerError(err error) error {
	if connect.CodeOf(err) != connect.CodeUnknown {
		return err
	}
	return unavailable(fmt.Errorf("lease an id worker: %w", err))
}

// unitNumber is the unit's number in ids, allotted at the first question.
func (s *Service) unitNumber(ctx context.Context, unit string) (int32, error) {
	for {
		l, err := s.cfg.Store.List(ctx, store.UnitNumberPrefix, 0)
		if err != nil {
			return 0, err
		}
		taken := map[string]bool{}
		for _, it := range l.Items {
			if string(it.Value) == unit {
				var n int32
				if _, err := fmt.Sscanf(store.Name(it.Key), "%d", &n); err != nil {
					return 0, fmt.Errorf("unit number %s: %w", it.Key, err)
				}
				return n, nil
			}
			taken[it.Key] = true
		}
		free := int32(0)
		for free < Units && taken[store.UnitNumberKey(free)] {
			free++
		}
		if free == Units {
			return 0, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("unit %q gets no number in ids: all %d are taken", unit, Units))
		}
		key := store.UnitNumberKey(free)
		// The compares of all numbers in use keep one unit from getting two.
		t := store.Txn{If: []store.Compare{store.Absent(key)}, Then: []store.Op{store.Put(key, []byte(unit))}}
		for _, it := range l.Items {
			t.If = append(t.If, it.Unchanged())
		}
		if _, err := s.cfg.Store.Commit(ctx, t); err != nil && !errors.Is(err, store.ErrConflict) {
			return 0, err
		}
	}
}

// leaseWorker makes one try. ErrConflict means that somebody else was faster.
func (s *Service) leaseWorker(ctx context.Context, m *atollv1.LeaseWorkerRequest) (int32, workerRecord, error) {
	l, err := s.cfg.Store.List(ctx, store.WorkerUnitPrefix(m.GetUnit()), 0)
	if err != nil {
		return 0, workerRecord{}, err
	}
	items := make([]store.Item, Workers)
	records := make([]workerRecord, Workers)
	for w := range items {
		items[w].Key = store.WorkerKey(m.GetUnit(), int32(w))
	}
	for _, it := range l.Items {
		var w int
		if _, err := fmt.Sscanf(store.Name(it.Key), "%d", &w); err != nil || w < 0 || w >= Workers {
			return 0, workerRecord{}, fmt.Errorf("id worker %s is not one", it.Key)
		}
		if err := json.Unmarshal(it.Value, &records[w]); err != nil {
			return 0, workerRecord{}, fmt.Errorf("id worker %s: %w", it.Key, err)
		}
		items[w] = it
	}
	w, err := chooseWorker(m, items, records)
	if err != nil {
		return 0, workerRecord{}, err
	}
	next := reserve(m, items[w].Exists(), records[w])
	raw, err := json.Marshal(next)
	if err != nil {
		return 0, workerRecord{}, err
	}
	_, err = s.cfg.Store.Commit(ctx, store.Txn{
		If: []store.Compare{items[w].Unchanged()}, Then: []store.Op{store.Put(items[w].Key, raw)},
	})
	return int32(w), next, err
}

// chooseWorker is the worker asked for; else the one that the holder has; else
// one never used; else the one whose reservation ended longest ago.
func chooseWorker(m *atollv1.LeaseWorkerRequest, items []store.Item, records []workerRecord) (int, error) {
	if m.GetWorker() >= 0 {
		return int(m.GetWorker()), nil
	}
	unused, oldest := -1, -1
	for w, r := range records {
		switch {
		case !items[w].Exists():
			if unused < 0 {
				unused = w
			}
		case r.Holder == m.GetHolder():
			return w, nil
		case r.Until < m.GetNowTick() && (oldest < 0 || r.Until < records[oldest].Until):
			oldest = w
		}
	}
	switch {
	case unused >= 0:
		return unused, nil
	case oldest >= 0:
		return oldest, nil
	}
	return 0, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("all %d id workers of unit %s are in use", Workers, m.GetUnit()))
}

func reserve(m *atollv1.LeaseWorkerRequest, exists bool, r workerRecord) workerRecord {
	if exists && r.Holder == m.GetHolder() {
		r.Until = max(r.Until, m.GetUntilTick())
		return r
	}
	next := workerRecord{Holder: m.GetHolder(), From: m.GetNowTick(), Until: m.GetUntilTick()}
	if exists {
		next.From = max(next.From, r.Until+1)
	}
	// A clock behind the reservation still gets as many ticks as it asked for.
	next.Until = max(next.Until, next.From+m.GetUntilTick()-m.GetNowTick())
	return next
}
