package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/atoll-live/atoll/server/sitedb"
)

// marks finds server threads in the server's list and writes their marks. The
// list is a table that the server makes anew for each reading, and a write
// waits for its disk, so those that come together go together: the first
// caller does it for all who wait, and hands on to one who came meanwhile.
type marks struct {
	mu    sync.Mutex
	busy  bool
	queue []*markWrite
}

// markWrite is one mark that shall be there, or be gone.
type markWrite struct {
	owner Owner
	sitedb.Thread
	gone bool
	done chan error
	lead chan struct{}
}

const marksAtOnce = 256

// Owner is one life of a proxy.
type Owner struct{ Plane, Incarnation string }

// Mark looks a new server thread up, and writes down that it belongs to this
// life of the proxy, before it carries a client's statement.
func (s *Source) Mark(o Owner, id uint32) (sitedb.Thread, error) {
	w := &markWrite{owner: o, Thread: sitedb.Thread{ID: id}}
	if err := s.write(w); err != nil {
		return sitedb.Thread{}, fmt.Errorf("mark server thread %d: %w", id, err)
	}
	return w.Thread, nil
}

// Unmark forgets a thread that is gone or has nothing open.
func (s *Source) Unmark(o Owner, t sitedb.Thread) error {
	if err := s.write(&markWrite{owner: o, Thread: t, gone: true}); err != nil {
		return fmt.Errorf("unmark server thread %d: %w", t.ID, err)
	}
	return nil
}

func (s *Source) write(w *markWrite) error {
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
	s.writeMarks(batch)
	k.mu.Lock()
	if k.busy = len(k.queue) > 0; k.busy {
		k.queue[0].lead <- struct{}{}
	}
	k.mu.Unlock()
	return <-w.done
}

// writeMarks answers each of the batch, within controlLimit. The others' wait
// must not end with this caller's, so no context of its own counts.
func (s *Source) writeMarks(batch []*markWrite) {
	ctx, cancel := context.WithTimeout(context.Background(), controlLimit)
	defer cancel()
	err := s.findThreads(ctx, batch)
	if err == nil {
		found := slices.DeleteFunc(slices.Clone(batch), func(w *markWrite) bool { return w.Host == "" })
		err = s.storeMarks(ctx, found)
	}
	for _, w := range batch {
		if err == nil && w.Host == "" {
			w.done <- errors.New("the server does not list it")
			continue
		}
		w.done <- err
	}
}

// findThreads completes those that are new.
func (s *Source) findThreads(ctx context.Context, batch []*markWrite) error {
	wanted := map[uint32]*markWrite{}
	var ids []string
	for _, w := range batch {
		if w.Host == "" {
			wanted[w.ID] = w
			ids = append(ids, strconv.FormatUint(uint64(w.ID), 10))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := s.control.QueryContext(ctx, "SELECT ID, HOST FROM information_schema.PROCESSLIST WHERE ID IN ("+strings.Join(ids, ", ")+")")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t sitedb.Thread
		if err := rows.Scan(&t.ID, &t.Host); err != nil {
			return err
		}
		if w := wanted[t.ID]; w != nil {
			w.Host = t.Host
		}
	}
	return rows.Err()
}

func (s *Source) storeMarks(ctx context.Context, batch []*markWrite) error {
	var there, gone []string
	var thereArgs, goneArgs []any
	for _, w := range batch {
		args := []any{w.owner.Plane, w.owner.Incarnation, w.ID, w.Host}
		if w.gone {
			gone, goneArgs = append(gone, "(?, ?, ?, ?)"), append(goneArgs, args...)
		} else {
			there, thereArgs = append(there, "(?, ?, ?, ?)"), append(thereArgs, args...)
		}
	}
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
