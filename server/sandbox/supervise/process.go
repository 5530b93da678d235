package supervise

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Process is one child.
type Process struct {
	Name string // unique: "dbproxy@unit-a"
	Kind string // console, gateway, dbproxy, …
	Unit string // "" stands in no unit

	Path  string   // of the program
	Args  []string // without the program's name
	Env   []string // beside the supervisor's own
	Log   string   // file that takes stdout and stderr
	Ready Probe
	// Grace is how long a stopping child may take after SIGTERM before it is
	// killed; DefaultGrace when zero.
	Grace time.Duration
}

// Limits of a Process.
const (
	DefaultGrace = 5 * time.Second
	ReadyLimit   = 60 * time.Second
	probeEvery   = 25 * time.Millisecond
	probeLimit   = 2 * time.Second
	logMax       = 64 << 20 // a log longer than this is set aside as .old at the next start
)

// Probe says how to see that a process serves. The zero Probe is always ready.
type Probe struct {
	URL string // answers GET with 200
	TCP string // accepts a connection
	// Greets is with TCP the text with which a server must answer Say, or
	// must begin by itself when Say is empty.
	Say, Greets string
	// Func is any other test, with a context that ends soon.
	Func func(context.Context) error
}

// Check tries once.
func (p Probe) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	switch {
	case p.URL != "":
		return p.get(ctx)
	case p.TCP != "":
		return p.connect(ctx)
	case p.Func != nil:
		return p.Func(ctx)
	}
	return nil
}

func (p Probe) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", p.URL, err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return fmt.Errorf("ask %s: %s: %s", p.URL, res.Status, text)
	}
	return nil
}

func (p Probe) connect(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", p.TCP)
	if err != nil {
		return err
	}
	defer c.Close()
	if p.Greets == "" {
		return nil
	}
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	if _, err := io.WriteString(c, p.Say); err != nil {
		return fmt.Errorf("speak to %s: %w", p.TCP, err)
	}
	got := make([]byte, len(p.Greets))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("hear %s: %w", p.TCP, err)
	}
	if string(got) != p.Greets {
		return fmt.Errorf("%s answers %q, want %q", p.TCP, got, p.Greets)
	}
	return nil
}

// State is what the supervisor knows of a child.
type State struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Unit     string `json:"unit"`
	PID      int    `json:"pid"` // 0: not running
	Restarts int    `json:"restarts"`
	Ended    string `json:"ended,omitempty"` // how it ended the last time
}
