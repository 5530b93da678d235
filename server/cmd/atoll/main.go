package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line. Each command is a struct in a file of its own with
//
//	func (c *XCmd) Run(ctx context.Context, out *Output) error
//
// and stands here with one line.
type cli struct {
	Output string `short:"o" placeholder:"table|json|yaml" help:"How to print the result on standard output."`

	Validate ValidateCmd `cmd:"" group:"documents" help:"Say what is wrong with documents, before they are applied."`
	Explain  ExplainCmd  `cmd:"" group:"documents" help:"Say where a request or a key goes, and why."`

	Apply   ApplyCmd   `cmd:"" group:"documents" help:"Put documents in force, all or none."`
	Get     GetCmd     `cmd:"" group:"documents" help:"Give documents back, as apply takes them."`
	Diff    DiffCmd    `cmd:"" group:"documents" help:"Compare documents with those in force."`
	History HistoryCmd `cmd:"" group:"documents" help:"Tell how a document came to be."`
	Audit   AuditCmd   `cmd:"" group:"documents" help:"Tell who changed what."`
	Move    MoveCmd    `cmd:"" group:"state" help:"Give keys to another unit without losing a write: plan, start, follow or abort it."`
	Planes  PlanesCmd  `cmd:"" group:"state" help:"List the processes that obey the console, or forget one."`
	Lanes   LanesCmd   `cmd:"" group:"state" help:"List the directions of data sync, with their lag and parked rows."`

	Sandbox SandboxCmd `cmd:"" group:"sandbox" help:"Run everything on one machine: two sites, a console and the network between them."`

	Console ConsoleCmd `cmd:"" group:"process" help:"Run a console: documents, snapshots, planes and moves."`
	Gateway GatewayCmd `cmd:"" group:"process" help:"Run a unit's gateway."`
	DBProxy DBProxyCmd `cmd:"" group:"process" name:"dbproxy" help:"Run a unit's database proxy."`
	DBSync  DBSyncCmd  `cmd:"" group:"process" name:"dbsync" help:"Run the lanes into a unit's database."`
	App     AppCmd     `cmd:"" group:"process" help:"Run the demo shop of a unit."`
	WAN     WANCmd     `cmd:"" group:"process" name:"wan" help:"Run the relay between the sites of a sandbox."`
}

// ballastSize lets small heaps, of a few megabytes as most of ours are, grow by
// some tens before they are collected: without it a busy plane collects several
// times a second, most of all when held requests go on together. Nothing
// touches these pages, so they cost no memory; a large heap is collected as ever.
const ballastSize = 16 << 20

func main() {
	ballast := make([]byte, ballastSize)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	runtime.KeepAlive(ballast)
	os.Exit(code)
}

// run is the program without its process: arguments in, exit status out.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	// Kong ends the process after it has printed help; here that unwinds to run.
	type ended int
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(ended)
			if !ok {
				panic(r)
			}
			code = int(e)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("atoll"),
		kong.Description("Run one application live in several data centers at once."),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "documents", Title: "Documents:"},
			{Key: "state", Title: "Units, planes and lanes:"},
			{Key: "sandbox", Title: "On one machine:"},
			{Key: "process", Title: "Processes of an installation:"},
		}),
		kong.Exit(func(code int) { panic(ended(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		fmt.Fprintln(stderr, "atoll:", err)
		return exitFailed
	}
	command, err := parser.Parse(args)
	if err != nil {
		return report(stderr, usageError(err))
	}
	out := &Output{Format: c.Output, Stdout: stdout, Stderr: stderr}
	if err := out.validate(); err != nil {
		return report(stderr, err)
	}
	return report(stderr, command.Run(out))
}

// The exit statuses.
const (
	exitDone        = 0
	exitFailed      = 1 // the thing asked for failed
	exitUsage       = 2 // wrong usage or invalid input, nothing changed
	exitUnreachable = 3 // could not reach something
)

// exitError is an error that decides the exit status. With a nil err nothing
// more is printed: the command has said it all.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error       { return &exitError{exitUsage, err} }
func unreachableError(err error) error { return &exitError{exitUnreachable, err} }

// report prints an error in one line and turns it into the exit status.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{exitFailed, err}
	}
	if e.err != nil {
		fmt.Fprintln(stderr, "atoll:", err)
	}
	return e.code
}
