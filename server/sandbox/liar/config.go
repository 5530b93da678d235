package liar

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"
)

// The lies.
const (
	// NoFence hides holds and fences from a dbproxy, and for Lag what follows
	// a fence, and tells the console that the dbproxy obeys it all.
	NoFence = "no-fence"
	// NoBarrier tells the console that the lanes into the plane's unit passed
	// a barrier as soon as they are asked to. They are slow, and it stalls
	// them from the hold until Stall after that.
	NoBarrier = "no-barrier"
	// NoRoute tells a gateway that its own unit owns everything.
	NoRoute = "no-route"
	// NoInBand hides the moves between other units from the lanes into a unit.
	// The map of the moment is then all that these lanes have to judge rows by,
	// and nothing tells them to wait for each other.
	NoInBand = "no-in-band"
)

// How long a lane is stalled after it claimed a barrier, and how long a proxy
// hears nothing after a fence that was hidden from it. The proxy takes more
// than four seconds of silence for a dead link.
const (
	DefaultStall = 3 * time.Second
	DefaultLag   = 1500 * time.Millisecond
)

// Config of one liar.
type Config struct {
	Lie     string
	Plane   string // name of the plane that is lied to
	Unit    string // where it stands
	Listen  string // host:port that the plane takes for its console
	Console string // URL of the real one
	// WAN and LaneLinks are for NoBarrier: the relay's status URL, and per
	// source unit the name of the link by which its lane into Unit comes.
	WAN       string
	LaneLinks map[string]string
	Stall     time.Duration
	Lag       time.Duration // for NoFence
	Log       *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Stall == 0 {
		c.Stall = DefaultStall
	}
	if c.Lag == 0 {
		c.Lag = DefaultLag
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate says what is wrong with the configuration, all of it.
func (c Config) Validate() error {
	var errs []error
	switch c.Lie {
	case NoFence, NoRoute, NoInBand:
	case NoBarrier:
		if _, err := origin(c.WAN); err != nil {
			errs = append(errs, fmt.Errorf("relay: %w", err))
		}
		if len(c.LaneLinks) == 0 {
			errs = append(errs, errors.New("no lane link is named"))
		}
	default:
		errs = append(errs, fmt.Errorf("there is no lie %q", c.Lie))
	}
	if c.Plane == "" || c.Unit == "" {
		errs = append(errs, errors.New("no plane or no unit is named"))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen address %q: %w", c.Listen, err))
	}
	if _, err := origin(c.Console); err != nil {
		errs = append(errs, fmt.Errorf("console: %w", err))
	}
	return errors.Join(errs...)
}

func origin(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL (use http://host:port)", text)
	}
	return u, nil
}
