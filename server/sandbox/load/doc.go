// Package load is the shop's traffic in the sandbox: buyers who come through
// any gateway on an open-loop schedule, writers who speak MySQL straight to
// the proxies, and canaries whose delays are the write pause that clients see.
// Everything a client was told stands in the Ledger, for the auditor.
package load
