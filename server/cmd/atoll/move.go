package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
)

// MoveCmd is the cut-over: a set of keys goes from one unit to another.
type MoveCmd struct {
	Plan   MovePlanCmd   `cmd:"" help:"Say what a move would carry, its steps, and how the checks stand now."`
	Start  MoveStartCmd  `cmd:"" help:"Begin a move."`
	Status MoveStatusCmd `cmd:"" help:"Show a move."`
	Watch  MoveWatchCmd  `cmd:"" help:"Follow a move to its end."`
	List   MoveListCmd   `cmd:"" help:"List moves, the newest first."`
	Abort  MoveAbortCmd  `cmd:"" help:"End a move with the old owner, as long as it has not switched."`
}

// MoveFlags say what is to move.
type MoveFlags struct {
	ConsoleFlags
	Space    string   `required:"" placeholder:"CODE" help:"Space of the keys."`
	Rule     string   `placeholder:"ID" help:"Rule of the keys. Else the only one that has both units."`
	From     string   `required:"" placeholder:"UNIT" help:"Unit that owns the keys now."`
	To       string   `required:"" placeholder:"UNIT" help:"Unit that shall own them."`
	Percent  int32    `xor:"what" placeholder:"P" help:"Share of all buckets, from those that --from owns: the highest-numbered."`
	Buckets  string   `xor:"what" placeholder:"RANGES" help:"Buckets: 0-2999,5000."`
	Keys     []string `xor:"what" placeholder:"KEY" help:"Keys by name."`
	All      bool     `xor:"what" help:"Everything that --from owns."`
	Force    bool     `help:"Move away from a unit that cannot be reached."`
	Override []string `placeholder:"CHECK" help:"Checks to pass over, by name. It is noted in the audit log."`
}

// request is the flags as the console takes them.
func (f *MoveFlags) request() (*atollv1.MoveRequest, error) {
	if f.Percent == 0 && f.Buckets == "" && len(f.Keys) == 0 && !f.All {
		return nil, usageError(errors.New("say what to move: --percent, --buckets, --keys or --all"))
	}
	if f.Percent < 0 {
		return nil, usageError(fmt.Errorf("--percent %d: want 1 to 100", f.Percent))
	}
	return &atollv1.MoveRequest{
		Space: f.Space, Rule: f.Rule, From: f.From, To: f.To, Percent: f.Percent, Buckets: f.Buckets,
		Keys: f.Keys, All: f.All, Force: f.Force, Override: f.Override,
	}, nil
}

// MovePlanCmd is the dry run.
type MovePlanCmd struct{ MoveFlags }

// Run prints the plan. A check that does not pass now is exit status 1.
func (c *MovePlanCmd) Run(ctx context.Context, out *Output) error {
	req, err := c.request()
	if err != nil {
		return err
	}
	res, err := call(ctx, &c.ConsoleFlags, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.MoveRequest]) (*connect.Response[atollv1.MoveResponse], error) {
		return client.Moves().Plan
	}, req)
	if err != nil {
		return err
	}
	m := res.GetMove()
	if err := out.Print(moveOf(m), func(w io.Writer) error { return writePlan(w, m) }); err != nil {
		return err
	}
	for _, check := range m.GetChecks() {
		if !check.GetOk() && !check.GetOverridden() {
			return &exitError{code: exitFailed}
		}
	}
	return nil
}

// MoveStartCmd begins a move.
type MoveStartCmd struct {
	MoveFlags
	Wait    bool          `help:"Return when the move is over, and show how it gets on."`
	Timeout time.Duration `default:"10m" help:"How long --wait waits. The move goes on without it."`
}

// Run prints the move once, as it stands at the end of the command.
func (c *MoveStartCmd) Run(ctx context.Context, out *Output) error {
	req, err := c.request()
	if err != nil {
		return err
	}
	res, err := call(ctx, &c.ConsoleFlags, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.MoveRequest]) (*connect.Response[atollv1.MoveResponse], error) {
		return client.Moves().Start
	}, req)
	if err != nil {
		return err
	}
	m := res.GetMove()
	if !c.Wait {
		return out.Print(moveOf(m), func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "move %s has begun (atoll move watch %s)\n", m.GetId(), m.GetId())
			return err
		})
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("move %s is not over after %v: it goes on (atoll move watch %s)", m.GetId(), c.Timeout, m.GetId()))
	defer cancel()
	show := newMoveShow(out.Stderr, isTerminal(out.Stderr))
	if m, err = followMove(ctx, &c.ConsoleFlags, m, show.update); err != nil {
		return err
	}
	if err := out.Print(moveOf(m), func(w io.Writer) error { return writeMove(w, m) }); err != nil {
		return err
	}
	return moveEnd(m)
}

// moveEnd is the exit status of a move that is over.
func moveEnd(m *atollv1.Move) error {
	if m.GetState() == "done" {
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("move %s is %s: %s", m.GetId(), m.GetState(), m.GetReason())}
}

