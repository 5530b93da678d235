package documents

import (
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	for _, c := range []struct{ name, before, after, want string }{
		{"equal", "a b c", "a b c", ""},
		{"all new", "", "a b", "@@ -0,0 +1,2 @@ +a +b"},
		{"all gone", "a b", "", "@@ -1,2 +0,0 @@ -a -b"},
		{"one in the middle", "1 2 3 4 5 6 7 8 9", "1 2 3 4 X 6 7 8 9", "@@ -2,7 +2,7 @@ =2 =3 =4 -5 +X =6 =7 =8"},
		{"near ones are one hunk", "1 2 3 4 5 6 7 8", "X 2 3 4 5 6 7 Y", "@@ -1,8 +1,8 @@ -1 +X =2 =3 =4 =5 =6 =7 -8 +Y"},
		{"far ones are two", "1 2 3 4 5 6 7 8 9 10", "X 2 3 4 5 6 7 8 9 Y", "@@ -1,4 +1,4 @@ -1 +X =2 =3 =4 @@ -7,4 +7,4 @@ =7 =8 =9 -10 +Y"},
		{"inserted", "1 2 3 4", "1 2 X 3 4", "@@ -1,4 +1,5 @@ =1 =2 +X =3 =4"},
	} {
		split := func(s string) string {
			if s == "" {
				return ""
			}
			return strings.ReplaceAll(s, " ", "\n") + "\n"
		}
		got := unified(split(c.before), split(c.after), "b", "a")
		got = strings.TrimPrefix(got, "--- b\n+++ a\n")
		got = strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(got, "\n ", "\n="), "\n", " "))
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// A diff put onto the text before must give the text after.
func FuzzUnified(f *testing.F) {
	f.Add("a\nb\nc\nd\ne\nf\ng\nh\n", "a\nx\nc\nd\ne\nf\ng\ny\n")
	f.Add("", "a\n")
	f.Add("a\n\n\n", "\n\nb\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		var a, b []string
		for _, e := range compare(lines(before), lines(after)) {
			if e.sign != '+' {
				a = append(a, e.line)
			}
			if e.sign != '-' {
				b = append(b, e.line)
			}
		}
		if strings.Join(a, "\n") != strings.Join(lines(before), "\n") || strings.Join(b, "\n") != strings.Join(lines(after), "\n") {
			t.Errorf("%q to %q: %q, %q", before, after, a, b)
		}
		unified(before, after, "b", "a") // must not panic
	})
}
