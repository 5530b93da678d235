package prove

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atoll-live/atoll/server/mariadbtest"
)

// generatedConditions draws updates with conditions from all operators, odd
// blanks and comments, runs those that the prover accepts, and looks which
// rows they changed. Operators that the two parsers bind differently, or a
// comment that only one of them sees, show here.
func generatedConditions(t *testing.T, s *mariadbtest.Server) {
	fill(t, s)
	c := connect(t, s)
	c.exec("SET sql_mode = ''")
	prover, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	schema := schemas(t)["refuse"]
	drawn, accepted, effective := 0, 0, 0
	rapid.Check(t, func(r *rapid.T) {
		for range 25 {
			drawn++
			text, bound := update(r)
			plan := prover.Plan(schema, Session{}, []byte(text))
			bound = bound[:min(plan.Params, len(bound))] // the rest was in a comment
			keys, why := plan.Resolve(bound)
			if why != nil {
				continue
			}
			accepted++
			touched := c.marked(text, args(bound))
			if len(touched) > 0 {
				effective++
			}
			for _, key := range touched {
				if !slices.Contains(keys, key) {
					r.Fatalf("%s\n%v\nproven keys %q, but a row of %q changed", text, args(bound), keys, key)
				}
			}
		}
	})
	t.Logf("%d updates drawn, %d accepted, %d changed rows", drawn, accepted, effective)
	if accepted < drawn/20 || effective < accepted/5 {
		t.Errorf("%d updates drawn, %d accepted, %d changed rows: the test has lost its teeth", drawn, accepted, effective)
	}
}

// marked runs an update and says whose rows it marked.
func (c conn) marked(text string, bound []any) []string {
	c.exec("BEGIN")
	defer c.exec("ROLLBACK")
	_, err := c.ExecContext(c.t.Context(), text, bound...)
	switch number(err) {
	case -1:
		c.t.Fatalf("%s: %v", text, err)
	case 0:
		return c.list("SELECT buyer_id FROM items WHERE mark <> 0 UNION SELECT buyer_id FROM carts WHERE mark <> 0 UNION SELECT user_id FROM wallets WHERE mark <> 0")
	}
	return nil
}

// update draws a statement with its bound values; its tokens stand apart by
// anything that a server takes for a blank.
func update(r *rapid.T) (string, []Param) {
	var words []string
	switch rapid.IntRange(0, 5).Draw(r, "form") {
	case 0, 1:
		words = []string{"UPDATE items SET mark = 1 WHERE", condition1(r, "buyer_id", 3)}
	case 2:
		words = []string{"UPDATE wallets SET mark = 1 WHERE", condition1(r, "user_id", 3)}
	case 3:
		words = []string{"UPDATE items i", join(r), "carts c ON", condition1(r, "c.buyer_id", 1), "SET i.mark = 1 , c.mark = 1 WHERE", condition1(r, "i.buyer_id", 2)}
	case 4:
		words = []string{"UPDATE items i", join(r), "carts c USING ( buyer_id ) SET i.mark = 1 , c.mark = 1 WHERE", condition1(r, "buyer_id", 2)}
	case 5:
		words = []string{"UPDATE items i", join(r), "( carts c", join(r), "wallets w ON", condition1(r, "w.user_id", 1), ") ON", condition1(r, "c.buyer_id", 1),
			"SET i.mark = 1 , c.mark = 1 , w.mark = 1 WHERE", condition1(r, "i.buyer_id", 1), "AND", condition1(r, "w.user_id", 1)}
	}
	tokens := strings.Split(strings.Join(words, " "), " ")
	bound := bind(r, tokens)
	return spaced(r, tokens), bound
}

