package documents

import (
	"fmt"
	"slices"
	"strings"
)

// diffContext is the number of equal lines around a change.
const diffContext = 3

// maxDiffCells bounds the table of a comparison; texts beyond it are shown as
// replaced whole between their equal ends.
const maxDiffCells = 16 << 20

// edit is one line of a comparison: ' ' equal, '-' only before, '+' only after.
type edit struct {
	sign byte
	line string
}

// unified is the difference of two texts as a unified diff, empty when they
// are equal.
func unified(before, after, nameBefore, nameAfter string) string {
	if before == after {
		return ""
	}
	edits := compare(lines(before), lines(after))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", nameBefore, nameAfter)
	for start := 0; start < len(edits); {
		for start < len(edits) && edits[start].sign == ' ' {
			start++
		}
		if start == len(edits) {
			break
		}
		from := max(0, start-diffContext)
		end := hunkEnd(edits, start)
		writeHunk(&b, edits, from, end)
		start = end
	}
	return b.String()
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// hunkEnd is where the hunk ends that has a change at start: after the context
// behind its last change, changes that are near joined in.
func hunkEnd(edits []edit, start int) int {
	last := start
	for i := start; i < len(edits) && i <= last+1+2*diffContext; i++ {
		if edits[i].sign != ' ' {
			last = i
		}
	}
	return min(len(edits), last+1+diffContext)
}

func writeHunk(b *strings.Builder, edits []edit, from, end int) {
	lineBefore, lineAfter := 1, 1
	for _, e := range edits[:from] {
		lineBefore, lineAfter = lineBefore+count(e, '-'), lineAfter+count(e, '+')
	}
	nBefore, nAfter := 0, 0
	for _, e := range edits[from:end] {
		nBefore, nAfter = nBefore+count(e, '-'), nAfter+count(e, '+')
	}
	// A side without lines stands at the line before it.
	if nBefore == 0 {
		lineBefore--
	}
	if nAfter == 0 {
		lineAfter--
	}
	fmt.Fprintf(b, "@@ -%d,%d +%d,%d @@\n", lineBefore, nBefore, lineAfter, nAfter)
	for _, e := range edits[from:end] {
		fmt.Fprintf(b, "%c%s\n", e.sign, e.line)
	}
}

// count is 1 for a line of the side with this sign.
func count(e edit, side byte) int {
	if e.sign == ' ' || e.sign == side {
		return 1
	}
	return 0
}

// compare finds a longest common subsequence between the equal ends of a and b.
func compare(a, b []string) []edit {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var edits []edit
	for _, l := range a[:head] {
		edits = append(edits, edit{' ', l})
	}
	edits = append(edits, compareMiddle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, l := range a[len(a)-tail:] {
		edits = append(edits, edit{' ', l})
	}
	return edits
}

func compareMiddle(a, b []string) []edit {
	var edits []edit
	if (len(a)+1)*(len(b)+1) > maxDiffCells {
		for _, l := range a {
			edits = append(edits, edit{'-', l})
		}
		for _, l := range b {
			edits = append(edits, edit{'+', l})
		}
		return edits
	}
	// common[i*w+j] is the length of the longest common subsequence of a[i:], b[j:].
	w := len(b) + 1
	common := make([]int32, (len(a)+1)*w)
	for i, before := range slices.Backward(a) {
		for j, after := range slices.Backward(b) {
			if before == after {
				common[i*w+j] = common[(i+1)*w+j+1] + 1
			} else {
				common[i*w+j] = max(common[(i+1)*w+j], common[i*w+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*w+j] >= common[i*w+j+1]:
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	return edits
}
