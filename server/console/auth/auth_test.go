package auth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func tokens(t *testing.T, text string) (*Tokens, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadTokens(file)
}

func TestCheck(t *testing.T) {
	some, err := tokens(t, "# who\n\nann s3cret\nplain\n")
	if err != nil {
		t.Fatal(err)
	}
	none, err := ReadTokens("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tokens            *Tokens
		header, user, who string
		ok                bool
	}{
		{some, "Bearer s3cret", "mallory", "ann", true},
		{some, "Bearer plain", "bob", "bob", true},
		{some, "Bearer plain", strings.Repeat("x", 999), strings.Repeat("x", maxUser), true},
		{some, "Bearer s3cre", "ann", "ann", false},
		{some, "Basic s3cret", "", "", false},
		{some, "", "ann", "", false},
		{none, "", "bob", "bob", true},
		{none, "Bearer anything", "", "", true},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", c.header)
		r.Header.Set(UserHeader, c.user)
		who, ok := c.tokens.Check(r)
		if ok != c.ok || ok && who != c.who {
			t.Errorf("%q as %q: %q, %v", c.header, c.user, who, ok)
		}
	}
}

func TestReadTokensRefuses(t *testing.T) {
	for text, want := range map[string]string{"": "holds none", "# only\n": "holds none", "ok\na b c\n": "line 2"} {
		if _, err := tokens(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadTokens("/no/such/file"); err == nil {
		t.Error("a file that is not there")
	}
}

func TestBy(t *testing.T) {
	ctx := context.Background()
	if By(ctx) != "unknown" || By(With(ctx, "")) != "unknown" || By(With(ctx, "ann")) != "ann" {
		t.Error("the caller's name")
	}
}
