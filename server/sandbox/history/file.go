package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Header is the first line of a stored history.
type Header struct {
	History  int    `json:"history"` // version of the form
	Seed     uint64 `json:"seed"`
	Workload string `json:"workload,omitempty"` // for people: what was run
}

const version = 1

// Bounds of a stored history.
const (
	lineMax = 4 << 20
	opsMax  = 5_000_000
	keyMax  = 256
)

// Store writes a history as JSON lines: the header, then each operation.
func Store(w io.Writer, h Header, ops []Op) error {
	h.History = version
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	if err := enc.Encode(h); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	for i := range ops {
		if err := enc.Encode(&ops[i]); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

// Load reads what Store wrote. What it accepts can be checked.
func Load(r io.Reader) (Header, []Op, error) {
	var h Header
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, lineMax)
	if !lines.Scan() {
		return h, nil, errors.Join(errors.New("line 1: a history begins with {\"history\":1}: give a file that `atoll sandbox chaos` wrote"), lines.Err())
	}
	if err := strict(lines.Bytes(), &h); err != nil {
		return h, nil, fmt.Errorf("line 1: %w", err)
	}
	if h.History != version {
		return h, nil, fmt.Errorf("line 1: history: form %d is not known: use the atoll that wrote it (this one knows form %d)", h.History, version)
	}
	var ops []Op
	for n := 2; lines.Scan(); n++ {
		var o Op
		if err := strict(lines.Bytes(), &o); err != nil {
			return h, nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(ops) == opsMax {
			return h, nil, fmt.Errorf("line %d: more than %d operations: split the history by its keys", n, opsMax)
		}
		ops = append(ops, o)
	}
	if err := lines.Err(); err != nil {
		return h, nil, fmt.Errorf("line %d: %w", len(ops)+2, err)
	}
	return h, ops, Validate(ops)
}

func strict(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value on a line: write one operation a line")
	}
	return nil
}

// Validate says of the first operation that cannot be judged why, and the mend.
func Validate(ops []Op) error {
	type written struct {
		object string
		key    string
		value  int64
	}
	seen := map[written]int{}
	ids := make(map[int]bool, len(ops))
	for i := range ops {
		o := &ops[i]
		if err := o.validate(); err != nil {
			return fmt.Errorf("operation %d: %w", o.ID, err)
		}
		if ids[o.ID] {
			return fmt.Errorf("operation %d: id: two operations have it: number them", o.ID)
		}
		ids[o.ID] = true
		if o.Kind != Write && o.Kind != CAS && o.Kind != Append {
			continue
		}
		w := written{o.object(), o.Key, o.Value}
		if other, ok := seen[w]; ok {
			return fmt.Errorf("operation %d: value %d: operation %d writes it too to the %s of key %s: give each its own", o.ID, o.Value, other, w.object, o.Key)
		}
		seen[w] = o.ID
	}
	return nil
}

func (o *Op) validate() error {
	switch o.Kind {
	case Read, Write, CAS, Append, List:
	default:
		return fmt.Errorf("kind %q: want read, write, cas, append or list", o.Kind)
	}
	switch o.Outcome {
	case OK, Fail, Unknown:
	default:
		return fmt.Errorf("outcome %q: want ok, fail or unknown", o.Outcome)
	}
	switch {
	case o.Key == "" || len(o.Key) > keyMax || strings.ContainsFunc(o.Key+o.Via, unicode.IsControl):
		return fmt.Errorf("key or via: want a key of 1 to %d characters, and no control characters", keyMax)
	case o.Invoke < 0 || o.Return < o.Invoke:
		return fmt.Errorf("return_ns %d: want invoke_ns (%d, not negative) or later", o.Return, o.Invoke)
	case o.Value == 0 && (o.Kind == Write || o.Kind == CAS || o.Kind == Append):
		return errors.New("value 0: it is what a register begins with: write another")
	case o.Kind == CAS && o.Was == o.Value:
		return fmt.Errorf("was %d: it is the new value as well: swap to another", o.Was)
	case o.Kind == List && o.Outcome == OK && o.After == nil:
		return errors.New("after: missing: a list read that ended ok has what it read")
	case o.Before != nil && o.After == nil:
		return errors.New("before without after: a transaction reads both, or none")
	}
	return nil
}
