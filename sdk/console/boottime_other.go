//go:build !linux

package console

import "time"

var started = time.Now()

// Boottime is the time since the process started: other systems have no clock
// that goes on in suspend, so a lease there is safe only on machines that are
// never suspended.
func Boottime() time.Duration { return time.Since(started) + time.Second }
