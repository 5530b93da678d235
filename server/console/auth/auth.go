package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// UserHeader carries the name that a caller gives himself. It is taken for
// his name only where the token names nobody.
const UserHeader = "X-Atoll-User"

const maxUser = 100 // bytes of a name

// Tokens are the bearer tokens that the console takes.
type Tokens struct {
	names map[[sha256.Size]byte]string
}

// ReadTokens reads a file with one token a line, or "name token": then the
// name is who calls with it. Empty lines and lines with # are left out. The
// empty file name stands for no tokens: everybody may call.
func ReadTokens(file string) (*Tokens, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	t := &Tokens{names: map[[sha256.Size]byte]string{}}
	for n, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
		case len(fields) == 1:
			t.names[sha256.Sum256([]byte(fields[0]))] = ""
		case len(fields) == 2:
			t.names[sha256.Sum256([]byte(fields[1]))] = fields[0]
		default:
			return nil, fmt.Errorf("read the tokens: %s line %d: want TOKEN or NAME TOKEN", file, n+1)
		}
	}
	if len(t.names) == 0 {
		return nil, errors.New("read the tokens: " + file + " holds none")
	}
	return t, nil
}

// Check finds the caller of a request. It is false when the request has no
// token that the console takes. A nil Tokens lets everybody in.
//
// Tokens are looked up by their hash, so the time it takes tells nothing of
// how much of a token was right.
func (t *Tokens) Check(r *http.Request) (by string, ok bool) {
	claimed := r.Header.Get(UserHeader)
	if len(claimed) > maxUser {
		claimed = claimed[:maxUser]
	}
	if t == nil {
		return claimed, true
	}
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return "", false
	}
	name, ok := t.names[sha256.Sum256([]byte(strings.TrimSpace(token)))]
	if name == "" {
		name = claimed
	}
	return name, ok
}

type byKey struct{}

// With puts the caller's name into a request's context.
func With(ctx context.Context, by string) context.Context {
	return context.WithValue(ctx, byKey{}, by)
}

// By is the caller's name, "unknown" when he gave none.
func By(ctx context.Context) string {
	if by, _ := ctx.Value(byKey{}).(string); by != "" {
		return by
	}
	return "unknown"
}
