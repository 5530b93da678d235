// Package audit writes down who changed what, in the same transaction as the
// change, and reads it back.
package audit
