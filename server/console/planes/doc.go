// Package planes is the console's side toward running processes: it registers
// them, streams snapshots and asks to them, hears their reports, grants their
// leases and reserves id time for them.
package planes
