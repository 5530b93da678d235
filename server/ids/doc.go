// Package ids gives a process ids that no other process gives: it reserves
// time ahead for one id worker at the console, and makes ids in that time.
package ids
