package prove

import (
	"slices"
	"strings"
)

// Charset says what a client or connection character set means for keys.
// Wide ones (utf8, utf8mb3, utf8mb4, binary) carry every key as it is. Under
// narrow ones (latin1, ascii) only ASCII keys are sure to arrive unchanged: a
// session that uses one plans with Session.Narrow. Others are not ok: their
// second bytes may look like quotes, or they are not spelled like ASCII.
func Charset(name string) (narrow, ok bool) {
	switch strings.ToLower(name) {
	case "utf8", "utf8mb3", "utf8mb4", "binary":
		return false, true
	case "latin1", "ascii":
		return true, true
	}
	return true, false
}

// charsetOf is the character set of a collation.
func charsetOf(collation string) string {
	name, _, _ := strings.Cut(strings.ToLower(collation), "_")
	return name
}

// comparison is how a text column's collation compares keys.
type comparison uint8

const (
	unknownComparison comparison = iota // nothing is known to be different under it
	exactComparison                     // _bin: other bytes, other keys, but for trailing spaces
	foldingComparison                   // different keys of the plain characters stay different
)

// foldingCollations are the ends of the names of the collations under which
// no two different texts of the plain characters (plainKey) are equal. The
// language collations are left out: utf8mb4_roman_ci takes u for v. A test
// holds this list against a real server.
var foldingCollations = []string{
	"general_ci", "general_cs", "general_nopad_ci",
	"unicode_ci", "unicode_nopad_ci", "unicode_520_ci", "unicode_520_nopad_ci",
	"uca1400_ai_ci", "uca1400_ai_cs", "uca1400_as_ci", "uca1400_as_cs",
	"uca1400_nopad_ai_ci", "uca1400_nopad_ai_cs", "uca1400_nopad_as_ci", "uca1400_nopad_as_cs",
	"0900_ai_ci", "0900_as_ci", "0900_as_cs",
}

// comparisonOf says how a collation compares, and which keys its character
// set can hold: any of the basic plane, or only ASCII.
func comparisonOf(collation string) (how comparison, wide bool) {
	charset, kind, _ := strings.Cut(strings.ToLower(collation), "_")
	switch charset {
	case "utf8", "utf8mb3", "utf8mb4":
		wide = true
	case "latin1", "ascii", "gbk":
	default:
		return unknownComparison, false
	}
	switch {
	case kind == "bin" || kind == "nopad_bin" || kind == "0900_bin":
		return exactComparison, wide
	case slices.Contains(foldingCollations, kind):
		return foldingComparison, wide
	case charset == "latin1" && (kind == "swedish_ci" || kind == "swedish_nopad_ci"):
		return foldingComparison, false
	case charset == "gbk" && (kind == "chinese_ci" || kind == "chinese_nopad_ci"):
		return foldingComparison, false
	}
	return unknownComparison, wide
}
