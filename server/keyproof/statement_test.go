package keyproof

import (
	"database/sql"
	"strconv"
	"strings"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
	"github.com/atoll-live/atoll/server/keytext"
)

// form is one way to give a text as a key: what stands in the statement, and
// what is bound. Asked is what the server is asked instead, where the driver
// cannot send the same.
type form struct {
	name  string
	text  string
	bound []prove.Param
	args  []any
	asked string
	asIs  bool // the text stands for itself, as an application would pass it on
}

func quoted(text string) string {
	return "'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(text) + "'"
}

func forms(text string) []form {
	list := []form{
		{name: "literal", text: quoted(text), asIs: true},
		{name: "bound string", text: "?", bound: []prove.Param{{Kind: prove.ParamString, Bytes: []byte(text)}}, args: []any{text}, asIs: true},
		{name: "bound bytes", text: "?", bound: []prove.Param{{Kind: prove.ParamBytes, Bytes: []byte(text)}}, asked: "_binary" + quoted(text), asIs: true},
		{name: "national literal", text: "N" + quoted(text)},
		{name: "two literals", text: quoted("") + " " + quoted(text)},
		{name: "double quotes", text: `"` + strings.NewReplacer(`"`, `""`, `\`, `\\`).Replace(text) + `"`, asIs: true},
	}
	if text != "" && strings.Trim(text, "0123456789.abcdefExXTRUNL'+-") == "" {
		// What follows -- at the end of a statement is a comment: the key is what stands before it.
		list = append(list, form{name: "bare", text: text, asIs: !strings.Contains(text, "--")}, form{name: "bare in parentheses", text: "(" + text + ")"})
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		list = append(list, form{name: "bound integer", text: "?", bound: []prove.Param{{Kind: prove.ParamInt, Int: n}}, args: []any{n}})
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		list = append(list, form{name: "bound unsigned", text: "?", bound: []prove.Param{{Kind: prove.ParamUint, Uint: n}}, args: []any{n}})
	}
	return list
}

// conditions are the places where a key may stand.
var conditions = []string{"k = %", "k = %", "% = k", "k <=> %", "k IN (%)", "k IN (%, %)", "(1, k) = (1, %)", "(k, 1) IN ((%, 1), (%, 1))", "k = % AND id < 1000000", "id >= 0 AND (k = % OR k = %)"}

// statements runs every drawn text through conditions, accepted or not, and
// says how many of how many were accepted.
func (b *bench) statements(c *column) (accepted, all int) {
	sessions := []struct {
		conn *sql.Conn
		view prove.Session
	}{{b.conn("utf8mb4"), prove.Session{}}, {b.conn("utf8mb3"), prove.Session{}}, {b.conn("latin1"), prove.Session{Narrow: true}}}
	defer func() {
		for _, s := range sessions {
			_ = s.conn.Close()
		}
	}()
	hit := map[string]string{} // row → key of the first statement that found it
	for _, text := range c.texts {
		for _, f := range forms(text) {
			if c.Type == keytext.Text && b.r.IntN(2) == 0 {
				continue // there are many such columns
			}
			s := sessions[max(0, b.r.IntN(5)-2)]
			where := pick(b.r, conditions)
			n := strings.Count(where, "%")
			var bound []prove.Param
			var args []any
			for range n {
				bound, args = append(bound, f.bound...), append(args, f.args...)
			}
			asked := f.text
			if f.asked != "" {
				asked = f.asked
			}
			all++
			found, err := column1(b.t.Context(), s.conn, "SELECT id FROM "+c.table+" WHERE "+strings.ReplaceAll(where, "%", asked), args...)
			if err != nil {
				continue // the server does not know the form: nothing is written either
			}
			if n == 1 {
				b.raw(c, text, found, s.view)
			}
			plan := b.prover.Plan(b.schema, s.view, []byte("DELETE FROM "+c.table+" WHERE "+strings.ReplaceAll(where, "%", f.text)))
			keys, why := plan.Resolve(bound)
			if why != nil {
				continue
			}
			accepted++
			if len(keys) != 1 {
				b.t.Fatalf("%s: %s %q in %s has keys %q", c.declared, f.name, text, where, keys)
			}
			b.check(c, f, where, text, keys[0], found, hit)
		}
	}
	return accepted, all
}

// raw counts for the control.
func (b *bench) raw(c *column, text string, found []string, view prove.Session) {
	if view.Narrow {
		return
	}
	for _, id := range found {
		if n, err := strconv.Atoi(id); err == nil {
			b.pair(c, text, c.rows[n].raw)
		}
	}
}

// check holds an accepted statement against the rows that the server finds by
// it, and the owner of its key against that of the request.
func (b *bench) check(c *column, f form, where, text, key string, found []string, hit map[string]string) {
	for _, id := range found {
		n, err := strconv.Atoi(id)
		if err != nil {
			b.t.Fatal(err)
		}
		row := c.rows[n]
		if row.ok && row.key != key {
			b.t.Errorf("%s: %s %q in %s is key %q, owner %s, and finds row %q, for a lane key %q, owner %s",
				c.declared, f.name, text, where, key, b.owner(key), row.raw, row.key, b.owner(row.key))
		}
		if before, ok := hit[id]; ok && before != key {
			b.t.Errorf("%s: %s %q in %s is key %q and finds row %q, and so does key %q", c.declared, f.name, text, where, key, row.raw, before)
		}
		hit[id] = key
	}
	// BINARY(n) is known by its hexadecimal form: a request must carry that.
	sent := text
	if c.Type == keytext.Binary && c.Fixed {
		sent = key
	}
	if f.asIs && (b.gateway(sent) != b.owner(key) || sent != key) {
		b.t.Errorf("%s: %s %q in %s is key %q, owner %s, and a gateway sends it to %s", c.declared, f.name, text, where, key, b.owner(key), b.gateway(sent))
	}
}
