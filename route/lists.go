package route

import (
	"cmp"
	"slices"
	"strings"

	"github.com/atoll-live/atoll/space"
)

// listKind is one of the two lists of a unit route that entries move between.
type listKind int

const (
	allowList listKind = iota
	prefixList
)

func (k listKind) of(u *space.UnitRoute) *[]string {
	if k == prefixList {
		return &u.Prefixes
	}
	return &u.Allows
}

// left makes the memory of an entry, and text reads it: "" when it is one of
// the other list.
func (k listKind) left(entry string, at int) space.Left {
	if k == prefixList {
		return space.Left{Prefix: entry, At: at}
	}
	return space.Left{Allow: entry, At: at}
}

func (k listKind) text(l space.Left) string {
	if k == prefixList {
		return l.Prefix
	}
	return l.Allow
}

// leftAt is the remembered place of an entry, -1 when there is none.
func (k listKind) leftAt(u *space.UnitRoute, entry string) int {
	for _, l := range u.Left {
		if k.text(l) == entry {
			return max(l.At, 0)
		}
	}
	return -1
}

// leave takes sorted entries out of a list. The places of pins among them are
// remembered, and those of all when the return of the others would not restore
// the list. An entry whose place is remembered already keeps that memory.
func leave(u *space.UnitRoute, k listKind, moved, pins []string) {
	if len(moved) == 0 {
		return
	}
	list := k.of(u)
	before := *list
	*list = without(before, moved)
	remember(u, k, before, pins)
	again := *u
	insert(&again, k, moved)
	if !slices.Equal(*k.of(&again), before) {
		remember(u, k, before, moved)
	}
}

// remember keeps the places of sorted entries in a list.
func remember(u *space.UnitRoute, k listKind, list, entries []string) {
	u.Left = slices.Clone(u.Left)
	for at, entry := range list {
		if _, ok := slices.BinarySearch(entries, entry); ok && k.leftAt(u, entry) < 0 {
			u.Left = append(u.Left, k.left(entry, at))
		}
	}
	slices.SortFunc(u.Left, func(a, b space.Left) int {
		return cmp.Or(strings.Compare(a.Prefix, b.Prefix), strings.Compare(a.Allow, b.Allow))
	})
}

// enter puts sorted entries into a list. Memories that brought them to their
// places are dropped if leaving again, with the same pins, would make them
// anew; else they stay for it.
func enter(u *space.UnitRoute, k listKind, moved, pins []string) {
	if len(moved) == 0 {
		return
	}
	before := *u
	insert(u, k, moved)
	kept := u.Left
	forget(u, k, moved)
	again := *u
	leave(&again, k, moved, pins)
	if !slices.Equal(again.Left, before.Left) {
		u.Left = kept
	}
}

// insert puts entries into a list: each at the place that is remembered for
// it, the others in order if the list is in order, else behind it.
func insert(u *space.UnitRoute, k listKind, moved []string) {
	var back []space.Left
	var plain []string
	for _, entry := range moved {
		if at := k.leftAt(u, entry); at >= 0 {
			back = append(back, k.left(entry, at))
		} else {
			plain = append(plain, entry)
		}
	}
	slices.SortStableFunc(back, func(a, b space.Left) int { return cmp.Compare(a.At, b.At) })
	list := k.of(u)
	entries := slices.Clone(*list)
	for _, l := range back {
		entries = slices.Insert(entries, min(l.At, len(entries)), k.text(l))
	}
	*list = insertPlain(entries, plain)
}

// setIdle marks the memories of named keys that leave without being listed.
func setIdle(u *space.UnitRoute, named, listed []string) {
	u.Left = slices.Clone(u.Left)
	for i := range u.Left {
		_, leaves := slices.BinarySearch(named, u.Left[i].Allow)
		_, isListed := slices.BinarySearch(listed, u.Left[i].Allow)
		if leaves && !isListed {
			u.Left[i].Idle = true
		}
	}
}

// wakeIdle takes the mark off the memory of a key and tells whether it stood.
func wakeIdle(u *space.UnitRoute, key string) bool {
	for i, l := range u.Left {
		if l.Allow == key && l.Idle {
			u.Left = slices.Clone(u.Left)
			u.Left[i].Idle = false
			return true
		}
	}
	return false
}

// forget drops the memory of entries.
func forget(u *space.UnitRoute, k listKind, entries []string) {
	keep := slices.DeleteFunc(slices.Clone(u.Left), func(l space.Left) bool {
		return slices.Contains(entries, k.text(l))
	})
	if len(keep) == 0 {
		keep = nil
	}
	u.Left = keep
}

// insertPlain returns the list with sorted entries put into it without a
// remembered place.
func insertPlain(list, entries []string) []string {
	inOrder := slices.IsSorted(list)
	list = append(slices.Clone(list), entries...)
	if inOrder {
		slices.Sort(list)
	}
	return list
}

// without returns the list without sorted entries.
func without(list, entries []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(e string) bool {
		_, ok := slices.BinarySearch(entries, e)
		return ok
	})
}

// sorted is the sorted copy of a list, each entry once.
func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
