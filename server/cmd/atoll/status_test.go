package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestWithStatus(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	addr := l.Addr().String()

	err = withStatus(t.Context(), addr, page, func(context.Context) error { t.Error("runs without its status address"); return nil })
	if err == nil || !strings.Contains(err.Error(), "choose another --status") {
		t.Errorf("an address that is taken: %v", err)
	}

	why := errors.New("over")
	err = serveBeside(t.Context(), l, page, func(context.Context) error {
		res, err := http.Get("http://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusTeapot {
			t.Errorf("status %d", res.StatusCode)
		}
		return why
	})
	if !errors.Is(err, why) || err.Error() != why.Error() {
		t.Errorf("the end of run: %v", err)
	}
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		_ = c.Close()
		t.Error("the status address outlives run")
	}
}

// A plane whose status address breaks ends, with the reason.
func TestWithStatus_EndsWithItsAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = serveBeside(t.Context(), l, http.NotFoundHandler(), func(ctx context.Context) error {
		_ = l.Close()
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Error("run goes on without its status address")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "serve status") {
		t.Errorf("%v", err)
	}
}
