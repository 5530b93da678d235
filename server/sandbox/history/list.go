package history

import "slices"

// lists is the list of one key with its operations. The longest list that was
// read is the order of all elements in it: every other read must be its begin.
type lists struct {
	ops     []*Op
	appends map[int64]*Op
	longest []int64
	seenBy  *Op           // who read the longest
	place   map[int64]int // of an element in the longest, from 1
}

// checkList judges a list. No search is needed: the order is read, and what is
// left is whether each element can have come at its place in time.
func checkList(ops []*Op) *Violation {
	l := &lists{ops: ops, appends: map[int64]*Op{}, place: map[int64]int{}}
	for _, o := range ops {
		if o.Kind == Append {
			l.appends[o.Value] = o
		}
		if o.Outcome == OK && (l.seenBy == nil || len(o.After) > len(l.longest)) && o.After != nil {
			l.longest, l.seenBy = o.After, o
		}
	}
	for i, e := range l.longest {
		l.place[e] = i + 1
	}
	for _, look := range []func() *Violation{l.elements, l.transactions, l.prefixes, l.order, l.times, l.unseen} {
		if v := look(); v != nil {
			return v
		}
	}
	return nil
}

// elements looks at what is in the lists that were read.
func (l *lists) elements() *Violation {
	for _, o := range l.ops {
		if o.Outcome != OK {
			continue
		}
		for _, list := range [][]int64{o.After, o.Before} {
			once := make(map[int64]bool, len(list))
			for _, e := range list {
				w := l.appends[e]
				switch {
				case once[e]:
					return found(Doubled, []*Op{w, o}, "%d is in it twice", e)
				case w == nil:
					return found(Unwritten, []*Op{o}, "nobody appended %d, and it was seen", e)
				case w.Outcome == Fail:
					return found(Ghost, []*Op{w, o}, "the append of %d was not done, and yet it was seen", e)
				case o.Return < w.Invoke:
					return found(Unwritten, []*Op{o, w}, "%d was seen before its append began", e)
				}
				once[e] = true
			}
		}
	}
	return nil
}

// transactions looks at appends that read: what they read first, then their
// own element, and nothing else.
func (l *lists) transactions() *Violation {
	for _, o := range l.ops {
		if o.Outcome != OK || o.Kind != Append || o.After == nil {
			continue
		}
		n := len(o.After) - 1
		switch {
		case !slices.Contains(o.After, o.Value):
			return found(LostUpdate, []*Op{o}, "the append of %d was acknowledged, and its own transaction did not see it", o.Value)
		case o.After[n] != o.Value:
			return found(NotLinearizable, []*Op{o}, "its transaction saw elements behind its own")
		case o.Before == nil || slices.Equal(o.Before, o.After[:n]):
		case len(o.Before) < n && slices.Equal(o.Before, o.After[:len(o.Before)]):
			return found(StaleRead, []*Op{o}, "its transaction first read %s, and then more than its own element besides", tail(o.Before))
		default:
			return found(LostUpdate, []*Op{o}, "its transaction first read %s, which is not what it appended to", tail(o.Before))
		}
	}
	return nil
}

// prefixes compares each read with the longest.
func (l *lists) prefixes() *Violation {
	for _, o := range l.ops {
		if o.Outcome != OK {
			continue
		}
		for i, e := range o.After {
			if e == l.longest[i] {
				continue
			}
			if l.place[e] == 0 {
				return found(LostUpdate, []*Op{l.appends[e], o, l.seenBy}, "%d was seen, and a longer list does not have it", e)
			}
			return found(Reordered, []*Op{o, l.seenBy}, "%d and %d were seen in two orders", e, l.longest[i])
		}
	}
	return nil
}

// order looks whether the elements alone stand in an order that time allows,
// times at the reads as well.
func (l *lists) order() *Violation { return l.fit(false) }
func (l *lists) times() *Violation { return l.fit(true) }

// fit gives each element the earliest moment at which it can have come. By
// keeps who sets a bound: behind its begin, or before its answer.
func (l *lists) fit(reads bool) *Violation {
	n := len(l.longest)
	soonest, latest := make([]*Op, n+2), make([]*Op, n+2) // by place
	for p, e := range l.longest {
		o := l.appends[e]
		soonest[p+1] = o
		if o.Outcome == OK {
			latest[p+1] = o
		}
	}
	for _, o := range l.ops {
		if !reads || o.Outcome != OK || o.Kind != List {
			continue
		}
		p := len(o.After) // it saw this place, and not the next
		if b := soonest[p+1]; b == nil || o.Invoke > b.Invoke {
			soonest[p+1] = o
		}
		if b := latest[p]; b == nil || o.Return < b.Return {
			latest[p] = o
		}
	}
	for p := n - 1; p >= 1; p-- {
		if b := latest[p+1]; b != nil && (latest[p] == nil || b.Return < latest[p].Return) {
			latest[p] = b
		}
	}
	var from *Op
	for p := 1; p <= n; p++ {
		if b := soonest[p]; from == nil || b.Invoke > from.Invoke {
			from = b
		}
		if to := latest[p]; to != nil && from.Invoke > to.Return {
			return misfit(from, to)
		}
	}
	return nil
}

// misfit names two operations: the first began after the second was answered,
// and stands before it.
func misfit(began, answered *Op) *Violation {
	ops := []*Op{answered, began}
	switch {
	case began.Kind == Append && answered.Kind == Append:
		return found(Reordered, ops, "%d was acknowledged before the append of %d began, and stands behind it", answered.Value, began.Value)
	case began.Kind == List && answered.Kind == Append:
		return found(StaleRead, ops, "%d was acknowledged, and a read that began afterwards does not show it", answered.Value)
	case began.Kind == List:
		return found(StaleRead, ops, "more was seen before the second of these began")
	default:
		return found(Unwritten, ops, "%d, or what stands behind it, was seen before its append began", began.Value)
	}
}

// unseen looks for appends that were acknowledged, and are in no list although
// one was read, or an element came, afterwards.
func (l *lists) unseen() *Violation {
	var last *Op // that began last, of all that show the list without the element
	for _, o := range l.ops {
		if (o.Outcome == OK && o.Kind == List || o.Kind == Append && l.place[o.Value] > 0) && (last == nil || o.Invoke > last.Invoke) {
			last = o
		}
	}
	for _, o := range l.ops {
		if o.Outcome == OK && o.Kind == Append && l.place[o.Value] == 0 && last != nil && last.Invoke > o.Return {
			return found(LostUpdate, []*Op{o, last}, "the append of %d was acknowledged, and nobody saw it", o.Value)
		}
	}
	return nil
}
