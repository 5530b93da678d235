package main

import (
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Output is where a command prints its result, and how.
type Output struct {
	Format         string // "", table, json or yaml; "" is the command's own default
	Stdout, Stderr io.Writer
}

func (o *Output) validate() error {
	switch o.Format {
	case "", "table", "json", "yaml":
		return nil
	}
	return usageError(fmt.Errorf("-o %s: want table, json or yaml", o.Format))
}

// Print writes one value: as one JSON value, as YAML, or for people by table.
func (o *Output) Print(v any, table func(w io.Writer) error) error {
	switch o.Format {
	case "json":
		return o.JSON(v)
	case "yaml":
		return o.yaml(v)
	}
	return table(o.Stdout)
}

// JSON writes one value on one line: the line of a stream, or the one answer.
func (o *Output) JSON(v any) error {
	enc := json.NewEncoder(o.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// yaml goes by way of JSON, so that names and order are those of the JSON form.
func (o *Output) yaml(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		return fmt.Errorf("write yaml: %w", err)
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(o.Stdout)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return fmt.Errorf("write yaml: %w", err)
	}
	return enc.Close()
}

// blockStyle drops the braces and quotes of the JSON that a node was read from.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}
