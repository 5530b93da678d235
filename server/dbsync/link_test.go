package dbsync_test

import (
	"net"
	"sync"
	"testing"
)

// link is a TCP relay that can stall: bytes stop in both directions and
// nothing is closed, as when a WAN is cut.
type link struct {
	t  testing.TB
	to string
	l  net.Listener

	mu    sync.Mutex
	gate  chan struct{} // open: closed channel
	conns map[net.Conn]struct{}
	over  chan struct{}
	wg    sync.WaitGroup
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{t: t, to: to, l: l, gate: make(chan struct{}), conns: map[net.Conn]struct{}{}, over: make(chan struct{})}
	close(k.gate)
	k.wg.Go(k.accept)
	t.Cleanup(func() {
		close(k.over)
		l.Close()
		k.mu.Lock()
		for c := range k.conns {
			c.Close()
		}
		k.mu.Unlock()
		k.wg.Wait()
	})
	return k
}

func (k *link) addr() string { return k.l.Addr().String() }

func (k *link) accept() {
	for {
		c, err := k.l.Accept()
		if err != nil {
			return
		}
		d, err := net.Dial("tcp", k.to)
		if err != nil {
			c.Close()
			continue
		}
		k.mu.Lock()
		k.conns[c], k.conns[d] = struct{}{}, struct{}{}
		k.mu.Unlock()
		k.wg.Go(func() { k.pump(c, d) })
		k.wg.Go(func() { k.pump(d, c) })
	}
}

func (k *link) pump(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		k.mu.Lock()
		gate := k.gate
		k.mu.Unlock()
		select {
		case <-gate:
		case <-k.over:
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (k *link) stall() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gate = make(chan struct{})
}

func (k *link) heal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.gate)
}

// proxied puts a link between a unit's plane and another unit's database.
func (w *world) proxied(from, to string) *link {
	w.t.Helper()
	k := newLink(w.t, w.sites[from].server.Addr())
	st := w.sites[to]
	st.stop()
	st.cfg.Reach = map[string]string{from: k.addr()}
	w.start(to)
	w.running(from, to)
	return k
}
