package liar

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/atoll-live/atoll/server/dbsync/apply"
	"github.com/atoll-live/atoll/server/sitedb"
)

// NoLoopGuard hides from a lane that a row of its source's binlog came by
// another lane. It stands between the lane and the database, not the console.
const NoLoopGuard = "no-loop-guard"

// BinlogConfig of a BinlogLiar.
type BinlogConfig struct {
	Listen string // host:port that the lane takes for its source's database
	Source string // host:port of the real one
	// Late is how much later than it came the binlog goes on, from its first
	// lie on. Longer than two updates of one row lie apart, it brings a row back
	// when a newer one stands there.
	Late time.Duration
	Log  *slog.Logger
}

// BinlogLiar passes connections to a database on, and renames the lanes'
// checkpoint table in the binlog that comes back: a lane then takes what
// another lane has written for its source's own.
type BinlogLiar struct {
	cfg BinlogConfig
}

// NewBinlogLiar starts nothing.
func NewBinlogLiar(cfg BinlogConfig) (*BinlogLiar, error) {
	for what, addr := range map[string]string{"listen": cfg.Listen, "source": cfg.Source} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("%s address %q: %w", what, addr, err)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &BinlogLiar{cfg}, nil
}

// Run serves until ctx ends.
func (b *BinlogLiar) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", b.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for a lane: %w", err)
	}
	return b.serve(ctx, l)
}

func (b *BinlogLiar) serve(ctx context.Context, l net.Listener) error {
	return each(ctx, l, func(c net.Conn) { b.carry(ctx, c) })
}

// each serves the connections of a listener until ctx ends.
func each(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		wg.Go(func() { serve(c) })
	}
}

// carry passes one connection on until either side ends it.
func (b *BinlogLiar) carry(ctx context.Context, lane net.Conn) {
	defer lane.Close()
	d := net.Dialer{Timeout: 5 * time.Second}
	source, err := d.DialContext(ctx, "tcp", b.cfg.Source)
	if err != nil {
		b.cfg.Log.Info("source not reached", "err", err)
		return
	}
	defer source.Close()
	defer context.AfterFunc(ctx, func() {
		_ = lane.Close()
		_ = source.Close()
	})()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(source, lane)
		_ = source.Close()
	})
	late := newLateWriter(lane, b.cfg.Late)
	n, err := retell(late, source)
	late.close()
	_ = lane.Close()
	wg.Wait()
	b.cfg.Log.Info("connection over", "renamed", n, "err", err)
}

// maxPacket is the length at which a packet goes on in the next one.
const maxPacket = 1<<24 - 1

// retell copies a server's packets and renames the table in those that
// describe it. It returns how many these were.
func retell(to *lateWriter, from io.Reader) (renamed int, err error) {
	in, out := bufio.NewReaderSize(from, 64<<10), bufio.NewWriterSize(to, 64<<10)
	var packet []byte
	for goesOn := false; ; {
		if in.Buffered() == 0 { // a wait may follow
			if err := out.Flush(); err != nil {
				return renamed, err
			}
		}
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return renamed, err
		}
		size := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
		packet = append(packet[:0], make([]byte, size)...)
		if _, err := io.ReadFull(in, packet); err != nil {
			return renamed, err
		}
		if !goesOn && hide(packet) {
			renamed++
			if renamed == 1 { // what stands in front of it goes on at once
				if err := out.Flush(); err != nil {
					return renamed, err
				}
				to.beLate()
			}
		}
		goesOn = size == maxPacket
		if _, err := out.Write(append(head[:], packet...)); err != nil {
			return renamed, err
		}
	}
}

// Where things stand in a packet of a binlog: an OK byte, the event's header,
// for a table map its table's id and flags, then names.
// Source: MySQL internals, "Binlog Event Packet" and "TABLE_MAP_EVENT".
const (
	typeAt       = 1 + 4
	namesAt      = 1 + 19 + 8
	tableMap     = 19
	checksumSize = 4
)

// checkpoints is how a table map names the lanes' checkpoint table.
var checkpoints = []byte(fmt.Sprintf("%c%s\x00%c%s\x00", len(sitedb.Schema), sitedb.Schema, len(apply.MarkerTable), apply.MarkerTable))

// hide renames the schema of a table map of the checkpoint table.
func hide(packet []byte) bool {
	if len(packet) < namesAt+len(checkpoints)+checksumSize || packet[0] != 0 || packet[typeAt] != tableMap ||
		!bytes.HasPrefix(packet[namesAt:], checkpoints) {
		return false
	}
	event, sum := packet[1:len(packet)-checksumSize], packet[len(packet)-checksumSize:]
	summed := binary.LittleEndian.Uint32(sum) == crc32.ChecksumIEEE(event)
	packet[namesAt+len(sitedb.Schema)] = '_' // its last letter
	if summed {
		binary.LittleEndian.PutUint32(sum, crc32.ChecksumIEEE(event))
	}
	return true
}

// lateChunksMax is how many writes wait in a lateWriter; the next one waits for room.
const lateChunksMax = 1 << 14

// lateWriter writes what it is given some time later, in order.
type lateWriter struct {
	to    io.Writer
	late  time.Duration
	queue chan lateChunk // nil: nothing is late yet
	over  chan struct{}  // closed when all has gone on
}

type lateChunk struct {
	due  time.Time
	data []byte
}

func newLateWriter(to io.Writer, late time.Duration) *lateWriter {
	return &lateWriter{to: to, late: late}
}

// beLate makes whatever is written from now on late.
func (w *lateWriter) beLate() {
	if w.late <= 0 || w.queue != nil {
		return
	}
	w.queue, w.over = make(chan lateChunk, lateChunksMax), make(chan struct{})
	go func() {
		defer close(w.over)
		var failed error // a lane that has gone
		for c := range w.queue {
			if failed != nil {
				continue
			}
			time.Sleep(time.Until(c.due))
			_, failed = w.to.Write(c.data)
		}
	}()
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if w.queue == nil {
		return w.to.Write(p)
	}
	w.queue <- lateChunk{time.Now().Add(w.late), bytes.Clone(p)}
	return len(p), nil
}

// close waits until what was written has gone on.
func (w *lateWriter) close() {
	if w.queue != nil {
		close(w.queue)
		<-w.over
	}
}
