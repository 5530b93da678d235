// Package sandbox runs the whole of Atoll on one machine: two sites with real
// MariaDB and Redis servers, every plane a process of its own, one console at
// the witness, and a relay on every link between sites that delays and can be
// cut.
//
// Layout says what there is to run, without touching anything; Run brings it
// up and keeps it; Up does so in the background and Down ends that.
package sandbox
