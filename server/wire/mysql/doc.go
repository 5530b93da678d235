// Package mysql speaks the MySQL client/server protocol, both ends of it, for
// a program that stands between: packets, handshakes, prepared statements and
// a relay of answers that never holds more than its buffers. It knows nothing
// of units.
package mysql