// MoveIDFlags name a move.
type MoveIDFlags struct {
	ConsoleFlags
	ID    string `arg:"" optional:"" help:"Id of the move. Else the newest."`
	Space string `placeholder:"CODE" help:"Of this space, when no id is given."`
}

// find is the move that the flags name.
func (f *MoveIDFlags) find(ctx context.Context) (*atollv1.Move, error) {
	if f.ID != "" {
		res, err := call(ctx, &f.ConsoleFlags, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.MoveIDRequest]) (*connect.Response[atollv1.MoveResponse], error) {
			return client.Moves().Status
		}, &atollv1.MoveIDRequest{Id: f.ID})
		return res.GetMove(), err
	}
	moves, err := listMoves(ctx, &f.ConsoleFlags, f.Space, 1)
	if err != nil {
		return nil, err
	}
	if len(moves) == 0 {
		return nil, usageError(errors.New("there is no move yet"))
	}
	return moves[0], nil
}

// MoveStatusCmd shows a move.
type MoveStatusCmd struct{ MoveIDFlags }

// Run prints the move as it stands.
func (c *MoveStatusCmd) Run(ctx context.Context, out *Output) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	return out.Print(moveOf(m), func(w io.Writer) error { return writeMove(w, m) })
}

// MoveWatchCmd follows a move to its end.
type MoveWatchCmd struct{ MoveIDFlags }

// Run shows the move each time it changes; as JSON, one object a line.
func (c *MoveWatchCmd) Run(ctx context.Context, out *Output) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	show := newMoveShow(out.Stdout, isTerminal(out.Stdout))
	update := show.update
	if out.Format == "json" || out.Format == "yaml" {
		update = func(m *atollv1.Move) error { return out.Print(moveOf(m), nil) }
	}
	if m, err = followMove(ctx, &c.ConsoleFlags, m, update); err != nil {
		return err
	}
	if out.Format == "" || out.Format == "table" {
		if err := writeMove(out.Stdout, m); err != nil {
			return err
		}
	}
	return moveEnd(m)
}

// MoveListCmd lists moves.
type MoveListCmd struct {
	ConsoleFlags
	Space string `placeholder:"CODE" help:"Only moves of this space."`
	Limit int32  `default:"50" help:"At most so many."`
}

type movesOut struct {
	Moves []moveOut `json:"moves"`
}

func listMoves(ctx context.Context, f *ConsoleFlags, space string, limit int32) ([]*atollv1.Move, error) {
	res, err := call(ctx, f, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.ListMovesRequest]) (*connect.Response[atollv1.ListMovesResponse], error) {
		return client.Moves().List
	}, &atollv1.ListMovesRequest{Space: space, Limit: limit})
	return res.GetMoves(), err
}

// Run prints one move a line.
func (c *MoveListCmd) Run(ctx context.Context, out *Output) error {
	moves, err := listMoves(ctx, &c.ConsoleFlags, c.Space, c.Limit)
	if err != nil {
		return err
	}
	answer := movesOut{Moves: []moveOut{}}
	t := &table{head: []string{"ID", "SPACE", "STATE", "PHASE", "FROM", "TO", "WHAT", "EPOCH", "TOOK", "REASON"}}
	for _, m := range moves {
		answer.Moves = append(answer.Moves, moveOf(m))
		t.add(text(m.GetId()), text(m.GetSpace()), coloured(m.GetState(), moveColour(m.GetState())), text(m.GetPhase()), text(m.GetFrom()), text(m.GetTo()),
			text(shorten(whatMoves(m), 40)), number(strconv.FormatInt(m.GetEpochAfter(), 10)), number(seconds(m.GetDurationMs())), text(shorten(m.GetReason(), 60)))
	}
	return out.Print(answer, func(w io.Writer) error {
		if len(moves) == 0 {
			_, err := fmt.Fprintln(w, "there is no move yet")
			return err
		}
		return t.write(w)
	})
}

// MoveAbortCmd ends a move with the old owner.
type MoveAbortCmd struct{ MoveIDFlags }

// Run returns when the old owner owns again. A move that has switched is not
// aborted: that is exit status 1.
func (c *MoveAbortCmd) Run(ctx context.Context, out *Output) error {
	m, err := c.find(ctx)
	if err != nil {
		return err
	}
	res, err := call(ctx, &c.ConsoleFlags, 2*requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.MoveIDRequest]) (*connect.Response[atollv1.MoveResponse], error) {
		return client.Moves().Abort
	}, &atollv1.MoveIDRequest{Id: m.GetId()})
	if err != nil {
		return err
	}
	return out.Print(moveOf(res.GetMove()), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "move %s is aborted: %s owns the keys\n", m.GetId(), m.GetFrom())
		return err
	})
}
