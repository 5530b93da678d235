package prove

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Limits of one text. Beyond them it is refused: the parser and the walks
// over its tree recurse, and a Go stack that overflows ends the process.
const (
	MaxText  = 64 << 20 // bytes
	maxNest  = 100_000  // words and operators
	maxDepth = 1_000    // open parentheses
)

// scanned is a text as both parsers, the server's and ours, are sure to cut
// it alike.
type scanned struct {
	clean   string // comments are blanks; bytes that are no UTF-8 in literals are \x01
	markers []int  // offsets of the ? markers in clean
	dated   bool   // the content of /*!40101 … */ comments is in clean, as code
	zeros   bool   // an integer outside of literals has leading zeros
}

// scanner cuts a text as MariaDB and MySQL do in their default lexing modes.
// It takes away what the two parsers could read differently (comments,
// executable or not; bytes that only one calls a blank) and refuses what
// cannot be taken away.
type scanner struct {
	in     []byte
	out    []byte
	at     int
	narrow bool // bytes from 0x80 on are not UTF-8
	depth  int
	nest   int
	marks  []int
	dated  bool
	zeros  bool
	inside bool // of a dated comment
}

// scan cuts a text. Narrow is as in Session.
func scan(text []byte, narrow bool) (scanned, *Refusal) {
	if len(text) > MaxText {
		return scanned{}, unprovable("text too long", "the statement is larger than 64 MiB", "split it")
	}
	s := scanner{in: text, out: make([]byte, 0, len(text)), narrow: narrow}
	for s.at < len(s.in) {
		if r := s.next(); r != nil {
			return scanned{}, r
		}
	}
	if s.depth > maxDepth || s.nest > maxNest {
		return scanned{}, tooDeep()
	}
	if s.inside {
		return scanned{}, openComment()
	}
	return scanned{clean: string(s.out), markers: s.marks, dated: s.dated, zeros: s.zeros}, nil
}

func tooDeep() *Refusal {
	return unprovable("statement too deep", "it has more words, operators or parentheses than can be proven safely",
		"split it, or bind the values as parameters")
}

// next takes one piece: a literal, a quoted name, a comment, a word or one
// character.
func (s *scanner) next() *Refusal {
	switch c := s.in[s.at]; {
	case c == '\'' || c == '"':
		return s.literal(c)
	case c == '`':
		return s.quoted()
	case c == '/' && s.peek(1) == '*':
		return s.comment()
	case c == '*' && s.peek(1) == '/' && s.inside:
		s.inside = false
		s.blank(2)
		return nil
	case c == '#', c == '-' && s.dashes():
		s.line()
		return nil
	case c == '\\' || c == 0x7f || c < ' ' && c != '\n' && c != '\t' && c != '\r':
		return unprovable("odd character", "a control character or back-slash stands outside of a literal", "remove it")
	case wordByte(c):
		return s.word()
	default:
		return s.sign(c)
	}
}

// peek is the byte n places ahead, 0 at the end.
func (s *scanner) peek(n int) byte {
	if s.at+n < len(s.in) {
		return s.in[s.at+n]
	}
	return 0
}

// dashes says whether -- begins a comment here: the server wants a blank, a
// control character or the end behind it.
func (s *scanner) dashes() bool {
	if s.peek(1) != '-' {
		return false
	}
	c := s.peek(2)
	return c <= ' ' || c == 0x7f
}

// blank takes n bytes away.
func (s *scanner) blank(n int) {
	s.at += n
	s.out = append(s.out, ' ')
}

func (s *scanner) line() {
	for s.at < len(s.in) && s.in[s.at] != '\n' {
		s.at++
	}
	s.out = append(s.out, ' ')
}

// comment replaces a plain comment by a blank. Executable comments are code
// for one server and nothing for another, so nothing is proven of them, but
// for those that every server runs.
func (s *scanner) comment() *Refusal {
	rest := s.in[s.at+2:]
	if s.inside {
		return executable() // servers differ in what a comment in a comment is
	}
	if dated(rest) {
		s.inside, s.dated = true, true
		s.blank(len("/*!40101"))
		return nil
	}
	if len(rest) > 0 && rest[0] == '!' || len(rest) > 1 && rest[0] == 'M' && rest[1] == '!' {
		return executable()
	}
	end := bytes.Index(rest, []byte("*/"))
	if end < 0 {
		return openComment()
	}
	if len(rest) > 0 && rest[0] == '+' && strings.Contains(strings.ToLower(string(rest[:end])), "set_var") {
		return unprovable("setting in a hint", "a SET_VAR hint changes settings that the proof depends on", "remove it")
	}
	s.blank(2 + end + 2)
	return nil
}

// dated says whether a comment holds code for servers from a version on that
// all servers have by far: five digits, so that no server reads a sixth.
func dated(rest []byte) bool {
	if len(rest) < 7 || rest[0] != '!' || rest[6] != ' ' {
		return false
	}
	for _, c := range rest[1:6] {
		if c < '0' || c > '9' {
			return false
		}
	}
	version := string(rest[1:6])
	return version >= "30000" && version <= "50100"
}

func openComment() *Refusal {
	return unprovable("open comment", "a /* comment has no end", "close it")
}

func executable() *Refusal {
	return unprovable("executable comment", "the text holds a /*! or /*M! comment, which servers read differently",
		"write its content as plain SQL")
}

