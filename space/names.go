package space

import (
	"iter"
	"reflect"
	"strings"
)

// aliases are other names that JoyLive accepts for fields, by type and alias.
// They are read, and written back by the field's own name.
var aliases = map[reflect.Type]map[string]string{
	reflect.TypeFor[Spec](): {"workspaceId": "id"},
	reflect.TypeFor[UnitRule](): {
		"type": "liveType", "biz": "business", "accessor": "variableSource", "function": "variableFunction",
		"actionWithoutVariable": "variableMissingAction", "unitRoutes": "units",
	},
	reflect.TypeFor[UnitRoute](): {"whitelist": "allows", "prefix": "prefixes", "range": "ranges"},
	reflect.TypeFor[CellRoute](): {"whitelist": "allows", "prefix": "prefixes", "ratio": "weight"},
	reflect.TypeFor[Variable]():  {"accessors": "sources"},
	reflect.TypeFor[Source]():    {"function": "func"},
	reflect.TypeFor[Domain]():    {"unitFlag": "liveType", "subDomainEnabled": "unitDomainEnabled", "subDomains": "unitDomains"},
	reflect.TypeFor[Path](): {
		"unitRuleId": "ruleId", "unitRuleName": "ruleName", "variableAccessor": "customVariableSource", "accessor": "variableSource",
	},
}

// aliasesOf yields every alias, with its field, that may stand for a field of
// some type: enough to find the line of a field.
func aliasesOf(name string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, byAlias := range aliases {
			for alias, field := range byAlias {
				if field == name && !yield(alias, field) {
					return
				}
			}
		}
	}
}

// words are the accepted forms, in lower case, of the values of each closed
// set, and the one form that is written.
var words = map[reflect.Type]map[string]string{
	reflect.TypeFor[UnitType](): {"center": string(Center), "unit": string(Regular)},
	reflect.TypeFor[AccessMode](): {
		"read_write": string(ReadWrite), "readwrite": string(ReadWrite),
		"read_only": string(ReadOnly), "readonly": string(ReadOnly), "read": string(ReadOnly),
		"none": string(NoAccess),
	},
	reflect.TypeFor[LiveType](): {
		"cross_region_live": string(CrossRegion), "crossregionlive": string(CrossRegion), "true": string(CrossRegion),
		"one_region_live": string(OneRegion), "oneregionlive": string(OneRegion), "false": string(OneRegion),
	},
	reflect.TypeFor[Scope]():         {"query": string(ScopeQuery), "header": string(ScopeHeader), "cookie": string(ScopeCookie)},
	reflect.TypeFor[MissingAction](): {"reject": string(MissingReject), "center": string(MissingCenter)},
	reflect.TypeFor[TableKind](): {
		"unit": string(TableUnit), "centerunit": string(TableCenterUnit), "center": string(TableCenter),
		"refuse": string(TableRefuse), "local": string(TableLocal),
	},
}

// word is the written form of a value of a closed set. A value that the set
// does not have stays as it is, for Validate to refuse.
func word(t reflect.Type, text string) string {
	if known, ok := words[t][strings.ToLower(text)]; ok {
		return known
	}
	return text
}
