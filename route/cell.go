package route

import (
	"fmt"
	"math"

	"github.com/atoll-live/atoll/space"
)

// cells chooses the cell of a request inside its unit: allow list, longest
// prefix, then weight. Cells without access are left out of it.
type cells struct {
	exist    bool // the unit has cells: a request must find one
	allows   map[string]string
	prefixes prefixes
	codes    []string // by index of prefixes
	weighted []weightedCell
	readOnly []string // cells that the rule itself lets only read
}

type weightedCell struct {
	code   string
	weight float64
	seed   uint64
}

// compileCells builds the cells of a unit from its part of a rule. A route
// without cells gives every cell of the unit the weight 1.
func compileCells(u *unit, routes []space.CellRoute) (*cells, error) {
	if len(routes) == 0 {
		for _, c := range u.cells {
			routes = append(routes, space.CellRoute{Code: c.code, Weight: 1})
		}
	}
	c := &cells{exist: len(routes) > 0, allows: map[string]string{}}
	var entries []prefix
	for i, r := range routes {
		access, ok := u.cellAccess(r.Code)
		if !ok {
			return nil, fmt.Errorf("unit %q has no cell %q", u.code, r.Code)
		}
		c.codes = append(c.codes, r.Code)
		if access == space.NoAccess || r.AccessMode == space.NoAccess {
			continue
		}
		if r.AccessMode == space.ReadOnly {
			c.readOnly = append(c.readOnly, r.Code)
		}
		for _, key := range r.Allows {
			c.allows[key] = r.Code
		}
		for _, p := range r.Prefixes {
			entries = append(entries, prefix{text: p, index: uint16(i)})
		}
		if r.Weight > 0 {
			c.weighted = append(c.weighted, weightedCell{r.Code, float64(r.Weight), mix(fnv1a(r.Code))})
		}
	}
	c.prefixes = newPrefixes(entries)
	return c, nil
}

// pick returns the cell of a key, the first cell with a weight for the empty
// key. It is false when the unit has cells and none of them may serve it.
func (c *cells) pick(key string) (code string, ok bool) {
	if !c.exist {
		return "", true
	}
	if key == "" {
		if len(c.weighted) == 0 {
			return "", false
		}
		return c.weighted[0].code, true
	}
	if code, ok := c.allows[key]; ok {
		return code, true
	}
	if p, ok := c.prefixes.longest(key); ok {
		return c.codes[p.index], true
	}
	return c.byWeight(key)
}

// byWeight draws lots, as many as there are cells and each from key and cell
// alone, so that a key stays where it is when other cells come, go or change
// their weight (weighted rendezvous hashing).
func (c *cells) byWeight(key string) (code string, ok bool) {
	switch len(c.weighted) {
	case 0:
		return "", false
	case 1:
		return c.weighted[0].code, true
	}
	h := fnv1a(key)
	best := math.Inf(1)
	for i := range c.weighted {
		w := &c.weighted[i]
		lot := (float64(mix(h^w.seed)>>11) + 0.5) / (1 << 53)
		if score := -math.Log(lot) / w.weight; score < best {
			best, code = score, w.code
		}
	}
	return code, true
}

// fnv1a is the 64-bit FNV-1a hash of a text.
func fnv1a(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads every bit of h over all bits (the finalizer of SplitMix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
