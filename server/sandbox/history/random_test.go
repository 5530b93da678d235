package history

import (
	"cmp"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// seeded gives random numbers; SEED= repeats a run.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat it with SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// shape says what simulate makes.
type shape struct {
	object   string
	clients  int
	ops      int
	gap, run int64   // longest pause of a client, and longest operation
	unknown  float64 // share of operations
	fail     float64
}

// simulate runs clients against a register or a list that does each operation
// at one moment of its own. What comes out is legal.
func simulate(rng *rand.Rand, sh shape) []Op {
	type done struct {
		op Op
		at int64 // its moment; negative: never
	}
	var all []done
	for c := range sh.clients {
		at := rng.Int64N(sh.gap + 1)
		for range sh.ops / sh.clients {
			took := 1 + rng.Int64N(sh.run)
			d := done{op: Op{Client: c, Key: "k", Kind: kindOf(rng, sh.object), Invoke: at, Return: at + took, Outcome: OK}, at: at + rng.Int64N(took+1)}
			switch dice := rng.Float64(); {
			case dice < sh.fail:
				d.op.Outcome, d.at = Fail, -1
			case dice < sh.fail+sh.unknown:
				d.op.Outcome, d.at = Unknown, at+rng.Int64N(10*sh.run)
				if rng.IntN(3) == 0 {
					d.at = -1
				}
			}
			all = append(all, d)
			at += took + 1 + rng.Int64N(sh.gap+1)
		}
	}
	slices.SortStableFunc(all, func(a, b done) int { return cmp.Compare(a.at, b.at) })
	value, list := int64(0), []int64{}
	ops := make([]Op, len(all))
	for i, d := range all {
		o := d.op
		o.Value = int64(i + 1)
		switch o.Kind {
		case Read:
			o.Value = value
		case CAS:
			o.Was = value
			if rng.IntN(3) == 0 {
				o.Was = rng.Int64N(int64(i + 1))
			}
			o.Swapped = o.Was == value && o.Outcome == OK
		case Append:
			if rng.IntN(2) == 0 {
				o.Before, o.After = slices.Clone(list), append(slices.Clone(list), o.Value)
			}
		case List:
			o.Value, o.After = 0, slices.Clone(list)
		}
		if d.at >= 0 {
			switch {
			case o.Kind == Write, o.Kind == CAS && o.Was == value:
				value = o.Value
			case o.Kind == Append:
				list = append(list, o.Value)
			}
		}
		ops[i] = o
	}
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Invoke, b.Invoke) })
	for i := range ops {
		ops[i].ID = i
	}
	return ops
}

func kindOf(rng *rand.Rand, object string) Kind {
	if object == "list" {
		return []Kind{Append, Append, List}[rng.IntN(3)]
	}
	return []Kind{Write, CAS, CAS, Read, Read}[rng.IntN(5)]
}

// disturb changes what one operation answered, any way; it may stay legal.
func disturb(rng *rand.Rand, ops []Op) {
	o := &ops[rng.IntN(len(ops))]
	switch o.Kind {
	case Read:
		o.Value = rng.Int64N(int64(len(ops) + 1))
	case Write:
		o.Outcome = []Outcome{OK, Fail, Unknown}[rng.IntN(3)]
	case CAS:
		o.Outcome, o.Swapped = OK, rng.IntN(2) == 0
	case Append:
		o.Outcome, o.Before, o.After = []Outcome{OK, Fail, Unknown}[rng.IntN(3)], nil, nil
	case List:
		switch n := len(o.After); {
		case n > 0 && rng.IntN(2) == 0:
			o.After = slices.Delete(slices.Clone(o.After), rng.IntN(n), n)
		case n > 1:
			o.After = slices.Clone(o.After)
			rng.Shuffle(n, func(i, j int) { o.After[i], o.After[j] = o.After[j], o.After[i] })
		default:
			o.After = append(slices.Clone(o.After), 1+rng.Int64N(int64(len(ops))))
		}
	}
}

func all(ops []Op) (p []*Op) {
	for i := range ops {
		p = append(p, &ops[i])
	}
	return p
}

