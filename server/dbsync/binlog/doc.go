// Package binlog reads the binary log of a MariaDB server as whole groups:
// each transaction with its place, and the rows of the tables that are wanted.
// It decodes nothing else, so that no foreign table can stop the stream.
package binlog
