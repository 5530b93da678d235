package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-live/atoll/server/pause"
)

// Idle waits until every lane has carried all that stands in its source's
// binlog now. The name of a lane is "source>target".
func Idle(ctx context.Context, sides []Side, patience time.Duration) error {
	limit := time.Now().Add(patience)
	for _, source := range sides {
		var position string
		if err := source.DB.QueryRowContext(ctx, "SELECT @@gtid_binlog_pos").Scan(&position); err != nil {
			return fmt.Errorf("binlog position of %s: %w", source.Unit, err)
		}
		for _, target := range sides {
			if target.Unit == source.Unit {
				continue
			}
			if err := reached(ctx, target, source.Unit+">"+target.Unit, position, limit); err != nil {
				return err
			}
		}
	}
	return nil
}

func reached(ctx context.Context, target Side, lane, position string, limit time.Time) error {
	for {
		var at string
		err := target.DB.QueryRowContext(ctx, "SELECT gtid FROM atoll.lane WHERE lane = ?", lane).Scan(&at)
		if err != nil {
			return fmt.Errorf("checkpoint of lane %s: %w", lane, err)
		}
		if passed(at, position) {
			return nil
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Errorf("lane %s stands at %s and did not reach %s in time", lane, at, position)
		}
		pause.For(ctx, 50*time.Millisecond)
	}
}

// Behind is how many groups of a source's binlog the lane from there into a
// target has not brought yet.
func Behind(ctx context.Context, source, target Side) (int64, error) {
	var position, at string
	if err := source.DB.QueryRowContext(ctx, "SELECT @@gtid_binlog_pos").Scan(&position); err != nil {
		return 0, fmt.Errorf("binlog position of %s: %w", source.Unit, err)
	}
	lane := source.Unit + ">" + target.Unit
	if err := target.DB.QueryRowContext(ctx, "SELECT gtid FROM atoll.lane WHERE lane = ?", lane).Scan(&at); err != nil {
		return 0, fmt.Errorf("checkpoint of lane %s: %w", lane, err)
	}
	behind, have := int64(0), sequences(at)
	for domain, seq := range sequences(position) {
		behind += max(int64(seq)-int64(have[domain]), 0)
	}
	return behind, nil
}

// passed tells whether MariaDB GTID position at is not before want: for each
// domain of want, the sequence number is reached.
func passed(at, want string) bool {
	have := sequences(at)
	for domain, seq := range sequences(want) {
		if have[domain] < seq {
			return false
		}
	}
	return true
}

func sequences(position string) map[string]uint64 {
	out := map[string]uint64{}
	for gtid := range strings.SplitSeq(position, ",") {
		parts := strings.Split(strings.TrimSpace(gtid), "-")
		if len(parts) != 3 {
			continue
		}
		seq, err := strconv.ParseUint(parts[2], 10, 64)
		if err == nil {
			out[parts[0]] = seq
		}
	}
	return out
}

// ParkedRow is a row that a lane did not apply.
type ParkedRow struct {
	Lane, Position, Table, Key, Reason string
}

// Parked are the rows that lanes parked on all sides.
func Parked(ctx context.Context, sides []Side) ([]ParkedRow, error) {
	var all []ParkedRow
	for _, s := range sides {
		some, err := parkedOf(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("parked rows of %s: %w", s.Unit, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func parkedOf(ctx context.Context, s Side) ([]ParkedRow, error) {
	rows, err := s.DB.QueryContext(ctx, "SELECT lane, position, tbl, keytext, reason FROM atoll.parked ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []ParkedRow
	for rows.Next() {
		var p ParkedRow
		if err := rows.Scan(&p.Lane, &p.Position, &p.Table, &p.Key, &p.Reason); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// Returned are the parked rows that a lane found where another lane had put
// them: they came back, and only their owner's check kept them from going round.
func Returned(parked []ParkedRow, o Ownership) []ParkedRow {
	return slices.DeleteFunc(slices.Clone(parked), func(p ParkedRow) bool {
		source, _, _ := strings.Cut(p.Lane, ">")
		for domain, seq := range sequences(p.Position) {
			if o.carried[source][sequence{domain, seq}] {
				return false
			}
		}
		return true
	})
}
