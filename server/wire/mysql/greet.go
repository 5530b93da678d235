package mysql

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Account is who may connect to a server of this package.
type Account struct {
	User     string
	Password string // never empty
}

// Greeting is what a server of this package says first.
type Greeting struct {
	Version   string
	Thread    uint32
	Collation byte
}

// Hello is what a client said of itself.
type Hello struct {
	Capabilities Capabilities // of those offered
	Collation    byte
	User         string
	Database     string // "" when it named none
}

// ErrDenied says that the client did not show that it is the account. The
// client has got its ERR packet.
var ErrDenied = errors.New("access denied")

// Accept greets a client and authenticates it. The answer that lets the
// client in, an OK or ERR packet, is left to the caller. The caller bounds it
// by a deadline.
func Accept(c *Conn, g Greeting, a Account) (Hello, error) {
	nonce := newNonce()
	c.Restart()
	if err := c.Send(appendGreeting(nil, g, nonce)); err != nil {
		return Hello{}, fmt.Errorf("greet: %w", err)
	}
	p, err := c.ReadPacket()
	if err != nil {
		return Hello{}, fmt.Errorf("read the client's handshake: %w", err)
	}
	r, err := parseHello(p)
	if err != nil {
		return Hello{}, fmt.Errorf("client's handshake: %w", err)
	}
	return r.Hello, authenticate(c, nonce, r, a)
}

func appendGreeting(b []byte, g Greeting, nonce []byte) []byte {
	b = appendNul(append(b, 10), g.Version)
	b = binary.LittleEndian.AppendUint32(b, g.Thread)
	b = append(append(b, nonce[:8]...), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(Offered&0xffff))
	b = append(b, g.Collation)
	b = binary.LittleEndian.AppendUint16(b, uint16(StatusAutocommit))
	b = binary.LittleEndian.AppendUint16(b, uint16(Offered>>16))
	b = append(b, nonceSize+1)
	b = append(b, make([]byte, 10)...)
	b = append(append(b, nonce[8:]...), 0)
	return appendNul(b, NativePassword)
}

// answer is a client's handshake response, or the like part of a change of
// user.
type answer struct {
	Hello
	auth   []byte
	plugin string
}

// parseHello reads a handshake response. The attributes at its end are for
// statistics only and are left unread.
func parseHello(p []byte) (answer, error) {
	c := cursor{b: p}
	caps := Capabilities(c.u32())
	if c.failed || caps&CapProtocol41 == 0 || caps&CapSSL != 0 {
		return answer{}, fmt.Errorf("%w: a client older than 4.1, or one that wants TLS", ErrMalformed)
	}
	c.u32() // its longest packet: nothing here depends on it
	r := answer{Hello: Hello{Capabilities: caps & Offered, Collation: c.u8()}}
	c.take(23)
	r.User = string(c.nul())
	switch {
	case caps&CapPluginAuthLenEnc != 0:
		r.auth = append([]byte(nil), c.lenencBytes()...)
	case caps&CapSecureConnection != 0:
		r.auth = append([]byte(nil), c.take(int(c.u8()))...)
	default:
		r.auth = append([]byte(nil), c.nul()...)
	}
	if caps&CapConnectWithDB != 0 && len(c.b) > 0 {
		r.Database = string(c.nul())
	}
	r.plugin = NativePassword
	if caps&CapPluginAuth != 0 && len(c.b) > 0 {
		r.plugin = string(c.nul())
	}
	return r, c.err()
}

// authenticate decides by the answer, after a change to the method of this
// side when the client chose one that is not known here, or guessed the nonce
// of another one.
func authenticate(c *Conn, nonce []byte, r answer, a Account) error {
	known := r.plugin == NativePassword || r.plugin == CachingSHA2
	if !known || len(r.auth) == 0 {
		if r.Capabilities&CapPluginAuth == 0 {
			return deny(c, r.User)
		}
		p := appendNul([]byte{firstEOF}, NativePassword)
		nonce = newNonce()
		if err := c.Send(append(append(p, nonce...), 0)); err != nil {
			return fmt.Errorf("change the authentication method: %w", err)
		}
		p, err := c.ReadPacket()
		if err != nil {
			return fmt.Errorf("read the authentication answer: %w", err)
		}
		r.auth, r.plugin = append([]byte(nil), p...), NativePassword
	}
	if !proves(r.plugin, nonce, a.Password, r.auth) || r.User != a.User {
		return deny(c, r.User)
	}
	if r.plugin == CachingSHA2 {
		// The password is at hand, so the fast path always does.
		if err := c.WritePacket([]byte{firstAuthMore, 3}); err != nil {
			return fmt.Errorf("end the authentication: %w", err)
		}
	}
	return nil
}

func deny(c *Conn, user string) error {
	e := &ServerError{Code: 1045, State: "28000", Message: fmt.Sprintf("Access denied for user '%.64s'", user)}
	if err := c.Send(AppendError(nil, e)); err != nil {
		return fmt.Errorf("%w, and the client is gone: %w", ErrDenied, err)
	}
	return ErrDenied
}

// AcceptChange authenticates a change of user that the client sent as p, on a
// connection with these capabilities. The last answer, OK or ERR, is the
// caller's; the caller bounds it by a deadline.
func AcceptChange(c *Conn, p []byte, caps Capabilities, a Account) (Hello, error) {
	r, err := parseChangeUser(p, caps)
	if err != nil {
		return Hello{}, fmt.Errorf("change of user: %w", err)
	}
	// The client mixed its answer with the nonce of the greeting, which is
	// long forgotten: it is always asked anew.
	r.auth = nil
	return r.Hello, authenticate(c, nil, r, a)
}

func parseChangeUser(p []byte, caps Capabilities) (answer, error) {
	c := cursor{b: p}
	if Command(c.u8()) != ComChangeUser {
		return answer{}, ErrMalformed
	}
	r := answer{Hello: Hello{Capabilities: caps, User: string(c.nul())}}
	c.take(int(c.u8()))
	r.Database = string(c.nul())
	if len(c.b) >= 2 {
		r.Collation = byte(c.u16())
	}
	return r, c.err()
}
