// Command atoll is all of Atoll: every plane, the console, the sandbox and the
// tools for people are subcommands of this one binary.
package main
