package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/space"
)

// HistoryCmd tells how a document came to be.
type HistoryCmd struct {
	ConsoleFlags
	Kind  string `arg:"" help:"Kind of the document: multilivespace, database."`
	Name  string `arg:"" help:"Code of a space, name of anything else."`
	Limit int32  `default:"20" help:"Entries at most, the newest."`
	Epoch int64  `help:"Print the document as this epoch published it, for apply."`
}

type historyOut struct {
	Revisions []historyRevision `json:"revisions"`
}

type historyRevision struct {
	Epoch    int64           `json:"epoch"`
	At       string          `json:"at"`
	By       string          `json:"by"`
	Action   string          `json:"action"`
	Document json.RawMessage `json:"document"`
}

// allHistory is more than the console keeps.
const allHistory = 1000

// Run prints the states of a document, the newest first.
func (c *HistoryCmd) Run(ctx context.Context, out *Output) error {
	limit := c.Limit
	if c.Epoch != 0 {
		limit = allHistory
	}
	res, err := call(ctx, &c.ConsoleFlags, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.HistoryRequest]) (*connect.Response[atollv1.HistoryResponse], error) {
		return client.Documents().History
	}, &atollv1.HistoryRequest{Kind: c.Kind, Name: c.Name, Limit: limit})
	if err != nil {
		return err
	}
	if c.Epoch != 0 {
		return c.print(out, res.GetRevisions())
	}
	answer := historyOut{Revisions: []historyRevision{}}
	t := &table{head: []string{"EPOCH", "AT", "BY", "ACTION"}}
	for _, r := range res.GetRevisions() {
		answer.Revisions = append(answer.Revisions, historyRevision{r.GetEpoch(), r.GetAt(), r.GetBy(), r.GetAction(), r.GetDocument()})
		t.add(number(strconv.FormatInt(r.GetEpoch(), 10)), text(second(r.GetAt())), text(r.GetBy()), text(r.GetAction()))
	}
	return out.Print(answer, t.write)
}

// print gives the document of one epoch as apply takes it.
func (c *HistoryCmd) print(out *Output, revisions []*atollv1.Revision) error {
	for _, r := range revisions {
		if r.GetEpoch() != c.Epoch {
			continue
		}
		d, err := space.Read(r.GetDocument())
		if err != nil {
			return fmt.Errorf("read what the console gave: %w", err)
		}
		write := space.YAML
		if out.Format == "json" {
			write = space.JSON
		}
		data, err := write(d)
		if err == nil {
			_, err = out.Stdout.Write(data)
		}
		return err
	}
	return fmt.Errorf("epoch %d did not publish %s %s, or is no longer kept (see `atoll history %s %s`)", c.Epoch, c.Kind, c.Name, c.Kind, c.Name)
}

// second cuts a time in RFC 3339 to its seconds, for people.
func second(at string) string {
	if len(at) > 19 {
		return at[:19] + "Z"
	}
	return at
}

// AuditCmd tells who changed what.
type AuditCmd struct {
	ConsoleFlags
	Limit int32 `default:"50" help:"Entries at most, the newest."`
}

type auditOut struct {
	Entries []auditEntry `json:"entries"`
}

type auditEntry struct {
	At     string `json:"at"`
	By     string `json:"by"`
	Action string `json:"action"`
	Object string `json:"object"`
	Detail string `json:"detail"`
}

// Run prints the audit log, the newest first.
func (c *AuditCmd) Run(ctx context.Context, out *Output) error {
	res, err := call(ctx, &c.ConsoleFlags, requestTime, func(client *console.Client) func(context.Context, *connect.Request[atollv1.AuditRequest]) (*connect.Response[atollv1.AuditResponse], error) {
		return client.Documents().Audit
	}, &atollv1.AuditRequest{Limit: c.Limit})
	if err != nil {
		return err
	}
	answer := auditOut{Entries: []auditEntry{}}
	t := &table{head: []string{"AT", "BY", "ACTION", "OBJECT", "DETAIL"}}
	for _, e := range res.GetEntries() {
		answer.Entries = append(answer.Entries, auditEntry{e.GetAt(), e.GetBy(), e.GetAction(), e.GetObject(), e.GetDetail()})
		t.add(text(second(e.GetAt())), text(e.GetBy()), text(e.GetAction()), text(e.GetObject()), text(e.GetDetail()))
	}
	return out.Print(answer, t.write)
}
