package history

import (
	"strings"
	"testing"
)

// hand makes histories: each call is one operation from one moment to another.
type hand struct{ ops []Op }

func (h *hand) add(o Op, from, to int64) *hand {
	o.ID, o.Key, o.Invoke, o.Return = len(h.ops), "k", from, to
	if o.Outcome == "" {
		o.Outcome = OK
	}
	h.ops = append(h.ops, o)
	return h
}

func (h *hand) read(v, from, to int64) *hand  { return h.add(Op{Kind: Read, Value: v}, from, to) }
func (h *hand) write(v, from, to int64) *hand { return h.add(Op{Kind: Write, Value: v}, from, to) }
func (h *hand) cas(was, v, from, to int64) *hand {
	return h.add(Op{Kind: CAS, Was: was, Value: v, Swapped: true}, from, to)
}
func (h *hand) refused(was, v, from, to int64) *hand {
	return h.add(Op{Kind: CAS, Was: was, Value: v}, from, to)
}
func (h *hand) append(v, from, to int64) *hand { return h.add(Op{Kind: Append, Value: v}, from, to) }
func (h *hand) tx(v, from, to int64, after ...int64) *hand {
	n := len(after) - 1
	return h.add(Op{Kind: Append, Value: v, Before: append([]int64{}, after[:n]...), After: after}, from, to)
}
func (h *hand) list(from, to int64, after ...int64) *hand {
	return h.add(Op{Kind: List, After: append([]int64{}, after...)}, from, to)
}

// ends changes the outcome of the operation added last.
func (h *hand) ends(as Outcome) *hand {
	h.ops[len(h.ops)-1].Outcome = as
	return h
}

func h() *hand { return &hand{} }

func (h *hand) pointers() []*Op {
	var all []*Op
	for i := range h.ops {
		all = append(all, &h.ops[i])
	}
	return all
}

func checked(t *testing.T, h *hand) *Result {
	t.Helper()
	r, err := Check(h.ops, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Undecided) > 0 {
		t.Fatalf("undecided: %+v", r.Undecided)
	}
	return r
}

// TestCheck_Legal has the odd cases that some order explains.
func TestCheck_Legal(t *testing.T) {
	for name, h := range map[string]*hand{
		"nothing":                                  h(),
		"one after the other":                      h().write(1, 0, 1).read(1, 2, 3).cas(1, 2, 4, 5).read(2, 6, 7),
		"the beginning":                            h().read(0, 0, 1).refused(5, 6, 2, 3).cas(0, 1, 4, 5),
		"a read beside a write sees either":        h().write(1, 0, 10).read(0, 1, 2).read(1, 3, 4),
		"writes beside each other in either order": h().write(1, 0, 10).write(2, 0, 10).read(2, 11, 12).read(2, 13, 14),
		"equal times are beside each other":        h().write(1, 0, 5).read(0, 5, 6),
		"an unknown write is done late":            h().write(1, 0, 1).ends(Unknown).read(0, 100, 101).read(1, 200, 201),
		"an unknown write is never done":           h().write(1, 0, 1).ends(Unknown).read(0, 100, 101).write(2, 102, 103).read(2, 200, 201),
		"an unknown write behind a later one":      h().write(1, 0, 1).ends(Unknown).write(2, 5, 6).read(2, 7, 8).read(1, 9, 10),
		"an unknown swap was done":                 h().cas(0, 1, 0, 1).ends(Unknown).read(1, 5, 6),
		"an unknown swap was not done":             h().cas(0, 1, 0, 1).ends(Unknown).cas(0, 2, 5, 6).read(2, 7, 8),
		"a chain of unknown swaps":                 h().cas(0, 1, 0, 1).ends(Unknown).cas(1, 2, 2, 3).ends(Unknown).read(2, 5, 6),
		"refused because of an unknown write":      h().write(1, 0, 1).ends(Unknown).refused(0, 2, 5, 6).write(3, 7, 8).read(3, 9, 10),
		"refused because of an unknown swap":       h().cas(0, 1, 0, 1).ends(Unknown).refused(0, 2, 5, 6).refused(0, 3, 7, 8),
		"refused beside what changes it":           h().write(1, 0, 10).refused(0, 2, 1, 2).read(1, 3, 4),
		"refused, named and chained":               h().write(1, 0, 1).ends(Unknown).cas(1, 2, 0, 1).ends(Unknown).refused(1, 9, 5, 6).refused(0, 8, 7, 8),
		"refused, and the named one is kept":       h().write(2, 0, 1).ends(Unknown).write(1, 0, 1).ends(Unknown).refused(0, 9, 2, 3).refused(2, 8, 4, 5).write(5, 6, 7).refused(5, 7, 8, 9),
		"refused, and the named one is used first": h().write(1, 0, 1).ends(Unknown).write(2, 0, 1).ends(Unknown).refused(0, 9, 2, 3).write(5, 4, 5).refused(5, 7, 6, 7).refused(2, 8, 8, 9),
		"failed ones did nothing":                  h().write(1, 0, 1).ends(Fail).cas(0, 2, 0, 1).ends(Fail).append(3, 0, 1).ends(Fail).read(0, 5, 6).list(5, 6),
		"an unknown read says nothing":             h().read(7, 0, 1).ends(Unknown).read(0, 2, 3),
		"swaps in a row beside each other":         h().cas(0, 1, 0, 10).cas(1, 2, 0, 10).cas(2, 3, 0, 10).read(3, 11, 12),

		"lists one after the other":         h().append(1, 0, 1).tx(2, 2, 3, 1, 2).list(4, 5, 1, 2),
		"appends beside each other":         h().append(1, 0, 10).append(2, 0, 10).list(11, 12, 2, 1),
		"a list read beside an append":      h().append(1, 0, 10).list(1, 2).list(3, 4, 1),
		"an unknown append late":            h().append(1, 0, 1).ends(Unknown).append(2, 5, 6).list(7, 8, 2).list(9, 10, 2, 1),
		"an unknown append never":           h().append(1, 0, 1).ends(Unknown).append(2, 5, 6).list(7, 8, 2),
		"an append that no read came after": h().list(0, 1).append(1, 2, 3),
		"an append beside the last read":    h().append(1, 0, 10).list(5, 20),
	} {
		if !brute(h.pointers()) {
			t.Fatalf("%s: is not legal by the definition", name)
		}
		if r := checked(t, h); !r.Good() {
			t.Errorf("%s: %s", name, r.Violations[0].String())
		}
	}
}

