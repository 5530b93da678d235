package mysql

import (
	"bytes"
	"testing"
)

func FuzzExecute(f *testing.F) {
	f.Add(execution([]byte{0}, []byte{typeLong, 0, typeString, 0}, []byte{42, 0, 0, 0, 1, 'a'}), 2, []byte(nil))
	f.Add(execution([]byte{1}, nil, nil), 1, []byte{typeNull, 0})
	f.Fuzz(func(t *testing.T, p []byte, params int, types []byte) {
		e, err := ParseExecute(p, max(params, 0), types)
		if err != nil {
			return
		}
		if _, err := e.Values(nil, nil); err != nil {
			return
		}
		again, err := ParseExecute(e.For(nil, 7, true), e.params, nil)
		if err != nil {
			t.Fatalf("what is sent on cannot be read: %v", err)
		}
		if e.params > 0 && !bytes.Equal(again.Types(), e.Types()) {
			t.Fatal("types changed on the way")
		}
	})
}

func FuzzHandshake(f *testing.F) {
	nonce := newNonce()
	f.Add(appendGreeting(nil, Greeting{Version: "8"}, nonce))
	f.Add(appendHello(nil, Offered&^CapPluginAuthLenEnc, Login{User: "u", Database: "d"}, nonce, NativePassword))
	f.Add([]byte("\x11shop\x00\x00shop\x00\x2d\x00mysql_native_password\x00"))
	f.Fuzz(func(_ *testing.T, p []byte) {
		_, _ = parseGreeting(p)
		_, _ = parseHello(p)
		_, _ = parseChangeUser(p, Offered)
	})
}

// FuzzResponse feeds any bytes as a server's answer. Whatever is accepted must
// be read the same with and without a client behind.
func FuzzResponse(f *testing.F) {
	f.Add(answerOf(f, []byte{1}, column, oldEnd, []byte("\x01a"), oldEnd), false)
	f.Add(answerOf(f, []byte{1}, column, []byte("\x01a"), newEnd), true)
	f.Add(answerOf(f, AppendOK(nil, OK{InsertID: 9})), true)
	f.Add(answerOf(f, AppendError(nil, &ServerError{Code: 1, Message: "m"})), true)
	f.Add(answerOf(f, []byte{0, 9, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0}, column, oldEnd, column, oldEnd), false)
	f.Fuzz(func(t *testing.T, b []byte, newStyle bool) {
		var caps Capabilities
		if newStyle {
			caps = CapDeprecateEOF
		}
		read := func(dst *Conn) (Terminal, error) {
			src := source(b)
			src.SetMax(1 << 20)
			r, err := ReadResponse(src, caps)
			if err != nil {
				return Terminal{}, err
			}
			return r.Stream(dst)
		}
		dropped, err := read(nil)
		passed, err2 := read(NewConn(&sink{}))
		if (err == nil) != (err2 == nil) || dropped.Kind != passed.Kind || dropped.OK != passed.OK {
			t.Fatalf("dropped %+v, %v; passed %+v, %v", dropped, err, passed, err2)
		}
		src := source(b)
		src.SetMax(1 << 20)
		_, _ = RelayPrepare(nil, src, caps, 1)
		row := &Server{Conn: NewConn(&answered{answer: b}), Capabilities: caps}
		row.SetMax(1 << 20)
		_, _ = row.QueryRow("SELECT 1")
	})
}

// answered gives the same answer to whatever is written.
type answered struct {
	sink
	answer []byte
}

func (a *answered) Write(p []byte) (int, error) {
	a.Reset()
	return a.Buffer.Write(a.answer)
}
