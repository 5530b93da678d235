package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/atoll-live/atoll/sdk/console"
)

// userHeader tells the console's audit log who is calling.
const userHeader = "X-Atoll-User"

// requestTime bounds a call that waits for nobody.
const requestTime = 15 * time.Second

// method picks one call of the console's services.
type method[Req, Res any] func(*console.Client) func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// call makes one call to the console, within a time limit. The next console is
// tried only when one could not be reached at all, so nothing is done twice.
func call[Req, Res any](ctx context.Context, f *ConsoleFlags, limit time.Duration, m method[Req, Res], msg *Req) (*Res, error) {
	urls, err := f.Consoles()
	if err != nil {
		return nil, err
	}
	token, err := f.Token()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for i, url := range urls {
		client, err := console.NewClient([]string{url}, token)
		if err != nil {
			return nil, usageError(err)
		}
		req := connect.NewRequest(msg)
		req.Header().Set(userHeader, whoami())
		res, err := m(client)(ctx, req)
		if err == nil {
			return res.Msg, nil
		}
		if i == len(urls)-1 || !unreached(err) {
			return nil, callError(url, err)
		}
	}
	return nil, usageError(errors.New("no console named (use --console URL or ATOLL_CONSOLE)"))
}

func unreached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// callError says in words what a call came to, and with which exit status.
func callError(url string, err error) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	said := errors.New(e.Message())
	switch e.Code() {
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeAlreadyExists,
		connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return usageError(said)
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		return unreachableError(fmt.Errorf("console %s does not answer: %w", url, said))
	case connect.CodeUnimplemented:
		return fmt.Errorf("console %s does not know this request: %w", url, said)
	case connect.CodeCanceled:
		return errors.New("interrupted")
	}
	return said
}

// whoami is the name of the user who runs the command.
func whoami() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	// A header takes no line breaks and the like.
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, u.Username)
}
