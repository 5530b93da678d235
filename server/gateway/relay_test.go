package gateway

import (
	"net"
	"sync"
	"testing"
)

// relay is a link that can be cut as a wide-area link is: what flows stalls
// and new connections hang.
type relay struct {
	l    net.Listener
	mu   sync.Mutex
	cond *sync.Cond
	dest string
	off  bool
	ends []net.Conn
	wg   sync.WaitGroup
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l}
	r.cond = sync.NewCond(&r.mu)
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.cut(false)
		r.mu.Lock()
		for _, c := range r.ends {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.l.Addr().String() }

func (r *relay) to(dest string) {
	r.mu.Lock()
	r.dest = dest
	r.mu.Unlock()
}

func (r *relay) cut(off bool) {
	r.mu.Lock()
	r.off = off
	r.mu.Unlock()
	r.cond.Broadcast()
}

func (r *relay) pass() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.off {
		r.cond.Wait()
	}
	return r.dest
}

func (r *relay) carry(c net.Conn) {
	defer func() { _ = c.Close() }()
	d, err := net.Dial("tcp", r.pass())
	if err != nil {
		return
	}
	defer func() { _ = d.Close() }()
	r.mu.Lock()
	r.ends = append(r.ends, c, d)
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, d}, {d, c}} {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for {
				n, err := way[0].Read(buf)
				r.pass()
				if n > 0 {
					_, _ = way[1].Write(buf[:n])
				}
				if err != nil {
					_ = way[1].(interface{ CloseWrite() error }).CloseWrite()
					return
				}
			}
		})
	}
	wg.Wait()
}
