package documents

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/api/atoll/v1/atollv1connect"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// Awaiter waits until planes have an epoch in force. The planes service is one.
type Awaiter interface {
	AwaitEpoch(ctx context.Context, space string, epoch int64) error
}

// Asker asks planes for the one call whose ctx it is; planes.ErrNobody when
// there is none to ask. The planes service is one.
type Asker interface {
	Ask(ctx context.Context, kind, unit string, ask *atollv1.Ask) (*atollv1.Ack, error)
}

// Config is what the service stands on.
type Config struct {
	Store    store.Store
	Settings space.Settings // of every snapshot published from now on
	Awaiter  Awaiter
	Asker    Asker // looks into the units' databases
	// Passed tells whether every lane has passed the tokens of an ended move.
	// Nil: nobody knows, so none is taken to have.
	Passed func(*space.Snapshot, *space.Transfer) bool
}

// The limits of the service.
const (
	MaxInput     = 4 << 20          // bytes of one apply or diff
	requestLimit = 10 * time.Second // of one request that does not wait for planes
	waitLimit    = 5 * time.Minute  // of one that does and has no deadline
	compareLimit = 30 * time.Second // of the comparison of new tables, when the caller says nothing
	compareMost  = time.Hour        // whatever the caller says
	applyTries   = 8                // against others who publish at the same time
)

// Service is the Documents service.
type Service struct{ cfg Config }

var _ atollv1connect.DocumentsHandler = (*Service)(nil)

// New returns the service. It has nothing to run.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("documents: no store")
	}
	if cfg.Awaiter == nil {
		return nil, errors.New("documents: nobody who waits for planes")
	}
	if cfg.Asker == nil {
		return nil, errors.New("documents: nobody to ask about rows")
	}
	return &Service{cfg: cfg}, nil
}

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(format, args...))
}

// busy refuses for now what may be asked again.
func busy(format string, args ...any) error {
	return connect.NewError(connect.CodeAborted, fmt.Errorf(format, args...))
}

// failure gives an error of the layers below its code.
func failure(err error) error {
	var coded *connect.Error
	switch {
	case err == nil, errors.As(err, &coded):
		return err
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}