// literal copies a string literal. Bytes from 0x80 on never end one, neither
// for the server nor for the parser, as long as they are UTF-8; others are
// replaced by \x01, which no text key may hold.
func (s *scanner) literal(quote byte) *Refusal {
	s.out = append(s.out, quote)
	for s.at++; s.at < len(s.in); {
		c := s.in[s.at]
		switch {
		case c == '\\' && s.at+1 < len(s.in) && s.in[s.at+1] < utf8.RuneSelf:
			s.out = append(s.out, c, s.in[s.at+1])
			s.at += 2
		case c == '\\':
			s.out = append(s.out, c, 1)
			s.at += 2
		case c == quote && s.peek(1) == quote:
			s.out = append(s.out, c, c)
			s.at += 2
		case c == quote:
			s.out = append(s.out, c)
			s.at++
			return nil
		case c < utf8.RuneSelf:
			s.out = append(s.out, c)
			s.at++
		default:
			s.rune()
		}
	}
	return unprovable("open literal", "a quote has no end", "close it")
}

// rune copies one character of several bytes.
func (s *scanner) rune() {
	r, n := utf8.DecodeRune(s.in[s.at:])
	if s.narrow || r == utf8.RuneError && n == 1 {
		s.out = append(s.out, 1)
		s.at++
		return
	}
	s.out = append(s.out, s.in[s.at:s.at+n]...)
	s.at += n
}

// quoted copies a name in back-ticks.
func (s *scanner) quoted() *Refusal {
	start := s.at
	for s.at++; s.at < len(s.in); s.at++ {
		if s.in[s.at] != '`' {
			continue
		}
		if s.peek(1) == '`' {
			s.at++
			continue
		}
		s.at++
		return s.name(start)
	}
	return unprovable("open name", "a back-tick has no end", "close it")
}

func (s *scanner) word() *Refusal {
	start := s.at
	for s.at < len(s.in) && wordByte(s.in[s.at]) {
		s.at++
	}
	s.zeros = s.zeros || leadingZeros(s.out, s.in[start:s.at])
	return s.name(start)
}

// leadingZeros says whether a word is an integer such as 007. Digits behind a
// point are a fraction.
func leadingZeros(before, word []byte) bool {
	if len(word) < 2 || word[0] != '0' || len(before) > 0 && before[len(before)-1] == '.' {
		return false
	}
	for _, c := range word {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// name copies what stands between start and here, if every parser reads it
// as the same characters.
func (s *scanner) name(start int) *Refusal {
	text := s.in[start:s.at]
	for _, c := range text {
		if c == 0 || c >= utf8.RuneSelf && (s.narrow || !utf8.Valid(text)) {
			return unprovable("odd name", "a name holds bytes that are not characters of the session",
				"connect with utf8mb4")
		}
		if c >= utf8.RuneSelf {
			break
		}
	}
	if !plain(text) {
		s.nest++
	}
	s.out = append(s.out, text...)
	return nil
}

// plain says whether a word cannot nest: numbers, and the words that large
// inserts are full of.
func plain(word []byte) bool {
	return word[0] >= '0' && word[0] <= '9' || strings.EqualFold(string(word), "null") ||
		strings.EqualFold(string(word), "default")
}

// sign copies one character that is no word.
func (s *scanner) sign(c byte) *Refusal {
	switch c {
	case '(':
		if s.depth++; s.depth > maxDepth {
			return tooDeep()
		}
	case ')':
		s.depth--
	case '?':
		s.marks = append(s.marks, len(s.out))
	case ' ', '\n', '\t', '\r', ',', '.', ';':
	case '-':
		// Two dashes that begin no comment here would begin one once a comment
		// behind them has become a blank.
		if n := len(s.out); n > 0 && s.out[n-1] == '-' {
			s.out = append(s.out, ' ')
		}
		s.nest++
	default:
		s.nest++
	}
	s.out = append(s.out, c)
	s.at++
	return nil
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= utf8.RuneSelf
}

// token is a word of a clean text.
type token struct {
	text   string // without back-ticks
	at     int    // offset
	depth  int    // of open parentheses around it
	quoted bool   // stood in back-ticks
	called bool   // a parenthesis follows
}

// words lists the words of a clean text in order. Literals are left out.
func words(clean string) []token {
	var list []token
	depth := 0
	for i := 0; i < len(clean); {
		start := i
		switch c := clean[i]; {
		case c == '\'' || c == '"' || c == '`':
			i = closing(clean, i)
			if c == '`' {
				name := strings.ReplaceAll(clean[start+1:i-1], "``", "`")
				list = append(list, token{text: name, at: start, depth: depth, quoted: true, called: followed(clean[i:])})
			}
		case wordByte(c):
			for i < len(clean) && wordByte(clean[i]) {
				i++
			}
			list = append(list, token{text: clean[start:i], at: start, depth: depth, called: followed(clean[i:])})
		default:
			switch c {
			case '(':
				depth++
			case ')':
				depth--
			}
			i++
		}
	}
	return list
}

func followed(rest string) bool {
	return strings.HasPrefix(strings.TrimLeft(rest, " \t\r\n"), "(")
}

// closing is the offset behind the quote that closes the one at i. The text
// has been scanned, so there is one.
func closing(clean string, i int) int {
	quote := clean[i]
	for i++; i < len(clean); i++ {
		switch {
		case clean[i] == '\\' && quote != '`':
			i++
		case clean[i] == quote && i+1 < len(clean) && clean[i+1] == quote:
			i++
		case clean[i] == quote:
			return i + 1
		}
	}
	return len(clean)
}
