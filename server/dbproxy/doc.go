// Package dbproxy is the database proxy of one unit: it speaks the MySQL
// protocol to applications and lets a statement through to the unit's own
// server only when its keys are proven, owned here and not fenced. DESIGN.md
// tells how.
package dbproxy
