// Package store keeps what the console must not lose: a small seam over a
// replicated, ordered key-value store, with etcd inside the console's own
// process and one in memory for tests, and the layout of its keys.
package store
