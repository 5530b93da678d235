package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/atoll-live/atoll/space"
)

// readDocuments reads and parses files of documents; - is standard input. What
// cannot be read at all is an error, wrong fields are problems.
func readDocuments(files []string) ([]space.Document, space.Problems, error) {
	var docs []space.Document
	var problems space.Problems
	for _, name := range files {
		data, err := readFile(name)
		if err != nil {
			return nil, nil, usageError(err)
		}
		some, wrong, err := space.Parse(data)
		if err != nil {
			wrong = space.Problems{{Reason: err.Error()}}
		}
		for i := range some {
			some[i].File = name
		}
		for i := range wrong {
			wrong[i].File = name
		}
		docs = append(docs, some...)
		problems = append(problems, wrong...)
	}
	return docs, problems, nil
}

// readFile reads a file of bounded size.
func readFile(name string) ([]byte, error) {
	in := io.ReadCloser(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("file %s does not exist", name)
		}
		if err != nil {
			return nil, fmt.Errorf("read documents: %w", err)
		}
		in = f
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, space.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read documents: %w", err)
	}
	return data, nil
}

// printProblems prints each problem on a line: file, line, path, reason, mend.
func printProblems(w io.Writer, problems space.Problems) {
	for _, p := range problems {
		where := p.File
		if p.Line > 0 {
			where = fmt.Sprintf("%s:%d", p.File, p.Line)
		}
		kind := ""
		if p.Warning {
			kind = "warning: "
		}
		fmt.Fprintf(w, "%s: %s%s\n", where, kind, p)
	}
}
