package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// object is a JSON object.
type object = map[string]any

func write(t *testing.T, d object) string {
	t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "document.json")
	writeFile(t, file, string(raw))
	return file
}

func spec(d object) object            { return d["spec"].(object) }
func first(o object, f string) object { return o[f].([]any)[0].(object) }

// harmless are changes that give no key another owner, each of a document that
// is in force.
func harmless(t *testing.T, path, dir string) []struct {
	what, kind string
	change     func(spec object)
} {
	pinned := buyerOf(t, path, dir, "unit-a")
	return []struct {
		what, kind string
		change     func(spec object)
	}{
		{"another name", "multilivespace", func(s object) { s["name"] = fmt.Sprint(s["name"], ".") }},
		{"ranges cut otherwise", "multilivespace", func(s object) {
			first(first(s, "unitRules"), "units")["ranges"] = []any{object{"from": 0, "to": 2000}, object{"from": 2000, "to": 6000}}
		}},
		{"tables in another order", "database", func(s object) { slices.Reverse(s["tables"].([]any)) }},
		{"a key listed where it is", "multilivespace", func(s object) { first(first(s, "unitRules"), "units")["allows"] = []any{pinned} }},
		{"a unit more", "multilivespace", func(s object) {
			s["units"] = append(s["units"].([]any), object{"code": "unit-x", "name": "X", "type": "UNIT", "accessMode": "READ_WRITE", "labels": object{}, "cells": []any{}})
		}},
		{"a unit more in the rule", "multilivespace", func(s object) {
			r := first(s, "unitRules")
			r["units"] = append(r["units"].([]any), object{"code": "unit-x", "allows": []any{}, "prefixes": []any{}, "ranges": []any{}, "cells": []any{}})
		}},
		{"a unit fewer in the rule", "multilivespace", func(s object) {
			r := first(s, "unitRules")
			r["units"] = slices.DeleteFunc(r["units"].([]any), func(u any) bool { return u.(object)["code"] == "unit-x" })
		}},
		{"a path more", "multilivespace", func(s object) {
			d := first(s, "domains")
			path := object{"path": "/never"}
			for name, value := range first(d, "paths") {
				if name != "path" {
					path[name] = value
				}
			}
			d["paths"] = append(d["paths"].([]any), path)
		}},
	}
}

// TestApplyUnderLoad changes documents all the time while buyers come: no
// request fails, and nothing is lost. (Writers by SQL that ask the wrong proxy
// are told the owner by 9601, with and without applies.) Then users move, and the file from before
// the move is refused with the move that would take them back.
func TestApplyUnderLoad(t *testing.T) {
	path := program(t, "atoll")
	dir, _ := sandbox(t, path)
	spaceBefore, databaseBefore := document(t, path, dir, "multilivespace", "shop"), document(t, path, dir, "database", "shop")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var answer, words bytes.Buffer
	load := exec.CommandContext(ctx, path, "sandbox", "load", "--dir", dir, "--seconds", "20", "--rate", "25", "-o", "json")
	load.Stdout, load.Stderr = &answer, &words
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- load.Wait() }()
	applied := applyWhile(t, path, dir, ended, spaceBefore, databaseBefore)
	t.Logf("%d documents applied under load", applied)
	var rep struct {
		report
		Load object `json:"load"`
	}
	decode(t, answer.String(), &rep)
	if rep.Verdict != "pass" || rep.OrdersAcked < 200 || rep.WritesRefused != 0 {
		t.Errorf("report: %s\n%s", tail(answer.String()), tail(words.String()))
	}
	for _, figure := range []string{"http_refused", "http_unknown", "sql_unknown", "read_errors", "given_up", "unresolved", "shed"} {
		if n, ok := rep.Load[figure].(float64); !ok || n != 0 {
			t.Errorf("%s: %v, want 0", figure, rep.Load[figure])
		}
	}
	oldFile(t, path, dir)
}

// applyWhile lays one harmless change after another over the documents, and in
// the end those of the beginning, until the load is over.
func applyWhile(t *testing.T, path, dir string, ended <-chan error, originals ...object) (applied int) {
	t.Helper()
	apply := func(what string, d object) {
		t.Helper()
		r := run(t, time.Minute, path, "apply", "-f", write(t, d), "--wait", "--dir", dir, "-o", "json")
		r.want(t, statusDone, what)
		if strings.Contains(r.stdout, `"action":"changed"`) {
			applied++
		}
	}
	steps := harmless(t, path, dir)
	for round := 0; ; round++ {
		for _, step := range steps {
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("the load: %v", err)
				}
				if round == 0 {
					t.Errorf("the load was over before every change was tried")
				}
				return applied
			default:
			}
			d := document(t, path, dir, step.kind, "shop")
			step.change(spec(d))
			apply(step.what, d)
		}
		for _, d := range originals {
			apply("the first documents again", d)
		}
	}
}

// oldFile moves users and applies what stood before.
func oldFile(t *testing.T, path, dir string) {
	t.Helper()
	before := document(t, path, dir, "multilivespace", "shop")
	r := run(t, 2*time.Minute, path, "move", "start", "--space", "shop", "--from", "unit-a", "--to", "unit-b", "--percent", "10", "--wait", "-o", "json", "--dir", dir)
	r.want(t, statusDone, "move start")
	after := run(t, time.Minute, path, "get", "multilivespace", "shop", "-o", "json", "--dir", dir).stdout
	refused := run(t, time.Minute, path, "apply", "-f", write(t, before), "--dir", dir)
	refused.want(t, statusInvalid, "apply of a file from before the move")
	const mend = `rule "1003": buckets 5000-5999 would go from unit-b to unit-a (atoll move start --space shop --from unit-b --to unit-a --buckets 5000-5999)`
	if !strings.Contains(refused.stderr, "apply never changes an owner") || !strings.Contains(refused.stderr, mend) {
		t.Errorf("refused with %s, want %s", refused.stderr, mend)
	}
	if now := run(t, time.Minute, path, "get", "multilivespace", "shop", "-o", "json", "--dir", dir).stdout; now != after {
		t.Errorf("a refused apply changed the document:\n%s\nwas\n%s", now, after)
	}
}
