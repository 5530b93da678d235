package mysql

import (
	"encoding/binary"
	"fmt"
)

// OK is the body of an OK packet.
type OK struct {
	AffectedRows uint64
	InsertID     uint64
	Status       Status
	Warnings     uint16
}

// ServerError is an ERR packet, received or to be sent.
type ServerError struct {
	Code    uint16
	State   string // five characters; "HY000" when empty
	Message string
}

// Error is the text, as clients show it.
func (e *ServerError) Error() string { return fmt.Sprintf("%d (%s): %s", e.Code, e.State, e.Message) }

// AppendOK appends the payload of an OK packet.
func AppendOK(b []byte, ok OK) []byte {
	b = append(b, firstOK)
	b = appendLenenc(b, ok.AffectedRows)
	b = appendLenenc(b, ok.InsertID)
	b = binary.LittleEndian.AppendUint16(b, uint16(ok.Status))
	return binary.LittleEndian.AppendUint16(b, ok.Warnings)
}

// maxMessage keeps an ERR packet, whose text may quote a statement, small.
const maxMessage = 2048

// AppendError appends the payload of an ERR packet.
func AppendError(b []byte, e *ServerError) []byte {
	b = append(b, firstERR)
	b = binary.LittleEndian.AppendUint16(b, e.Code)
	state := e.State
	if len(state) != 5 {
		state = "HY000"
	}
	b = append(append(b, '#'), state...)
	return append(b, e.Message[:min(len(e.Message), maxMessage)]...)
}

// parseOK reads an OK packet, also one that ends a result set.
func parseOK(p []byte) (OK, error) {
	c := cursor{b: p}
	c.u8()
	ok := OK{AffectedRows: c.lenenc(), InsertID: c.lenenc()}
	ok.Status = Status(c.u16())
	ok.Warnings = c.u16()
	return ok, c.err()
}

// parseEOF reads the five bytes of an EOF packet.
func parseEOF(p []byte) (OK, error) {
	c := cursor{b: p}
	c.u8()
	var ok OK
	ok.Warnings = c.u16()
	ok.Status = Status(c.u16())
	return ok, c.err()
}

// parseError reads an ERR packet. Before the handshake is over it comes
// without a state.
func parseError(p []byte) (*ServerError, error) {
	c := cursor{b: p}
	c.u8()
	e := &ServerError{Code: c.u16()}
	if len(c.b) >= 6 && c.b[0] == '#' {
		e.State = string(c.take(6)[1:])
	}
	e.Message = string(c.rest())
	return e, c.err()
}
