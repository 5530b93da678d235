package space

// APIVersionSpace and KindSpace name a MultiLiveSpace document.
const (
	APIVersionSpace = "apaas.cos.com/v2alpha1"
	KindSpace       = "MultiLiveSpace"
)

// UnitType says whether a unit is the one center of its space.
type UnitType string

// The unit types.
const (
	Center  UnitType = "CENTER"
	Regular UnitType = "UNIT"
)

// AccessMode says what a unit or a cell may do. The empty mode is READ_WRITE;
// READ and READ_ONLY are one mode and are written as READ_ONLY.
type AccessMode string

// The access modes.
const (
	ReadWrite AccessMode = "READ_WRITE"
	ReadOnly  AccessMode = "READ_ONLY"
	NoAccess  AccessMode = "NONE"
)

// LiveType says whether a rule or a domain spans regions (several units) or
// one region (one unit, several cells).
type LiveType string

// The live types.
const (
	CrossRegion LiveType = "CROSS_REGION_LIVE"
	OneRegion   LiveType = "ONE_REGION_LIVE"
)

// Scope is the part of an HTTP request that a value is read from.
type Scope string

// The scopes.
const (
	ScopeQuery  Scope = "QUERY"
	ScopeHeader Scope = "HEADER"
	ScopeCookie Scope = "COOKIE"
)

// MissingAction says what happens to a request without a key.
type MissingAction string

// The missing actions. The empty action is REJECT.
const (
	MissingReject MissingAction = "REJECT"
	MissingCenter MissingAction = "CENTER"
)

// Space is one MultiLiveSpace document. Fields that Atoll does not know are
// kept in Extra of the object they stood in and written back.
type Space struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   Metadata       `json:"metadata"`
	Spec       Spec           `json:"spec"`
	Extra      map[string]any `json:"-"`
}

// Metadata names a document.
type Metadata struct {
	Name      string         `json:"name"`
	Namespace string         `json:"namespace,omitempty"`
	Extra     map[string]any `json:"-"`
}

// Spec is the body of a MultiLiveSpace.
type Spec struct {
	ID        string         `json:"id"`
	Code      string         `json:"code"`
	Name      string         `json:"name"`
	Version   string         `json:"version"`
	TenantID  string         `json:"tenantId"`
	Units     []Unit         `json:"units"`
	Domains   []Domain       `json:"domains"`
	UnitRules []UnitRule     `json:"unitRules"`
	Variables []Variable     `json:"variables"`
	Extra     map[string]any `json:"-"`
}

// Unit is a logical site with its own copy of unit data.
type Unit struct {
	Code       string            `json:"code"`
	Name       string            `json:"name"`
	Type       UnitType          `json:"type"`
	AccessMode AccessMode        `json:"accessMode"`
	Labels     map[string]string `json:"labels"`
	Cells      []Cell            `json:"cells"`
	Extra      map[string]any    `json:"-"`
}

// Cell is an availability zone inside a unit.
type Cell struct {
	Code       string            `json:"code"`
	Name       string            `json:"name"`
	AccessMode AccessMode        `json:"accessMode"`
	Labels     map[string]string `json:"labels"`
	Extra      map[string]any    `json:"-"`
}

// Variable is a routing variable and the ways to read it.
type Variable struct {
	Name    string         `json:"name"`
	Type    string         `json:"type"`
	Sources []Source       `json:"sources"`
	Extra   map[string]any `json:"-"`
}

// Source is one way to read a variable from a request.
type Source struct {
	Name   string         `json:"name"`
	Scope  Scope          `json:"scope"`
	Key    string         `json:"key"`
	Func   string         `json:"func"`
	Header string         `json:"header"`
	Extra  map[string]any `json:"-"`
}

