package prove

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/format"
)

// FuzzPlan plans any text. Nothing panics; an accepted write of unit tables,
// written again from its tree, is accepted with the same keys.
func FuzzPlan(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if sql, ok := strings.CutPrefix(line, "sql> "); ok {
				f.Add(strings.TrimSuffix(sql, "\n"), false)
			}
		}
	}
	all := schemas(f)
	f.Fuzz(func(t *testing.T, text string, narrow bool) {
		defer time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("too long: %q", text)) }).Stop()
		p := prover(t, 1<<16)
		params := []Param{{Kind: ParamString, Bytes: []byte("bob")}, {Kind: ParamInt, Int: 7}, {Kind: ParamBytes, Bytes: []byte("bob")}, {}}
		for _, s := range all {
			plan := p.Plan(s, Session{Narrow: narrow}, []byte(text))
			keys, why := plan.Resolve(params)
			if (plan.Class == Refused) != (plan.Refusal != nil) {
				t.Fatalf("class %v, refusal %v", plan.Class, plan.Refusal)
			}
			must := plan.Class == Write && (plan.Writes | plan.Reads).Has(UnitTables)
			if must && !plan.Keyed || must && why == nil && len(keys) == 0 {
				t.Fatalf("a write of unit tables with keys %q", keys)
			}
			if must {
				rewritten(t, p, s, text, narrow, plan, params)
			}
		}
	})
}

func rewritten(t *testing.T, p *Prover, s *Schema, text string, narrow bool, plan *Plan, params []Param) {
	sc, why := scan([]byte(text), narrow)
	if why != nil {
		t.Fatalf("accepted, but cannot be scanned: %v", why)
	}
	list, _, err := parser.New().ParseSQL(sc.clean)
	if err != nil || len(list) != 1 {
		return // RETURNING
	}
	var b strings.Builder
	flags := format.RestoreStringSingleQuotes | format.RestoreStringEscapeBackslash | format.RestoreKeyWordUppercase |
		format.RestoreNameBackQuotes | format.RestoreStringWithoutDefaultCharset
	if err := list[0].Restore(format.NewRestoreCtx(flags, &b)); err != nil {
		return
	}
	again := p.Plan(s, Session{Narrow: narrow}, []byte(b.String()))
	keys, why := plan.Resolve(params)
	same, whyToo := again.Resolve(params)
	if again.Class != plan.Class || (why == nil) != (whyToo == nil) || !slices.Equal(keys, same) || again.Writes != plan.Writes {
		t.Fatalf("%q\nkeys %q (%v), written again\n%q\nkeys %q (%v)", text, keys, why, b.String(), same, whyToo)
	}
}

// FuzzScan cuts any text: what comes out is as long as its words and markers
// say, and cutting it again changes nothing.
func FuzzScan(f *testing.F) {
	f.Add("SELECT 'a\\'b' /* c */ -- d\n, `e``f`, ?, \"g\"", true)
	f.Fuzz(func(t *testing.T, text string, narrow bool) {
		sc, why := scan([]byte(text), narrow)
		if why != nil {
			return
		}
		for _, m := range sc.markers {
			if sc.clean[m] != '?' {
				t.Fatalf("%q: marker at %d of %q", text, m, sc.clean)
			}
		}
		again, why := scan([]byte(sc.clean), narrow)
		if why != nil || again.clean != sc.clean || !slices.Equal(again.markers, sc.markers) {
			t.Fatalf("%q: %q became %q, %v", text, sc.clean, again.clean, why)
		}
		for _, w := range words(sc.clean) {
			if w.at >= len(sc.clean) || w.text == "" && !w.quoted {
				t.Fatalf("%q: word %+v", text, w)
			}
		}
	})
}
