package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// withStatus serves a status address, if there is one, while run runs.
func withStatus(ctx context.Context, addr string, h http.Handler, run func(context.Context) error) error {
	if addr == "" {
		return run(ctx)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("status: %w (choose another --status, or end what has the port)", err)
	}
	return serveBeside(ctx, l, h, run)
}

// serveBeside ends run when the address cannot be served any more: a
// supervisor would take a plane that does not answer for a dead one.
func serveBeside(ctx context.Context, l net.Listener, h http.Handler, run func(context.Context) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() {
		defer end()
		served <- s.Serve(l)
	}()
	err := run(ctx)
	_ = s.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve status: %w", e))
	}
	return err
}
