// Package console is the place that people and planes turn to: it keeps the
// documents, publishes snapshots, hears planes and carries out moves, over a
// store of its own.
package console
