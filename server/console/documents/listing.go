package documents

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/space"
)

// listing is tables of one Database that a plan begins to sync between two
// units: they are new, or one of the two sources is another place than before.
type listing struct {
	space    string
	db       *space.Database
	from, to *space.DataSource
	tables   []*space.Table
	path     map[string]string // table → field that makes it one: spec.tables[3]
	apart    string            // why nobody can compare them, "" when one can
}

// listings are all of a plan. One unit's copy is compared with that of each
// other unit: copies that equal the same one equal each other. It is the
// center's, where center-unit tables come from.
func listings(st *state, p *plan) []*listing {
	var out []*listing
	for _, code := range slices.Sorted(maps.Keys(p.next)) {
		next := p.next[code]
		var before []*space.Database
		if now := st.current(code).Snapshot; now != nil {
			before = now.Databases
		}
		for _, db := range next.Databases {
			i := slices.IndexFunc(before, func(b *space.Database) bool { return b.Metadata.Name == db.Metadata.Name })
			var was *space.Database
			if i >= 0 {
				was = before[i]
			}
			out = append(out, listed(code, next.Document, was, db)...)
		}
	}
	return out
}

// listed are the listings of one Database.
func listed(code string, doc *space.Space, was, db *space.Database) []*listing {
	now, then := places(db), places(was)
	reference, center := referenceOf(doc, db)
	var out []*listing
	for _, s := range db.Spec.Sources {
		to := now[s.Unit]
		if s.Unit == reference || to == nil || to.told {
			continue
		}
		to.told = true
		from := now[reference]
		l := &listing{space: code, db: db, from: from.source, to: to.source, path: map[string]string{}}
		field := changedSource(from, then[reference])
		if f := changedSource(to, then[s.Unit]); f != "" {
			field = f
		}
		l.add(was, field, center == reference)
		for _, p := range []*place{from, to} {
			if p.several {
				l.apart = fmt.Sprintf("unit %s has several sources, and shards are not synced yet", p.source.Unit)
			}
		}
		if len(l.tables) > 0 {
			out = append(out, l)
		}
	}
	return out
}

func orNone(db *space.Database) *space.Database {
	if db == nil {
		return &space.Database{}
	}
	return db
}

// add takes up the tables that are synced between the two units from now on.
// Field names the source that changed, "" when none did.
func (l *listing) add(was *space.Database, field string, fromCenter bool) {
	for i := range l.db.Spec.Tables {
		t := &l.db.Spec.Tables[i]
		if t.Kind != space.TableUnit && (t.Kind != space.TableCenterUnit || !fromCenter) {
			continue
		}
		known := slices.ContainsFunc(orNone(was).Spec.Tables, func(o space.Table) bool { return o.Name == t.Name && o.Kind == t.Kind })
		switch {
		case !known:
			l.path[t.Name] = fmt.Sprintf("spec.tables[%d]", i)
		case field != "":
			l.path[t.Name] = field
		default:
			continue
		}
		l.tables = append(l.tables, t)
	}
}

// place is where a unit's copy of a Database is.
type place struct {
	source  *space.DataSource
	index   int
	several bool // the unit has shards
	told    bool
}

func places(db *space.Database) map[string]*place {
	m := map[string]*place{}
	for i := range orNone(db).Spec.Sources {
		s := &db.Spec.Sources[i]
		if m[s.Unit] != nil {
			m[s.Unit].several = true
			continue
		}
		m[s.Unit] = &place{source: s, index: i}
	}
	return m
}

// changedSource is the field of a source that is not where it was. The account
// says nothing of the rows.
func changedSource(now, was *place) string {
	if was != nil && strings.EqualFold(now.source.Host, was.source.Host) && now.source.Port == was.source.Port &&
		now.source.Database == was.source.Database && now.several == was.several {
		return ""
	}
	return fmt.Sprintf("spec.sources[%d]", now.index)
}

// referenceOf is the unit that the others are compared with: the center, or the
// first with a source where the center has none.
func referenceOf(doc *space.Space, db *space.Database) (reference, center string) {
	for _, u := range doc.Spec.Units {
		if u.Type == space.Center {
			center = u.Code
		}
	}
	for _, s := range db.Spec.Sources {
		if s.Unit == center || reference == "" {
			reference = s.Unit
		}
	}
	return reference, center
}

// comparison is what a plane is asked.
func (l *listing) comparison() *atollv1.Comparison {
	c := &atollv1.Comparison{Space: l.space, Database: l.db.Metadata.Name, From: sourceOf(l.from), To: sourceOf(l.to)}
	for _, t := range l.tables {
		c.Tables = append(c.Tables, &atollv1.ComparedTable{Name: t.Name, Kind: string(t.Kind), Key: t.Key})
	}
	return c
}

func sourceOf(s *space.DataSource) *atollv1.DataSource {
	return &atollv1.DataSource{Unit: s.Unit, Host: s.Host, Port: int32(s.Port), Database: s.Database, User: s.User, PasswordFile: s.PasswordFile}
}

func (l *listing) notCompared(reason string) *atollv1.NotCompared {
	n := &atollv1.NotCompared{Database: l.db.Metadata.Name, Units: []string{l.from.Unit, l.to.Unit}, Reason: reason}
	for _, t := range l.tables {
		n.Tables = append(n.Tables, t.Name)
	}
	return n
}
