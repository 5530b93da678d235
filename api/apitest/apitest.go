// Package apitest serves the console's API to tests.
package apitest

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Serve answers HTTP/1.1 and gRPC without TLS, as a console does, until the
// test ends, and returns the URL.
func Serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	tb.Cleanup(func() {
		s.CloseClientConnections() // streams would keep Close waiting
		s.Close()
	})
	return s.URL
}
