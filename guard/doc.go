// Package guard is the one place that answers "may this write go ahead
// here?". A plane enters every write of unit data into its Guard before it
// sends it and leaves when its outcome is known; so the Guard can say when
// nothing admitted before a fence is open any more, and whom to end when the
// plane's lease lapses.
package guard
