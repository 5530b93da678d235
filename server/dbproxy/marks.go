package dbproxy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/atoll-live/atoll/server/sitedb"
)

// marks writes the marks of server threads. Each write waits for the server's
// disk, so those that come together go together: the first caller writes for
// all who wait, and hands on to one who came meanwhile.
type marks struct {
	mu    sync.Mutex
	busy  bool
	queue []*markWrite
}

// markWrite is one mark that shall be there, or be gone.
type markWrite struct {
	owner [2]string // plane, incarnation
	thread
	gone bool
	done chan error
	lead chan struct{}
}

const marksAtOnce = 256

// mark writes down that a server thread belongs to this life of the proxy,
// before it carries a client's statement.
func (s *source) mark(plane, incarnation string, t thread) error {
	if err := s.write(&markWrite{owner: [2]string{plane, incarnation}, thread: t}); err != nil {
		return fmt.Errorf("mark server thread %d: %w", t.id, err)
	}
	return nil
}

// unmark forgets a thread that is gone or has nothing open.
func (s *source) unmark(plane, incarnation string, t thread) error {
	if err := s.write(&markWrite{owner: [2]string{plane, incarnation}, thread: t, gone: true}); err != nil {
		return fmt.Errorf("unmark server thread %d: %w", t.id, err)
	}
	return nil
}

func (s *source) write(w *markWrite) error {
	w.done, w.lead = make(chan error, 1), make(chan struct{}, 1)
	k := &s.marks
	k.mu.Lock()
	k.queue = append(k.queue, w)
	wait := k.busy
	k.busy = true
	k.mu.Unlock()
	if wait {
		select { // each leader takes controlLimit at most
		case err := <-w.done:
			return err
		case <-w.lead:
		}
	}
	k.mu.Lock()
	n := min(len(k.queue), marksAtOnce)
	batch := k.queue[:n:n]
	k.queue = k.queue[n:]
	k.mu.Unlock()
	err := s.writeMarks(batch)
	k.mu.Lock()
	if k.busy = len(k.queue) > 0; k.busy {
		k.queue[0].lead <- struct{}{}
	}
	k.mu.Unlock()
	for _, b := range batch {
		b.done <- err
	}
	return err
}

func (s *source) writeMarks(batch []*markWrite) error {
	var there, gone []string
	var thereArgs, goneArgs []any
	for _, w := range batch {
		args := []any{w.owner[0], w.owner[1], w.id, w.host}
		if w.gone {
			gone, goneArgs = append(gone, "(?, ?, ?, ?)"), append(goneArgs, args...)
		} else {
			there, thereArgs = append(there, "(?, ?, ?, ?)"), append(thereArgs, args...)
		}
	}
	ctx := context.Background() // the others' wait must not end with this caller's
	if len(there) > 0 {
		text := "REPLACE INTO " + sitedb.Schema + ".session (plane, incarnation, thread, host) VALUES "
		if err := s.exec(ctx, text+strings.Join(there, ", "), thereArgs...); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	text := "DELETE FROM " + sitedb.Schema + ".session WHERE (plane, incarnation, thread, host) IN ("
	return s.exec(ctx, text+strings.Join(gone, ", ")+")", goneArgs...)
}
