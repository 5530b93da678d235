package shop

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-sql-driver/mysql"
)

// Numbers of the proxy and of the server that the shop acts on.
const (
	numberNotOwner   = 9601
	numberFenced     = 9602
	numberUnprovable = 9603
	numberNoLease    = 9607
	numberFirst      = 9600
	numberLast       = 9699

	numberDuplicate   = 1062
	numberLockTimeout = 1205
	numberDeadlock    = 1213
	numberReadOnly    = 1290 // the server runs with --read-only
	numberTooMany     = 1040
	numberShutdown    = 1053
)

// failure is an answer that is no success.
type failure struct {
	status int
	text   string
	code   int  // number of the SQL error, 0 for none
	retry  bool // the same request may do better in a second
	// unknown says that a COMMIT, or a write that is its own transaction, was
	// sent and not answered. Every other failure means: certainly not done.
	unknown bool
	owner   string // unit that owns the buyer, with status 421
}

func (f *failure) Error() string { return f.text }

// failureBody is a failure as clients see it.
type failureBody struct {
	Error string `json:"error"`
	Code  int    `json:"code,omitempty"`
	Retry bool   `json:"retry,omitempty"`
	Done  any    `json:"done"` // false or "unknown"
	Owner string `json:"owner,omitempty"`
}

func (f *failure) body() failureBody {
	b := failureBody{Error: f.text, Code: f.code, Retry: f.retry, Done: false, Owner: f.owner}
	if f.unknown {
		b.Done = "unknown"
	}
	return b
}

func badRequest(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...)}
}

// commitError is an error of COMMIT itself.
type commitError struct{ err error }

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// outcomeUnknown tells whether a COMMIT may have been done in spite of the
// error. An error packet means not done. Package database/sql answers with the
// context's error, or with ErrTxDone, only when it did not send the COMMIT.
// Everything else is a connection that broke around it.
func (e *commitError) outcomeUnknown() bool {
	var refusal *mysql.MySQLError
	return !errors.As(e.err, &refusal) && !errors.Is(e.err, context.Canceled) &&
		!errors.Is(e.err, context.DeadlineExceeded) && !errors.Is(e.err, sql.ErrTxDone)
}

// writeError is an error of a write that is its own transaction.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// outcomeUnknown tells whether the write may have been done in spite of the
// error. An error packet means not done, and the driver says ErrBadConn only
// when it has sent nothing. A context may have ended before or after.
func (e *writeError) outcomeUnknown() bool {
	var refusal *mysql.MySQLError
	return !errors.As(e.err, &refusal) && !errors.Is(e.err, driver.ErrBadConn)
}

// unknownOutcome tells whether an error leaves open if something was done.
func unknownOutcome(err error) bool {
	var e interface {
		error
		outcomeUnknown() bool
	}
	return errors.As(err, &e) && e.outcomeUnknown()
}

// rolledBack tells whether an error means that nothing was done and that the
// same transaction may succeed when it is repeated.
func rolledBack(err error) bool {
	if unknownOutcome(err) {
		return false
	}
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch refusal.Number {
		case numberFenced, numberDeadlock, numberLockTimeout:
			return true
		}
		return false
	}
	return lostConnection(err)
}

func lostConnection(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn)
}

// explain turns an error of the database into what the client is told. Owner
// is the unit that owns the buyer as far as the application knows.
func explain(err error, owner string) *failure {
	if known, ok := errors.AsType[*failure](err); ok {
		return known
	}
	if unknownOutcome(err) {
		return &failure{status: http.StatusInternalServerError, unknown: true,
			text: "the connection to the database was lost around the write: it may have been done"}
	}
	if refusal, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return refused(refusal, owner)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &failure{status: http.StatusServiceUnavailable, retry: true, text: "the database did not answer in time; nothing was done"}
	}
	return &failure{status: http.StatusServiceUnavailable, retry: true, text: "the database cannot be reached; nothing was done"}
}

// refused maps an error packet, which always means that nothing was done.
func refused(e *mysql.MySQLError, owner string) *failure {
	f := &failure{status: http.StatusInternalServerError, text: e.Message, code: int(e.Number)}
	switch e.Number {
	case numberNotOwner:
		f.status, f.owner = http.StatusMisdirectedRequest, owner
	case numberFenced, numberNoLease, numberDeadlock, numberLockTimeout, numberReadOnly, numberTooMany, numberShutdown:
		f.status, f.retry = http.StatusServiceUnavailable, true
	case numberUnprovable:
		f.status = http.StatusBadRequest
	}
	if e.Number < numberFirst || e.Number > numberLast {
		f.text = fmt.Sprintf("the database refused it with error %d; nothing was done", e.Number) // its text is not for users
	}
	return f
}
