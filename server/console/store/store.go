package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a store refuses. They are matched with errors.Is.
var (
	// ErrConflict says that a compare of a transaction did not hold: nothing
	// was written. The error is a *ConflictError.
	ErrConflict = errors.New("written by somebody else meanwhile")
	// ErrCompacted says that the revision asked for is gone: list again.
	ErrCompacted = errors.New("revision is no longer kept")
	// ErrTooLarge says that a transaction is over MaxTxnBytes or MaxTxnOps:
	// nothing was written.
	ErrTooLarge = errors.New("too large for one transaction")
	// ErrUnavailable says that the store did not answer in time, for want of a
	// quorum or because it is closed. Of a Commit the outcome is unknown.
	ErrUnavailable = errors.New("store does not answer")
)

// The limits of one transaction.
const (
	MaxTxnBytes = 8 << 20 // keys and values together
	MaxTxnOps   = 512     // compares, and operations
)

// Item is one key. An absent key is an Item with Revision 0, so that a
// Compare of it holds as long as nobody creates the key.
type Item struct {
	Key      string
	Value    []byte
	Revision int64 // of the last write
	Created  int64 // revision that created it
}

// Exists tells whether the key is there.
func (i Item) Exists() bool { return i.Revision != 0 }

// Unchanged holds as long as the key is as it was read, absent included.
func (i Item) Unchanged() Compare { return Compare{Key: i.Key, Revision: i.Revision} }

// Listing is a range of keys, in key order, as it was at Revision.
type Listing struct {
	Revision int64
	Items    []Item
}

// Compare holds when the key's last write was at Revision; 0: it is absent.
type Compare struct {
	Key      string
	Revision int64
}

// Absent holds when the key is not there: create-if-absent.
func Absent(key string) Compare { return Compare{Key: key} }

// Op is one write of a transaction. A key stands in it once at most.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
	Lease  int64 // the key goes when this lease ends; 0: it stays
}

// Put writes a key.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value} }

// Delete removes a key; an absent one is no error.
func Delete(key string) Op { return Op{Key: key, Delete: true} }

// Txn is written whole when every compare holds, and not at all otherwise.
type Txn struct {
	If   []Compare
	Then []Op
}

// ConflictError names the first key whose compare did not hold.
type ConflictError struct{ Key string }

func (e *ConflictError) Error() string { return e.Key + ": " + ErrConflict.Error() }

// Unwrap makes it an ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// Event is one key's change.
type Event struct {
	Item    Item // of a deletion only Key and Revision
	Deleted bool
}

// Changes are the events of one or more whole revisions, in order. A Changes
// with an Err is the last of its watch.
type Changes struct {
	Revision int64 // the highest revision delivered
	Events   []Event
	Err      error
}

// Lease keeps keys alive as long as its holder lives. It is renewed in the
// background until Revoke.
type Lease interface {
	ID() int64
	// Done is closed when the lease has ended, or may have for all that its
	// holder knows. A pause of the holder can outlast it: only a Compare is
	// proof.
	Done() <-chan struct{}
	// Revoke ends the lease and its keys.
	Revoke(ctx context.Context) error
}

// Store is the seam. Revisions are of the whole store and only rise. Reads
// are linearizable: they see every Commit that returned before they began.
// All methods are safe for concurrent use; each answers within the context's
// deadline, and one without a deadline within RequestTimeout.
type Store interface {
	// Get reads one key. An absent one is an Item that does not exist.
	Get(ctx context.Context, key string) (Item, error)
	// List reads all keys with a prefix, as of a revision; 0: as of now.
	List(ctx context.Context, prefix string, revision int64) (Listing, error)
	// Keys is List as of now without the values.
	Keys(ctx context.Context, prefix string) (Listing, error)
	// Commit writes a transaction and returns its revision.
	Commit(ctx context.Context, t Txn) (int64, error)
	// Watch delivers every change of keys with a prefix from a revision on,
	// none twice and none left out, until ctx ends, which closes the channel.
	// A watch that cannot go on delivers its Err and is closed.
	Watch(ctx context.Context, prefix string, from int64) <-chan Changes
	// Grant begins a lease. The time is at least one second.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)
}

// RequestTimeout bounds a request whose context has no deadline.
const RequestTimeout = 5 * time.Second

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, RequestTimeout)
}

// check refuses what no store takes.
func (t Txn) check() error {
	if len(t.If) > MaxTxnOps || len(t.Then) > MaxTxnOps {
		return fmt.Errorf("%d compares and %d writes, at most %d of each: %w", len(t.If), len(t.Then), MaxTxnOps, ErrTooLarge)
	}
	size := 0
	seen := make(map[string]bool, len(t.Then))
	for _, op := range t.Then {
		if op.Key == "" || seen[op.Key] {
			return fmt.Errorf("key %q is empty or written twice in one transaction", op.Key)
		}
		seen[op.Key] = true
		size += len(op.Key) + len(op.Value)
	}
	if size > MaxTxnBytes {
		return fmt.Errorf("%d bytes, at most %d: %w", size, MaxTxnBytes, ErrTooLarge)
	}
	return nil
}
