package history

// sight is one answer that shows a value of a register.
type sight struct {
	by    *Op
	value int64
}

// namedMax is how many operations a register may have to get more than the
// plainest name: names compare all pairs.
const namedMax = 5000

// facts are what the naming of a register's anomaly looks at.
type facts struct {
	ops    []*Op
	writer map[int64]*Op
	sights []sight
	seen   map[int64]bool
}

// nameRegister says what is wrong with a register that no order explains. At
// is the operation at which the search ended.
func nameRegister(ops []*Op, at *Op) *Violation {
	f := &facts{ops: ops, writer: map[int64]*Op{}, seen: map[int64]bool{}}
	for _, o := range ops {
		if o.Kind == Write || o.Kind == CAS {
			f.writer[o.Value] = o
		}
		switch {
		case o.Outcome == OK && o.Kind == Read:
			f.sights = append(f.sights, sight{o, o.Value})
			f.seen[o.Value] = true
		case o.Outcome == OK && o.Kind == CAS && o.Swapped:
			f.sights = append(f.sights, sight{o, o.Was})
			f.seen[o.Was] = true
		}
	}
	if len(ops) > namedMax {
		return f.unexplained(at)
	}
	for _, look := range []func() *Violation{f.ghost, f.swappedTwice, f.cameBack, f.old} {
		if v := look(); v != nil {
			return v
		}
	}
	return f.unexplained(at)
}

// ghost finds values of operations that failed, or had not begun.
func (f *facts) ghost() *Violation {
	for _, s := range f.sights {
		w := f.writer[s.value]
		switch {
		case s.value == 0:
		case w == nil:
			return found(Unwritten, []*Op{s.by}, "nobody wrote %d, and it was seen", s.value)
		case w.Outcome == Fail || w.Outcome == OK && w.Kind == CAS && !w.Swapped:
			return found(Ghost, []*Op{w, s.by}, "the operation with %d was not done, and yet it was seen", s.value)
		case s.by.Return < w.Invoke:
			return found(Unwritten, []*Op{s.by, w}, "%d was seen before its operation began", s.value)
		}
	}
	return nil
}

// swappedTwice finds two swaps from one value: one of them is lost.
func (f *facts) swappedTwice() *Violation {
	first := map[int64]*Op{}
	for _, s := range f.sights {
		if s.by.Kind != CAS {
			continue
		}
		if other := first[s.value]; other != nil {
			return found(LostUpdate, []*Op{other, s.by}, "both swapped from %d", s.value)
		}
		first[s.value] = s.by
	}
	return nil
}

// cameBack finds a value that was seen, then another was read, then the first
// was there again: a swap took it, or it was seen three times in a row. Seen
// once, it may be a read that was too old.
func (f *facts) cameBack() *Violation {
	first := map[int64]*Op{} // value → the answer that showed it first
	for _, s := range f.sights {
		if o := first[s.value]; o == nil || s.by.Return < o.Return {
			first[s.value] = s.by
		}
	}
	for _, a := range f.sights {
		if first[a.value] != a.by {
			continue
		}
		var other *Op
		for _, b := range f.sights {
			if b.value != a.value && b.by.Kind == Read && b.by.Invoke > a.by.Return && (other == nil || b.by.Return < other.Return) {
				other = b.by
			}
		}
		if again := f.again(a.value, other); again != nil {
			return found(Doubled, []*Op{f.writer[a.value], a.by, other, again}, "%d came back after %d", a.value, other.Value)
		}
	}
	return nil
}

// again is the first answer behind another that shows a value in earnest.
func (f *facts) again(value int64, other *Op) (first *Op) {
	const earnest = 3
	row := 0
	for _, c := range f.sights { // in the order in which they began
		switch {
		case other == nil || c.by.Invoke <= other.Return:
		case c.value != value:
			row, first = 0, nil
		default:
			if row++; first == nil {
				first = c.by
			}
			if row == earnest || c.by.Kind == CAS {
				return first
			}
		}
	}
	return nil
}

// old finds answers that show an older value than one that was acknowledged,
// or seen, before they began.
func (f *facts) old() *Violation {
	for _, s := range f.sights {
		for _, w := range f.ops {
			done := w.Outcome == OK && (w.Kind == Write || w.Kind == CAS && w.Swapped)
			if !done || w.Return >= s.by.Invoke || !f.older(s.value, w, len(f.ops)) {
				continue
			}
			if !f.seen[w.Value] {
				return found(LostUpdate, []*Op{w, s.by}, "%d was acknowledged and nobody saw it; %d is older", w.Value, s.value)
			}
			return found(StaleRead, []*Op{w, s.by}, "%d was acknowledged, and what began afterwards saw %d", w.Value, s.value)
		}
		for _, before := range f.sights {
			w := f.writer[before.value]
			if w != nil && before.by.Return < s.by.Invoke && f.older(s.value, w, len(f.ops)) {
				return found(StaleRead, []*Op{before.by, s.by}, "%d was seen, and what began afterwards saw %d, which is older", before.value, s.value)
			}
		}
	}
	return nil
}

// older tells whether a value was certainly there before that of w. Depth
// bounds the way back over swaps.
func (f *facts) older(value int64, w *Op, depth int) bool {
	if value == w.Value || depth == 0 {
		return false
	}
	if value == 0 {
		return true
	}
	if before := f.writer[value]; before != nil && before.Outcome == OK && before.Return < w.Invoke {
		return true
	}
	if w.Kind != CAS {
		return false
	}
	if w.Was == value {
		return true
	}
	from := f.writer[w.Was]
	return from != nil && f.older(value, from, depth-1)
}

// unexplained shows the operation, what wrote the value that it saw, and the
// last change that was acknowledged before it.
func (f *facts) unexplained(at *Op) *Violation {
	value := at.Value
	if at.Kind == CAS {
		value = at.Was
	}
	ops := []*Op{at}
	if w := f.writer[value]; w != nil {
		ops = append(ops, w)
	}
	var last *Op
	for _, o := range f.ops {
		done := o.Outcome == OK && (o.Kind == Write || o.Kind == CAS && o.Swapped)
		if done && o.Return < at.Invoke && (last == nil || o.Return > last.Return) {
			last = o
		}
	}
	return found(NotLinearizable, append(ops, last), "no order of the operations explains the first of these")
}
