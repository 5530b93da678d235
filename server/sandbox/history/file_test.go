package history

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func stored(t testing.TB, ops []Op) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Store(&b, Header{Seed: 7, Workload: "by hand"}, ops); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestStore_ComesBackAsItWas(t *testing.T) {
	ops := h().write(1, 0, 1).refused(5, 2, 2, 3).cas(1, 3, 4, 5).ends(Unknown).append(1, 0, 1).ends(Fail).tx(2, 2, 3, 2).list(4, 5, 2).list(0, 1).ops
	ops[0].Via, ops[0].Client, ops[3].Error = "sql unit-a", 4, "9602"
	head, back, err := Load(bytes.NewReader(stored(t, ops)))
	if err != nil || head.Seed != 7 || head.Workload != "by hand" || !reflect.DeepEqual(back, ops) {
		t.Errorf("%+v, %v\n%+v\nwant\n%+v", head, err, back, ops)
	}
}

// TestLoad_Refuses names line or operation, field and mend of each fault.
func TestLoad_Refuses(t *testing.T) {
	const head = `{"history":1,"seed":7}` + "\n"
	const good = `{"id":0,"client":0,"kind":"write","key":"k","invoke_ns":1,"return_ns":2,"outcome":"ok","value":1}` + "\n"
	for text, want := range map[string]string{
		"":                              "sandbox chaos",
		"hello\n":                       "line 1",
		`{"history":2}` + "\n":          "form 2",
		head + "{\n":                    "line 2",
		head + good + `{"ip":1}` + "\n": `line 3: json: unknown field "ip"`,
		head + `{"id":0} {}` + "\n":     "one operation a line",
		head + good + good:              "operation 0: id",
		head + strings.Repeat("x", 5e6): "line 2",
		head + strings.Replace(good, "write", "rite", 1):                                                  `kind "rite": want read`,
		head + strings.Replace(good, `"ok"`, `"done"`, 1):                                                 `outcome "done": want ok`,
		head + strings.Replace(good, `"k"`, `""`, 1):                                                      "key of 1 to",
		head + strings.Replace(good, `"k"`, `"k\nx"`, 1):                                                  "no control characters",
		head + strings.Replace(good, `"return_ns":2`, `"return_ns":0`, 1):                                 "return_ns 0: want",
		head + strings.Replace(good, `"value":1`, `"value":0`, 1):                                         "value 0",
		head + good + strings.Replace(good, `"id":0`, `"id":1`, 1):                                        "operation 0 writes it too",
		head + strings.NewReplacer("write", "cas", `"value":1`, `"value":1,"was":1`).Replace(good):        "was 1",
		head + strings.Replace(good, "write", "list", 1):                                                  "after: missing",
		head + strings.NewReplacer("write", "append", `"value":1`, `"value":1,"before":[]`).Replace(good): "before without after",
	} {
		if _, _, err := Load(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80q: %v, want one line with %q", text, err, want)
		}
	}
}

// FuzzLoad: what is accepted can be checked, and comes back as it was.
func FuzzLoad(f *testing.F) {
	f.Add(stored(f, h().write(1, 0, 1).read(1, 2, 3).cas(1, 2, 4, 5).ends(Unknown).tx(2, 2, 3, 2).list(4, 5, 2).ops))
	f.Add([]byte(`{"history":1}` + "\n" + `{"id":0,"kind":"append","key":"k","outcome":"ok","value":1,"after":[3,3]}`))
	f.Add([]byte(`{"history":1}` + "\n" + `{"id":0,"kind":"cas","key":"k","outcome":"unknown","value":-1,"return_ns":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		head, ops, err := Load(bytes.NewReader(text))
		if err != nil {
			return
		}
		r, err := Check(ops, Limits{Steps: 10_000})
		if err != nil {
			t.Fatalf("accepted, and cannot be checked: %v", err)
		}
		for _, v := range r.Violations {
			_ = v.String()
		}
		var b bytes.Buffer
		if err := Store(&b, head, ops); err != nil {
			t.Fatal(err)
		}
		_, again, err := Load(&b)
		if err != nil || len(again) != len(ops) || len(ops) > 0 && !reflect.DeepEqual(again, ops) {
			t.Errorf("%v: %+v became %+v", err, ops, again)
		}
	})
}
