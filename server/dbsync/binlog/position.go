package binlog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// GTID names one group of one replication domain.
type GTID struct {
	Domain, Server uint32
	Sequence       uint64
}

func (g GTID) String() string {
	return fmt.Sprintf("%d-%d-%d", g.Domain, g.Server, g.Sequence)
}

// Position is a place in a binary log: the last group of each domain, sorted
// by domain. It is never changed once made.
type Position []GTID

// ParsePosition reads MariaDB's text form, "1-1-100,2-2-7". The empty text is
// the start of the log.
func ParsePosition(text string) (Position, error) {
	var p Position
	if strings.TrimSpace(text) == "" {
		return p, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		f := strings.Split(strings.TrimSpace(part), "-")
		if len(f) != 3 {
			return nil, fmt.Errorf("read position %q: a GTID is domain-server-sequence", text)
		}
		domain, err1 := strconv.ParseUint(f[0], 10, 32)
		server, err2 := strconv.ParseUint(f[1], 10, 32)
		sequence, err3 := strconv.ParseUint(f[2], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			return nil, fmt.Errorf("read position %q: not a number in %q", text, part)
		}
		p = p.With(GTID{uint32(domain), uint32(server), sequence})
	}
	return p, nil
}

// With is the position after one more group.
func (p Position) With(g GTID) Position {
	i, found := slices.BinarySearchFunc(p, g.Domain, func(a GTID, d uint32) int { return int(int64(a.Domain) - int64(d)) })
	next := make(Position, 0, len(p)+1)
	next = append(next, p[:i]...)
	next = append(next, g)
	if found {
		i++
	}
	return append(next, p[i:]...)
}

func (p Position) String() string {
	parts := make([]string, len(p))
	for i, g := range p {
		parts[i] = g.String()
	}
	return strings.Join(parts, ",")
}
