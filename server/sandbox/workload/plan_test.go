package workload

import (
	"context"
	"database/sql/driver"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/atoll-live/atoll/server/sandbox/history"
)

func testConfig(seed uint64) Config {
	c := Config{Seed: seed, Duration: time.Minute, Sites: []Site{{Unit: "a", DSN: "u:p@tcp(127.0.0.1:1)/shop"}, {Unit: "b", DSN: "u:p@tcp(127.0.0.1:2)/shop"}},
		Moving: func(key string) bool { return strings.HasPrefix(key, "ha") }}
	if err := c.defaults(); err != nil {
		panic(err)
	}
	return c
}

func actions(c Config, client int) (all []action) {
	p := newPlan(c, client)
	for {
		a := p.next()
		if a.at > c.Duration {
			return all
		}
		all = append(all, a)
	}
}

// TestPlan_FollowsFromTheSeed is what makes a run repeatable.
func TestPlan_FollowsFromTheSeed(t *testing.T) {
	c, again, other := testConfig(7), testConfig(7), testConfig(8)
	for client := range c.Clients {
		if !reflect.DeepEqual(actions(c, client), actions(again, client)) {
			t.Fatalf("client %d does something else under the same seed", client)
		}
		if reflect.DeepEqual(actions(c, client), actions(other, client)) || client > 0 && reflect.DeepEqual(actions(c, client), actions(c, 0)) {
			t.Fatalf("client %d does the same under another seed, or as another", client)
		}
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(again)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range a.keys {
		if k.name != b.keys[i].name {
			t.Fatalf("key %d is %s and %s under the same seed", i, k.name, b.keys[i].name)
		}
	}
	if a.Describe() != b.Describe() || !strings.Contains(a.Describe(), "seed 7:") {
		t.Errorf("%s", a.Describe())
	}
}

func TestPlan_HasEverything(t *testing.T) {
	c := testConfig(1)
	kinds, ways, total := map[history.Kind]int{}, map[[2]bool]int{}, 0
	sites, rounds, old, held := map[int]int{}, map[int]bool{}, 0, 0
	for client := range c.Clients {
		last := time.Duration(-1)
		for _, a := range actions(c, client) {
			if a.at < last || a.key < 0 || a.key >= c.Keys*(c.round(c.Duration)+1) {
				t.Fatalf("%+v behind %v", a, last)
			}
			last = a.at
			total++
			kinds[a.kind]++
			ways[[2]bool{a.http, a.tx}]++
			sites[a.site]++
			rounds[a.key/c.Keys] = true
			if a.key/c.Keys != c.round(a.at) {
				old++
				if a.kind != history.Read && a.kind != history.List {
					t.Errorf("%+v writes a key that was given up", a)
				}
			}
			if a.hold > 0 {
				held++
			}
		}
	}
	if want := c.Rate * c.Duration.Seconds(); float64(total) < 0.9*want || float64(total) > 1.1*want {
		t.Errorf("%d operations, want about %.0f", total, want)
	}
	if len(kinds) != 5 || len(ways) != 4 || len(sites) != 2 || len(rounds) < 4 || old < 50 || held < 50 {
		t.Errorf("kinds %v, ways %v, sites %v, rounds %v, old keys %d, held %d", kinds, ways, sites, rounds, old, held)
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	moving, names := 0, map[string]bool{}
	for _, k := range w.keys {
		names[k.name] = true
		if c.Moving(k.name) {
			moving++
		}
	}
	if len(names) != len(w.keys) || moving < len(w.keys)*3/4 {
		t.Errorf("%d names of %d keys, %d of them move", len(names), len(w.keys), moving)
	}
}

func TestConfig_Refuses(t *testing.T) {
	site := []Site{{Unit: "a", DSN: "u:p@tcp(127.0.0.1:1)/shop"}}
	for want, c := range map[string]Config{
		"sites":            {Duration: time.Second},
		"must be positive": {Sites: site},
		"at most":          {Sites: site, Duration: 1000 * time.Hour, Rate: 1000},
		"moving set":       {Sites: site, Duration: time.Second, Moving: func(string) bool { return false }},
		"data source name": {Sites: []Site{{DSN: "nonsense"}}, Duration: time.Second},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTold(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		alone bool
		want  history.Outcome
		stays bool
	}{
		"done":                             {nil, true, history.OK, true},
		"refused":                          {&mysql.MySQLError{Number: numberNotOwner}, true, history.Fail, false},
		"fenced":                           {&mysql.MySQLError{Number: numberFenced}, true, history.Fail, true},
		"closed without an answer":         {mysql.ErrInvalidConn, true, history.Unknown, false},
		"closed in a transaction":          {mysql.ErrInvalidConn, false, history.Fail, false},
		"cut off":                          {io.ErrUnexpectedEOF, true, history.Unknown, false},
		"out of time":                      {context.DeadlineExceeded, true, history.Unknown, false},
		"a connection that was never used": {driver.ErrBadConn, true, history.Fail, false},
	} {
		a := told(c.err, c.alone)
		if a.outcome != c.want || (a.where == nil) != c.stays {
			t.Errorf("%s: %s, stays %v", name, a.outcome, a.where == nil)
		}
	}
}

func TestHeard(t *testing.T) {
	for name, c := range map[string]struct {
		kind   history.Kind
		status int
		body   string
		want   history.Outcome
		seen   history.Op
	}{
		"read":                   {history.Read, 200, `{"value":5}`, history.OK, history.Op{Value: 5}},
		"written":                {history.Write, 200, `{"value":5}`, history.OK, history.Op{}},
		"swapped":                {history.CAS, 200, `{"value":5}`, history.OK, history.Op{Swapped: true}},
		"not swapped":            {history.CAS, 409, `{"error":"the note is 4","done":false}`, history.OK, history.Op{}},
		"a conflict of others":   {history.Write, 409, `{"error":"?","done":false}`, history.Fail, history.Op{}},
		"listed":                 {history.List, 200, `{"items":["3","x"]}`, history.OK, history.Op{After: []int64{3, 0}}},
		"an empty list":          {history.List, 200, `{"items":[]}`, history.OK, history.Op{After: []int64{}}},
		"appended":               {history.Append, 200, `{"items":["3"]}`, history.OK, history.Op{After: []int64{3}}},
		"success without a list": {history.Append, 200, `{}`, history.Unknown, history.Op{}},
		"success, not readable":  {history.Write, 200, `<html>`, history.Unknown, history.Op{}},
		"says not done":          {history.Write, 503, `{"done":false}`, history.Fail, history.Op{}},
		"says unknown":           {history.Write, 500, `{"done":"unknown"}`, history.Unknown, history.Op{}},
		"bare 503":               {history.Write, 503, ``, history.Unknown, history.Op{}},
		"refused by 4xx":         {history.Write, 403, ``, history.Fail, history.Op{}},
	} {
		a := heard(c.status, []byte(c.body), c.kind)
		o := history.Op{Kind: c.kind}
		if a.seen != nil {
			a.seen(&o)
		}
		c.seen.Kind = c.kind
		if a.outcome != c.want || !reflect.DeepEqual(o, c.seen) {
			t.Errorf("%s: %s %+v, want %s %+v", name, a.outcome, o, c.want, c.seen)
		}
	}
}

func TestHTTPWay_NobodyListens(t *testing.T) {
	c := testConfig(1)
	c.Sites[0].Gateway = "http://127.0.0.1:1"
	a := newHTTPWay(c).once(t.Context(), 0, history.Op{Kind: history.Write, Key: "k", Value: 1}, action{})
	if a.outcome != history.Fail || a.where(0, 2) != 1 {
		t.Errorf("%+v: want it certainly not done, and the other gateway next", a)
	}
}
