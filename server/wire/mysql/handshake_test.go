package mysql

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"testing"
	"time"
)

var account = Account{User: "shop", Password: "secret"}

// enterAndAccept lets a client of this package meet a server of this package.
func enterAndAccept(t *testing.T, l Login) (*Server, Hello, error, error) {
	t.Helper()
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	type result struct {
		hello Hello
		err   error
	}
	done := make(chan result, 1)
	go func() {
		c := NewConn(b)
		hello, err := Accept(c, Greeting{Version: "5.5.5-10.11.19-MariaDB", Thread: 77, Collation: 45}, account)
		if err == nil {
			err = c.Send(AppendOK(nil, OK{Status: StatusAutocommit}))
		}
		done <- result{hello, err}
	}()
	s, err := Enter(ctx, a, l)
	r := <-done
	return s, r.hello, err, r.err
}

func TestHandshakeAgreesOnCapabilities(t *testing.T) {
	l := Login{User: "shop", Password: "secret", Database: "shop", Collation: 45, Capabilities: CapFoundRows | CapDeprecateEOF | CapMultiStatements}
	s, hello, err, serr := enterAndAccept(t, l)
	if err != nil || serr != nil {
		t.Fatal(err, serr)
	}
	if s.Version != "5.5.5-10.11.19-MariaDB" || s.Thread != 77 || s.Status != StatusAutocommit {
		t.Errorf("server %+v", s)
	}
	if hello.User != "shop" || hello.Database != "shop" || hello.Collation != 45 {
		t.Errorf("hello %+v", hello)
	}
	want := CapFoundRows | CapDeprecateEOF
	if got := hello.Capabilities & (carried | CapMultiStatements); got != want {
		t.Errorf("capabilities %#x, want %#x", got, want)
	}
}

func TestHandshakeRefuses(t *testing.T) {
	for name, l := range map[string]Login{
		"wrong password": {User: "shop", Password: "secres"},
		"no password":    {User: "shop"},
		"wrong user":     {User: "shopp", Password: "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err, serr := enterAndAccept(t, l)
			var refused *ServerError
			if !errors.As(err, &refused) || refused.Code != 1045 || refused.State != "28000" {
				t.Errorf("client got %v", err)
			}
			if !errors.Is(serr, ErrDenied) {
				t.Errorf("server got %v", serr)
			}
		})
	}
}

// script runs a server that is written out by hand.
func script(t *testing.T, nc net.Conn, f func(c *Conn) error) chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f(NewConn(nc)) }()
	return done
}

func foreignGreeting(nonce []byte, plugin string) []byte {
	p := appendGreeting(nil, Greeting{Version: "8.0.40", Thread: 5, Collation: 255}, nonce)
	p = p[:len(p)-len(NativePassword)-1]
	return appendNul(p, plugin)
}

func TestEnterFullAuthenticationWithKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	nonce := newNonce()
	a, b := pair(t)
	done := script(t, b, func(c *Conn) error {
		if err := c.Send(foreignGreeting(nonce, CachingSHA2)); err != nil {
			return err
		}
		p, err := c.ReadPacket()
		if err != nil {
			return err
		}
		r, err := parseHello(p)
		if err != nil || r.plugin != CachingSHA2 || !proves(CachingSHA2, nonce, "secret", r.auth) {
			return errors.New("the fast answer is wrong")
		}
		if err := c.Send([]byte{firstAuthMore, 4}); err != nil {
			return err
		}
		if p, err = c.ReadPacket(); err != nil || !bytes.Equal(p, []byte{2}) {
			return errors.New("the key was not asked for")
		}
		if err := c.Send(append([]byte{firstAuthMore}, public...)); err != nil {
			return err
		}
		if p, err = c.ReadPacket(); err != nil {
			return err
		}
		plain, err := rsa.DecryptOAEP(sha1.New(), nil, key, p, nil)
		if err != nil {
			return err
		}
		for i := range plain {
			plain[i] ^= nonce[i%len(nonce)]
		}
		if string(plain) != "secret\x00" {
			return errors.New("the password is wrong")
		}
		return c.Send(AppendOK(nil, OK{Status: StatusAutocommit}))
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := Enter(ctx, a, Login{User: "u", Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestEnterFollowsSwitch(t *testing.T) {
	a, b := pair(t)
	second := newNonce()
	done := script(t, b, func(c *Conn) error {
		if err := c.Send(foreignGreeting(newNonce(), CachingSHA2)); err != nil {
			return err
		}
		if _, err := c.ReadPacket(); err != nil {
			return err
		}
		p := append(appendNul([]byte{firstEOF}, NativePassword), second...)
		if err := c.Send(append(p, 0)); err != nil {
			return err
		}
		p, err := c.ReadPacket()
		if err != nil || !proves(NativePassword, second, "secret", p) {
			return errors.New("the answer to the switch is wrong")
		}
		return c.Send(AppendOK(nil, OK{}))
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := Enter(ctx, a, Login{User: "u", Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAcceptTakesForeignClients(t *testing.T) {
	hello := func(plugin string, auth []byte) []byte {
		caps := Offered &^ CapPluginAuthLenEnc
		p := appendHello(nil, caps, Login{User: "shop", Database: "shop", Collation: 255}, auth, plugin)
		return append(appendLenenc(p, 8), "\x03foo\x03bar"...)
	}
	t.Run("caching_sha2 takes the fast path", func(t *testing.T) {
		a, b := pair(t)
		done := script(t, b, func(c *Conn) error { _, err := Accept(c, Greeting{}, account); _ = c.Flush(); return err })
		c := NewConn(a)
		p, err := c.ReadPacket()
		if err != nil {
			t.Fatal(err)
		}
		g, err := parseGreeting(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Send(hello(CachingSHA2, scrambleSHA2(g.nonce, "secret"))); err != nil {
			t.Fatal(err)
		}
		if p, err = c.ReadPacket(); err != nil || !bytes.Equal(p, []byte{firstAuthMore, 3}) {
			t.Fatalf("%x, %v", p, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an unknown method is changed", func(t *testing.T) {
		a, b := pair(t)
		done := script(t, b, func(c *Conn) error { _, err := Accept(c, Greeting{}, account); return err })
		c := NewConn(a)
		if _, err := c.ReadPacket(); err != nil {
			t.Fatal(err)
		}
		if err := c.Send(hello("client_ed25519", []byte("xxxx"))); err != nil {
			t.Fatal(err)
		}
		p, err := c.ReadPacket()
		if err != nil || p[0] != firstEOF {
			t.Fatalf("%x, %v", p, err)
		}
		nonce := p[1+len(NativePassword)+1:][:nonceSize]
		if err := c.Send(scrambleNative(nonce, "secret")); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
	t.Run("before the password little is read", func(t *testing.T) {
		a, b := pair(t)
		done := script(t, b, func(c *Conn) error { _, err := Accept(c, Greeting{}, account); return err })
		c := NewConn(a)
		if _, err := c.ReadPacket(); err != nil {
			t.Fatal(err)
		}
		if err := c.writeHeader(MaxBeforeAuth + 1); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
	})
}

func TestChangeUserAsksAnew(t *testing.T) {
	a, b := pair(t)
	request := append([]byte{byte(ComChangeUser)}, "shop\x00\x14"...)
	request = append(append(request, make([]byte, 20)...), "shop\x00\x2d\x00mysql_native_password\x00"...)
	done := script(t, b, func(c *Conn) error {
		p, err := c.ReadPacket()
		if err != nil {
			return err
		}
		h, err := AcceptChange(c, p, Offered, account)
		if err == nil && (h.Database != "shop" || h.Collation != 45) {
			return errors.New("wrong parts")
		}
		return err
	})
	c := NewConn(a)
	if err := c.Request(request); err != nil {
		t.Fatal(err)
	}
	p, err := c.ReadPacket()
	if err != nil || p[0] != firstEOF {
		t.Fatalf("%x, %v", p, err)
	}
	if err := c.Send(scrambleNative(p[1+len(NativePassword)+1:][:nonceSize], "secret")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
