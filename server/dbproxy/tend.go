package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// state is what sessions serve by, beside the snapshot: who the servers are
// and what the tables look like. It is immutable; it changes with the
// Database document and with the tables themselves, never with a move.
type state struct {
	schema   *prove.Schema
	tables   map[string]prove.Table
	database *space.Database
	home     *source
	center   *source // nil in the center, and when the center has no source
	trouble  []string
	read     time.Time // of the tables
	version  string    // of the home server, as its greeting gives it
}

// isCenter says whether this proxy's unit is the center.
func (p *Proxy) isCenter(v *route.View) bool { return v.Center() == p.cfg.Unit }

const tendEvery = 30 * time.Second

// tend keeps the state in step with the snapshot and the server. Nothing of
// unit data is admitted, and no fence acked, before its first success.
func (p *Proxy) tend(ctx context.Context) error {
	retry := retryMin
	for {
		changed := p.changes()
		wait := tendEvery
		err := p.tendOnce(ctx)
		switch {
		case err == nil:
			retry = retryMin
			p.trouble.Store(new(p.state.Load().words()))
		case ctx.Err() != nil:
			return nil //nolint:nilerr // what fails because we end is no failure
		default:
			p.trouble.Store(new(err.Error()))
			wait, retry = retry, min(2*retry, 2*time.Second)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(wait):
		}
	}
}

func (p *Proxy) tendOnce(ctx context.Context) error {
	v := p.guard.View()
	if v == nil {
		return nil
	}
	d, err := p.document(v.Snapshot)
	if err != nil {
		return err
	}
	next := &state{database: d}
	last := p.state.Load()
	if next.home, next.center, err = p.sources(d, v.Center()); err != nil {
		return err
	}
	if last.current(next) {
		return nil
	}
	if err := p.take(ctx, next.home); err != nil {
		return err
	}
	if err := p.join(ctx, next.home, v.Snapshot.Epoch, d, last); err != nil {
		return err
	}
	if next.tables, next.trouble, err = readTables(ctx, next.home, d, p.isCenter(v)); err != nil {
		return err
	}
	if last != nil && last.home == next.home {
		next.version = last.version
	} else if next.version, err = greetingVersion(ctx, next.home); err != nil {
		return err
	}
	if last != nil && last.home == next.home && last.database.Spec.DefaultKind == d.Spec.DefaultKind && maps.Equal(last.tables, next.tables) {
		next.schema = last.schema // keeps the plans that were made
	} else if next.schema, err = prove.NewSchema(next.home.database, d.Spec.DefaultKind, next.tables); err != nil {
		return err
	}
	next.read = time.Now()
	p.state.Store(next)
	if last == nil || last.schema != next.schema || adds(last.database, d) {
		p.signal()
		p.poke()
	}
	return nil
}

func (s *state) words() string {
	if s == nil {
		return ""
	}
	return strings.Join(s.trouble, "; ")
}

// current says whether the state was made of the same document and servers a
// short time ago.
func (s *state) current(next *state) bool {
	return s != nil && s.home == next.home && s.center == next.center && len(s.trouble) == 0 &&
		time.Since(s.read) < tendEvery && reflect.DeepEqual(s.database, next.database)
}

// document finds the served Database in a snapshot.
func (p *Proxy) document(s *space.Snapshot) (*space.Database, error) {
	for _, d := range s.Databases {
		if d.Metadata.Name == p.cfg.Database {
			return d, nil
		}
	}
	return nil, fmt.Errorf("space %s has no database %s", s.Space, p.cfg.Database)
}

// sources gives the servers of this unit and of the center.
func (p *Proxy) sources(d *space.Database, centerUnit string) (home, center *source, err error) {
	if home, err = p.sourceOf(d, p.cfg.Unit); err != nil {
		return nil, nil, err
	}
	if home == nil {
		return nil, nil, fmt.Errorf("database %s has no source in unit %s", p.cfg.Database, p.cfg.Unit)
	}
	if centerUnit != "" && centerUnit != p.cfg.Unit {
		center, err = p.sourceOf(d, centerUnit)
	}
	return home, center, err
}

