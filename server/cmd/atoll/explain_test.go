package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/atoll-live/atoll/api/apitest"
	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
)

const shopFile = "testdata/shop.yaml"

// atoll runs the program with arguments.
func atoll(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExplainFile(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--host shop.example --path /order --query user=1",
			`{"domain":"shop.example","path":"/","rule":"1003","variable":"user","key":"1","bucket":49,"unit":"unit-a","cell":"a2","reason":"range","action":"route","epoch":null}`},
		{"--host shop.example --path /order?user=user1&user=2 --query user=3",
			`{"domain":"shop.example","path":"/","rule":"1003","variable":"user","key":"user1","bucket":8566,"unit":"unit-b","cell":null,"reason":"range","action":"route","epoch":null}`},
		{"--host shop.example:80 --path /gat%65 --cookie user=vip",
			`{"domain":"shop.example","path":"/gate","rule":"1003","variable":"user","key":"vip","bucket":6765,"unit":"unit-a","cell":"a2","reason":"allow","action":"route","epoch":null}`},
		{"--host shop.example --path /gate --header BIZ=one",
			`{"domain":"shop.example","path":"/gate","rule":"one","variable":"user","key":null,"bucket":null,"unit":"unit-a","cell":"a1","reason":"single","action":"route","epoch":null}`},
		{"--host shop.example",
			`{"domain":"shop.example","path":"/","rule":"1003","variable":"user","key":null,"bucket":null,"unit":"unit-a","cell":"a1","reason":"missing","action":"center","epoch":null}`},
		{"--host unit-b-shop.example --path /",
			`{"domain":"shop.example","path":"/","rule":"1003","variable":"user","key":null,"bucket":null,"unit":"unit-b","cell":null,"reason":"subdomain","action":"route","epoch":null}`},
		{"--host other --path /",
			`{"domain":null,"path":null,"rule":null,"variable":null,"key":null,"bucket":null,"unit":null,"cell":null,"reason":"none","action":"reject","epoch":null}`},
		{"--rule 1003 --key b-9",
			`{"domain":null,"path":null,"rule":"1003","variable":"user","key":"b-9","bucket":5630,"unit":"unit-b","cell":null,"reason":"prefix","action":"route","epoch":null}`},
		{"--space shop --rule 1003 --key=",
			`{"domain":null,"path":null,"rule":"1003","variable":"user","key":null,"bucket":null,"unit":"unit-a","cell":"a1","reason":"missing","action":"center","epoch":null}`},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, out, errs := atoll(t, append([]string{"explain", "-o", "json", "-f", shopFile}, strings.Fields(c.args)...)...)
			if code != 0 || errs != "" {
				t.Fatalf("exit status %d: %s", code, errs)
			}
			sameJSON(t, out, c.want)
		})
	}
	code, out, _ := atoll(t, "explain", "-f", shopFile, "--rule", "1003", "--key", "vip")
	if want := "- the allow list of unit unit-a names the key"; code != 0 || !strings.Contains(out, want) {
		t.Errorf("for people: %d\n%s", code, out)
	}
	code, out, _ = atoll(t, "explain", "-o", "yaml", "-f", shopFile, "--rule", "1003", "--key", "1")
	if want := "rule: \"1003\"\nvariable: user\nkey: \"1\"\nbucket: 49\n"; code != 0 || !strings.Contains(out, want) {
		t.Errorf("as YAML: %d\n%s", code, out)
	}
}

// sameJSON compares the fields of want; got may have more, and must have steps.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var have, must map[string]any
	if err := json.Unmarshal([]byte(got), &have); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &must); err != nil {
		t.Fatal(err)
	}
	for name, value := range must {
		is, there := have[name]
		if is != value || !there {
			t.Errorf("%s: %v (there: %v), want %v", name, is, there, value)
		}
	}
	if steps, ok := have["steps"].([]any); !ok || len(steps) == 0 {
		t.Errorf("no steps in %s", got)
	}
}

func TestExplainRefuses(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("kind: MultiLiveSpace\nspec: {code: s, units: [{code: a, type: X}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ATOLL_CONSOLE", "")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "by which document"},
		{"-f " + shopFile, 2, "say what"},
		{"-f " + shopFile + " --rule 1003", 2, "belong together"},
		{"-f " + shopFile + " --key 1", 2, "belong together"},
		{"-f " + shopFile + " --path /", 2, "name the --host"},
		{"-f " + shopFile + " --host h --rule 1003 --key 1", 2, "say what"},
		{"-f " + shopFile + " --host h --query user", 2, "want name=value"},
		{"-f " + shopFile + " --host h --path /%zz", 2, "--path"},
		{"-f " + shopFile + " --rule 9 --key 1", 2, `unknown rule "9"`},
		{"-f " + shopFile + " --space x --rule 1003 --key 1", 2, "no such space"},
		{"-f " + filepath.Join(dir, "absent") + " --host h", 2, "does not exist"},
		{"-f " + broken + " --host h", 2, "not valid"},
		{"--space shop --host h --dir " + dir, 3, "info.json does not exist"},
		{"--space shop --host h --console http://127.0.0.1:1", 3, "no console answers at http://127.0.0.1:1"},
		{"--space shop --host h --console nonsense", 2, "is no URL"},
		{"--nonsense", 2, "unknown flag"},
		{"-o xml -f " + shopFile + " --host h", 2, "-o xml"},
	} {
		code, out, errs := atoll(t, append([]string{"explain"}, strings.Fields(c.args)...)...)
		if code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit status %d, %s%s, want %d %s", c.args, code, out, errs, c.code, c.want)
		}
	}
}

// answering is a console that explains everything alike.
type answering struct {
	atollv1connect.UnimplementedDocumentsHandler
	asked *atollv1.ExplainRequest
}

func (a *answering) Explain(_ context.Context, r *connect.Request[atollv1.ExplainRequest]) (*connect.Response[atollv1.ExplainResponse], error) {
	a.asked = r.Msg
	if r.Msg.Space == "absent" {
		return nil, connect.NewError(connect.CodeNotFound, os.ErrNotExist)
	}
	return connect.NewResponse(&atollv1.ExplainResponse{Explanation: []byte(`{"unit":"unit-b","reason":"range","action":"route","epoch":12,"steps":["asked"]}`)}), nil
}

func TestExplainConsole(t *testing.T) {
	console := &answering{}
	mux := http.NewServeMux()
	mux.Handle(atollv1connect.NewDocumentsHandler(console))
	url := apitest.Serve(t, mux)
	dir := t.TempDir()
	info, err := json.Marshal(map[string]any{"console": []string{"http://127.0.0.1:1", url}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "info.json"), info, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ATOLL_CONSOLE", "")
	code, out, errs := atoll(t, "explain", "-o", "json", "--dir", dir, "--space", "shop", "--host", "h", "--path", "/p?q=1", "--header", "a=b")
	if code != 0 {
		t.Fatalf("exit status %d: %s", code, errs)
	}
	sameJSON(t, out, `{"unit":"unit-b","epoch":12,"key":null}`)
	q := console.asked
	if q.Space != "shop" || q.Host != "h" || q.Path != "/p" || q.Query[0].Name != "q" || q.Query[0].Value != "1" || q.Header[0].Value != "b" {
		t.Errorf("asked %v", q)
	}
	code, _, errs = atoll(t, "explain", "--console", url, "--space", "absent", "--rule", "1", "--key", "k")
	if code != 2 || !strings.Contains(errs, "not_found") {
		t.Errorf("an unknown space: %d %s", code, errs)
	}
}
