package mysql

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// nonceSize is the length of the random text that a password is mixed with.
const nonceSize = 20

// newNonce gives printable bytes: a zero byte would end the nonce early at
// some clients.
func newNonce() []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-"
	b := make([]byte, nonceSize)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[b[i]%64]
	}
	return b
}

// scrambleNative is SHA1(password) xor SHA1(nonce + SHA1(SHA1(password))).
func scrambleNative(nonce []byte, password string) []byte {
	if password == "" {
		return nil
	}
	inner := sha1.Sum([]byte(password))
	twice := sha1.Sum(inner[:])
	outer := sha1.Sum(append(append([]byte(nil), nonce...), twice[:]...))
	for i := range outer {
		outer[i] ^= inner[i]
	}
	return outer[:]
}

// scrambleSHA2 is SHA256(password) xor SHA256(SHA256(SHA256(password)) + nonce).
func scrambleSHA2(nonce []byte, password string) []byte {
	if password == "" {
		return nil
	}
	inner := sha256.Sum256([]byte(password))
	twice := sha256.Sum256(inner[:])
	outer := sha256.Sum256(append(twice[:], nonce...))
	for i := range outer {
		outer[i] ^= inner[i]
	}
	return outer[:]
}

func scramble(plugin string, nonce []byte, password string) ([]byte, error) {
	switch plugin {
	case NativePassword:
		return scrambleNative(nonce, password), nil
	case CachingSHA2:
		return scrambleSHA2(nonce, password), nil
	}
	return nil, fmt.Errorf("authentication method %q is not known here", plugin)
}

// proves says whether the answer to the nonce shows the password.
func proves(plugin string, nonce []byte, password string, answer []byte) bool {
	want, err := scramble(plugin, nonce, password)
	return err == nil && len(want) > 0 && subtle.ConstantTimeCompare(want, answer) == 1
}

// sealPassword encrypts the password, mixed with the nonce, for the server's
// public key, as full authentication without TLS wants it.
func sealPassword(key []byte, nonce []byte, password string) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("the server's public key is no PEM block")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the server's public key: %w", err)
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the server's public key is not of RSA")
	}
	plain := append([]byte(password), 0)
	for i := range plain {
		plain[i] ^= nonce[i%len(nonce)]
	}
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public, plain, nil)
	if err != nil {
		return nil, fmt.Errorf("seal the password: %w", err)
	}
	return sealed, nil
}