// UnitRule says which unit owns which key.
type UnitRule struct {
	ID                    string         `json:"id"`
	Name                  string         `json:"name"`
	LiveType              LiveType       `json:"liveType"`
	Business              string         `json:"business"`
	Variable              string         `json:"variable"`
	VariableSource        string         `json:"variableSource"`
	VariableFunction      string         `json:"variableFunction"`
	VariableMissingAction MissingAction  `json:"variableMissingAction"`
	Modulo                int            `json:"modulo"`
	Units                 []UnitRoute    `json:"units"`
	Extra                 map[string]any `json:"-"`
}

// UnitRoute is one unit's part of a rule.
type UnitRoute struct {
	Code     string         `json:"code"`
	Allows   []string       `json:"allows"`
	Prefixes []string       `json:"prefixes"`
	Ranges   []Range        `json:"ranges"`
	Cells    []CellRoute    `json:"cells"`
	Left     []Left         `json:"left,omitempty"`
	Extra    map[string]any `json:"-"`
}

// Left is an entry that a move took out of a unit's lists by name, and the
// place to which its return puts it back, so that a move and its reverse leave
// the document as it was. It is written by moves alone, only when the lists
// themselves do not tell that place, and decides nothing.
type Left struct {
	Allow  string `json:"allow,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	At     int    `json:"at"`
	// Idle says that the entry, though remembered, was not in the list when its
	// key left last: the rest of the rule gave the key to the unit.
	Idle bool `json:"idle,omitempty"`
}

// Range is a half-open interval of buckets: From ≤ bucket < To.
type Range struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// CellRoute is one cell's part of a unit route.
type CellRoute struct {
	Code     string   `json:"code"`
	Allows   []string `json:"allows"`
	Prefixes []string `json:"prefixes"`
	Weight   int      `json:"weight"`
	// AccessMode closes the cell to the rule alone.
	AccessMode AccessMode     `json:"accessMode,omitempty"`
	Extra      map[string]any `json:"-"`
}

// Domain is one host whose requests are routed to units.
type Domain struct {
	Host              string         `json:"host"`
	Protocols         []string       `json:"protocols"`
	LiveType          LiveType       `json:"liveType"`
	CorrectionType    string         `json:"correctionType"`
	UnitDomainEnabled bool           `json:"unitDomainEnabled"`
	UnitDomains       []UnitDomain   `json:"unitDomains"`
	Paths             []Path         `json:"paths"`
	Resources         []any          `json:"resources"`
	Extra             map[string]any `json:"-"`
}

// UnitDomain is the subdomain of a domain in one unit. An empty Host means
// the unit code, a dash, and the main host.
type UnitDomain struct {
	Unit    string         `json:"unit"`
	Host    string         `json:"host"`
	Backend string         `json:"backend"`
	Extra   map[string]any `json:"-"`
}

// Path ties a path prefix (by segments) to a unit rule.
type Path struct {
	Path                 string         `json:"path"`
	RuleID               string         `json:"ruleId"`
	RuleName             string         `json:"ruleName"`
	CustomVariableSource bool           `json:"customVariableSource"`
	Variable             string         `json:"variable"`
	VariableSource       string         `json:"variableSource"`
	BizVariableEnabled   bool           `json:"bizVariableEnabled"`
	BizVariableName      string         `json:"bizVariableName"`
	BizVariableScope     Scope          `json:"bizVariableScope"`
	BizVariableRules     []BizRule      `json:"bizVariableRules"`
	Extra                map[string]any `json:"-"`
}

// BizRule picks a rule by the value of a business parameter.
type BizRule struct {
	Value    string         `json:"value"`
	RuleID   string         `json:"ruleId"`
	RuleName string         `json:"ruleName"`
	Extra    map[string]any `json:"-"`
}

// FunctionBKDR is the unit function that documents name: see route.BKDRHash.
const FunctionBKDR = "BKDRHash"

// HostOf is the host of the subdomain of d: unit code, dash and main host when
// the document leaves it out.
func (u *UnitDomain) HostOf(d *Domain) string {
	if u.Host != "" {
		return u.Host
	}
	return u.Unit + "-" + d.Host
}
