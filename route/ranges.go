package route

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// span is a half-open interval of buckets that belongs to one route.
type span struct {
	from, to int
	index    uint16
}

// ranges finds the route of a bucket. Up to tableModulo buckets have a table
// with an entry each; beyond that the spans are searched, so that a document
// with a huge modulo costs no memory.
type ranges struct {
	table []uint16
	spans []span
}

const (
	tableModulo = 1 << 16
	noRoute     = 1<<16 - 1
)

// newRanges takes ownership of the spans. Gaps are allowed here: buckets in
// them have no route.
func newRanges(spans []span, modulo int) (ranges, error) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i, s := range spans {
		if s.from < 0 || s.to > modulo || s.from >= s.to {
			return ranges{}, fmt.Errorf("range [%d,%d) is empty or not inside [0,%d)", s.from, s.to, modulo)
		}
		if i > 0 && s.from < spans[i-1].to {
			return ranges{}, fmt.Errorf("range [%d,%d) overlaps [%d,%d)", s.from, s.to, spans[i-1].from, spans[i-1].to)
		}
	}
	r := ranges{spans: spans}
	if modulo > tableModulo {
		return r, nil
	}
	r.table = make([]uint16, modulo)
	for i := range r.table {
		r.table[i] = noRoute
	}
	for _, s := range spans {
		for b := s.from; b < s.to; b++ {
			r.table[b] = s.index
		}
	}
	return r, nil
}

// find returns the route index of a bucket.
func (r *ranges) find(bucket int) (index uint16, ok bool) {
	if r.table != nil {
		i := r.table[bucket]
		return i, i != noRoute
	}
	n := sort.Search(len(r.spans), func(i int) bool { return r.spans[i].to > bucket })
	if n == len(r.spans) || r.spans[n].from > bucket {
		return 0, false
	}
	return r.spans[n].index, true
}
