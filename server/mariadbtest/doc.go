// Package mariadbtest starts real MariaDB servers for tests, set up as the
// units' databases are: row binlog with full images, GTID, durable commits.
package mariadbtest
