package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/space"
)

// ApplyCmd puts documents in force.
type ApplyCmd struct {
	ConsoleFlags
	File        []string      `short:"f" required:"" sep:"none" placeholder:"FILE" help:"Documents, JSON or YAML; - for standard input. Several files are applied together."`
	DryRun      bool          `help:"Say what would be done, and do nothing."`
	Wait        bool          `help:"Return when every live plane has the documents in force."`
	Timeout     time.Duration `default:"60s" help:"How long --wait waits."`
	CompareTime time.Duration `default:"30s" help:"How long the rows of tables that are new to a Database may be compared between the units, at most 1h."`
	Strict      bool          `help:"Treat unknown fields as errors."`
}

// sayAfter is how long an apply is silent while it waits.
const sayAfter = 2 * time.Second

// Validate names a time that cannot be.
func (c *ApplyCmd) Validate() error {
	if c.CompareTime < time.Millisecond || c.CompareTime > time.Hour {
		return fmt.Errorf("--compare-time %v: want a time from 1ms to 1h", c.CompareTime)
	}
	return nil
}

type appliedOut struct {
	Applied     []appliedDoc     `json:"applied"`
	Warnings    []string         `json:"warnings"`
	NotCompared []notComparedDoc `json:"not_compared"`
	DryRun      bool             `json:"dry_run"`
}

// notComparedDoc is tables in force though nobody could look whether their
// rows are equal in two units.
type notComparedDoc struct {
	Database string   `json:"database"`
	Tables   []string `json:"tables"`
	Units    []string `json:"units"`
	Reason   string   `json:"reason"`
}

type appliedDoc struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Space  string `json:"space"`
	Action string `json:"action"` // created | changed | unchanged
	Epoch  int64  `json:"epoch"`
}

// Run applies all documents or none.
func (c *ApplyCmd) Run(ctx context.Context, out *Output) error {
	input, err := documentsToSend(c.File, c.Strict, out.Stderr)
	if err != nil {
		return err
	}
	limit, then := requestTime+c.CompareTime, ""
	if c.Wait {
		limit += c.Timeout
		then = ", then waits for the planes"
	}
	answered := sayLater(out.Stderr, fmt.Sprintf("no answer yet: the console may compare the rows of tables that are new to a Database, for up to %v%s", c.CompareTime, then))
	res, err := call(ctx, &c.ConsoleFlags, limit, func(client *console.Client) func(context.Context, *connect.Request[atollv1.ApplyRequest]) (*connect.Response[atollv1.ApplyResponse], error) {
		return client.Documents().Apply
	}, &atollv1.ApplyRequest{Documents: input, DryRun: c.DryRun, Wait: c.Wait, Strict: c.Strict,
		CompareMs: c.CompareTime.Milliseconds(), WaitMs: c.Timeout.Milliseconds()})
	answered()
	if err != nil {
		return several(err, "nothing was applied")
	}
	answer := appliedOut{Applied: []appliedDoc{}, Warnings: res.GetWarnings(), NotCompared: []notComparedDoc{}, DryRun: c.DryRun}
	for _, n := range res.GetNotCompared() {
		answer.NotCompared = append(answer.NotCompared, notComparedDoc{n.GetDatabase(), n.GetTables(), n.GetUnits(), n.GetReason()})
	}
	if answer.Warnings == nil {
		answer.Warnings = []string{}
	}
	t := &table{head: []string{"KIND", "NAME", "SPACE", "ACTION", "EPOCH"}}
	for _, a := range res.GetApplied() {
		answer.Applied = append(answer.Applied, appliedDoc{a.GetKind(), a.GetName(), a.GetSpace(), a.GetAction(), a.GetEpoch()})
		shown := coloured(a.GetAction(), green)
		if a.GetAction() == "unchanged" {
			shown.colour = faint
		}
		if c.DryRun {
			shown.text += " (dry run)"
		}
		t.add(text(a.GetKind()), text(a.GetName()), text(a.GetSpace()), shown, number(strconv.FormatInt(a.GetEpoch(), 10)))
	}
	for _, w := range res.GetWarnings() {
		fmt.Fprintln(out.Stderr, "warning:", w)
	}
	return out.Print(answer, t.write)
}

// sayLater says a line unless the answer is here soon. The answer may be told
// once the function that it returns has come back.
func sayLater(to io.Writer, line string) (answered func()) {
	stop, said := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(said)
		t := time.NewTimer(sayAfter)
		defer t.Stop()
		select {
		case <-t.C:
			fmt.Fprintln(to, line)
		case <-stop:
		}
	}()
	return func() { close(stop); <-said }
}