// TestCheck_AgreesWithTheDefinition compares it with the trial of all orders.
func TestCheck_AgreesWithTheDefinition(t *testing.T) {
	rng := seeded(t)
	for _, object := range []string{"register", "list"} {
		legal, illegal := 0, 0
		for range 8000 {
			ops := simulate(rng, shape{object: object, clients: 2 + rng.IntN(3), ops: 8, gap: 2, run: 12, unknown: 0.25, fail: 0.1})
			for range rng.IntN(4) {
				disturb(rng, ops)
			}
			want := brute(all(ops))
			r, err := Check(ops, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Good() != want {
				for i := range ops {
					t.Log(ops[i].String())
				}
				t.Fatalf("%s: legal %v by the definition, the checker says %v %+v", object, want, r.Good(), r.Violations)
			}
			if want {
				legal++
			} else {
				illegal++
			}
		}
		if legal < 800 || illegal < 800 {
			t.Errorf("%s: %d legal and %d illegal histories: too few of one", object, legal, illegal)
		}
	}
}

// TestCheck_TakesLongLegalHistories also bounds the cost.
func TestCheck_TakesLongLegalHistories(t *testing.T) {
	rng := seeded(t)
	for range 60 {
		for _, object := range []string{"register", "list"} {
			ops := simulate(rng, shape{object: object, clients: 10, ops: 400, gap: 100, run: 80, unknown: 0.04, fail: 0.05})
			r, err := Check(ops, Limits{Steps: 20_000})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Good() {
				t.Fatalf("%s: %+v %+v", object, r.Violations, r.Undecided)
			}
		}
	}
}

// TestCheck_FindsOneMutation breaks a long legal history in one place, in a way
// that no order can explain.
func TestCheck_FindsOneMutation(t *testing.T) {
	rng := seeded(t)
	tried := map[string]int{}
	for range 60 {
		for name, m := range mutations {
			ops := simulate(rng, shape{object: m.object, clients: 6, ops: 120, gap: 60, run: 40, unknown: 0.04, fail: 0.05})
			if !m.change(rng, ops) {
				continue
			}
			tried[name]++
			r, err := Check(ops, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Violations) != 1 {
				t.Errorf("%s: not found: %+v", name, r)
			}
		}
	}
	for name := range mutations {
		if tried[name] < 10 {
			t.Errorf("%s: tried %d times only", name, tried[name])
		}
	}
}

type mutation struct {
	object string
	change func(*rand.Rand, []Op) bool
}

// some gives pairs in random order until one fits.
func some(rng *rand.Rand, ops []Op, fits func(a, b *Op) bool) bool {
	for _, i := range rng.Perm(len(ops)) {
		for _, j := range rng.Perm(len(ops)) {
			if i != j && fits(&ops[i], &ops[j]) {
				return true
			}
		}
	}
	return false
}

func acked(o *Op) bool {
	return o.Outcome == OK && (o.Kind == Write || o.Kind == CAS && o.Swapped || o.Kind == Append)
}

var mutations = map[string]mutation{
	"what was seen had failed": {"register", func(rng *rand.Rand, ops []Op) bool {
		return some(rng, ops, func(w, r *Op) bool {
			if !acked(w) || r.Kind != Read || r.Outcome != OK || r.Value != w.Value {
				return false
			}
			w.Outcome = Fail
			return true
		})
	}},
	"an older value": {"register", func(rng *rand.Rand, ops []Op) bool {
		return some(rng, ops, func(w, r *Op) bool {
			if !acked(w) || r.Kind != Read || r.Outcome != OK || r.Invoke <= w.Return {
				return false
			}
			return some(rng, ops, func(older, _ *Op) bool {
				if !acked(older) || older.Return >= w.Invoke {
					return false
				}
				r.Value = older.Value
				return true
			})
		})
	}},
	"two swaps from one value": {"register", func(rng *rand.Rand, ops []Op) bool {
		return some(rng, ops, func(a, b *Op) bool {
			if a.Kind != CAS || b.Kind != CAS || !acked(a) || b.Outcome != OK || b.Swapped || a.Was == b.Value {
				return false
			}
			b.Was, b.Swapped = a.Was, true
			return true
		})
	}},
	"an element twice": {"list", func(rng *rand.Rand, ops []Op) bool {
		return some(rng, ops, func(r, _ *Op) bool {
			if r.Kind != List || r.Outcome != OK || len(r.After) == 0 {
				return false
			}
			r.After = append(slices.Clone(r.After), r.After[rng.IntN(len(r.After))])
			return true
		})
	}},
	"an acknowledged element nowhere": {"list", func(rng *rand.Rand, ops []Op) bool {
		return some(rng, ops, func(w, r *Op) bool {
			if !acked(w) || w.After != nil || r.Kind != List || r.Outcome != OK || r.Invoke <= w.Return {
				return false
			}
			without := func(list []int64) []int64 {
				return slices.DeleteFunc(slices.Clone(list), func(e int64) bool { return e == w.Value })
			}
			for i := range ops {
				ops[i].Before, ops[i].After = without(ops[i].Before), without(ops[i].After)
			}
			return true
		})
	}},
	"a read cut short": {"list", func(rng *rand.Rand, ops []Op) bool {
		return some(rng, ops, func(w, r *Op) bool {
			if !acked(w) || r.Kind != List || r.Outcome != OK || r.Invoke <= w.Return || !slices.Contains(r.After, w.Value) {
				return false
			}
			r.After = append([]int64{}, r.After[:slices.Index(r.After, w.Value)]...)
			return true
		})
	}},
	"two elements in the wrong order": {"list", func(rng *rand.Rand, ops []Op) bool {
		return some(rng, ops, func(a, b *Op) bool {
			if !acked(a) || !acked(b) || a.Return >= b.Invoke || a.After != nil || b.After != nil {
				return false
			}
			changed := false
			for i := range ops {
				list := slices.Clone(ops[i].After)
				x, y := slices.Index(list, a.Value), slices.Index(list, b.Value)
				if ops[i].Kind == List && ops[i].Outcome == OK && x >= 0 && y >= 0 {
					list[x], list[y] = list[y], list[x]
					ops[i].After, changed = list, true
				}
			}
			return changed
		})
	}},
}
