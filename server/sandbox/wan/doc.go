// Package wan is the sandbox's wide-area network: a TCP relay in user space on
// every link between two sites, which delays each direction by half the round
// trip and can be cut and healed as a real link can.
package wan
