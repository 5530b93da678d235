// Package publish puts a new state of a space in force: it makes of it the
// part of one transaction that writes the snapshot with the next epoch, the
// documents that changed, their history and the audit log. Whoever changes a
// space, by apply or by a move, goes through it.
package publish
