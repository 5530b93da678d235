// Package mover carries out moves: it drives the machine of package move for
// every space from whichever console leads, writes what it commands, asks the
// planes, hears their answers, and answers the Moves service.
package mover
