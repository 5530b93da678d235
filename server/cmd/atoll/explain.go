package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/space"
)

// ExplainCmd says where a request or a key goes.
type ExplainCmd struct {
	ConsoleFlags
	File   []string `short:"f" sep:"none" placeholder:"FILE" help:"Document to decide by; - for standard input."`
	Space  string   `placeholder:"CODE" help:"Space to decide by, as the console has it, or which one of the file."`
	Host   string   `help:"Host of a request."`
	Path   string   `help:"Path of a request, / when not given. It may carry a query."`
	Query  []string `sep:"none" placeholder:"K=V" help:"Query parameter of a request."`
	Header []string `sep:"none" placeholder:"K=V" help:"Header of a request."`
	Cookie []string `sep:"none" placeholder:"K=V" help:"Cookie of a request."`
	Rule   string   `placeholder:"ID" help:"Unit rule to decide a key by."`
	Key    *string  `placeholder:"K" help:"Key to decide by a rule."`
}

// explainQuestion is what to explain, from the flags.
type explainQuestion struct {
	host, path            string
	query, header, cookie route.Values
	rule, key             string
}

// Run prints the explanation. A rejected request is an answer as any other.
func (c *ExplainCmd) Run(ctx context.Context, out *Output) error {
	q, err := c.question()
	if err != nil {
		return usageError(err)
	}
	var e route.Explanation
	if len(c.File) > 0 {
		e, err = c.fromFile(q, out.Stderr)
	} else {
		e, err = c.fromConsole(ctx, q)
	}
	if err != nil {
		return err
	}
	return out.Print(e, func(w io.Writer) error { return printExplanation(w, e) })
}

func (c *ExplainCmd) question() (*explainQuestion, error) {
	request := c.Host != "" || c.Path != "" || len(c.Query)+len(c.Header)+len(c.Cookie) > 0
	key := c.Rule != "" || c.Key != nil
	switch {
	case len(c.File) == 0 && c.Space == "":
		return nil, errors.New("explain: say by which document: -f FILE or --space CODE")
	case request == key:
		return nil, errors.New("explain: say what: --host and --path of a request, or --rule and --key")
	case key && (c.Rule == "" || c.Key == nil):
		return nil, errors.New("explain: --rule and --key belong together")
	case key:
		return &explainQuestion{rule: c.Rule, key: *c.Key}, nil
	case c.Host == "":
		return nil, errors.New("explain: name the --host of the request")
	}
	return c.request()
}

func (c *ExplainCmd) request() (*explainQuestion, error) {
	path, rawQuery, _ := strings.Cut(c.Path, "?")
	if path == "" {
		path = "/"
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("explain: --path %s: %w", path, err)
	}
	inPath, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, fmt.Errorf("explain: --path %s: %w", c.Path, err)
	}
	q := &explainQuestion{host: c.Host, path: decoded}
	if q.query, err = flagValues("--query", c.Query); err != nil {
		return nil, err
	}
	if q.header, err = flagValues("--header", c.Header); err != nil {
		return nil, err
	}
	if q.cookie, err = flagValues("--cookie", c.Cookie); err != nil {
		return nil, err
	}
	for name, values := range inPath {
		q.query[name] = values[0] // a query in the path comes first
	}
	return q, nil
}

// flagValues reads k=v flags. Of a name that stands twice the first value counts,
// as in a request.
func flagValues(flag string, list []string) (route.Values, error) {
	values := route.Values{}
	for _, pair := range list {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("explain: %s %q: want name=value", flag, pair)
		}
		if _, twice := values[name]; !twice {
			values[name] = value
		}
	}
	return values, nil
}

// fromFile decides by the documents of a file.
func (c *ExplainCmd) fromFile(q *explainQuestion, stderr io.Writer) (route.Explanation, error) {
	docs, problems, err := readDocuments(c.File)
	if err != nil {
		return route.Explanation{}, err
	}
	problems = append(problems, space.Validate(docs...)...)
	if wrong := problems.Errors(); len(wrong) > 0 {
		printProblems(stderr, wrong)
		return route.Explanation{}, usageError(fmt.Errorf("explain: the documents are not valid (errors: %d)", len(wrong)))
	}
	var spaces []*space.Space
	for _, d := range docs {
		if d.Space != nil && (c.Space == "" || d.Space.Spec.Code == c.Space) {
			spaces = append(spaces, d.Space)
		}
	}
	return decideBy(spaces, q)
}

