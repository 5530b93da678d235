package route

import (
	"slices"
	"strings"
)

// prefixes finds the longest of many prefixes of a key. The texts are sorted;
// each knows its parent, the longest other entry that is a prefix of it. Every
// entry that begins a key is the key's predecessor in sorted order or one of
// the predecessor's ancestors, so one binary search and a short climb answer.
type prefixes struct {
	entries []prefix
}

type prefix struct {
	text   string
	index  uint16 // whose prefix it is
	parent int32  // -1: none
}

const noParent = -1

// newPrefixes takes ownership of the entries. No two may have the same text.
func newPrefixes(entries []prefix) prefixes {
	slices.SortFunc(entries, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range entries {
		p := int32(i - 1)
		for p != noParent && !strings.HasPrefix(entries[i].text, entries[p].text) {
			p = entries[p].parent
		}
		entries[i].parent = p
	}
	return prefixes{entries}
}

// longest returns the longest entry that begins the key.
func (p prefixes) longest(key string) (entry *prefix, ok bool) {
	lo, hi := 0, len(p.entries) // entries before lo are ≤ key, from hi on > key
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if p.entries[mid].text <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for i := int32(lo - 1); i != noParent; i = p.entries[i].parent {
		if e := &p.entries[i]; strings.HasPrefix(key, e.text) {
			return e, true
		}
	}
	return nil, false
}
