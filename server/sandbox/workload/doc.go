// Package workload is the clients whose answers become a history. They read,
// write and swap notes and add to baskets of the demo shop, through any gateway
// and straight at any dbproxy, and record what they were told. Who does what to
// which key, when and by which way follows from a seed; only the answers, and
// so what a swap starts from, are the run's own.
package workload
