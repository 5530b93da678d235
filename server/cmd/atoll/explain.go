package main

import (
	"context"
	"errors"
)

// ExplainCmd says where a request or a key goes.
type ExplainCmd struct {
	ConsoleFlags
	File string `short:"f" placeholder:"FILE" help:"Document to decide by, instead of the console's."`
}

// Run prints the explanation.
func (c *ExplainCmd) Run(ctx context.Context, out *Output) error {
	return errors.New("explain: not built yet")
}
