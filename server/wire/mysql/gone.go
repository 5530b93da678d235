package mysql

import (
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Gone says whether the other end has closed the connection, also when it has
// sent something before that nobody has read. It may be called by the
// goroutine that reads and writes, between two packets.
func (c *Conn) Gone() bool {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

// Drain reads and drops what still comes, within bounds. A connection that is
// closed with bytes unread takes the answer that was sent before away from the
// other end.
func (c *Conn) Drain(limit time.Duration, most int64) {
	if c.SetDeadline(time.Now().Add(limit)) == nil {
		_, _ = io.CopyN(io.Discard, c.r, most)
	}
}
