package history

import "slices"

// brute tries every order of every choice of the unknown operations. It is the
// definition, and shares nothing with the checker.
func brute(ops []*Op) bool {
	var in []*Op
	for _, o := range ops {
		if o.Outcome == OK || o.Outcome == Unknown && o.Kind != Read && o.Kind != List {
			in = append(in, o)
		}
	}
	return tryAll(in, 0, nil)
}

func tryAll(rest []*Op, value int64, list []int64) bool {
	done := true
	for _, o := range rest {
		done = done && o.Outcome == Unknown
	}
	if done {
		return true
	}
	for i, o := range rest {
		first := true
		for _, other := range rest {
			if other.Outcome == OK && other.Return < o.Invoke {
				first = false
			}
		}
		if !first {
			continue
		}
		v, l, ok := apply(o, value, list)
		if ok && tryAll(slices.Delete(slices.Clone(rest), i, i+1), v, l) {
			return true
		}
	}
	return false
}

// apply does one operation, and tells whether its answer fits.
func apply(o *Op, value int64, list []int64) (int64, []int64, bool) {
	ok := o.Outcome == OK
	switch o.Kind {
	case Read:
		return value, list, o.Value == value
	case Write:
		return o.Value, list, true
	case CAS:
		if ok && o.Swapped != (value == o.Was) {
			return 0, nil, false
		}
		if value == o.Was {
			return o.Value, list, true
		}
		return value, list, true
	case List:
		return value, list, slices.Equal(o.After, list)
	default:
		longer := append(slices.Clone(list), o.Value)
		fits := !ok || (o.Before == nil || slices.Equal(o.Before, list)) && (o.After == nil || slices.Equal(o.After, longer))
		return value, longer, fits
	}
}
