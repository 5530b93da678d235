package space

// APIVersionAtoll is the version of Atoll's own kinds.
const (
	APIVersionAtoll = "atoll/v1"
	KindDatabase    = "Database"
)

// TableKind says where a table is written and how it is synced.
type TableKind string

// The table kinds. Refuse and Local are only a Database's defaultKind.
const (
	TableUnit       TableKind = "unit"       // synced both ways, sharded by key
	TableCenterUnit TableKind = "centerUnit" // written in the center, read everywhere
	TableCenter     TableKind = "center"     // only in the center
	TableRefuse     TableKind = "refuse"
	TableLocal      TableKind = "local"
)

// ReadsOwner makes keyed reads of a unit table possible at the owner only.
const ReadsOwner = "owner"

// Database maps a logical database to the units' data sources and says of
// each table how it is routed, guarded and synced.
type Database struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   Metadata       `json:"metadata"`
	Spec       DatabaseSpec   `json:"spec"`
	Extra      map[string]any `json:"-"`
}

// DatabaseSpec is the body of a Database.
type DatabaseSpec struct {
	Space       string         `json:"space"`
	Rule        string         `json:"rule"`
	DefaultKind TableKind      `json:"defaultKind,omitempty"` // refuse when empty
	Sources     []DataSource   `json:"sources"`
	Tables      []Table        `json:"tables"`
	Extra       map[string]any `json:"-"`
}

// DataSource is one unit's database server. Buckets, when given, name the
// shard of the unit that this source holds.
type DataSource struct {
	Unit         string         `json:"unit"`
	Host         string         `json:"host"`
	Port         int            `json:"port"`
	Database     string         `json:"database"`
	User         string         `json:"user"`
	PasswordFile string         `json:"passwordFile,omitempty"`
	Buckets      []Range        `json:"buckets,omitempty"`
	Extra        map[string]any `json:"-"`
}

// Table is one table of a Database.
type Table struct {
	Name  string         `json:"name"`
	Kind  TableKind      `json:"kind"`
	Key   string         `json:"key,omitempty"`   // sharding key column, unit tables only
	Reads string         `json:"reads,omitempty"` // "" or "owner", unit tables only
	Extra map[string]any `json:"-"`
}
