package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
)

// LanesCmd lists the directions of data sync.
type LanesCmd struct {
	ConsoleFlags
	Space string `help:"Only lanes of this space."`
}

type lanesOut struct {
	Lanes []laneOut `json:"lanes"`
}

type laneOut struct {
	Name     string `json:"name"` // "source>target"
	Space    string `json:"space"`
	Plane    string `json:"plane"` // that runs it
	State    string `json:"state"` // running | waiting | stopped | silent: its plane does not report
	Reason   string `json:"reason"`
	Position string `json:"position"`
	LagMS    int64  `json:"lag_ms"`
	Groups   int64  `json:"groups"`
	Rows     int64  `json:"rows"`
	Parked   int64  `json:"parked"`

	ParkedRows []parkedOut `json:"parked_rows"` // the oldest, 20 at most
}

// parkedOut is a row that its origin did not own.
type parkedOut struct {
	ID       int64  `json:"id"`    // in atoll.parked of the target unit's database
	Table    string `json:"table"` // schema.table there
	Key      string `json:"key"`
	Owner    string `json:"owner"`
	Position string `json:"position"`
	At       string `json:"at"`
	Reason   string `json:"reason"`
}

// Run prints one lane a line, as its plane last reported it.
func (c *LanesCmd) Run(ctx context.Context, out *Output) error {
	planes, err := listPlanes(ctx, &c.ConsoleFlags, "")
	if err != nil {
		return err
	}
	answer := lanesOut{Lanes: []laneOut{}}
	parked := &table{head: []string{"LANE", "ID", "TABLE", "KEY", "OWNER", "AT", "POSITION", "REASON"}}
	t := &table{head: []string{"LANE", "SPACE", "STATE", "LAG", "GROUPS", "ROWS", "PARKED", "POSITION", "REASON"}}
	for _, p := range planes {
		for _, l := range p.GetReport().GetLanes() {
			if c.Space != "" && l.GetSpace() != c.Space {
				continue
			}
			o := laneOut{
				Name: l.GetName(), Space: l.GetSpace(), Plane: p.GetPlane().GetName(), State: l.GetState(), Reason: l.GetReason(),
				Position: l.GetPosition(), LagMS: l.GetLagMs(), Groups: l.GetGroups(), Rows: l.GetRows(), Parked: l.GetParked(),
				ParkedRows: []parkedOut{},
			}
			for _, p := range l.GetParkedRows() {
				o.ParkedRows = append(o.ParkedRows, parkedOut{p.GetId(), p.GetTable(), p.GetKey(), p.GetOwner(), p.GetPosition(), p.GetAt(), p.GetReason()})
				parked.add(text(o.Name), number(strconv.FormatInt(p.GetId(), 10)), text(p.GetTable()), text(p.GetKey()), text(p.GetOwner()),
					text(p.GetAt()), text(p.GetPosition()), text(p.GetReason()))
			}
			if !p.GetConnected() {
				o.State, o.Reason = "silent", o.Plane+" does not report"
			}
			answer.Lanes = append(answer.Lanes, o)
			t.add(text(o.Name), text(o.Space), coloured(o.State, laneColour(o.State)), number(strconv.FormatInt(o.LagMS, 10)+"ms"),
				number(strconv.FormatInt(o.Groups, 10)), number(strconv.FormatInt(o.Rows, 10)), parkedCell(o.Parked), text(o.Position), text(o.Reason))
		}
	}
	return out.Print(answer, func(w io.Writer) error {
		if len(answer.Lanes) == 0 {
			_, err := fmt.Fprintln(w, "no plane reports a lane")
			return err
		}
		if err := t.write(w); err != nil || len(parked.rows) == 0 {
			return err
		}
		if _, err := fmt.Fprintf(w, "\nparked rows, the oldest first (their contents: table atoll.parked in the database of the lane's target, by id)\n"); err != nil {
			return err
		}
		return parked.write(w)
	})
}

func laneColour(state string) string {
	switch state {
	case "running":
		return green
	case "waiting":
		return yellow
	}
	return red
}

func parkedCell(n int64) cell {
	c := number(strconv.FormatInt(n, 10))
	if n > 0 {
		c.colour = red
	}
	return c
}
