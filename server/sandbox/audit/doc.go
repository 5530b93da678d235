// Package audit judges a run of the sandbox: it compares what clients were
// told with what stands in the databases, the databases with each other, and
// each unit's binlog with who owned the keys. It reads the servers directly
// and shares no code with the planes that it judges.
package audit
