// Package history checks what clients saw: for each key it decides whether
// some order of its operations, each at a moment between its begin and its
// answer, explains all answers (linearizability). It is pure: it knows no
// clock, no network and nothing of Atoll.
//
// # What is checked
//
// A key has two objects, judged apart. A register begins at 0 and takes read,
// write and compare-and-set (a swap that did not happen is an observation as
// well: the value was another). A list begins empty and takes append and read;
// an append may have read the list before and after itself in its transaction.
// Each written value and each element is unique within its object, which the
// decoder and Check insist on: it is what makes a doubled effect visible and
// the search short.
//
// An operation that ended ok took effect exactly once between its invoke and
// its return. One that failed never takes effect. One whose outcome is unknown
// takes effect once, at any time after its invoke, or never. Equal times count
// as concurrent. Found are so, per key: lost updates, stale reads, doubled and
// reordered effects, ghosts (effects of failed operations) and values that
// nobody had written by then. The verdict is the search's alone; these names
// are given afterwards, to tell people what to look for, and "not
// linearizable" is the name when none of them fits.
//
// # What is not checked
//
// Nothing between keys, and nothing between the register and the list of one
// key. Writes that nobody read, on a register that nobody read afterwards: so
// a workload ends with a read of each object. A register written twice with
// the same value in a row, with nothing in between, cannot be told from one
// written once.
//
// # Cost
//
// A list costs the sorting of its operations and the comparison of each read
// with the longest. A register is searched: operations are put in order as
// late as possible, and each state (value, which of the open operations are
// in) is visited once. With unique values a value that was left does not come
// back, which ends nearly all wrong turns at once; hundreds of operations of
// ten clients take a few thousand steps. A search that needs more than
// Limits.Steps, or more than 64 operations that are open at once (those of
// unknown outcome that nobody saw stay open to the end), is given up: the
// object is undecided, and that counts as a failure.
package history
