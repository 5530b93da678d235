package route

import (
	"unicode"
	"unicode/utf8"

	"github.com/atoll-live/atoll/space"
)

// function maps a key to a bucket: 0 ≤ bucket < |modulo|.
type function func(key string, modulo int) int

// functions holds the unit functions by the names that documents use.
var functions = map[string]function{
	space.FunctionBKDR: BKDRHash,
}

// BKDRHash is the bucket of a key as JoyLive counts it: the text in lower
// case, h = 31·h + UTF-16 unit in wrapping int32, and the absolute value of
// h rem modulo. Modulo 0 gives bucket 0. It does not allocate.
func BKDRHash(key string, modulo int) int {
	if modulo == 0 {
		return 0
	}
	r := int64(hash32(key)) % int64(modulo)
	if r < 0 {
		r = -r
	}
	return int(r)
}

// hash32 hashes ASCII byte by byte and leaves the rest of the text, from the
// first other byte on, to hashRunes: nearly all keys are ASCII.
func hash32(key string) int32 {
	var h int32
	for i := 0; i < len(key); i++ {
		c := key[i]
		if c >= utf8.RuneSelf {
			return hashRunes(h, key, i)
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = 31*h + int32(c)
	}
	return h
}

// The two letters whose full lower case is not one rune for one rune.
const (
	capitalSigma  = 'Σ' // ς at the end of a word, else σ
	finalSigma    = 'ς'
	capitalIDot   = 'İ' // i and a combining dot, outside Turkic locales
	combiningDot  = '\u0307'
	surrogateSelf = 0x10000
)

func hashRunes(h int32, key string, from int) int32 {
	for i := from; i < len(key); {
		r, n := utf8.DecodeRuneInString(key[i:])
		switch r {
		case capitalIDot:
			h = 31*h + 'i'
			r = combiningDot
		case capitalSigma:
			if endsWord(key[:i], key[i+n:]) {
				r = finalSigma
			} else {
				r = unicode.ToLower(r)
			}
		default:
			r = unicode.ToLower(r)
		}
		if r >= surrogateSelf {
			r -= surrogateSelf
			h = 31*h + 0xd800 + (r >> 10)
			r = 0xdc00 + (r & 0x3ff)
		}
		h = 31*h + r
		i += n
	}
	return h
}

// endsWord tells whether a sigma between the two texts is the last cased
// letter of its word, and not the only one.
func endsWord(before, after string) bool {
	cased := false
	for before != "" && !cased {
		r, n := utf8.DecodeLastRuneInString(before)
		if !inWord(r) {
			return false
		}
		cased = isCased(r)
		before = before[:len(before)-n]
	}
	if !cased {
		return false
	}
	for _, r := range after {
		if !inWord(r) {
			return true
		}
		if isCased(r) {
			return false
		}
	}
	return true
}

func isCased(r rune) bool {
	return unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r)
}

// inWord holds what a word of letters runs through: letters, digits, marks,
// connectors and the apostrophes and points that stand inside words.
func inWord(r rune) bool {
	switch r {
	case '\'', '.', ':', '·', '\u2019', '\u00ad':
		return true
	}
	return unicode.In(r, unicode.L, unicode.N, unicode.M, unicode.Pc)
}
