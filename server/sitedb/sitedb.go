// Package sitedb is Atoll's own schema in each unit's database: tokens, lane
// checkpoints, parked rows, heartbeats and the marks of proxy sessions. Proxy,
// lanes and auditor meet here and nowhere else.
package sitedb

// Schema is the database that holds the tables.
const Schema = "atoll"

// Statements create the schema; each may be run again at any time.
var Statements = []string{
	"CREATE DATABASE IF NOT EXISTS atoll",

	// A token stands in the binlog of the unit where it is written; what it
	// says is judged at its place there. CLOSE: from here on the keys of the
	// move are no longer written here. OPEN: from here on they are. BARRIER:
	// everything before it has been written. JOIN: the plane that wrote it
	// admits writes by this epoch from here on.
	`CREATE TABLE IF NOT EXISTS atoll.token (
		space VARCHAR(64) NOT NULL,
		move  VARCHAR(64) NOT NULL,
		epoch BIGINT NOT NULL,
		kind  VARCHAR(16) NOT NULL,
		unit  VARCHAR(64) NOT NULL,
		at    DATETIME(6) NOT NULL,
		PRIMARY KEY (space, move, epoch, kind, unit)
	) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,

	// One row a lane, written first in each target transaction: it is the
	// checkpoint, and its presence keeps the transaction from going back.
	`CREATE TABLE IF NOT EXISTS atoll.lane (
		lane   VARCHAR(160) NOT NULL PRIMARY KEY,
		worker BIGINT NOT NULL,
		gtid   VARCHAR(1024) NOT NULL,
		seq    BIGINT NOT NULL,
		origin_at DATETIME(6) NULL,
		at     DATETIME(6) NOT NULL
	) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,

	`CREATE TABLE IF NOT EXISTS atoll.lane_token (
		lane  VARCHAR(160) NOT NULL,
		space VARCHAR(64) NOT NULL,
		move  VARCHAR(64) NOT NULL,
		epoch BIGINT NOT NULL,
		kind  VARCHAR(16) NOT NULL,
		seq   BIGINT NOT NULL,
		transfer LONGTEXT NOT NULL,
		position VARCHAR(1024) NOT NULL,
		PRIMARY KEY (lane, space, move, epoch, kind)
	) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,

	// The document by which a lane judges rows of its origin before any token.
	`CREATE TABLE IF NOT EXISTS atoll.lane_base (
		lane  VARCHAR(160) NOT NULL,
		space VARCHAR(64) NOT NULL,
		epoch BIGINT NOT NULL,
		document LONGTEXT NOT NULL,
		PRIMARY KEY (lane, space)
	) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,

	`CREATE TABLE IF NOT EXISTS atoll.parked (
		id     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
		lane   VARCHAR(160) NOT NULL,
		position VARCHAR(1024) NOT NULL,
		tbl    VARCHAR(160) NOT NULL,
		keytext VARCHAR(512) NOT NULL,
		owner  VARCHAR(64) NOT NULL,
		reason VARCHAR(512) NOT NULL,
		change_json LONGTEXT NOT NULL,
		at     DATETIME(6) NOT NULL
	) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,

	`CREATE TABLE IF NOT EXISTS atoll.heartbeat (
		unit VARCHAR(64) NOT NULL PRIMARY KEY,
		seq  BIGINT NOT NULL,
		at   DATETIME(6) NOT NULL
	) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,

	// The server threads of proxies, so that whoever follows a dead proxy can
	// find and end what it left behind. Host is the client address as the
	// server shows it, which tells a thread id that was given out again.
	`CREATE TABLE IF NOT EXISTS atoll.session (
		plane  VARCHAR(128) NOT NULL,
		incarnation VARCHAR(64) NOT NULL,
		thread BIGINT NOT NULL,
		host   VARCHAR(128) NOT NULL,
		PRIMARY KEY (plane, incarnation, thread)
	) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
}

// Kinds of tokens.
const (
	TokenClose   = "CLOSE"
	TokenOpen    = "OPEN"
	TokenBarrier = "BARRIER"
	TokenJoin    = "JOIN"
)