// sourceOf finds the server of a unit, nil when there is none. One that is
// known already keeps its control connections; one that is not used any more
// keeps them until Run ends, for the sessions that it still has.
func (p *Proxy) sourceOf(d *space.Database, unit string) (*source, error) {
	var def *space.DataSource
	for i := range d.Spec.Sources {
		if d.Spec.Sources[i].Unit != unit {
			continue
		}
		if def != nil {
			return nil, fmt.Errorf("database %s has several sources in unit %s: shards are not served yet", p.cfg.Database, unit)
		}
		def = &d.Spec.Sources[i]
	}
	if def == nil {
		return nil, nil
	}
	s, err := newSource(def, p.cfg.Reach)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range p.known {
		if known.same(s) {
			s.close()
			return known, nil
		}
	}
	p.known = append(p.known, s)
	return s, nil
}

// take makes a server ours: the schema of Atoll is there, and what former
// lives of this proxy left running is dead. A statement of theirs that waited
// on a row lock could otherwise commit behind a fence that this life acks.
func (p *Proxy) take(ctx context.Context, s *source) error {
	if s.taken.Load() {
		return nil
	}
	for _, text := range sitedb.Statements {
		if err := s.exec(ctx, text); err != nil {
			return fmt.Errorf("create the schema of Atoll: %w", err)
		}
	}
	left, err := s.leftovers(ctx, p.cfg.Plane, p.cfg.Incarnation)
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := s.seeGone(ctx, l.thread); err != nil {
			return fmt.Errorf("end server thread %d of a former life: %w", l.thread.id, err)
		}
		if err := s.unmark(p.cfg.Plane, l.incarnation, l.thread); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		p.log.Info("former life ended", "unit", s.unit, "threads", len(left))
	}
	s.taken.Store(true)
	return nil
}

func (s *source) exec(ctx context.Context, text string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	_, err := s.control.ExecContext(ctx, text, args...)
	return err
}

// leftover is a server thread of a former life.
type leftover struct {
	thread
	incarnation string
}

func (s *source) leftovers(ctx context.Context, plane, incarnation string) ([]leftover, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	rows, err := s.control.QueryContext(ctx, "SELECT incarnation, thread, host FROM "+sitedb.Schema+
		".session WHERE plane = ? AND incarnation <> ?", plane, incarnation)
	if err != nil {
		return nil, fmt.Errorf("find server threads of a former life: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []leftover
	for rows.Next() {
		var l leftover
		if err := rows.Scan(&l.incarnation, &l.id, &l.host); err != nil {
			return nil, fmt.Errorf("find server threads of a former life: %w", err)
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// join writes a token into the unit's own binlog before the first write of a
// newly listed table. A lane that meets it waits for a snapshot that lists the
// table too, so that it skips no row of it.
func (p *Proxy) join(ctx context.Context, s *source, epoch int64, d *space.Database, last *state) error {
	if last != nil && last.home == s && !adds(last.database, d) {
		return nil
	}
	err := s.exec(ctx, "INSERT IGNORE INTO "+sitedb.Schema+".token (space, move, epoch, kind, unit, at) VALUES (?, '', ?, ?, ?, NOW(6))",
		p.cfg.Space, epoch, sitedb.TokenJoin, p.cfg.Unit)
	if err != nil {
		return fmt.Errorf("write the JOIN token of epoch %d: %w", epoch, err)
	}
	return nil
}

// adds says whether the new document lists a synced table that the old one
// did not list so.
func adds(old, next *space.Database) bool {
	known := map[string]space.Table{}
	for _, t := range old.Spec.Tables {
		known[t.Name] = t
	}
	for _, t := range next.Spec.Tables {
		k, ok := known[t.Name]
		if synced := t.Kind == space.TableUnit || t.Kind == space.TableCenterUnit; synced && (!ok || k.Kind != t.Kind) {
			return true
		}
	}
	return false
}

// greetingVersion is the version as the server's greeting gives it, by which
// drivers choose their ways.
func greetingVersion(ctx context.Context, s *source) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	c, err := s.connect(ctx, 0, defaultCollation)
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", s.addr, err)
	}
	return c.Version, errors.Join(c.Request([]byte{1}), c.Close())
}