// TestCheck_Illegal has every anomaly by its name.
func TestCheck_Illegal(t *testing.T) {
	for name, c := range map[string]struct {
		h    *hand
		want Anomaly
	}{
		"a failed write is seen":                  {h().write(1, 0, 1).ends(Fail).read(1, 2, 3), Ghost},
		"a refused swap is seen":                  {h().refused(5, 1, 0, 1).read(1, 2, 3), Ghost},
		"a failed write makes a swap":             {h().write(1, 0, 1).ends(Fail).cas(1, 2, 2, 3), Ghost},
		"a value from nowhere":                    {h().read(7, 0, 1), Unwritten},
		"seen before it was written":              {h().read(1, 0, 1).write(1, 2, 3), Unwritten},
		"seen before an unknown write":            {h().read(1, 0, 1).write(1, 2, 3).ends(Unknown), Unwritten},
		"a write that nobody sees":                {h().write(1, 0, 1).read(0, 2, 3), LostUpdate},
		"a later write that nobody sees":          {h().write(1, 0, 1).write(2, 2, 3).read(1, 4, 5), LostUpdate},
		"two swaps from one value":                {h().write(1, 0, 1).cas(1, 2, 2, 9).cas(1, 3, 2, 9).read(3, 10, 11), LostUpdate},
		"a swap that nobody sees":                 {h().cas(0, 1, 0, 1).cas(0, 2, 2, 3), LostUpdate},
		"a read behind an acknowledgement":        {h().write(1, 0, 1).write(2, 2, 3).read(1, 4, 5).read(2, 6, 7), StaleRead},
		"a read behind a read":                    {h().write(1, 0, 20).read(1, 1, 2).read(0, 3, 4).read(1, 5, 6), StaleRead},
		"a read behind swaps":                     {h().write(1, 0, 1).cas(1, 2, 2, 20).cas(2, 3, 2, 20).read(3, 4, 5).read(1, 6, 7).read(3, 8, 9), StaleRead},
		"written again later":                     {h().write(1, 0, 1).read(1, 2, 3).write(2, 4, 5).read(2, 6, 7).read(1, 8, 9).read(1, 10, 11).read(1, 12, 13), Doubled},
		"written again later, and taken":          {h().write(1, 0, 1).read(1, 2, 3).write(2, 4, 5).read(2, 6, 7).cas(1, 3, 8, 9), Doubled},
		"seen again among others":                 {h().write(1, 0, 1).read(1, 2, 3).write(2, 4, 5).read(2, 6, 7).read(1, 8, 9).read(2, 10, 11).read(1, 12, 13).read(1, 14, 15), StaleRead},
		"refused although the value was there":    {h().write(1, 0, 1).refused(1, 2, 2, 3).read(1, 4, 5), NotLinearizable},
		"refused, and the unknown write was late": {h().refused(0, 2, 5, 6).write(1, 7, 8).ends(Unknown), NotLinearizable},

		"an element twice":                        {h().append(1, 0, 1).list(2, 3, 1, 1), Doubled},
		"a failed append is seen":                 {h().append(1, 0, 1).ends(Fail).list(2, 3, 1), Ghost},
		"an element from nowhere":                 {h().list(2, 3, 1), Unwritten},
		"an element before its append":            {h().list(0, 1, 1).append(1, 2, 3), Unwritten},
		"an append that nobody sees":              {h().append(1, 0, 1).list(2, 3), LostUpdate},
		"an append that nobody sees, by another":  {h().append(1, 0, 1).append(2, 2, 3).list(2, 9, 2), LostUpdate},
		"an append that its transaction misses":   {h().append(1, 0, 1).add(Op{Kind: Append, Value: 2, Before: []int64{1}, After: []int64{1}}, 2, 3), LostUpdate},
		"an element that vanishes":                {h().append(1, 0, 1).list(2, 3, 1).append(2, 4, 5).append(3, 4, 5).list(6, 7, 2, 3), LostUpdate},
		"appends against their order":             {h().append(1, 0, 1).append(2, 2, 3).list(4, 5, 2, 1), Reordered},
		"appends in two orders":                   {h().append(1, 0, 9).append(2, 0, 9).list(10, 11, 2, 1).append(3, 12, 13).list(14, 15, 1, 2, 3), Reordered},
		"an unknown one before what ended before": {h().append(1, 0, 1).append(2, 2, 3).ends(Unknown).list(4, 5, 2, 1), Reordered},
		"a list behind an acknowledgement":        {h().append(1, 0, 1).append(2, 2, 3).list(4, 5, 1).list(6, 7, 1, 2), StaleRead},
		"a list behind a list":                    {h().append(1, 0, 20).list(1, 2, 1).list(3, 4).list(5, 6, 1), StaleRead},
		"a transaction that read too little":      {h().append(1, 0, 1).add(Op{Kind: Append, Value: 2, Before: []int64{}, After: []int64{1, 2}}, 2, 3), StaleRead},
		"a transaction that another came into":    {h().append(1, 0, 9).add(Op{Kind: Append, Value: 2, Before: []int64{}, After: []int64{2, 1}}, 2, 8), NotLinearizable},
	} {
		if brute(c.h.pointers()) {
			t.Fatalf("%s: is legal by the definition", name)
		}
		r := checked(t, c.h)
		if len(r.Violations) != 1 || r.Good() {
			t.Errorf("%s: not found", name)
			continue
		}
		v := r.Violations[0]
		line := v.String()
		if v.Anomaly != c.want || len(v.Ops) == 0 || !strings.Contains(line, "of key k") || !strings.Contains(line, "#") || strings.Contains(line, "\n") {
			t.Errorf("%s: want %s on one line with its operations, got: %s", name, c.want, line)
		}
	}
}

