// Package prove answers, for one SQL text: which rows' keys does this
// statement write or read? It says only what can be proven, and refuses the
// rest by naming the rule that failed. It knows nothing of units, owners,
// fences or epochs: a Plan holds no verdict of a snapshot, so a switch can
// never be undone by a cached plan.
package prove
