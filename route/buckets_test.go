package route

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atoll-live/atoll/space"
)

func TestParseBuckets(t *testing.T) {
	for text, want := range map[string][]space.Range{
		"0":              {{From: 0, To: 1}},
		"0-2999":         {{From: 0, To: 3000}},
		"0-2999,5000":    {{From: 0, To: 3000}, {From: 5000, To: 5001}},
		" 7 , 3 - 5 ":    {{From: 3, To: 6}, {From: 7, To: 8}},
		"3-5,6,7-9":      {{From: 3, To: 10}},
		"9999":           {{From: 9999, To: 10000}},
		"2147483646":     {{From: 1<<31 - 2, To: 1<<31 - 1}},
		"10-10":          {{From: 10, To: 11}},
		"5000,0-10,4999": {{From: 0, To: 11}, {From: 4999, To: 5001}},
	} {
		got, err := ParseBuckets(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ",", "a", "1-", "-1", "1-2-3", "5-3", "1,1", "0-5,5", "+1", "1.5", "2147483647", "99999999999999", "1 2", "0x1"} {
		if got, err := ParseBuckets(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func FuzzParseBuckets(f *testing.F) {
	f.Add("0-2999,5000")
	f.Add("1,2,3-4, 9")
	f.Fuzz(func(t *testing.T, text string) {
		rs, err := ParseBuckets(text)
		if err != nil {
			return
		}
		for i, r := range rs {
			if r.From < 0 || r.From >= r.To || i > 0 && r.From <= rs[i-1].To {
				t.Fatalf("%q: not canonical: %v", text, rs)
			}
		}
		again, err := ParseBuckets(FormatBuckets(rs))
		if err != nil || !slices.Equal(again, rs) {
			t.Fatalf("%q: %v, then %v %v", text, rs, again, err)
		}
	})
}

// The operations on ranges are those of sets of buckets.
func TestRangeSets(t *testing.T) {
	type set = map[int]bool
	draw := func(t *rapid.T) ([]space.Range, set) {
		var rs []space.Range
		s := set{}
		for range rapid.IntRange(0, 5).Draw(t, "ranges") {
			from := rapid.IntRange(0, 30).Draw(t, "from")
			to := from + rapid.IntRange(0, 6).Draw(t, "length")
			rs = append(rs, space.Range{From: from, To: to})
			for b := from; b < to; b++ {
				s[b] = true
			}
		}
		return rs, s
	}
	check := func(t *rapid.T, what string, got []space.Range, want func(b int) bool) {
		for b := range 40 {
			in := slices.ContainsFunc(got, func(r space.Range) bool { return r.From <= b && b < r.To })
			if in != want(b) {
				t.Fatalf("%s: %v has bucket %d: %v", what, got, b, in)
			}
		}
		if !slices.Equal(got, canonical(got)) {
			t.Fatalf("%s: %v is not canonical", what, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, inA := draw(t)
		b, inB := draw(t)
		check(t, "add", addRanges(a, b), func(i int) bool { return inA[i] || inB[i] })
		check(t, "take", takeRanges(canonical(a), canonical(b)), func(i int) bool { return inA[i] && !inB[i] })
		n := rapid.IntRange(0, 10).Draw(t, "n")
		top := highest(canonical(a), n)
		if count(top) != min(n, len(inA)) {
			t.Fatalf("highest %d of %v: %v", n, a, top)
		}
		for b := range inA {
			if len(top) > 0 && b >= top[0].From && !slices.ContainsFunc(top, func(r space.Range) bool { return r.From <= b && b < r.To }) {
				t.Fatalf("highest %d of %v leaves out %d: %v", n, a, b, top)
			}
		}
	})
}
