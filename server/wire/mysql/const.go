package mysql

// Command is the first byte of a request.
type Command byte

// The commands.
const (
	ComQuit            Command = 0x01
	ComInitDB          Command = 0x02
	ComQuery           Command = 0x03
	ComFieldList       Command = 0x04
	ComStatistics      Command = 0x09
	ComProcessInfo     Command = 0x0a
	ComProcessKill     Command = 0x0c
	ComPing            Command = 0x0e
	ComChangeUser      Command = 0x11
	ComStmtPrepare     Command = 0x16
	ComStmtExecute     Command = 0x17
	ComStmtLongData    Command = 0x18
	ComStmtClose       Command = 0x19
	ComStmtReset       Command = 0x1a
	ComSetOption       Command = 0x1b
	ComStmtFetch       Command = 0x1c
	ComResetConnection Command = 0x1f
)

// Capabilities are the flags that both ends of a connection agree on.
type Capabilities uint32

// The capabilities that a relay has to know.
const (
	CapLongPassword     Capabilities = 1 << 0
	CapFoundRows        Capabilities = 1 << 1
	CapLongFlag         Capabilities = 1 << 2
	CapConnectWithDB    Capabilities = 1 << 3
	CapCompress         Capabilities = 1 << 5
	CapLocalFiles       Capabilities = 1 << 7
	CapIgnoreSpace      Capabilities = 1 << 8
	CapProtocol41       Capabilities = 1 << 9
	CapInteractive      Capabilities = 1 << 10
	CapSSL              Capabilities = 1 << 11
	CapTransactions     Capabilities = 1 << 13
	CapSecureConnection Capabilities = 1 << 15
	CapMultiStatements  Capabilities = 1 << 16
	CapMultiResults     Capabilities = 1 << 17
	CapPSMultiResults   Capabilities = 1 << 18
	CapPluginAuth       Capabilities = 1 << 19
	CapConnectAttrs     Capabilities = 1 << 20
	CapPluginAuthLenEnc Capabilities = 1 << 21
	CapDeprecateEOF     Capabilities = 1 << 24
)

// Offered is what a server of this package announces. It is short of what
// real servers have: no TLS, compression, local files, several statements in
// one text, other reading of blanks (CapIgnoreSpace), session tracking, and
// none of MariaDB's extensions.
const Offered = CapLongPassword | CapFoundRows | CapLongFlag | CapConnectWithDB | CapProtocol41 |
	CapInteractive | CapTransactions | CapSecureConnection | CapMultiResults | CapPSMultiResults | CapPluginAuth |
	CapConnectAttrs | CapPluginAuthLenEnc | CapDeprecateEOF

// carried are the capabilities that change what a server sends or does, so
// that both sides of a relay must have the same.
const carried = CapFoundRows | CapLongFlag | CapInteractive | CapMultiResults | CapPSMultiResults | CapDeprecateEOF

// Status is the state that a server tells at the end of an answer.
type Status uint16

// The status flags.
const (
	StatusInTransaction      Status = 0x0001
	StatusAutocommit         Status = 0x0002
	StatusMoreResults        Status = 0x0008
	StatusCursorExists       Status = 0x0040
	StatusNoBackslashEscapes Status = 0x0200
)

// Has says whether any of the flags is set.
func (s Status) Has(flags Status) bool { return s&flags != 0 }

// First bytes of packets.
const (
	firstOK        = 0x00
	firstAuthMore  = 0x01
	firstLocalFile = 0xfb
	firstEOF       = 0xfe
	firstERR       = 0xff
)

// maxFrame is the longest payload of one frame: a packet of this length or
// more goes on in the next frame.
const maxFrame = 1<<24 - 1

// Limits of a packet's length.
const (
	MaxBeforeAuth = 64 << 10
	DefaultPacket = 64 << 20 // max_allowed_packet that a relay takes unless told
)

// Names of the authentication methods.
const (
	NativePassword = "mysql_native_password"
	CachingSHA2    = "caching_sha2_password"
)
