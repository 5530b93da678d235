package mysql

import (
	"fmt"
)

// QueryRow runs a query of this side's own that gives one row of texts, and
// returns it. NULL comes as "". A refusal comes as *ServerError.
func (s *Server) QueryRow(text string) ([]string, error) {
	if err := s.Request(append([]byte{byte(ComQuery)}, text...)); err != nil {
		return nil, err
	}
	s.extendRead()
	p, err := s.ReadPacket()
	if err != nil {
		return nil, whole(err)
	}
	if len(p) > 0 && p[0] == firstERR {
		e, err := parseError(p)
		if err != nil {
			return nil, err
		}
		return nil, e
	}
	c := cursor{b: p}
	columns := c.lenenc()
	if c.failed || len(c.b) != 0 || columns == 0 || columns > maxColumns {
		return nil, fmt.Errorf("%w: column count", ErrMalformed)
	}
	if err := relayColumns(nil, s.Conn, s.Capabilities, int(columns)); err != nil {
		return nil, err
	}
	return s.row(int(columns))
}

// row reads the row and the end behind it.
func (s *Server) row(columns int) ([]string, error) {
	first, length, err := peekFrame(nil, s.Conn)
	if err != nil {
		return nil, err
	}
	if endsRows(first, length, s.Capabilities) {
		return nil, fmt.Errorf("%w: no row", ErrMalformed)
	}
	p, err := s.ReadPacket()
	if err != nil {
		return nil, whole(err)
	}
	row, err := parseRow(p, columns)
	if err != nil {
		return nil, err
	}
	end, err := relayRows(nil, s.Conn, s.Capabilities)
	if err == nil && end.Kind == EndERR {
		err = end.Err
	}
	return row, err
}

func parseRow(p []byte, columns int) ([]string, error) {
	c := cursor{b: p}
	row := make([]string, 0, columns)
	for range columns {
		if len(c.b) > 0 && c.b[0] == 0xfb {
			c.u8()
			row = append(row, "")
			continue
		}
		row = append(row, string(c.lenencBytes()))
	}
	if c.failed || len(c.b) != 0 {
		return nil, fmt.Errorf("%w: row", ErrMalformed)
	}
	return row, nil
}
