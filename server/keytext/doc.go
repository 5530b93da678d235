// Package keytext says which columns can hold keys, and what the one text of
// a key is: the text that proxies prove, lanes judge rows by and comparisons
// pick rows by. Two values that a column calls equal have the same text, or
// one of them none.
package keytext
