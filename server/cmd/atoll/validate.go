package main

import (
	"fmt"
	"io"

	"github.com/atoll-live/atoll/space"
)

// ValidateCmd says what is wrong with documents.
type ValidateCmd struct {
	File   []string `short:"f" required:"" sep:"none" placeholder:"FILE" help:"Documents, JSON or YAML; - for standard input. Several files are checked together."`
	Strict bool     `help:"Treat unknown fields as errors."`
}

// validationResult is the result of validate.
type validationResult struct {
	Valid     bool           `json:"valid"`
	Documents []string       `json:"documents"` // kind and name
	Problems  space.Problems `json:"problems"`
}

// Run prints each problem on a line. Invalid documents are exit status 2.
func (c *ValidateCmd) Run(out *Output) error {
	docs, problems, err := readDocuments(c.File)
	if err != nil {
		return err
	}
	problems = append(problems, space.Validate(docs...)...)
	if c.Strict {
		problems = problems.Strict()
	}
	v := validationResult{Valid: len(problems.Errors()) == 0, Documents: []string{}, Problems: problems}
	if v.Problems == nil {
		v.Problems = space.Problems{}
	}
	for _, d := range docs {
		v.Documents = append(v.Documents, d.String())
	}
	if err := out.Print(v, v.table); err != nil {
		return err
	}
	if !v.Valid {
		return &exitError{code: exitUsage}
	}
	return nil
}

func (v validationResult) table(w io.Writer) error {
	printProblems(w, v.Problems)
	verdict := "valid"
	if !v.Valid {
		verdict = "not valid"
	}
	_, err := fmt.Fprintf(w, "%s: documents %d, errors %d, warnings %d\n", verdict, len(v.Documents), len(v.Problems.Errors()), len(v.Problems.Warnings()))
	return err
}
