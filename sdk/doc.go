// Package sdk is what applications and planes import: sdk/console is the
// client of the console.
package sdk
