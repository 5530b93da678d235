package wan

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// end says how a direction ended.
type end int

const (
	running       end = iota
	closed            // the sender ended it in good order
	reset             // the sender's connection broke, or the relay stops
	undeliverable     // the receiver's connection broke
)

const (
	chunkMin = 4 << 10
	chunkMax = 64 << 10
	batchMax = 64 // chunks written at once
)

type chunk struct {
	due  time.Time
	data []byte
}

// line is the delay line of one direction: fill reads into it, drain writes
// out of it, one goroutine each, and bytes bounds what stands in it.
type line struct {
	limit  int
	delay  *atomic.Int64 // one way, in nanoseconds, of the whole link
	passed *atomic.Int64 // bytes delivered, a counter of the whole link

	mu     sync.Mutex
	chunks []chunk
	bytes  int
	ended  end
	endDue time.Time

	filled  chan struct{} // capacity 1: something was put in
	drained chan struct{} // capacity 1: something was taken out
}

func newLine(limit int, delay, passed *atomic.Int64) *line {
	return &line{limit: limit, delay: delay, passed: passed, filled: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
}

func (l *line) oneWay() time.Duration { return time.Duration(l.delay.Load()) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fill reads src until it ends or stop is closed. Buffers grow with the
// traffic and are cut into chunks, so an idle connection costs 4 KiB and a
// busy one no allocation a read.
func (l *line) fill(src io.Reader, stop <-chan struct{}) {
	size := chunkMin
	var buf []byte
	for {
		room, ok := l.room(stop)
		if !ok {
			return
		}
		if len(buf) < 512 {
			buf = make([]byte, size)
		}
		n, err := src.Read(buf[:min(len(buf), room)])
		if n > 0 {
			if n == len(buf) && size < chunkMax {
				size *= 2
			}
			l.put(buf[:n:n])
			buf = buf[n:]
		}
		if err != nil {
			l.finish(err)
			return
		}
	}
}

// room waits until the line has room and says how much.
func (l *line) room(stop <-chan struct{}) (int, bool) {
	for {
		l.mu.Lock()
		room := l.limit - l.bytes
		l.mu.Unlock()
		if room > 0 {
			return room, true
		}
		select {
		case <-l.drained:
		case <-stop:
			return 0, false
		}
	}
}

func (l *line) put(data []byte) {
	l.mu.Lock()
	l.chunks = append(l.chunks, chunk{due: time.Now().Add(l.oneWay()), data: data})
	l.bytes += len(data)
	l.mu.Unlock()
	signal(l.filled)
}

func (l *line) finish(err error) {
	l.mu.Lock()
	l.ended, l.endDue = reset, time.Now().Add(l.oneWay())
	if err == io.EOF { //nolint:errorlint // Read of a connection gives io.EOF itself
		l.ended = closed
	}
	l.mu.Unlock()
	signal(l.filled)
}

// orderly tells that the sender ended it in good order.
func (l *line) orderly() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended == closed
}

// gone tells that the sender left without having said anything.
func (l *line) gone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended != running && len(l.chunks) == 0
}

// next waits for the oldest chunk or the end and says when it is due.
func (l *line) next(stop <-chan struct{}) (due time.Time, ended end, ok bool) {
	for {
		l.mu.Lock()
		switch {
		case len(l.chunks) > 0:
			due, ok = l.chunks[0].due, true
		case l.ended != running:
			due, ended, ok = l.endDue, l.ended, true
		}
		l.mu.Unlock()
		if ok {
			return due, ended, true
		}
		select {
		case <-l.filled:
		case <-stop:
			return time.Time{}, running, false
		}
	}
}

// take removes the first chunk and those that are due with it.
func (l *line) take(batch net.Buffers) net.Buffers {
	now := time.Now()
	l.mu.Lock()
	n := 0
	for n < len(l.chunks) && n < batchMax && (n == 0 || !l.chunks[n].due.After(now)) {
		batch = append(batch, l.chunks[n].data)
		n++
	}
	rest := copy(l.chunks, l.chunks[n:])
	clear(l.chunks[rest:])
	l.chunks = l.chunks[:rest]
	l.mu.Unlock()
	return batch
}

// wrote gives the room of n bytes back. It comes after the write, so that
// what the receiver does not take counts as held here.
func (l *line) wrote(n int64) {
	l.mu.Lock()
	l.bytes -= int(n)
	l.mu.Unlock()
	l.passed.Add(n)
	signal(l.drained)
}

// drain writes to dst what has waited long enough, until the line ended, dst
// fails or stop is closed. It says how the direction ended.
func (l *line) drain(dst io.Writer, g *gate, stop <-chan struct{}) end {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var room [batchMax][]byte
	for {
		due, ended, ok := l.next(stop)
		if !ok || !g.pass(due, l.oneWay(), stop, timer) {
			return reset
		}
		if ended != running {
			return ended
		}
		batch := l.take(net.Buffers(room[:0]))
		n, err := batch.WriteTo(dst)
		l.wrote(n)
		if err != nil {
			return undeliverable
		}
	}
}
