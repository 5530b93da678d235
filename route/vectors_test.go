package route

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/atoll-live/atoll/space"
)

func readVectors(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestHashVectors(t *testing.T) {
	var file struct {
		Vectors []struct {
			ID     int    `json:"id"`
			Input  string `json:"input"`
			Modulo int    `json:"modulo"`
			Hash32 int32  `json:"hash32"`
			Bucket int    `json:"bucket"`
		} `json:"vectors"`
	}
	readVectors(t, "bkdr.json", &file)
	if len(file.Vectors) < 30 {
		t.Fatalf("only %d vectors", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		if got := hash32(v.Input); got != v.Hash32 {
			t.Errorf("vector %d: hash of %q = %d, want %d", v.ID, v.Input, got, v.Hash32)
		}
		if got := BKDRHash(v.Input, v.Modulo); got != v.Bucket {
			t.Errorf("vector %d: bucket of %q modulo %d = %d, want %d", v.ID, v.Input, v.Modulo, got, v.Bucket)
		}
	}
}

func TestHashOfWords(t *testing.T) {
	for _, c := range []struct {
		key  string
		want int32
	}{
		{"ΟΔΟΣ", 29511288}, {"οδος", 29511288}, // Σ at the end of a word is ς
		{"Σ", 'σ'}, // alone it is σ
		{"ΣΑ", 31*'σ' + 'α'},
		{"ΑΣ Α", 31*(31*(31*'α'+'ς')+' ') + 'α'},
		{"ΑΣ'Α", 31*(31*(31*'α'+'σ')+'\'') + 'α'},
	} {
		if got := hash32(c.key); got != c.want {
			t.Errorf("hash of %q = %d, want %d", c.key, got, c.want)
		}
	}
}

type routeVectors struct {
	Space *space.Space `json:"space"`
	Unit  []struct {
		Rule, Variable, Unit string
		Bucket               int
	} `json:"unit"`
	Path []struct {
		Rules   []string `json:"rules"`
		Request string   `json:"request"`
		Rule    *string  `json:"rule"`
	} `json:"path"`
}

func TestUnitVectors(t *testing.T) {
	var file routeVectors
	readVectors(t, "route.json", &file)
	table, err := Compile(file.Space)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Unit) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range file.Unit {
		d := table.DecideKey(v.Rule, v.Variable)
		if d.Unit != v.Unit || d.Bucket != v.Bucket || d.Action != Route {
			t.Errorf("%s by rule %s: %+v, want unit %s, bucket %d", v.Variable, v.Rule, d, v.Unit, v.Bucket)
		}
	}
}

func TestPathVectors(t *testing.T) {
	var file routeVectors
	readVectors(t, "route.json", &file)
	if len(file.Path) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range file.Path {
		var trie pathTrie
		for _, r := range v.Rules {
			if err := trie.add(r, &path{text: r}); err != nil {
				t.Fatal(err)
			}
		}
		got, want := "none", "none"
		if p := trie.match(v.Request); p != nil {
			got = fmt.Sprintf("%q", p.text)
		}
		if v.Rule != nil {
			want = fmt.Sprintf("%q", *v.Rule)
		}
		if got != want {
			t.Errorf("path %q: %s, want %s", v.Request, got, want)
		}
	}
}