// decideBy decides by the one space that has the host or the rule.
func decideBy(spaces []*space.Space, q *explainQuestion) (route.Explanation, error) {
	var answer route.Explanation
	var answered []string
	for _, s := range spaces {
		t, err := route.Compile(s)
		if err != nil {
			return answer, usageError(err)
		}
		e, ok := explainBy(t, q)
		if ok || len(spaces) == 1 && q.rule == "" {
			answer, answered = e, append(answered, s.Spec.Code)
		}
	}
	switch {
	case len(answered) == 1:
		return answer, nil
	case len(answered) > 1:
		return answer, usageError(fmt.Errorf("explain: rule %q stands in spaces %s (name one with --space)", q.rule, strings.Join(answered, ", ")))
	case len(spaces) == 0:
		return answer, usageError(errors.New("explain: the file has no such space"))
	case q.rule != "":
		return answer, usageError(fmt.Errorf("explain: unknown rule %q", q.rule))
	}
	t, err := route.Compile(spaces[0])
	if err != nil {
		return answer, usageError(err)
	}
	answer, _ = explainBy(t, q)
	return answer, nil
}

// explainBy answers by one space. It is false when the space has not the host or
// the rule of the question.
func explainBy(t *route.Table, q *explainQuestion) (route.Explanation, bool) {
	if q.rule != "" {
		e, err := route.ExplainKey(t, q.rule, q.key)
		return e, err == nil
	}
	e := route.Explain(t, route.NewRequest(q.host, q.path, q.query, q.header, q.cookie))
	return e, e.Domain != nil
}

// explainTimeout bounds the question to one console.
const explainTimeout = 5 * time.Second

// fromConsole asks the consoles in turn.
func (c *ExplainCmd) fromConsole(ctx context.Context, q *explainQuestion) (route.Explanation, error) {
	var answer route.Explanation
	urls, err := c.Consoles()
	if err != nil {
		return answer, err
	}
	token, err := c.Token()
	if err != nil {
		return answer, err
	}
	ask := &atollv1.ExplainRequest{
		Space: c.Space, Host: q.host, Path: q.path, Query: wirePairs(q.query), Header: wirePairs(q.header), Cookie: wirePairs(q.cookie),
		Rule: q.rule, Key: q.key,
	}
	for _, u := range urls {
		client, err := console.NewClient([]string{u}, token)
		if err != nil {
			return answer, usageError(err)
		}
		once, cancel := context.WithTimeout(ctx, explainTimeout)
		r, err := client.Documents().Explain(once, connect.NewRequest(ask))
		cancel()
		switch connect.CodeOf(err) {
		case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
			if ctx.Err() == nil && err != nil {
				continue
			}
		case connect.CodeInvalidArgument, connect.CodeNotFound:
			if err != nil {
				return answer, usageError(fmt.Errorf("explain: %w", err))
			}
		}
		if err != nil {
			return answer, fmt.Errorf("explain: %w", err)
		}
		if err := json.Unmarshal(r.Msg.Explanation, &answer); err != nil {
			return answer, fmt.Errorf("explain: read the answer of %s: %w", u, err)
		}
		return answer, nil
	}
	return answer, unreachableError(fmt.Errorf("explain: no console answers at %s", strings.Join(urls, ", ")))
}

func wirePairs(values route.Values) []*atollv1.Pair {
	var list []*atollv1.Pair
	for name, value := range values {
		list = append(list, &atollv1.Pair{Name: name, Value: value})
	}
	return list
}

func printExplanation(w io.Writer, e route.Explanation) error {
	for _, s := range e.Steps {
		fmt.Fprintf(w, "- %s\n", s)
	}
	where := "rejected"
	if e.Action != route.Reject && e.Unit != nil {
		where = "unit " + *e.Unit
		if e.Cell != nil {
			where += ", cell " + *e.Cell
		}
	}
	_, err := fmt.Fprintf(w, "%s: %s (%s)\n", e.Action, where, e.Reason)
	return err
}
