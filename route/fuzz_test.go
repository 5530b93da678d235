package route

import (
	"os"
	"strings"
	"testing"

	"github.com/atoll-live/atoll/space"
)

// FuzzValidCompiles: a document that Validate finds no error in compiles, and
// its decisions hold together.
func FuzzValidCompiles(f *testing.F) {
	for _, file := range []string{"requests.txt", "moves.txt"} {
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		_, text, _ := strings.Cut(string(data), "\nspace\n")
		text, _, _ = strings.Cut(text, "\n----\n")
		f.Add([]byte(text), "shop.test", "/item/7/buy", "user1")
	}
	f.Fuzz(func(t *testing.T, data []byte, host, path, key string) {
		docs, problems, err := space.Parse(data)
		if err != nil || len(append(problems, space.Validate(docs...)...).Errors()) > 0 {
			return
		}
		for _, d := range docs {
			if d.Space == nil {
				continue
			}
			table, err := Compile(d.Space)
			if err != nil {
				t.Fatalf("valid, but: %v", err)
			}
			q := Values{}
			for _, v := range d.Space.Spec.Variables {
				for _, s := range v.Sources {
					q[s.Key] = key
				}
			}
			r := NewRequest(host, path, q, q, q)
			got := table.Decide(r)
			if got.Rule != "" && key != "" && (got.Bucket < 0 || got.Bucket >= table.Modulo(got.Rule)) {
				t.Fatalf("bucket %d of rule %q", got.Bucket, got.Rule)
			}
			if got.Action != Reject && got.Unit == "" {
				t.Fatalf("%s to no unit: %+v", got.Action, got)
			}
			if e := Explain(table, r); e.Reason != got.Reason || e.Action != got.Action || len(e.Steps) == 0 {
				t.Fatalf("explained as %+v, decided as %+v", e, got)
			}
		}
	})
}