func TestCheck_UnknownThatNobodySawStayOpen(t *testing.T) {
	few, many := h(), h()
	for i := range int64(slots + 1) {
		few.write(i+1, i, i).ends(Unknown)
		many.write(i+1, i, i).ends(Unknown)
	}
	few.read(0, 1000, 1001)
	if r := checked(t, few); !r.Good() {
		t.Error(r.Violations[0].String())
	}
	many.refused(0, 999, 1000, 1001) // any of the writes can explain it: they have to be kept
	r, err := Check(many.ops, Limits{})
	if err != nil || len(r.Undecided) != 1 || r.Good() || !strings.Contains(r.Undecided[0].Why, "open") {
		t.Errorf("%+v, %v: want it undecided, which is not good", r, err)
	}
}

func TestCheck_GivesUp(t *testing.T) {
	h := h()
	for i := range int64(12) {
		h.write(i+1, 0, 100)
	}
	h.read(3, 101, 102)
	if r := checked(t, h); !r.Good() {
		t.Error(r.Violations[0].String())
	}
	r, err := Check(h.ops, Limits{Steps: 50})
	if err != nil || len(r.Undecided) != 1 || len(r.Violations) != 0 || r.Good() || !strings.Contains(r.Undecided[0].Why, "50 steps") {
		t.Errorf("%+v, %v: want it undecided after 50 steps", r, err)
	}
}

func TestCheck_CountsAndKeepsKeysApart(t *testing.T) {
	h := h().write(1, 0, 1).append(1, 0, 1).read(0, 2, 3).list(2, 3).cas(1, 2, 2, 3).ends(Unknown)
	for i := range h.ops {
		if i%2 == 1 {
			h.ops[i].Key = "other"
		}
	}
	r := checked(t, h)
	if r.Operations != 5 || r.Keys != 2 || r.Objects != 2 || r.Outcomes["unknown"] != 1 || r.Kinds["write"] != 1 || len(r.Violations) != 2 || r.Anomalies()[LostUpdate] != 2 {
		t.Errorf("%+v", r)
	}
}

func TestRecorder(t *testing.T) {
	now := int64(10)
	r := NewRecorder(func() int64 { now += 5; return now })
	a, b := r.Begin(Op{Kind: Write, Key: "k", Value: 1}), r.Begin(Op{Kind: Read, Key: "k"})
	r.End(a, func(o *Op) { o.Outcome = OK })
	ops := r.Ops()
	if a != 0 || b != 1 || ops[a].Invoke != 15 || ops[a].Return != 25 || ops[a].Outcome != OK || ops[b].Outcome != Unknown || ops[b].Return != ops[b].Invoke {
		t.Errorf("%+v", ops)
	}
}
