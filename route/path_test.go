package route

import (
	"strings"
	"testing"
)

// segmentsOf is a path without its slashes.
func segmentsOf(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}

// bruteForce finds the rule by its definition: of all that match, the longest,
// and of these the one whose first difference is a literal.
func bruteForce(rules []string, request string) string {
	if request == "" {
		return ""
	}
	var best []string
	found := ""
	in := segmentsOf(request)
	for _, rule := range rules {
		have := segmentsOf(rule)
		if len(have) > len(in) || found != "" && len(have) < len(best) {
			continue
		}
		ok := true
		for i, s := range have {
			ok = ok && (isWildcard(s) || s == in[i])
		}
		if ok && (found == "" || len(have) > len(best) || moreLiteral(have, best)) {
			best, found = have, rule
		}
	}
	return found
}

func moreLiteral(a, b []string) bool {
	for i := range a {
		if x, y := isWildcard(a[i]), isWildcard(b[i]); x != y {
			return y
		}
	}
	return false
}

func FuzzPathMatch(f *testing.F) {
	f.Add("/ /a /a/* /a/{x}/b /*/b/c", "/a/b/c")
	f.Add("/a/b/c /*/b", "/a/b")
	f.Add("/user/*/b /user/order", "/user/order/b")
	f.Add("/{} /{a /a} /*a", "/{}/x")
	f.Fuzz(func(t *testing.T, rules, request string) {
		if len(rules) > 300 || len(request) > 300 {
			return
		}
		var trie pathTrie
		var kept []string
		for r := range strings.FieldsSeq(rules) {
			if trie.add(r, &path{text: r}) == nil {
				kept = append(kept, r)
			}
		}
		got := ""
		if p := trie.match(request); p != nil {
			got = p.text
		}
		if want := bruteForce(kept, request); got != want {
			t.Fatalf("rules %q, request %q: %q, want %q", kept, request, got, want)
		}
	})
}
