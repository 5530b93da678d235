// Package apply writes the row changes of a source into a target database:
// whole groups, exactly once, with the marker row first in each transaction.
package apply
