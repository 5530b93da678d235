// Package documents is the console's side toward people: it applies documents,
// gives them back, tells how they came to be and what they decide.
package documents
