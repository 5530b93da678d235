package mysql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// Login is how to enter a server.
type Login struct {
	User, Password, Database string
	Capabilities             Capabilities // those of the client on the other side; only what a relay must have alike is asked for
	Collation                byte
}

// Server is an authenticated connection to a server.
type Server struct {
	*Conn
	Version      string
	Thread       uint32
	Capabilities Capabilities // agreed on
	Status       Status
}

// Dial connects to a server and authenticates; ctx bounds both.
func Dial(ctx context.Context, addr string, l Login) (*Server, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s, err := Enter(ctx, nc, l)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return s, nil
}

// Enter authenticates over nc; ctx bounds it. A refusal of the server comes as
// *ServerError. The caller closes nc when it fails.
func Enter(ctx context.Context, nc net.Conn, l Login) (*Server, error) {
	c := NewConn(nc)
	c.SetMax(MaxBeforeAuth)
	if until, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(until); err != nil {
			return nil, fmt.Errorf("bound the handshake: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	s := &Server{Conn: c}
	if err := s.enter(l); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	c.SetMax(1 << 30) // a row may be as long as a server can send; the relay does not keep it
	return s, c.SetDeadline(time.Time{})
}

// greeting is a server's first packet.
type greeting struct {
	version   string
	thread    uint32
	nonce     []byte
	caps      Capabilities
	collation byte
	status    Status
	plugin    string
}

func parseGreeting(p []byte) (greeting, error) {
	c := cursor{b: p}
	var g greeting
	if v := c.u8(); v == firstERR {
		e, err := parseError(p)
		if err != nil {
			return g, err
		}
		return g, e
	} else if v != 10 {
		return g, fmt.Errorf("%w: protocol version %d", ErrMalformed, v)
	}
	g.version = string(c.nul())
	g.thread = c.u32()
	g.nonce = append(g.nonce, c.take(8)...)
	c.u8()
	g.caps = Capabilities(c.u16())
	g.collation = c.u8()
	g.status = Status(c.u16())
	g.caps |= Capabilities(c.u16()) << 16
	length := int(c.u8())
	c.take(10)
	if g.caps&CapProtocol41 == 0 || g.caps&CapSecureConnection == 0 {
		return g, fmt.Errorf("%w: a server older than 4.1", ErrMalformed)
	}
	rest := c.take(max(13, length-8))
	if len(rest) > 0 {
		g.nonce = append(g.nonce, rest[:len(rest)-1]...)
	}
	g.plugin = NativePassword
	if g.caps&CapPluginAuth != 0 && len(c.b) > 0 {
		if i := indexNul(c.b); i < len(c.b) {
			g.plugin = string(c.b[:i])
		} else {
			g.plugin = string(c.b) // some servers forget the zero byte
		}
	}
	if c.failed || len(g.nonce) != nonceSize {
		return g, fmt.Errorf("%w: greeting", ErrMalformed)
	}
	return g, nil
}

func indexNul(b []byte) int {
	for i, x := range b {
		if x == 0 {
			return i
		}
	}
	return len(b)
}

func (s *Server) enter(l Login) error {
	s.Restart()
	p, err := s.ReadPacket()
	if err != nil {
		return fmt.Errorf("read the greeting: %w", whole(err))
	}
	g, err := parseGreeting(p)
	if err != nil {
		return err
	}
	need := l.Capabilities & carried
	if missing := need &^ g.caps; missing != 0 {
		return fmt.Errorf("the server lacks capabilities %#x of the client", uint32(missing))
	}
	s.Version, s.Thread = g.version, g.thread
	s.Capabilities = need | CapLongPassword | CapProtocol41 | CapTransactions | CapSecureConnection | CapPluginAuth&g.caps
	if l.Database != "" {
		s.Capabilities |= CapConnectWithDB
	}
	plugin := g.plugin
	if plugin != NativePassword && plugin != CachingSHA2 {
		plugin = NativePassword
	}
	auth, err := scramble(plugin, g.nonce, l.Password)
	if err != nil {
		return err
	}
	if err := s.Send(appendHello(nil, s.Capabilities, l, auth, plugin)); err != nil {
		return fmt.Errorf("send the handshake: %w", err)
	}
	return s.prove(l.Password, g.nonce, plugin)
}

func appendHello(b []byte, caps Capabilities, l Login, auth []byte, plugin string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(caps))
	b = binary.LittleEndian.AppendUint32(b, 1<<30)
	b = append(b, l.Collation)
	b = append(b, make([]byte, 23)...)
	b = appendNul(b, l.User)
	b = append(append(b, byte(len(auth))), auth...)
	if caps&CapConnectWithDB != 0 {
		b = appendNul(b, l.Database)
	}
	if caps&CapPluginAuth != 0 {
		b = appendNul(b, plugin)
	}
	return b
}

// maxAuthSteps ends a server that never comes to a result.
const maxAuthSteps = 8

// prove goes on with the authentication until the server decides.
func (s *Server) prove(password string, nonce []byte, plugin string) error {
	for range maxAuthSteps {
		p, err := s.ReadPacket()
		if err != nil {
			return fmt.Errorf("read the authentication answer: %w", whole(err))
		}
		if len(p) == 0 {
			return ErrMalformed
		}
		switch p[0] {
		case firstOK:
			ok, err := parseOK(p)
			s.Status = ok.Status
			return err
		case firstERR:
			e, err := parseError(p)
			if err != nil {
				return err
			}
			return e
		case firstEOF:
			if plugin, nonce, err = s.switchTo(p, password); err != nil {
				return err
			}
		case firstAuthMore:
			if err := s.more(p[1:], password, nonce, plugin); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: authentication answer %#x", ErrMalformed, p[0])
		}
	}
	return errors.New("the server does not come to an end of the authentication")
}

// switchTo follows a change of the method.
func (s *Server) switchTo(p []byte, password string) (plugin string, nonce []byte, err error) {
	c := cursor{b: p[1:]}
	plugin = string(c.nul())
	if c.failed {
		return "", nil, fmt.Errorf("%w: change of the authentication method", ErrMalformed)
	}
	nonce = append(nonce, c.b[:min(len(c.b), nonceSize)]...)
	if len(nonce) != nonceSize {
		return "", nil, fmt.Errorf("%w: nonce", ErrMalformed)
	}
	auth, err := scramble(plugin, nonce, password)
	if err != nil {
		return "", nil, err
	}
	return plugin, nonce, s.Send(auth)
}

// more answers caching_sha2_password's further wishes: fast success asks for
// nothing; full authentication gets the password under the server's key.
func (s *Server) more(p []byte, password string, nonce []byte, plugin string) error {
	if plugin != CachingSHA2 || len(p) == 0 {
		return fmt.Errorf("%w: more authentication data", ErrMalformed)
	}
	switch p[0] {
	case 3:
		return nil
	case 4:
		return s.Send([]byte{2})
	}
	sealed, err := sealPassword(p, nonce, password)
	if err != nil {
		return err
	}
	return s.Send(sealed)
}

// Prove authenticates anew after a change of user was asked for, which has no
// greeting and begins with the server's choice of a method.
func (s *Server) Prove(password string) error {
	return s.prove(password, nil, "")
}
