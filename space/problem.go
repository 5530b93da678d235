package space

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a document.
type Problem struct {
	File     string `json:"file,omitempty"` // that the document was read from, when the reader said so
	Document string `json:"document"`       // kind and name: "MultiLiveSpace shop"
	Path     string `json:"path"`           // of the field: spec.units[0].code
	Line     int    `json:"line,omitempty"` // in the input, 0 when not known
	Reason   string `json:"reason"`
	Mend     string `json:"mend,omitempty"`    // what to do about it
	Warning  bool   `json:"warning"`           // it may stay as it is
	Unknown  bool   `json:"unknown,omitempty"` // a field that Atoll does not know
}

// String is the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Document != "" {
		b.WriteString(p.Document + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Reason)
	if p.Mend != "" {
		b.WriteString(" (" + p.Mend + ")")
	}
	return b.String()
}

// Problems are all that is wrong, in the order of the documents.
type Problems []Problem

// Errors are the problems that are no warnings.
func (p Problems) Errors() Problems { return p.only(false) }

// Warnings are the problems that may stay.
func (p Problems) Warnings() Problems { return p.only(true) }

func (p Problems) only(warning bool) Problems {
	var some Problems
	for _, one := range p {
		if one.Warning == warning {
			some = append(some, one)
		}
	}
	return some
}

// Strict returns the problems with unknown fields as errors.
func (p Problems) Strict() Problems {
	strict := append(Problems(nil), p...)
	for i := range strict {
		if strict[i].Unknown {
			strict[i].Warning = false
		}
	}
	return strict
}

// Err is one error that says all problems that are no warnings, nil without any.
func (p Problems) Err() error {
	var errs []error
	for _, one := range p.Errors() {
		errs = append(errs, errors.New(one.String()))
	}
	return errors.Join(errs...)
}

// reporter collects the problems of one document.
type reporter struct {
	file     string
	document string
	tree     *node
	problems Problems
}

func (r *reporter) add(at *place, p Problem) {
	p.File, p.Document, p.Path, p.Line = r.file, r.document, at.String(), r.tree.lineOf(at)
	r.problems = append(r.problems, p)
}

// refuse says that a field is wrong and how to mend it.
func (r *reporter) refuse(at *place, mend, reason string, args ...any) {
	r.add(at, Problem{Reason: fmt.Sprintf(reason, args...), Mend: mend})
}

// warn says that a field may be meant otherwise.
func (r *reporter) warn(at *place, mend, reason string, args ...any) {
	r.add(at, Problem{Reason: fmt.Sprintf(reason, args...), Mend: mend, Warning: true})
}
