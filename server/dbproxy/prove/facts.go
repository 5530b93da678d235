package prove

import "slices"

// source is one alternative of a key: a canonical constant, a parameter, or
// a constant that is refused.
type source struct {
	key     string
	marker  int // ordinal of the ? marker, or -1
	column  *keyed
	at      place
	refusal *Refusal
}

// facts is what a condition says of the rows that pass it: the key of a
// table's row is one of the sources, or equals the key of another table's
// row.
type facts struct {
	keys []fact
	same []link
}

// fact: the row of ref has one of these keys.
type fact struct {
	ref     *ref
	sources []source
}

// link: a row of to that passes has the key of from's row.
type link struct{ from, to *ref }

func (f *facts) find(r *ref) int {
	return slices.IndexFunc(f.keys, func(k fact) bool { return k.ref == r })
}

// and adds what a second condition says of the same rows. Of two facts about
// one table either is enough: the one with fewer alternatives, and none
// refused, is kept.
func (f *facts) and(g facts) {
	for _, k := range g.keys {
		i := f.find(k.ref)
		switch {
		case i < 0:
			f.keys = append(f.keys, k)
		case better(k.sources, f.keys[i].sources):
			f.keys[i] = k
		}
	}
	f.same = append(f.same, g.same...)
}

func better(a, b []source) bool {
	if r, s := refused(a) != nil, refused(b) != nil; r != s {
		return s
	}
	return len(a) < len(b)
}

// refused is the first refusal among the alternatives.
func refused(list []source) *Refusal {
	for i := range list {
		if list[i].refusal != nil {
			return list[i].refusal
		}
	}
	return nil
}

// or keeps what both of two conditions say. Lost are told of the tables that
// only one of them proves.
func (f *facts) or(g facts, lost func(*ref)) {
	f.close()
	g.close()
	var both []fact
	for _, k := range f.keys {
		if i := g.find(k.ref); i >= 0 {
			both = append(both, fact{k.ref, append(k.sources, g.keys[i].sources...)})
		} else {
			lost(k.ref)
		}
	}
	for _, k := range g.keys {
		if f.find(k.ref) < 0 {
			lost(k.ref)
		}
	}
	f.keys, f.same = both, nil
}

// close follows the links until nothing more is known. Each round proves a
// table or is the last.
func (f *facts) close() {
	for again := true; again; {
		again = false
		for _, l := range f.same {
			if f.find(l.to) >= 0 {
				continue
			}
			if list := f.of(l.from); list != nil {
				f.keys = append(f.keys, fact{l.to, slices.Clone(list)})
				again = true
			}
		}
	}
}

// of is what is known of a table: here, or in a query around this one.
func (f *facts) of(r *ref) []source {
	if i := f.find(r); i >= 0 {
		return f.keys[i].sources
	}
	if r.proven {
		return r.sources
	}
	return nil
}
