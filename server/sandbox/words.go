package sandbox

import "strings"

// names lists things for a progress line.
func names[T any](all []T, name func(T) string) string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = name(v)
	}
	return strings.Join(words, ", ")
}
