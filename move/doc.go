// Package move is the cut-over as a pure machine: Step takes the state of one
// move and an event and answers with the next state and what must be done. It
// has no clock, goroutine or network; times and facts arrive as values, and
// the mover of the console carries out its commands.
package move
