package main

import (
	"context"
	"time"

	"github.com/atoll-live/atoll/server/dbsync"
)

// DBSyncCmd runs the lanes into a unit.
type DBSyncCmd struct {
	SiteFlags
	Reach      []string      `sep:"none" placeholder:"UNIT=HOST:PORT" help:"Address that reaches the database of a unit from here, instead of the Database's own."`
	Beat       time.Duration `default:"200ms" help:"Time between two heartbeats of this unit."`
	QueueBytes int           `default:"67108864" help:"Bytes that a lane holds in memory; a full queue holds the source back."`
	GroupBytes int           `default:"268435456" help:"Largest transaction that is carried; a larger one stops its lane."`
	Idle       time.Duration `default:"5s" help:"A link that brings nothing for so long is dialled anew."`
	ParkLimit  int           `default:"100000" help:"Rows of one lane that their origin did not own; at the limit the lane stops."`
}

// Run serves until ctx ends.
func (c *DBSyncCmd) Run(ctx context.Context, out *Output) error {
	reach, err := pairs("reach", c.Reach, false)
	if err != nil {
		return usageError(err)
	}
	token, err := c.token()
	if err != nil {
		return usageError(err)
	}
	p, err := dbsync.NewProcess(dbsync.ProcessConfig{
		Config: dbsync.Config{Unit: c.Unit, Reach: reach, Log: siteLog(out, "dbsync", c.Unit), Beat: c.Beat,
			QueueBytes: c.QueueBytes, GroupBytes: c.GroupBytes, Idle: c.Idle, ParkLimit: c.ParkLimit},
		Name: c.Name, Cell: c.Cell, Status: c.Status, Consoles: c.Console, Token: token, Dir: c.Data,
	})
	if err != nil {
		return usageError(err)
	}
	return p.Run(ctx)
}