// documentsToSend reads files, and says what is wrong with their form by file
// and line before the console is asked.
func documentsToSend(files []string, strict bool, stderr io.Writer) ([]byte, error) {
	docs, problems, err := readDocuments(files)
	if err != nil {
		return nil, err
	}
	if strict {
		problems = problems.Strict()
	}
	if wrong := problems.Errors(); len(wrong) > 0 {
		printProblems(stderr, wrong)
		return nil, usageError(fmt.Errorf("the documents are not valid (errors: %d)", len(wrong)))
	}
	return json.Marshal(docs)
}

// several puts an error of more than one line under a head, so that the first
// line says what came of the command.
func several(err error, head string) error {
	var e *exitError
	if !errors.As(err, &e) || e.err == nil || !strings.Contains(e.err.Error(), "\n") {
		return err
	}
	return &exitError{e.code, errors.New(head + ":\n  " + strings.ReplaceAll(e.err.Error(), "\n", "\n  "))}
}

// GetCmd gives documents back.
type GetCmd struct {
	ConsoleFlags
	Kind string `arg:"" help:"Kind of the documents: multilivespace, database."`
	Name string `arg:"" optional:"" help:"Code of a space, name of anything else. All when left out."`
}

// Run prints documents as apply takes them, YAML unless asked otherwise.
func (c *GetCmd) Run(ctx context.Context, out *Output) error {
	docs, err := c.documents(ctx)
	if err != nil {
		return err
	}
	var data []byte
	switch {
	case out.Format == "table":
		t := &table{head: []string{"KIND", "NAME"}}
		for _, d := range docs {
			t.add(text(d.Kind()), text(d.Name()))
		}
		return t.write(out.Stdout)
	case out.Format == "json" && c.Name == "":
		return out.JSON(docs)
	case out.Format == "json":
		data, err = space.JSON(docs...)
	case len(docs) > 0:
		data, err = space.YAML(docs...)
	}
	if err != nil {
		return err
	}
	_, err = out.Stdout.Write(data)
	return err
}

func (c *GetCmd) documents(ctx context.Context) ([]space.Document, error) {
	res, err := call(ctx, &c.ConsoleFlags, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.GetRequest]) (*connect.Response[atollv1.GetResponse], error) {
		return client.Documents().Get
	}, &atollv1.GetRequest{Kind: c.Kind, Name: c.Name})
	if err != nil {
		return nil, err
	}
	docs := []space.Document{}
	for _, raw := range res.GetDocuments() {
		d, err := space.Read(raw)
		if err != nil {
			return nil, fmt.Errorf("read what the console gave: %w", err)
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// DiffCmd compares files with what is in force.
type DiffCmd struct {
	ConsoleFlags
	File     []string `short:"f" required:"" sep:"none" placeholder:"FILE" help:"Documents, JSON or YAML; - for standard input."`
	ExitCode bool     `help:"Exit with 1 when there are differences."`
}

type diffOut struct {
	Diffs []diffDoc `json:"diffs"`
}

type diffDoc struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Text string `json:"text"` // unified diff of the YAML forms, "" when equal
}

// Run prints a unified diff for each document that differs.
func (c *DiffCmd) Run(ctx context.Context, out *Output) error {
	input, err := documentsToSend(c.File, false, out.Stderr)
	if err != nil {
		return err
	}
	res, err := call(ctx, &c.ConsoleFlags, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.DiffRequest]) (*connect.Response[atollv1.DiffResponse], error) {
		return client.Documents().Diff
	}, &atollv1.DiffRequest{Documents: input})
	if err != nil {
		return several(err, "the documents are not valid")
	}
	answer := diffOut{Diffs: []diffDoc{}}
	differ := false
	for _, d := range res.GetDiffs() {
		answer.Diffs = append(answer.Diffs, diffDoc{d.GetKind(), d.GetName(), d.GetText()})
		differ = differ || d.GetText() != ""
	}
	err = out.Print(answer, func(w io.Writer) error { return writeDiffs(w, answer.Diffs) })
	if err == nil && differ && c.ExitCode {
		return &exitError{code: exitFailed}
	}
	return err
}

func writeDiffs(w io.Writer, diffs []diffDoc) error {
	colours := map[byte]string{'+': green, '-': red, '@': yellow}
	shown := isTerminal(w)
	var b strings.Builder
	for _, d := range diffs {
		for line := range strings.Lines(d.Text) {
			if c := colours[line[0]]; shown && c != "" {
				line = c + strings.TrimSuffix(line, "\n") + reset + "\n"
			}
			b.WriteString(line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
