package documents

import (
	"context"
	"strings"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/server/console/audit"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// historyDefault and auditDefault are the entries given when no limit is.
const (
	historyDefault = 20
	auditDefault   = 100
)

// kindOf finds a kind by its name in any case.
func kindOf(name string) (string, error) {
	for _, kind := range []string{space.KindSpace, space.KindDatabase} {
		if strings.EqualFold(name, kind) {
			return kind, nil
		}
	}
	return "", invalid("unknown kind %q (known: %s, %s)", name, space.KindSpace, space.KindDatabase)
}

func notFound(kind, name string) error {
	return connect.NewError(connect.CodeNotFound, errNotFound{kind, name})
}

type errNotFound struct{ kind, name string }

func (e errNotFound) Error() string { return "there is no " + e.kind + " " + e.name }

// Get gives documents back as Apply takes them.
func (s *Service) Get(ctx context.Context, r *connect.Request[atollv1.GetRequest]) (*connect.Response[atollv1.GetResponse], error) {
	kind, err := kindOf(r.Msg.GetKind())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	res := &atollv1.GetResponse{}
	if name := r.Msg.GetName(); name != "" {
		it, err := s.cfg.Store.Get(ctx, store.DocKey(kind, name))
		if err != nil {
			return nil, failure(err)
		}
		if !it.Exists() {
			return nil, notFound(kind, name)
		}
		res.Documents = [][]byte{it.Value}
		return connect.NewResponse(res), nil
	}
	l, err := s.cfg.Store.List(ctx, store.DocKindPrefix(kind), 0)
	if err != nil {
		return nil, failure(err)
	}
	for _, it := range l.Items {
		res.Documents = append(res.Documents, it.Value)
	}
	return connect.NewResponse(res), nil
}

// Diff compares documents with those that stand. It does not validate.
func (s *Service) Diff(ctx context.Context, r *connect.Request[atollv1.DiffRequest]) (*connect.Response[atollv1.DiffResponse], error) {
	docs, _, err := parse(r.Msg.GetDocuments(), false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	st, err := load(ctx, s.cfg.Store)
	if err != nil {
		return nil, failure(err)
	}
	res := &atollv1.DiffResponse{}
	for _, d := range docs {
		text, err := difference(st, d)
		if err != nil {
			return nil, failure(err)
		}
		res.Diffs = append(res.Diffs, &atollv1.DocumentDiff{Kind: d.Kind(), Name: d.Name(), Text: text})
	}
	return connect.NewResponse(res), nil
}

func difference(st *state, d space.Document) (string, error) {
	was, _, found := st.find(d.Kind(), d.Name())
	var before string
	if found {
		text, err := space.YAML(was)
		if err != nil {
			return "", err
		}
		before = string(text)
		if d.Space != nil {
			// The version is the console's to raise, so an older one is no difference.
			publish.KeepVersion(was.Space, d.Space)
		}
	}
	after, err := space.YAML(d)
	if err != nil {
		return "", err
	}
	return unified(before, string(after), d.String()+" in force", d.String()+" in the file"), nil
}

// History lists the published states of a document, the newest first.
func (s *Service) History(ctx context.Context, r *connect.Request[atollv1.HistoryRequest]) (*connect.Response[atollv1.HistoryResponse], error) {
	kind, err := kindOf(r.Msg.GetKind())
	if err != nil {
		return nil, err
	}
	name := r.Msg.GetName()
	if name == "" {
		return nil, invalid("history of which %s? a name is needed", kind)
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	past, err := publish.History(ctx, s.cfg.Store, kind, name, limitOf(r.Msg.GetLimit(), historyDefault))
	if err != nil {
		return nil, failure(err)
	}
	if len(past) == 0 {
		return nil, notFound(kind, name)
	}
	res := &atollv1.HistoryResponse{}
	for _, p := range past {
		res.Revisions = append(res.Revisions, &atollv1.Revision{
			Revision: p.Revision, Epoch: p.Epoch, At: p.At.Format(time.RFC3339Nano), By: p.By, Action: p.Action, Document: p.Document,
		})
	}
	return connect.NewResponse(res), nil
}

func limitOf(asked int32, usual int) int {
	if asked > 0 {
		return int(asked)
	}
	return usual
}

// Audit lists the newest entries of the audit log first.
func (s *Service) Audit(ctx context.Context, r *connect.Request[atollv1.AuditRequest]) (*connect.Response[atollv1.AuditResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	entries, err := audit.List(ctx, s.cfg.Store, limitOf(r.Msg.GetLimit(), auditDefault))
	if err != nil {
		return nil, failure(err)
	}
	res := &atollv1.AuditResponse{}
	for _, e := range entries {
		res.Entries = append(res.Entries, &atollv1.AuditEntry{
			At: e.At.Format(time.RFC3339Nano), By: e.By, Action: e.Action, Object: e.Object, Detail: e.Detail,
		})
	}
	return connect.NewResponse(res), nil
}
