package binlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// Source is the server whose log is read.
type Source struct {
	Addr     string // host:port
	User     string
	Password string
	ServerID uint32 // of the reader; a server ends an older stream that shows the same one
	// Idle is how long the link may bring nothing; the server sends a beat a
	// second. 5 s when zero.
	Idle time.Duration
	// MaxGroup bounds the bytes of one group's wanted rows; a larger one is
	// refused. 256 MiB when zero.
	MaxGroup int
}

// Stream reads from a position until ctx ends or the link does, and returns
// the position after the last group that the handler took. The error is never
// nil: it wraps ErrRefused, ErrLink, the handler's error or ctx's cause.
func Stream(ctx context.Context, src Source, from Position, h Handler) (Position, error) {
	if src.Idle == 0 {
		src.Idle = 5 * time.Second
	}
	if src.MaxGroup == 0 {
		src.MaxGroup = 256 << 20
	}
	s := &stream{src: src, asm: newAssembler(from, src.MaxGroup, h)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	err := s.run(from)
	if ctx.Err() != nil {
		err = fmt.Errorf("read binlog: %w", context.Cause(ctx))
	}
	return s.asm.pos, err
}

type stream struct {
	src    Source
	asm    *assembler
	ctx    context.Context // of this one connection; never outlives run
	cancel context.CancelFunc

	mu    sync.Mutex
	conns []net.Conn
	ended bool
	fail  error // what HandleEvent gave
}

func (s *stream) run(from Position) error {
	host, port, err := net.SplitHostPort(s.src.Addr)
	if err != nil {
		return fmt.Errorf("read address %q: %w", s.src.Addr, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("read address %q: %w", s.src.Addr, err)
	}
	set, err := mysql.ParseMariadbGTIDSet(from.String())
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: s.src.ServerID, Flavor: mysql.MariaDBFlavor, Localhost: "atoll-lane",
		Host: host, Port: uint16(number), User: s.src.User, Password: s.src.Password,
		// Raw: the library would stop the stream at the first column type that it
		// does not know, in whatever table.
		RawModeEnabled: true, DisableRetrySync: true, DiscardGTIDSet: true,
		HeartbeatPeriod: time.Second, EventCacheCount: 1,
		Dialer: s.dial, SynchronousEventHandler: s,
		Logger: slog.New(slog.DiscardHandler),
	})
	stop := context.AfterFunc(s.ctx, s.hangUp)
	defer stop()
	// The sockets are closed first: Close alone would dial the server once more,
	// to kill the stream there, and wait for a link that may hang.
	defer syncer.Close()
	defer s.hangUp()
	events, err := syncer.StartSyncGTID(set)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLink, err)
	}
	_, err = events.GetEvent(s.ctx)
	if s.ctx.Err() != nil {
		s.awaitReader(events)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	return fmt.Errorf("%w: %w", ErrLink, err)
}

// awaitReader waits, for a bound, until the library's reading goroutine has
// ended after a hang-up: its Close touches what that goroutine uses.
func (s *stream) awaitReader(events *replication.BinlogStreamer) {
	s.hangUp()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.src.Idle)
	defer cancel()
	_, _ = events.GetEvent(ctx) // its error is that of the closed link
}

// HandleEvent implements replication.EventHandler; it runs on the goroutine
// that reads the link, so nothing can overtake anything.
func (s *stream) HandleEvent(e *replication.BinlogEvent) error {
	body := e.RawData[replication.EventHeaderSize:]
	if g, ok := e.Event.(*replication.GenericEvent); ok {
		body = g.Data
	}
	err := s.asm.event(s.ctx, e.Header.EventType, e.Header.ServerID, e.Header.Timestamp, body)
	if err != nil {
		s.mu.Lock()
		s.fail = err
		s.mu.Unlock()
	}
	return err
}

var errHungUp = errors.New("stream is over")

func (s *stream) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended {
		return nil, errHungUp
	}
	ctx, cancel := context.WithTimeout(ctx, s.src.Idle)
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		c.Close()
		return nil, errHungUp
	}
	s.conns = append(s.conns, c)
	return &idleConn{Conn: c, idle: s.src.Idle}, nil
}

func (s *stream) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// idleConn ends a read that brings nothing for too long. The clock runs only
// while somebody reads: a handler that blocks does not end the link.
type idleConn struct {
	net.Conn
	idle time.Duration
}

func (c *idleConn) Read(b []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *idleConn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

var (
	_ replication.EventHandler = (*stream)(nil)
	_ client.Dialer            = (*stream)(nil).dial
)
