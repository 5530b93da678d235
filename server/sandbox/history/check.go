package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Anomaly is the name of what is wrong with an object.
type Anomaly string

// The anomalies, the gravest first.
const (
	Ghost           Anomaly = "ghost"            // an effect of an operation that failed
	Unwritten       Anomaly = "unwritten value"  // an effect that nobody had begun by then
	Doubled         Anomaly = "doubled effect"   // one operation took effect twice
	Reordered       Anomaly = "reordered effect" // against the order of acknowledgement and begin
	LostUpdate      Anomaly = "lost update"      // an acknowledged effect that nobody saw, or that vanished
	StaleRead       Anomaly = "stale read"       // an acknowledged effect that others saw, and a later read did not
	NotLinearizable Anomaly = "not linearizable" // none of these alone, but no order explains it
)

// Violation is one object whose answers no order explains.
type Violation struct {
	Key     string  `json:"key"`
	Object  string  `json:"object"` // register | list
	Anomaly Anomaly `json:"anomaly"`
	What    string  `json:"what"`
	Ops     []Op    `json:"ops"` // those that contradict each other
}

// String is the violation on one line, with the operations that show it.
func (v *Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s of key %s: %s", v.Anomaly, v.Object, v.Key, v.What)
	for i := range v.Ops {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + v.Ops[i].String())
	}
	return b.String()
}

// Undecided is one object whose search was given up.
type Undecided struct {
	Key        string `json:"key"`
	Object     string `json:"object"`
	Operations int    `json:"operations"`
	Why        string `json:"why"`
}

// Result is what a check found.
type Result struct {
	Operations int            `json:"operations"`
	Outcomes   map[string]int `json:"outcomes"` // operations by outcome
	Kinds      map[string]int `json:"kinds"`    // operations that ended ok, by kind
	Keys       int            `json:"keys"`
	Objects    int            `json:"objects"` // registers and lists
	Violations []Violation    `json:"violations"`
	Undecided  []Undecided    `json:"undecided"`
}

// Good tells whether every object was judged, and none is wrong.
func (r *Result) Good() bool { return len(r.Violations) == 0 && len(r.Undecided) == 0 }

// Anomalies counts the violations by their names.
func (r *Result) Anomalies() map[Anomaly]int {
	all := map[Anomaly]int{}
	for _, v := range r.Violations {
		all[v.Anomaly]++
	}
	return all
}

// Limits bound a check.
type Limits struct {
	Steps int // of the search in one register; DefaultSteps when zero
}

// DefaultSteps is a second or so.
const DefaultSteps = 2_000_000

// Check judges every object. The error is for a history that cannot be judged.
func Check(ops []Op, l Limits) (*Result, error) {
	if err := Validate(ops); err != nil {
		return nil, err
	}
	if l.Steps == 0 {
		l.Steps = DefaultSteps
	}
	res := &Result{Operations: len(ops), Outcomes: map[string]int{}, Kinds: map[string]int{}, Violations: []Violation{}, Undecided: []Undecided{}}
	type name struct{ key, object string }
	objects, keys := map[name][]*Op{}, map[string]bool{}
	for i := range ops {
		o := &ops[i]
		res.Outcomes[string(o.Outcome)]++
		if o.Outcome == OK {
			res.Kinds[string(o.Kind)]++
		}
		keys[o.Key] = true
		n := name{o.Key, o.object()}
		objects[n] = append(objects[n], o)
	}
	res.Keys, res.Objects = len(keys), len(objects)
	all := make([]name, 0, len(objects))
	for n := range objects {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b name) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.object, b.object)) })
	for _, n := range all {
		of := objects[n]
		slices.SortStableFunc(of, func(a, b *Op) int { return cmp.Or(cmp.Compare(a.Invoke, b.Invoke), cmp.Compare(a.ID, b.ID)) })
		v, why := checkObject(n.object, of, l.Steps)
		if v != nil {
			v.Key, v.Object = n.key, n.object
			res.Violations = append(res.Violations, *v)
		}
		if why != "" {
			res.Undecided = append(res.Undecided, Undecided{n.key, n.object, len(of), why})
		}
	}
	return res, nil
}

func checkObject(object string, ops []*Op, steps int) (v *Violation, undecided string) {
	if object == "list" {
		return checkList(ops), ""
	}
	at, why := search(ops, steps)
	if at == nil {
		return nil, why
	}
	return nameRegister(ops, at), ""
}

// found makes a violation of the operations that contradict each other.
func found(a Anomaly, ops []*Op, format string, args ...any) *Violation {
	v := &Violation{Anomaly: a, What: fmt.Sprintf(format, args...)}
	for i, o := range ops {
		if o != nil && !slices.Contains(ops[:i], o) {
			v.Ops = append(v.Ops, *o)
		}
	}
	return v
}
