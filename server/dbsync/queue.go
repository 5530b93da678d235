package dbsync

import (
	"context"
	"sync"
	"time"
)

// queue holds the groups between the reader and the applier of a lane, bounded
// by bytes. One group larger than the bound still fits, alone. Groups with
// nothing to carry are joined into one that only moves the position.
type queue struct {
	limit int

	mu    sync.Mutex
	list  []*group
	bytes int
	in    signal // something was put in
	out   signal // something was taken out
}

func newQueue(limit int) *queue { return &queue{limit: limit} }

// put waits while the queue is full.
func (q *queue) put(ctx context.Context, g *group) error {
	for {
		out := q.out.next()
		q.mu.Lock()
		n := len(q.list)
		if n > 0 && g.empty() && q.list[n-1].empty() {
			q.list[n-1] = g
			q.mu.Unlock()
			return nil
		}
		if q.bytes == 0 || q.bytes+g.Bytes <= q.limit {
			q.list = append(q.list, g)
			q.bytes += g.Bytes
			q.mu.Unlock()
			q.in.fire()
			return nil
		}
		q.mu.Unlock()
		select {
		case <-out:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try takes the next group if there is one.
func (q *queue) try() *group {
	q.mu.Lock()
	if len(q.list) == 0 {
		q.mu.Unlock()
		return nil
	}
	g := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	q.bytes -= g.Bytes
	q.mu.Unlock()
	q.out.fire()
	return g
}

// take waits for the next group, until the timer at most; then it gives nil.
func (q *queue) take(ctx context.Context, until *time.Timer) (*group, error) {
	for {
		in := q.in.next()
		if g := q.try(); g != nil {
			return g, nil
		}
		select {
		case <-in:
		case <-until.C:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)
}
