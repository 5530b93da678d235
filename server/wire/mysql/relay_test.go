package mysql

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

// answerOf frames packets as a server's answer.
func answerOf(t testing.TB, packets ...[]byte) []byte {
	t.Helper()
	var out sink
	c := NewConn(&out)
	c.seq = 1
	for _, p := range packets {
		if err := c.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sink is a connection that keeps what is written and gives what it holds.
type sink struct {
	bytes.Buffer
	net.Conn
}

func (s *sink) Write(p []byte) (int, error) { return s.Buffer.Write(p) }
func (s *sink) Read(p []byte) (int, error)  { return s.Buffer.Read(p) }

func source(b []byte) *Conn {
	s := &sink{}
	s.Buffer.Write(b)
	c := NewConn(s)
	c.SetMax(1 << 30)
	c.seq = 1
	return c
}

var (
	column  = append([]byte("\x03def\x00\x00\x00\x01a\x00\x0c"), make([]byte, 12)...)
	oldEnd  = []byte{firstEOF, 0, 0, 2, 0}
	newEnd  = []byte{firstEOF, 0, 0, 3, 0, 0, 0}
	moreEnd = []byte{firstEOF, 0, 0, byte(StatusMoreResults), 0}
)

func TestStreamPassesAllButTheEnd(t *testing.T) {
	long := append([]byte{0xfe, 0, 0, 0, 1, 0, 0, 0, 0}, bytes.Repeat([]byte{'x'}, 1<<24)...)
	failed := AppendError(nil, &ServerError{Code: 1317, State: "70100", Message: "interrupted"})
	tests := map[string]struct {
		caps    Capabilities
		packets [][]byte
		pass    int // how many are passed on
		kind    Kind
		status  Status
	}{
		"ok":                       {0, [][]byte{AppendOK(nil, OK{AffectedRows: 300, Status: 3})}, 0, EndOK, 3},
		"error":                    {0, [][]byte{failed}, 0, EndERR, 0},
		"rows, old end":            {0, [][]byte{{1}, column, oldEnd, []byte("\x01a"), []byte("\xfb"), oldEnd}, 5, EndEOF, 2},
		"rows, new end":            {CapDeprecateEOF, [][]byte{{1}, column, []byte("\x01a"), newEnd}, 3, EndOK, 3},
		"no rows":                  {CapDeprecateEOF, [][]byte{{2}, column, column, newEnd}, 3, EndOK, 3},
		"error after rows":         {CapDeprecateEOF, [][]byte{{1}, column, []byte("\x01a"), failed}, 3, EndERR, 0},
		"two results":              {0, [][]byte{{1}, column, oldEnd, moreEnd, AppendOK(nil, OK{Status: 2})}, 4, EndOK, 2},
		"a row of 16 MB, old end":  {0, [][]byte{{1}, column, oldEnd, long, oldEnd}, 4, EndEOF, 2},
		"a row of 16 MB, new end":  {CapDeprecateEOF, [][]byte{{1}, column, long, newEnd}, 3, EndOK, 3},
		"a row of exactly a frame": {CapDeprecateEOF, [][]byte{{1}, column, long[:maxFrame], newEnd}, 3, EndOK, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			whole := answerOf(t, tt.packets...)
			want := answerOf(t, tt.packets[:tt.pass]...)
			var got sink
			dst := NewConn(&got)
			dst.seq = 1
			r, err := ReadResponse(source(whole), tt.caps)
			if err != nil {
				t.Fatal(err)
			}
			end, err := r.Stream(dst)
			if err != nil {
				t.Fatal(err)
			}
			if err := dst.Flush(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("passed %d bytes, want %d", got.Len(), len(want))
			}
			if end.Kind != tt.kind || end.OK.Status != tt.status || !bytes.Equal(end.Payload, tt.packets[len(tt.packets)-1]) {
				t.Errorf("end %+v", end)
			}
		})
	}
}

func TestStreamFailsOnBrokenAnswers(t *testing.T) {
	for name, packets := range map[string][][]byte{
		"local file":    {[]byte("\xfb/etc/passwd")},
		"no columns":    {{0x00}},
		"long count":    {{1, 2}, column, oldEnd, oldEnd},
		"short end":     {{1}, column, oldEnd, {firstEOF}},
		"ends too soon": {{1}, column, oldEnd},
		"empty":         {{}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ReadResponse(source(answerOf(t, packets...)), 0)
			if err == nil {
				_, err = r.Stream(nil)
			}
			if err == nil || errors.Is(err, io.EOF) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestRelayPrepareChangesTheID(t *testing.T) {
	head := []byte{0, 9, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0}
	whole := answerOf(t, head, column, column, oldEnd, column, oldEnd)
	var got sink
	dst := NewConn(&got)
	dst.seq = 1
	p, err := RelayPrepare(dst, source(whole), 0, 0x01020304)
	if err != nil || p != (Prepared{ID: 9, Columns: 1, Params: 2}) {
		t.Fatalf("%+v, %v", p, err)
	}
	copy(head[1:], []byte{4, 3, 2, 1})
	if want := answerOf(t, head, column, column, oldEnd, column, oldEnd); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got %x\nwant %x", got.Bytes(), want)
	}
	_, err = RelayPrepare(dst, source(answerOf(t, AppendError(nil, &ServerError{Code: 1064, Message: "no"}))), 0, 1)
	var refused *ServerError
	if !errors.As(err, &refused) || refused.Code != 1064 {
		t.Errorf("refusal came as %v", err)
	}
}

func TestPacketsOfManyFrames(t *testing.T) {
	for _, n := range []int{0, 1, maxFrame - 1, maxFrame, maxFrame + 1, 2 * maxFrame} {
		want := bytes.Repeat([]byte{7}, n)
		c := source(answerOf(t, want))
		got, err := c.ReadPacket()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
		c = source(answerOf(t, want))
		c.SetMax(n - 1)
		if _, err := c.ReadPacket(); n > 0 && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes over the limit: %v", n, err)
		}
	}
}

func TestPacketNumbersAreChecked(t *testing.T) {
	c := source(answerOf(t, []byte{1}))
	c.seq = 0
	if _, err := c.ReadPacket(); !errors.Is(err, ErrMalformed) {
		t.Errorf("error %v", err)
	}
}

func TestQueryRow(t *testing.T) {
	for caps, end := range map[Capabilities][]byte{0: oldEnd, CapDeprecateEOF: newEnd} {
		packets := [][]byte{{2}, column, column}
		if caps == 0 {
			packets = append(packets, oldEnd)
		}
		packets = append(packets, []byte("\x03abc\xfb"), end)
		s := &Server{Conn: NewConn(&answered{answer: answerOf(t, packets...)}), Capabilities: caps}
		row, err := s.QueryRow("SELECT 1")
		if err != nil || len(row) != 2 || row[0] != "abc" || row[1] != "" {
			t.Errorf("%q, %v", row, err)
		}
	}
	s := &Server{Conn: NewConn(&answered{answer: answerOf(t, AppendError(nil, &ServerError{Code: 1317}))})}
	var refused *ServerError
	if _, err := s.QueryRow("SELECT 1"); !errors.As(err, &refused) {
		t.Errorf("refusal came as %v", err)
	}
}
