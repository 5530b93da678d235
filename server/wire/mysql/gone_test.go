package mysql

import (
	"testing"
	"time"
)

func TestGone(t *testing.T) {
	for name, last := range map[string]string{"without a word": "", "behind words that nobody has read": "\x01\x00\x00\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			far, near := pair(t)
			c := NewConn(near)
			if c.Gone() {
				t.Fatal("gone at the beginning")
			}
			if _, err := far.Write([]byte(last)); err != nil {
				t.Fatal(err)
			}
			if c.Gone() {
				t.Fatal("gone because it said something")
			}
			if err := far.Close(); err != nil {
				t.Fatal(err)
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for until := time.Now().Add(20 * time.Second); !c.Gone(); <-tick.C {
				if time.Now().After(until) {
					t.Fatal("the other end is closed, and not gone")
				}
			}
		})
	}
	_, near := pair(t)
	c := NewConn(near)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if !c.Gone() {
		t.Error("a connection that was closed here is not gone")
	}
}
