package history

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Kind is what an operation does.
type Kind string

// The kinds. The first three are of a register, the others of a list.
const (
	Read   Kind = "read"
	Write  Kind = "write"
	CAS    Kind = "cas"
	Append Kind = "append"
	List   Kind = "list"
)

// Outcome is what the client knows of its operation.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"      // answered: done
	Fail    Outcome = "fail"    // certainly not done, and never will be
	Unknown Outcome = "unknown" // may be done at any time after its invoke, or never
)

// Op is one operation of one client.
type Op struct {
	ID      int     `json:"id"`
	Client  int     `json:"client"`
	Kind    Kind    `json:"kind"`
	Key     string  `json:"key"`
	Via     string  `json:"via,omitempty"` // for people: the way it took
	Invoke  int64   `json:"invoke_ns"`
	Return  int64   `json:"return_ns"` // of an unknown one: when the client gave up
	Outcome Outcome `json:"outcome"`
	Error   string  `json:"error,omitempty"` // for people

	Value   int64   `json:"value,omitempty"`   // read, written, appended
	Was     int64   `json:"was,omitempty"`     // of a compare-and-set
	Swapped bool    `json:"swapped,omitempty"` // of a compare-and-set that ended ok
	Before  []int64 `json:"before,omitzero"`   // what an append read first in its transaction; nil: it did not read
	After   []int64 `json:"after,omitzero"`    // what a list read, or an append behind itself; nil: it did not read
}

// object is what an operation is of: "register" or "list".
func (o *Op) object() string {
	if o.Kind == Append || o.Kind == List {
		return "list"
	}
	return "register"
}

// String tells an operation to people.
func (o *Op) String() string {
	what := ""
	switch o.Kind {
	case Read:
		what = fmt.Sprintf("read %d", o.Value)
	case Write:
		what = fmt.Sprintf("write %d", o.Value)
	case CAS:
		what = fmt.Sprintf("cas %d→%d", o.Was, o.Value)
		if o.Outcome == OK && !o.Swapped {
			what += " not swapped"
		}
	case Append:
		what = fmt.Sprintf("append %d", o.Value)
		if o.After != nil {
			what += " read " + tail(o.After)
		}
	case List:
		what = "read " + tail(o.After)
	}
	end := "?"
	if o.Outcome != Unknown {
		end = millis(o.Return)
	}
	via := ""
	if o.Via != "" {
		via = " by " + o.Via
	}
	return fmt.Sprintf("#%d client %d %s %s%s [%s–%s ms]", o.ID, o.Client, what, o.Outcome, via, millis(o.Invoke), end)
}

func millis(ns int64) string { return strconv.FormatFloat(float64(ns)/1e6, 'f', 3, 64) }

// tail shows the end of a list, which is where lists differ most.
func tail(list []int64) string {
	const most = 6
	var b strings.Builder
	b.WriteByte('[')
	from := max(0, len(list)-most)
	if from > 0 {
		fmt.Fprintf(&b, "%d more ", from)
	}
	for i, v := range list[from:] {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.FormatInt(v, 10))
	}
	b.WriteByte(']')
	return b.String()
}

// Recorder collects the operations of clients that run at the same time. The
// clock gives nanoseconds and never goes back.
type Recorder struct {
	clock func() int64
	mu    sync.Mutex
	ops   []Op
}

// NewRecorder returns an empty recorder.
func NewRecorder(clock func() int64) *Recorder { return &Recorder{clock: clock} }

// Begin notes an operation that is about to be sent and gives its number.
// Until it ends its outcome is unknown.
func (r *Recorder) Begin(o Op) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.ID, o.Outcome = len(r.ops), Unknown
	o.Invoke = r.clock()
	o.Return = o.Invoke
	r.ops = append(r.ops, o)
	return o.ID
}

// End notes the answer to an operation: fill sets outcome and observations.
func (r *Recorder) End(id int, fill func(*Op)) {
	at := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	fill(&r.ops[id])
	r.ops[id].Return = at
}

// Ops are the operations so far, in the order in which they began.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Op(nil), r.ops...)
}
