package publish

import "strings"

// nextVersion adds one to the digits at the end of a version and keeps
// everything else of it, leading zeros too. A version without digits at its
// end gets ".1"; an empty one becomes "1".
func nextVersion(v string) string {
	if v == "" {
		return "1"
	}
	digits := []byte(v[len(strings.TrimRight(v, "0123456789")):])
	head := v[:len(v)-len(digits)]
	if len(digits) == 0 {
		return v + ".1"
	}
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] != '9' {
			digits[i]++
			return head + string(digits)
		}
		digits[i] = '0'
	}
	return head + "1" + string(digits)
}

// higherVersion tells whether version a is b with a higher number at its end.
func higherVersion(a, b string) bool {
	headA, numA := splitVersion(a)
	headB, numB := splitVersion(b)
	if headA != headB || numA == "" || (numB == "" && b != "") {
		return false
	}
	if len(numA) != len(numB) {
		return len(numA) > len(numB)
	}
	return numA > numB
}

// splitVersion cuts off the number at the end, without leading zeros; of "0"
// and "00" the number is "0".
func splitVersion(v string) (head, number string) {
	head = strings.TrimRight(v, "0123456789")
	digits := v[len(head):]
	number = strings.TrimLeft(digits, "0")
	if number == "" && digits != "" {
		number = "0"
	}
	return head, number
}
