package route

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/atoll-live/atoll/space"
)

// maxBucketParts bounds the parts of a bucket list that people give.
const maxBucketParts = 10_000

// ParseBuckets reads buckets as people write them: "0-2999,5000", both ends
// belong to a part. The ranges come back half-open, sorted and merged. A
// bucket that stands twice is refused.
func ParseBuckets(text string) ([]space.Range, error) {
	parts := strings.Split(text, ",")
	if len(parts) > maxBucketParts {
		return nil, fmt.Errorf("buckets: %d parts are more than %d", len(parts), maxBucketParts)
	}
	var rs []space.Range
	for _, part := range parts {
		r, err := parseBuckets(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	sortRanges(rs)
	for i := 1; i < len(rs); i++ {
		if rs[i].From < rs[i-1].To {
			return nil, fmt.Errorf("buckets: %s and %s overlap", FormatBuckets(rs[i-1:i]), FormatBuckets(rs[i:i+1]))
		}
	}
	return mergeRanges(rs), nil
}

func parseBuckets(part string) (space.Range, error) {
	first, last, isRange := strings.Cut(part, "-")
	from, err := parseBucket(first)
	if err != nil {
		return space.Range{}, err
	}
	to := from
	if isRange {
		if to, err = parseBucket(last); err != nil {
			return space.Range{}, err
		}
	}
	if to < from {
		return space.Range{}, fmt.Errorf("buckets: %q runs backwards", part)
	}
	return space.Range{From: from, To: to + 1}, nil
}

func parseBucket(text string) (int, error) {
	text = strings.TrimSpace(text)
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 1<<31-1 {
		return 0, fmt.Errorf("buckets: %q is no bucket (write numbers and ranges: 0-2999,5000)", text)
	}
	return int(n), nil
}

// FormatBuckets writes ranges as ParseBuckets reads them.
func FormatBuckets(rs []space.Range) string {
	var b strings.Builder
	for i, r := range rs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(r.From))
		if r.To > r.From+1 {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(r.To - 1))
		}
	}
	return b.String()
}

func sortRanges(rs []space.Range) {
	slices.SortFunc(rs, func(a, b space.Range) int { return cmp.Compare(a.From, b.From) })
}

// mergeRanges returns the canonical form of sorted ranges: joined where they
// touch or overlap, none empty.
func mergeRanges(rs []space.Range) []space.Range {
	merged := []space.Range{}
	for _, r := range rs {
		if r.From >= r.To {
			continue
		}
		if n := len(merged); n > 0 && r.From <= merged[n-1].To {
			merged[n-1].To = max(merged[n-1].To, r.To)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// canonical is the sorted and merged copy of ranges.
func canonical(rs []space.Range) []space.Range {
	rs = slices.Clone(rs)
	sortRanges(rs)
	return mergeRanges(rs)
}

// addRanges is what is in a or in b.
func addRanges(a, b []space.Range) []space.Range {
	return canonical(append(slices.Clone(a), b...))
}

// takeRanges is what is in a and not in b. Both are canonical.
func takeRanges(a, b []space.Range) []space.Range {
	left := []space.Range{}
	for _, r := range a {
		for _, cut := range b {
			if cut.To <= r.From || r.To <= cut.From {
				continue
			}
			if r.From < cut.From {
				left = append(left, space.Range{From: r.From, To: cut.From})
			}
			r.From = min(cut.To, r.To)
		}
		if r.From < r.To {
			left = append(left, r)
		}
	}
	return left
}

// highest is the n highest-numbered buckets of canonical ranges, and how many
// there were when these are fewer.
func highest(rs []space.Range, n int) []space.Range {
	var top []space.Range
	for i := len(rs) - 1; i >= 0 && n > 0; i-- {
		r := rs[i]
		r.From = max(r.From, r.To-n)
		n -= r.To - r.From
		top = append(top, r)
	}
	slices.Reverse(top)
	return top
}

// count is the number of buckets in ranges that do not overlap.
func count(rs []space.Range) int {
	n := 0
	for _, r := range rs {
		n += r.To - r.From
	}
	return n
}
