// Package supervise keeps the processes of a sandbox alive: it starts them in
// order, waits until each is ready, restarts those that die, stops them in
// the reverse order, and ties them to its own life.
package supervise
