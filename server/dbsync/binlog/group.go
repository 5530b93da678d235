package binlog

import "errors"

// ErrRefused marks a group that cannot be carried over without losing
// something. Reading goes on only when somebody has mended the cause.
var ErrRefused = errors.New("group refused")

// ErrLink marks an end of the stream that another try may mend.
var ErrLink = errors.New("binlog stream ended")

// Op says what happened to a row.
type Op byte

// The operations.
const (
	Insert Op = 'I'
	Update Op = 'U'
	Delete Op = 'D'
)

// Row is one row image: a value for each column of its Table, in the binary
// log's own form, nil for NULL. It points into the event it came with.
type Row [][]byte

// Change is one row that a group changed. Before is nil for an Insert, After
// for a Delete.
type Change struct {
	Table         *Table
	Op            Op
	Before, After Row
}

// Image is the row image that says where the row lives: after the change if
// there is one.
func (c *Change) Image() Row {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

// Group is one transaction. Changes holds the rows of wanted tables only.
type Group struct {
	GTID    GTID
	Pos     Position // after this group
	At      uint32   // Unix time of its start at the source, for people
	Changes []Change
	Bytes   int  // about what it holds in memory
	Marked  bool // its first row is on the marker table: a lane applied it
}
