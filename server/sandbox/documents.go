package sandbox

import (
	"path/filepath"

	"github.com/atoll-live/atoll/server/sandbox/shop"
	"github.com/atoll-live/atoll/space"
)

// centerShare is where the center's buckets end and those of the other units
// begin, which have equal parts.
const centerShare = 6000

// share is the buckets of a site.
func (l *Layout) share(s *site) space.Range {
	others := len(l.sites) - 1
	if others == 0 {
		return space.Range{From: 0, To: Modulo}
	}
	end := func(n int) int { return centerShare + (Modulo-centerShare)*n/others } // of the site with this number
	if s.center {
		return space.Range{From: 0, To: end(0)}
	}
	return space.Range{From: end(s.number - 1), To: end(s.number)}
}

// liveType is that of a space with so many units.
func (l *Layout) liveType() space.LiveType {
	if len(l.sites) == 1 {
		return space.OneRegion
	}
	return space.CrossRegion
}

// documents are the shops' spaces and databases as an operator would write them.
func (l *Layout) documents() []space.Document {
	var all []space.Document
	for _, s := range l.Info.Spaces() {
		all = append(all, space.Document{Space: l.space(s)}, space.Document{Database: l.database(s)})
	}
	return all
}

func (l *Layout) space(of SpaceInfo) *space.Space {
	const source = "getUserByQuery"
	s := &space.Space{
		APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: of.Space},
		Spec: space.Spec{
			ID: of.Space, Code: of.Space, Name: "Shop", TenantID: "sandbox",
			Variables: []space.Variable{{Name: KeyName, Type: "unit",
				Sources: []space.Source{{Name: source, Scope: space.ScopeQuery, Key: KeyName}}}},
			Domains: []space.Domain{{
				Host: of.Host, Protocols: []string{"http"}, LiveType: l.liveType(), CorrectionType: "UPSTREAM",
				Paths: []space.Path{{Path: "/", RuleID: of.Rule, RuleName: "Buyers", Variable: KeyName, VariableSource: source}},
			}},
		},
	}
	rule := space.UnitRule{
		ID: of.Rule, Name: "Buyers", LiveType: l.liveType(), Variable: KeyName, VariableSource: source,
		VariableFunction: "BKDRHash", VariableMissingAction: space.MissingCenter, Modulo: Modulo,
	}
	for _, at := range l.sites {
		unit := space.Unit{Code: at.code, Name: at.code, Type: space.Regular, AccessMode: space.ReadWrite, Labels: map[string]string{"region": at.code}}
		if at.center {
			unit.Type = space.Center
		}
		route := space.UnitRoute{Code: at.code, Ranges: []space.Range{l.share(at)}}
		for _, c := range of.Units[at.number].Cells {
			unit.Cells = append(unit.Cells, space.Cell{Code: c.Code, Name: c.Code, AccessMode: space.ReadWrite, Labels: map[string]string{"zone": c.Code}})
			route.Cells = append(route.Cells, space.CellRoute{Code: c.Code, Weight: 100})
		}
		s.Spec.Units = append(s.Spec.Units, unit)
		rule.Units = append(rule.Units, route)
	}
	s.Spec.UnitRules = []space.UnitRule{rule}
	return s
}

func (l *Layout) database(of SpaceInfo) *space.Database {
	d := &space.Database{
		APIVersion: space.APIVersionAtoll, Kind: space.KindDatabase, Metadata: space.Metadata{Name: of.Space},
		Spec: space.DatabaseSpec{Space: of.Space, Rule: of.Rule, DefaultKind: space.TableRefuse, Tables: shop.DocumentTables()},
	}
	for _, u := range of.Units {
		d.Spec.Sources = append(d.Spec.Sources, space.DataSource{
			Unit: u.Code, Host: u.Database.Host, Port: u.Database.Port, Database: u.Database.Database,
			User: u.Database.User, PasswordFile: filepath.Join(l.Options.Dir, "database.pw"),
		})
	}
	return d
}
