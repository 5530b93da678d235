// Package liar stands between one plane and the console, a lane and a database
// or clients and a dbproxy, and breaks one promise between them. It is for the
// negative controls of demo and chaos: each lie must be found by the auditor,
// or by the checker of histories. Nothing outside the sandbox uses it.
package liar
