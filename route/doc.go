// Package route answers who owns a key and where a request goes: it compiles
// a space document into a Table and decides on it. It is pure: no clock, no
// goroutine, no network.
package route
