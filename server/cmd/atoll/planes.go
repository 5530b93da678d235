package main

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/console/planes"
)

// PlanesCmd is about the processes that obey the console.
type PlanesCmd struct {
	List   PlanesListCmd   `cmd:"" default:"withargs" help:"List the registered planes."`
	Forget PlanesForgetCmd `cmd:"" help:"Remove a plane that will never return."`
}

// PlanesListCmd lists the registered planes.
type PlanesListCmd struct {
	ConsoleFlags
	Space string `help:"Only planes that have this space."`
}

type planesOut struct {
	Planes []planeOut `json:"planes"`
}

type planeOut struct {
	Name        string           `json:"name"`
	Kind        string           `json:"kind"`
	Unit        string           `json:"unit"`
	Cell        string           `json:"cell"`
	Incarnation string           `json:"incarnation"`
	PID         int64            `json:"pid"`
	Address     string           `json:"address"`
	Version     string           `json:"version"`
	Connected   bool             `json:"connected"`
	SilentMS    *int64           `json:"silent_ms"` // null: not heard since the console's start
	Epochs      map[string]int64 `json:"epochs"`
	Undrained   []string         `json:"undrained"` // spaces with an open fence
	Trouble     string           `json:"trouble"`
	Figures     map[string]int64 `json:"figures"`
}

func listPlanes(ctx context.Context, f *ConsoleFlags, space string) ([]*atollv1.PlaneStatus, error) {
	res, err := call(ctx, f, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.ListPlanesRequest]) (*connect.Response[atollv1.ListPlanesResponse], error) {
		return client.Planes().List
	}, &atollv1.ListPlanesRequest{Space: space})
	return res.GetPlanes(), err
}

// Run prints one plane a line.
func (c *PlanesListCmd) Run(ctx context.Context, out *Output) error {
	planes, err := listPlanes(ctx, &c.ConsoleFlags, c.Space)
	if err != nil {
		return err
	}
	answer := planesOut{Planes: []planeOut{}}
	t := &table{head: []string{"NAME", "KIND", "UNIT", "CELL", "STATE", "EPOCHS", "HEARD", "PID", "ADDRESS", "TROUBLE"}}
	for _, p := range planes {
		o := planeOf(p)
		answer.Planes = append(answer.Planes, o)
		t.add(text(o.Name), text(o.Kind), text(o.Unit), text(o.Cell), stateCell(o), text(epochs(o.Epochs)),
			number(heard(o.SilentMS)), number(strconv.FormatInt(o.PID, 10)), text(o.Address), coloured(o.Trouble, red))
	}
	return out.Print(answer, func(w io.Writer) error {
		if len(planes) == 0 {
			_, err := fmt.Fprintln(w, "no planes are registered")
			return err
		}
		return t.write(w)
	})
}

func planeOf(s *atollv1.PlaneStatus) planeOut {
	p, r := s.GetPlane(), s.GetReport()
	o := planeOut{
		Name: p.GetName(), Kind: p.GetKind(), Unit: p.GetUnit(), Cell: p.GetCell(), Incarnation: p.GetIncarnation(),
		PID: p.GetPid(), Address: p.GetAddress(), Version: p.GetVersion(), Connected: s.GetConnected(),
		Epochs: map[string]int64{}, Undrained: []string{}, Trouble: r.GetTrouble(), Figures: r.GetFigures(),
	}
	if ms := s.GetSilentMs(); ms >= 0 {
		o.SilentMS = &ms
	}
	if o.Figures == nil {
		o.Figures = map[string]int64{}
	}
	for _, sp := range r.GetSpaces() {
		o.Epochs[sp.GetSpace()] = sp.GetEpoch()
		if sp.GetUndrained() {
			o.Undrained = append(o.Undrained, sp.GetSpace())
		}
	}
	return o
}

func stateCell(p planeOut) cell {
	switch {
	case !p.Connected:
		return coloured("silent", red)
	case p.Trouble != "":
		return coloured("trouble", yellow)
	case len(p.Undrained) > 0:
		return coloured("draining", yellow)
	}
	return coloured("connected", green)
}

func epochs(of map[string]int64) string {
	var list []string
	for space, epoch := range of {
		list = append(list, fmt.Sprintf("%s:%d", space, epoch))
	}
	sort.Strings(list)
	return strings.Join(list, " ")
}

// heard is how long ago a plane was heard, for people.
func heard(silentMS *int64) string {
	if silentMS == nil {
		return "never"
	}
	d := time.Duration(*silentMS) * time.Millisecond
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// PlanesForgetCmd removes a plane that will never return.
type PlanesForgetCmd struct {
	ConsoleFlags
	Name         string `arg:"" help:"Name of the plane."`
	LeaveThreads bool   `help:"Forget a dbproxy although nobody ends what it left at its database server: a statement of it that waits there may still be done."`
}

type forgotten struct {
	Forgotten    string `json:"forgotten"`
	ThreadsEnded int64  `json:"threads_ended"`
}

// Run removes the plane; moves do not wait for it any more.
func (c *PlanesForgetCmd) Run(ctx context.Context, out *Output) error {
	answered := sayLater(out.Stderr, fmt.Sprintf("no answer yet: what a dbproxy left at its database server is ended first, for up to %v", planes.EndLimit))
	res, err := call(ctx, &c.ConsoleFlags, requestTime+planes.EndLimit, func(client *console.Client) func(context.Context, *connect.Request[atollv1.ForgetRequest]) (*connect.Response[atollv1.ForgetResponse], error) {
		return client.Planes().Forget
	}, &atollv1.ForgetRequest{Name: c.Name, LeaveThreads: c.LeaveThreads})
	answered()
	if err != nil {
		return err
	}
	return out.Print(forgotten{c.Name, res.GetThreadsEnded()}, func(w io.Writer) error {
		text := "plane " + c.Name + " is forgotten"
		if n := res.GetThreadsEnded(); n > 0 {
			text += fmt.Sprintf(", %d server threads that it left are ended", n)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	})
}
