package keytext

import (
	"slices"
	"strings"
)

// Comparison is how a text column's collation compares keys.
type Comparison uint8

// The comparisons.
const (
	Unknown Comparison = iota // nothing is known to be different under it
	Exact                     // _bin: other bytes, other keys, but for trailing spaces
	Folding                   // different keys of the plain characters stay different
)

// foldingCollations are the ends of the names of the collations under which
// no two different texts of the plain characters (Plain) are equal. The
// language collations are left out: utf8mb4_roman_ci takes u for v. A test
// holds this list against a real server.
var foldingCollations = []string{
	"general_ci", "general_cs", "general_nopad_ci",
	"unicode_ci", "unicode_nopad_ci", "unicode_520_ci", "unicode_520_nopad_ci",
	"uca1400_ai_ci", "uca1400_ai_cs", "uca1400_as_ci", "uca1400_as_cs",
	"uca1400_nopad_ai_ci", "uca1400_nopad_ai_cs", "uca1400_nopad_as_ci", "uca1400_nopad_as_cs",
	"0900_ai_ci", "0900_as_ci", "0900_as_cs",
}

// ComparisonOf says how a collation compares, and which keys its character
// set can hold: any of the basic plane, or only ASCII.
func ComparisonOf(collation string) (how Comparison, wide bool) {
	charset, kind, _ := strings.Cut(strings.ToLower(collation), "_")
	switch charset {
	case "utf8", "utf8mb3", "utf8mb4":
		wide = true
	case "latin1", "ascii", "gbk":
	default:
		return Unknown, false
	}
	switch {
	case kind == "bin" || kind == "nopad_bin" || kind == "0900_bin":
		return Exact, wide
	case slices.Contains(foldingCollations, kind):
		return Folding, wide
	case charset == "latin1" && (kind == "swedish_ci" || kind == "swedish_nopad_ci"):
		return Folding, false
	case charset == "gbk" && (kind == "chinese_ci" || kind == "chinese_nopad_ci"):
		return Folding, false
	}
	return Unknown, wide
}
