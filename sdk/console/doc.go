// Package console is the client of Atoll's console: the Agent that every
// plane runs to register, watch, report and keep its lease.
package console
