package wan

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Defaults and limits of a Config.
const (
	DefaultRTT         = 30 * time.Millisecond
	DefaultBufferBytes = 4 << 20
	DefaultConnsPer    = 4096
	rttMax             = 10 * time.Second
)

// Link is one relayed way from a site to a server of another site.
type Link struct {
	Name   string `json:"name"`   // unique: "gateway@unit-b<unit-a"
	From   string `json:"from"`   // site of the clients
	To     string `json:"to"`     // site of the server
	Listen string `json:"listen"` // loopback host:port
	Target string `json:"target"` // loopback host:port
}

// Config is what one relay process does; `atoll wan --config` reads it as JSON.
type Config struct {
	Status string `json:"status"` // loopback host:port of /ready, /links, /cut and /heal
	RTTMs  int64  `json:"rttMs"`  // round trip in ms; half of it each way
	Links  []Link `json:"links"`
	// BufferBytes bounds what one direction of one connection holds while it
	// is delayed or cut; beyond it the relay reads no further, so the sender
	// feels the back-pressure of TCP.
	BufferBytes int `json:"bufferBytes,omitempty"`
	// ConnsPer bounds the connections of one link; beyond it the relay
	// accepts no more until one ends, so further clients wait in the
	// listener's backlog.
	ConnsPer int `json:"connsPer,omitempty"`
}

// ReadConfig reads and validates a file.
func ReadConfig(path string) (Config, error) {
	var c Config
	text, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read relay config: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("parse relay config %s: %w", path, err)
	}
	return c, c.Validate()
}

func (c Config) rtt() time.Duration { return time.Duration(c.RTTMs) * time.Millisecond }

func (c Config) withDefaults() Config {
	if c.BufferBytes == 0 {
		c.BufferBytes = DefaultBufferBytes
	}
	if c.ConnsPer == 0 {
		c.ConnsPer = DefaultConnsPer
	}
	return c
}

// Validate says what is wrong, naming the link.
func (c Config) Validate() error {
	if err := loopback(c.Status); err != nil {
		return fmt.Errorf("relay status address: %w", err)
	}
	if c.rtt() < 0 || c.rtt() > rttMax {
		return fmt.Errorf("relay round trip %v is not within 0 and %v", c.rtt(), rttMax)
	}
	if c.BufferBytes < 0 || c.ConnsPer < 0 {
		return errors.New("relay limits are below zero")
	}
	names := map[string]bool{}
	for _, l := range c.Links {
		switch {
		case l.Name == "" || l.From == "" || l.To == "":
			return fmt.Errorf("relay link %q wants a name, from and to", l.Name)
		case l.From == l.To:
			return fmt.Errorf("relay link %s stays within site %s", l.Name, l.From)
		case names[l.Name]:
			return fmt.Errorf("relay link %s is there twice", l.Name)
		}
		names[l.Name] = true
		for _, a := range []string{l.Listen, l.Target} {
			if err := loopback(a); err != nil {
				return fmt.Errorf("relay link %s: %w", l.Name, err)
			}
		}
	}
	return nil
}

// loopback refuses addresses that other machines could reach: the relay has
// no authentication.
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q is not host:port", addr)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("address %q is not a loopback address", addr)
	}
	return nil
}