// bind makes some plain literals to parameters.
func bind(r *rapid.T, tokens []string) []Param {
	var bound []Param
	if rapid.IntRange(0, 2).Draw(r, "prepared") > 0 {
		return nil
	}
	for i, token := range tokens {
		n, err := strconv.ParseInt(token, 10, 64)
		text := strings.HasPrefix(token, "'") && strings.HasSuffix(token, "'") && len(token) > 1 && !strings.Contains(token, `\`)
		if (err != nil && !text) || rapid.Bool().Draw(r, "bind") {
			continue
		}
		tokens[i] = "?"
		p := Param{Kind: ParamInt, Int: n}
		if text {
			p = Param{Kind: ParamString, Bytes: []byte(token[1 : len(token)-1])}
		}
		bound = append(bound, p)
	}
	return bound
}

func join(r *rapid.T) string {
	return rapid.SampledFrom([]string{"JOIN", "LEFT JOIN", "RIGHT JOIN", "STRAIGHT_JOIN", "CROSS JOIN"}).Draw(r, "join")
}

func spaced(r *rapid.T, tokens []string) string {
	for i := range tokens {
		if rapid.IntRange(0, 9).Draw(r, "blank") == 0 {
			tokens[i] += rapid.SampledFrom([]string{"\n", "\t", "/**/", "/* OR 1 */", "-- OR 1\n", "#OR 1\n", "--\x01 OR 1\n", "/*T! OR 1 */", "/*+ OR 1 */",
				"/*/ OR 1 /*/", "/* ' */", "-- '\n", "--\n", "\u3000", "\x0b", "\xa0", "/*T![x] AND 0 */", "/*M OR 1 */", "--"}).Draw(r, "odd")
		}
	}
	return strings.Join(tokens, " ")
}

// condition1 draws a condition about a key column.
func condition1(r *rapid.T, key string, depth int) string {
	if depth == 0 || rapid.IntRange(0, 3).Draw(r, "leaf") == 0 {
		return atom(r, key)
	}
	a, b := condition1(r, key, depth-1), condition1(r, key, depth-1)
	form := rapid.SampledFrom([]string{
		"%s AND %s", "%s AND %s", "%s AND %s", "%s OR %s", "%s OR %s", "( %s ) AND ( %s )", "( %s OR %s )", "%s && %s", "%s || %s", "%s XOR %s",
		"NOT %s AND %s", "! %s AND %s", "%s = %s", "%s <=> %s", "%s IS TRUE AND %s", "%s IN ( %s , 1 )", "%s | %s", "%s & %s", "%s - %s", "%s * %s",
		"%s BETWEEN 0 AND %s", "%s LIKE %s", "%s REGEXP %s", "%s ^ %s", "%s DIV %s", "IF ( %s , 1 , %s )", "CASE WHEN %s THEN 1 ELSE %s END",
		"COALESCE ( %s , %s )", "( %s , 1 ) = ( 1 , %s )", "%s << %s", "- %s AND %s", "~ %s OR %s", "%s IS NULL OR %s", "BINARY %s AND %s",
	}).Draw(r, "operator")
	return fmt.Sprintf(form, a, b)
}

func atom(r *rapid.T, key string) string {
	text := []string{"'bob'", "'eve'", "'a'", "\"b\"", "('bob')", "'b' 'ob'", "'bo\\b'", "'7'", "7", "'7x'", "'Bob'", "x'626f62'", "_utf8mb4'bob'", "N'bob'", "'it''s'", "NULL", "'bob' COLLATE utf8mb4_general_ci"}
	if strings.HasSuffix(key, "user_id") {
		text = []string{"7", "-7", "8", "'7'", "'-7'", "007", "'007'", "7.0", "7e0", "0x7", "TRUE", "- -7", "9223372036854775807", "'9007199254740993'",
			"9007199254740993", "9007199254740992.0", "NULL", "'9007199254740992'", "1", "0", "-0"}
	}
	value := func() string { return rapid.SampledFrom(text).Draw(r, "value") }
	other := map[string]string{"c.buyer_id": "i.buyer_id", "i.buyer_id": "c.buyer_id", "w.user_id": "c.buyer_id"}[key]
	if other == "" {
		other = key
	}
	switch rapid.IntRange(0, 15).Draw(r, "atom") {
	case 0, 1, 2, 3:
		return key + " = " + value()
	case 4:
		return value() + " = " + key
	case 5:
		return key + " IN ( " + value() + " , " + value() + " )"
	case 6:
		return "( " + key + " , 1 ) = ( " + value() + " , 1 )"
	case 7:
		return "( 1 , " + key + " ) IN ( ( 1 , " + value() + " ) , ( 2 , " + value() + " ) )"
	case 8:
		return key + " = " + other
	case 9:
		return key + rapid.SampledFrom([]string{" <=> ", " <> ", " > ", " <= ", " >= ", " < ", " != ", " LIKE ", " REGEXP ", " NOT LIKE "}).Draw(r, "compare") + value()
	case 10:
		return key + " = " + value() + rapid.SampledFrom([]string{" = 1", " IS NULL", " + 0", " | 0", " IN ( 1 , 2 )", " BETWEEN 0 AND 2", " || 'x'", " COLLATE utf8mb4_general_ci", " = 0", " <=> 0"}).Draw(r, "behind")
	case 11:
		return "NOT " + key + " = " + value()
	case 12:
		return rapid.SampledFrom([]string{"1", "0", "NULL", "1 = 1", "EXISTS ( SELECT 1 )", "'x'"}).Draw(r, "constant")
	case 13:
		return key + " NOT IN ( " + value() + " )"
	case 14:
		return "LOWER ( " + key + " ) = " + value()
	}
	return "n = " + rapid.SampledFrom([]string{"0", "1", "0 OR 1"}).Draw(r, "other")
}
