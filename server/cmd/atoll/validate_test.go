package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	shop, err := os.ReadFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, edits ...string) string {
		text := string(shop)
		for i := 0; i < len(edits); i += 2 {
			if strings.Count(text, edits[i]) != 1 {
				t.Fatalf("%q stands %d times", edits[i], strings.Count(text, edits[i]))
			}
			text = strings.Replace(text, edits[i], edits[i+1], 1)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	unknown := write("unknown.yaml", "  tenantId: tenant1", "  tenantId: tenant1\n  colour: red")
	gap := write("gap.yaml", "{from: 0, to: 6000}", "{from: 0, to: 5000}")
	twice := write("twice.yaml", "  code: shop", "  code: shop\n  code: shop")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"-f " + shopFile, 0, "valid: documents 2, errors 0, warnings 0\n"},
		{"-f " + unknown, 0, "unknown.yaml:13: warning: MultiLiveSpace shop: spec.colour: unknown field"},
		{"--strict -f " + unknown, 2, "unknown.yaml:13: MultiLiveSpace shop: spec.colour: unknown field"},
		{"-f " + gap, 2, "gap.yaml:55: MultiLiveSpace shop: spec.unitRules[0].units[1].ranges[0]: buckets 5000 to 5999 belong to nobody (give them to one)\n"},
		{"-f " + twice, 2, `twice.yaml: line 10: "code" stands twice in one object`},
		{"-f " + shopFile + " -f " + unknown, 2, "there are two documents MultiLiveSpace shop"},
	} {
		code, out, errs := atoll(t, append([]string{"validate"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.want) || errs != "" {
			t.Errorf("%s: exit status %d\n%s%s, want %d\n%s", c.args, code, out, errs, c.code, c.want)
		}
	}
	code, _, errs := atoll(t, "validate", "-f", filepath.Join(dir, "absent"))
	if code != 2 || !strings.Contains(errs, "absent does not exist") {
		t.Errorf("an absent file: %d %s", code, errs)
	}
	code, _, errs = atoll(t, "validate")
	if code != 2 || !strings.Contains(errs, "--file") {
		t.Errorf("no file: %d %s", code, errs)
	}
	code, out, _ := atoll(t, "validate", "-o", "json", "-f", gap)
	var v struct {
		Valid    bool
		Problems []struct {
			File, Document, Path, Reason, Mend string
			Line                               int
			Warning                            bool
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 2 {
		t.Fatalf("%d %v in %s", code, err, out)
	}
	if v.Valid || len(v.Problems) != 1 || v.Problems[0].File != gap || v.Problems[0].Line != 55 || v.Problems[0].Mend == "" {
		t.Errorf("%+v", v)
	}
}
