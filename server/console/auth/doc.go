// Package auth says who may call the console and who a caller is.
package auth
