// Package liar stands between one plane and the console and breaks one promise
// between them. It is for the negative controls of the demo: each lie must be
// found by the auditor. Nothing outside the sandbox uses it.
package liar
