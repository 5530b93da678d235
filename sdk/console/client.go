package console

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
)

const retryMin = 50 * time.Millisecond

// backoff waits, with jitter, and returns the next, longer wait. It returns
// early when ctx ends.
func backoff(ctx context.Context, wait time.Duration) time.Duration {
	t := time.NewTimer(wait/2 + rand.N(wait))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return min(2*wait, retryMax)
}

// services are the clients of one console.
type services struct {
	planes    atollv1connect.PlanesClient
	documents atollv1connect.DocumentsClient
	moves     atollv1connect.MovesClient
}

// Client reaches one of several consoles and goes on to the next when one
// fails. It is safe for concurrent use.
type Client struct {
	all []*services
	at  atomic.Int64
}

// NewClient returns a client of the consoles at urls.
func NewClient(urls []string, token string) (*Client, error) {
	if len(urls) == 0 {
		return nil, errors.New("no console named (use --console URL or ATOLL_CONSOLE)")
	}
	h := &http.Client{Transport: bearer{token: token, next: newTransport()}}
	c := new(Client)
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
			return nil, fmt.Errorf("console %q is no URL (use http://host:port)", u)
		}
		c.all = append(c.all, &services{
			planes:    atollv1connect.NewPlanesClient(h, u, connect.WithGRPC()),
			documents: atollv1connect.NewDocumentsClient(h, u, connect.WithGRPC()),
			moves:     atollv1connect.NewMovesClient(h, u, connect.WithGRPC()),
		})
	}
	return c, nil
}

// Planes, Documents and Moves are the services of the console in use.
func (c *Client) Planes() atollv1connect.PlanesClient { return c.current().planes }

// Documents is the documents service of the console in use.
func (c *Client) Documents() atollv1connect.DocumentsClient { return c.current().documents }

// Moves is the moves service of the console in use.
func (c *Client) Moves() atollv1connect.MovesClient { return c.current().moves }

func (c *Client) current() *services { return c.all[int(c.at.Load())%len(c.all)] }

// next goes on to another console.
func (c *Client) next() { c.at.Add(1) }

// try makes one call with a time limit, and goes on to the next console for
// the following call when this one was not answered.
func (c *Client) try(ctx context.Context, limit time.Duration, call func(context.Context, *services) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := call(ctx, c.current())
	if err != nil && !refused(err) {
		c.next()
	}
	return err
}

// newTransport speaks HTTP/2 with prior knowledge, and notices a link that
// swallows everything by pings.
func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		Protocols:       protocols,
		DialContext:     (&net.Dialer{Timeout: reportTimeout, KeepAlive: 5 * time.Second}).DialContext,
		IdleConnTimeout: time.Minute,
		HTTP2:           &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: reportTimeout},
	}
}

// bearer adds the token to each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}
