// Package compare says which rows of a table differ between two databases.
package compare
