package store

import (
	"fmt"
	"net/url"
	"strings"
)

// Root is the prefix of every key. Names inside keys are path-escaped, so a
// name can hold a slash without leaving its level.
const Root = "/atoll/"

// The prefixes, for List and Watch.
const (
	SnapshotPrefix = Root + "snapshot/"
	DocPrefix      = Root + "doc/"
	HistoryPrefix  = Root + "history/"
	PlanePrefix    = Root + "plane/"
	FormerPrefix   = Root + "former/"
	MovePrefix     = Root + "move/"
	IDPrefix       = Root + "id/"
	AuditPrefix    = Root + "audit/"
	LeaderPrefix   = Root + "leader/"
)

// SnapshotKey is /atoll/snapshot/<space>: JSON of the space.Snapshot in force.
// Its epoch is the former one plus one, written with a compare on this key's
// revision, so two writers never publish the same epoch.
func SnapshotKey(space string) string { return SnapshotPrefix + escape(space) }

// DocKey is /atoll/doc/<kind>/<name>: JSON of the document, the kind in lower
// case. A MultiLiveSpace is named by its code.
func DocKey(kind, name string) string {
	return DocKindPrefix(kind) + escape(name)
}

// DocKindPrefix lists the documents of a kind.
func DocKindPrefix(kind string) string { return DocPrefix + escape(strings.ToLower(kind)) + "/" }

// HistoryKey is /atoll/history/<kind>/<name>/<epoch, 19 digits>: one published
// state of a document. The epoch is of the snapshot that published it; the
// digits make key order the order of epochs.
func HistoryKey(kind, name string, epoch int64) string {
	return fmt.Sprintf("%s%019d", HistoryDocPrefix(kind, name), epoch)
}

// HistoryDocPrefix lists the history of a document, oldest first.
func HistoryDocPrefix(kind, name string) string {
	return HistoryPrefix + escape(strings.ToLower(kind)) + "/" + escape(name) + "/"
}

// PlaneKey is /atoll/plane/<name>: a registered plane. It stays over restarts
// and silence until the plane deregisters or is forgotten.
func PlaneKey(name string) string { return PlanePrefix + escape(name) }

// FormerKey is /atoll/former/<name>: of a plane that is no longer registered,
// JSON of the incarnations that may not come back. A new incarnation takes it
// over into its PlaneKey.
func FormerKey(name string) string { return FormerPrefix + escape(name) }

// ActiveMoveKey is /atoll/move/<space>/active: the id of the one move of a
// space that is not over. It is created with Absent and deleted with the
// move's last write; while it is there apply to the space is refused.
func ActiveMoveKey(space string) string { return MoveSpacePrefix(space) + "active" }

// MoveKey is /atoll/move/<space>/id/<id>: the mover's persisted State. (The
// level "id" keeps a move from ever being named "active".)
func MoveKey(space, id string) string { return MoveSpacePrefix(space) + "id/" + escape(id) }

// MoveSpacePrefix lists the active key and the moves of a space.
func MoveSpacePrefix(space string) string { return MovePrefix + escape(space) + "/" }

// WorkerKey is /atoll/id/worker/<unit>/<worker>: who issues ids as this worker
// of the unit, and up to which tick they are reserved.
func WorkerKey(unit string, worker int32) string {
	return fmt.Sprintf("%s%06d", WorkerUnitPrefix(unit), worker)
}

// WorkerUnitPrefix lists the id workers of a unit.
func WorkerUnitPrefix(unit string) string { return IDPrefix + "worker/" + escape(unit) + "/" }

// UnitNumberKey is /atoll/id/unit/<number>: the unit code that has this number
// in ids, 0 to 15, allotted once for all spaces.
func UnitNumberKey(number int32) string { return fmt.Sprintf("%s%02d", UnitNumberPrefix, number) }

// UnitNumberPrefix lists the numbers given out.
const UnitNumberPrefix = IDPrefix + "unit/"

// AuditKey is /atoll/audit/<unix nanoseconds, 19 digits>-<suffix>: one entry
// of the audit log; key order is the order of time.
func AuditKey(unixNano int64, suffix string) string {
	return fmt.Sprintf("%s%019d-%s", AuditPrefix, unixNano, escape(suffix))
}

// LeaderKey is /atoll/leader/<name>: the member that leads an election. It
// lives by its leader's lease.
func LeaderKey(name string) string { return LeaderPrefix + escape(name) }

func escape(name string) string { return url.PathEscape(name) }

// Name is the last part of a key, unescaped: the space of a SnapshotKey, the
// id of a MoveKey.
func Name(key string) string {
	part := key[strings.LastIndexByte(key, '/')+1:]
	if name, err := url.PathUnescape(part); err == nil {
		return name
	}
	return part
}
