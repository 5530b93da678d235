// Package source is one unit's database server as its proxy uses it for
// itself: it marks, finds and ends server threads, writes tokens, and reads
// what the tables look like.
package source
