package dbproxy

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/dbproxy/source"
	"github.com/atoll-live/atoll/space"
)

// state is what sessions serve by, beside the snapshot: who the servers are
// and what the tables look like. It is immutable; it changes with the
// Database document and with the tables themselves, never with a move.
type state struct {
	schema   *prove.Schema
	tables   *source.Tables
	database *space.Database
	home     *source.Source
	center   *source.Source    // nil in the center, and when the center has no source
	others   map[string]string // databases that another document speaks for → which
	read     time.Time         // of the tables
	version  string            // of the home server, as its greeting gives it
}

// isCenter says whether this proxy's unit is the center.
func (p *Proxy) isCenter(v *route.View) bool { return v.Center() == p.cfg.Unit }

// How often to look again, and how soon after a failure.
const (
	tendEvery = 30 * time.Second
	retryMin  = 50 * time.Millisecond
	retryMax  = 2 * time.Second
)

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
			wait, retry = retry, min(2*retry, retryMax)
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
	next.others = p.otherDatabases(v.Snapshot)
	if last.current(next) {
		return nil
	}
	if err := p.prepare(ctx, next, last, v.Snapshot.Epoch); err != nil {
		return err
	}
	if next.tables, err = next.home.Tables(ctx, d, p.isCenter(v)); err != nil {
		return err
	}
	if last != nil && last.home == next.home {
		next.version = last.version
	} else if next.version, err = next.home.Version(ctx); err != nil {
		return err
	}
	if next.schema, err = next.proven(last); err != nil {
		return err
	}
	next.read = time.Now()
	p.state.Store(next)
	if next.center != nil && !p.asking.Swap(true) { // it may be far away, or cut off
		p.work.Go(func() {
			defer p.asking.Store(false)
			p.readCenter(ctx, next)
		})
	}
	if last == nil || last.schema != next.schema || adds(last.database, d) {
		p.signal()
		p.poke()
	}
	return nil
}

// proven is the schema by which statements are proven: the last one, with the
// plans that were made, when nothing that it depends on has changed.
func (s *state) proven(last *state) (*prove.Schema, error) {
	kind := s.database.Spec.DefaultKind
	if last != nil && last.home == s.home && last.database.Spec.DefaultKind == kind && last.tables.Same(s.tables) && maps.Equal(last.others, s.others) {
		return last.schema, nil
	}
	schema, err := prove.NewSchema(s.home.Database, kind, s.tables.Listed, s.tables.Hazards)
	if err != nil {
		return nil, err
	}
	return schema.Beside(s.others), nil
}

// prepare makes a server ours, and tells the lanes of newly listed tables,
// before anything is read or admitted there.
func (p *Proxy) prepare(ctx context.Context, next, last *state, epoch int64) error {
	ended, err := next.home.Take(ctx, p.owner())
	if err != nil {
		return err
	}
	if ended > 0 {
		p.log.Info("former life ended", "unit", next.home.Unit, "threads", ended)
	}
	if last != nil && last.home == next.home && !adds(last.database, next.database) {
		return nil
	}
	return next.home.Join(ctx, p.cfg.Space, epoch)
}

// owner is this life, as marks name it.
func (p *Proxy) owner() source.Owner {
	return source.Owner{Plane: p.cfg.Plane, Incarnation: p.cfg.Incarnation}
}

func (s *state) words() string {
	if s == nil {
		return ""
	}
	return strings.Join(s.tables.Trouble, "; ")
}

// current says whether the state was made of the same document and servers a
// short time ago.
func (s *state) current(next *state) bool {
	return s != nil && s.home == next.home && s.center == next.center && len(s.tables.Trouble) == 0 &&
		time.Since(s.read) < tendEvery && reflect.DeepEqual(s.database, next.database) && maps.Equal(s.others, next.others)
}

// otherDatabases are the names of databases that other documents speak for, in
// this space and in those that are not served here. Two servers may have
// databases of one name; that the wrong one is refused then is the safe side.
func (p *Proxy) otherDatabases(own *space.Snapshot) map[string]string {
	all := map[string]string{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range append(slices.Collect(maps.Values(p.others)), own) {
		for _, d := range s.Databases {
			if s == own && d.Metadata.Name == p.cfg.Database {
				continue
			}
			for _, source := range d.Spec.Sources {
				all[source.Database] = "Database " + d.Metadata.Name + " of space " + s.Space
			}
		}
	}
	return all
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
func (p *Proxy) sources(d *space.Database, centerUnit string) (home, center *source.Source, err error) {
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
func (p *Proxy) sourceOf(d *space.Database, unit string) (*source.Source, error) {
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
	s, err := source.New(def, p.cfg.Reach)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range p.known {
		if known.Same(s) {
			s.Close()
			return known, nil
		}
	}
	p.known = append(p.known, s)
	return s, nil
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
