package main

import (
	"context"
	"errors"
)

// ValidateCmd says what is wrong with documents.
type ValidateCmd struct {
	File   []string `short:"f" required:"" placeholder:"FILE" help:"Documents, JSON or YAML; - for standard input."`
	Strict bool     `help:"Treat unknown fields as errors."`
}

// Run prints each problem on a line. Invalid documents are exit status 2.
func (c *ValidateCmd) Run(ctx context.Context, out *Output) error {
	return errors.New("validate: not built yet")
}
