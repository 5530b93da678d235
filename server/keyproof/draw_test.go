package keyproof

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/atoll-live/atoll/server/keytext"
)

// draw makes texts for a column of which many are nearly equal: each is one of
// those before it with something changed that some server overlooks somewhere.
func draw(r *rand.Rand, c *keytext.Column, n int) []string {
	texts := []string{}
	for len(texts) < n {
		var text string
		switch {
		case len(texts) > 4 && r.IntN(4) > 0:
			text = mutate(r, c, texts[r.IntN(len(texts))])
		default:
			text = fresh(r, c)
		}
		texts = append(texts, text)
	}
	return texts
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func fresh(r *rand.Rand, c *keytext.Column) string {
	switch c.Type {
	case keytext.Integer:
		n := pick(r, []string{"0", "1", "7", "10", "42", "127", "128", "255", "256", "32767", "32768", "65535", "8388607", "16777215", "2147483647", "2147483648",
			"4294967295", "9007199254740991", "9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616"})
		return pick(r, []string{"", "", "-"}) + n
	case keytext.UUID:
		return "123e4567-e89b-12d3-a456-4266141740" + pick(r, []string{"00", "0a", "ab", "ff"})
	}
	if c.Type == keytext.Binary && c.Fixed {
		b := make([]byte, r.IntN(c.Length+1))
		for i := range b {
			b[i] = pick(r, []byte("ab \x00\xff7"))
		}
		return string(b)
	}
	letters := pick(r, [][]string{{"a", "b", "c"}, {"bob"}, {"s", "t", "ss"}, {"i", "j", "k"}, {"u", "v", "w"}, {"1", "2", "7"}, {"o", "e", "ö", "œ"}, {"-", "_", ".", ":", "@"},
		{"å", "aa", "a"}, {"ж", "Ж", "з"}, {"張", "张"}, {"が", "か"}, {"c", "h", "ch", "l"}})
	var b strings.Builder
	for range 1 + r.IntN(4) {
		b.WriteString(pick(r, letters))
	}
	return b.String()
}

// near are the letters that some collation calls equal to one.
var near = map[rune][]string{
	'a': {"A", "á", "à", "ä", "a\u0301", "å", "ａ", "ª", "Á"}, 'b': {"B", "ｂ"}, 'c': {"C", "ç", "c\u0327"}, 'e': {"E", "é", "e\u0301"},
	'i': {"I", "ı", "İ", "í", "ｉ"}, 'j': {"J", "i"}, 'k': {"K", "\u212a"}, 'o': {"O", "ó", "ø", "0", "o\u0308"}, 's': {"S", "ſ", "ß", "ŝ"}, 't': {"T", "th", "þ"},
	'u': {"U", "v", "ü"}, 'v': {"V", "u", "w"}, 'w': {"W", "v", "vv"}, '1': {"１", "①", "٠"}, '7': {"７", "⁷"}, 'ö': {"o\u0308", "o", "oe", "Ö"}, 'œ': {"oe", "Œ"},
	'ж': {"Ж"}, 'Ж': {"ж"}, 'が': {"か\u3099", "ガ", "か"}, '-': {"\u00ad", "\u2010", "_"}, '_': {"-", " "}, '.': {"\u2024"}, '@': {"＠"}, 'h': {"H"}, 'l': {"L", "ł"},
}

// unseen are what some collation, comparison or conversion does not see, before
// or behind a text.
var unseen = []string{" ", "  ", "\t", "\n", "\x00", "\x01", "\u200b", "\u00ad", "\ufeff", "\u00a0", "\u3000", "\u0301", "\x7f", "\xff", "\xc3", "\\", "'", "\U0001f600", "%"}

func mutate(r *rand.Rand, c *keytext.Column, text string) string {
	switch c.Type {
	case keytext.Integer:
		return number(r, text)
	case keytext.UUID:
		return pick(r, []func(string) string{
			strings.ToUpper, func(s string) string { return strings.ReplaceAll(s, "-", "") }, func(s string) string { return "{" + s + "}" },
			func(s string) string { return s + " " }, func(s string) string { return " " + s }, func(s string) string { return strings.Replace(s, "-", "", 1) },
			func(s string) string { return "urn:uuid:" + s }, func(s string) string { return s[:max(0, len(s)-1)] }, strings.ToLower,
		})(text)
	}
	if c.Type == keytext.Binary && c.Fixed {
		return pick(r, []string{text + "\x00", strings.TrimRight(text, "\x00"), text + " ", strings.ToUpper(text), "\x00" + text, text + "\x00\x00"})
	}
	at := []rune(text)
	switch r.IntN(6) {
	case 0:
		return text + pick(r, unseen)
	case 1:
		return pick(r, unseen) + text
	case 2:
		return strings.ToUpper(text)
	case 3:
		i := r.IntN(len(at) + 1)
		return string(at[:i]) + pick(r, unseen) + string(at[i:])
	}
	if len(at) == 0 {
		return " "
	}
	i := r.IntN(len(at))
	if list := near[at[i]]; len(list) > 0 {
		return string(at[:i]) + pick(r, list) + string(at[i+1:])
	}
	return text
}

// number writes a number in another way, or another that a comparison may
// round or clip to it.
func number(r *rand.Rand, text string) string {
	switch r.IntN(10) {
	case 0:
		return pick(r, []string{"+", "-", " ", "0", "00", "-0", "\t", "- ", "--"}) + text
	case 1:
		return text + pick(r, []string{" ", ".0", ".", "e0", "E0", ".00", "x", "\t", "\n", "\x00", ".4", ".5", "e1", "e-1", "０"})
	case 2:
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return pick(r, []string{fmt.Sprintf("0x%x", n), fmt.Sprintf("x'%02x'", n&0xff), fmt.Sprintf("b'%b'", n), fmt.Sprintf("%d", n+1), fmt.Sprintf("%d", n-1)})
		}
	case 3:
		return strings.TrimLeft(text, "+- 0\t")
	case 4:
		return strings.Map(func(c rune) rune {
			if c >= '0' && c <= '9' {
				return c - '0' + '０'
			}
			return c
		}, text)
	case 5:
		return pick(r, []string{"TRUE", "NULL", "", "-0", "00", "0.0", "1e0", ".7e1"})
	}
	return pick(r, []string{"0", "-"}) + text
}
