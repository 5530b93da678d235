package prove

import "strings"

// Charset says what a client or connection character set means for keys.
// Wide ones (utf8, utf8mb3, utf8mb4, binary) carry every key as it is. Under
// narrow ones (latin1, ascii) only ASCII keys are sure to arrive unchanged: a
// session that uses one plans with Session.Narrow. Others are not ok: their
// second bytes may look like quotes, or they are not spelled like ASCII.
func Charset(name string) (narrow, ok bool) {
	switch strings.ToLower(name) {
	case "utf8", "utf8mb3", "utf8mb4", "binary":
		return false, true
	case "latin1", "ascii":
		return true, true
	}
	return true, false
}

// charsetOf is the character set of a collation.
func charsetOf(collation string) string {
	name, _, _ := strings.Cut(strings.ToLower(collation), "_")
	return name
}
