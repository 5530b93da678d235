package sandbox

import (
	"path/filepath"

	"github.com/atoll-live/atoll/server/sandbox/shop"
	"github.com/atoll-live/atoll/space"
)

// centerShare is where the center's buckets end and those of unit-b begin.
const centerShare = 6000

// documents are the shop's space and database as an operator would write them.
func (l *Layout) documents() []space.Document {
	return []space.Document{{Space: l.space()}, {Database: l.database()}}
}

func (l *Layout) space() *space.Space {
	const source = "getUserByQuery"
	s := &space.Space{
		APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: SpaceCode},
		Spec: space.Spec{
			ID: SpaceCode, Code: SpaceCode, Name: "Shop", TenantID: "sandbox",
			Variables: []space.Variable{{Name: KeyName, Type: "unit",
				Sources: []space.Source{{Name: source, Scope: space.ScopeQuery, Key: KeyName}}}},
			Domains: []space.Domain{{
				Host: Host, Protocols: []string{"http"}, LiveType: space.CrossRegion, CorrectionType: "UPSTREAM",
				Paths: []space.Path{{Path: "/", RuleID: RuleID, RuleName: "Buyers", Variable: KeyName, VariableSource: source}},
			}},
		},
	}
	rule := space.UnitRule{
		ID: RuleID, Name: "Buyers", LiveType: space.CrossRegion, Variable: KeyName, VariableSource: source,
		VariableFunction: "BKDRHash", VariableMissingAction: space.MissingCenter, Modulo: Modulo,
	}
	for _, u := range l.Info.Units {
		cell := u.Code + "-1"
		unit := space.Unit{Code: u.Code, Name: u.Code, Type: space.UnitType(u.Type), AccessMode: space.ReadWrite,
			Labels: map[string]string{"region": u.Code},
			Cells:  []space.Cell{{Code: cell, Name: cell, AccessMode: space.ReadWrite, Labels: map[string]string{"zone": cell}}}}
		buckets := space.Range{From: centerShare, To: Modulo}
		if unit.Type == space.Center {
			buckets = space.Range{From: 0, To: centerShare}
		}
		s.Spec.Units = append(s.Spec.Units, unit)
		rule.Units = append(rule.Units, space.UnitRoute{Code: u.Code, Ranges: []space.Range{buckets}, Cells: []space.CellRoute{{Code: cell, Weight: 100}}})
	}
	s.Spec.UnitRules = []space.UnitRule{rule}
	return s
}

func (l *Layout) database() *space.Database {
	d := &space.Database{
		APIVersion: space.APIVersionAtoll, Kind: space.KindDatabase, Metadata: space.Metadata{Name: databaseName},
		Spec: space.DatabaseSpec{Space: SpaceCode, Rule: RuleID, DefaultKind: space.TableRefuse, Tables: shop.DocumentTables()},
	}
	for _, u := range l.Info.Units {
		d.Spec.Sources = append(d.Spec.Sources, space.DataSource{
			Unit: u.Code, Host: u.Database.Host, Port: u.Database.Port, Database: u.Database.Database,
			User: u.Database.User, PasswordFile: filepath.Join(l.Options.Dir, "database.pw"),
		})
	}
	return d
}
