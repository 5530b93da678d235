package space

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// read turns an input into one tree for each document in it.
func read(data []byte) ([]*node, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than %d", len(data), MaxSize)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, errors.New("the input is not UTF-8 text")
	}
	start := bytes.TrimLeft(data, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return readYAML(data)
	}
	trees, err := readJSON(data)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return trees, err
	}
	// YAML in braces looks like JSON at first.
	if trees, yamlErr := readYAML(data); yamlErr == nil {
		return trees, nil
	}
	return nil, err
}

// builder counts what it builds.
type builder struct{ nodes int }

func (b *builder) node(k nodeKind, line, depth int) (*node, error) {
	b.nodes++
	switch {
	case b.nodes > MaxNodes:
		return nil, fmt.Errorf("line %d: more than %d values", line, MaxNodes)
	case depth > MaxDepth:
		return nil, fmt.Errorf("line %d: more than %d lists and objects inside one another", line, MaxDepth)
	}
	return &node{kind: k, line: line}, nil
}

// jsonReader builds trees from JSON text.
type jsonReader struct {
	builder
	data []byte
	dec  *json.Decoder
	seen int // bytes whose lines are counted
	line int
}

func readJSON(data []byte) ([]*node, error) {
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.dec.UseNumber()
	var trees []*node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return trees, nil
		}
		if err != nil {
			return nil, err
		}
		trees = append(trees, n)
	}
}

// token reads a token and counts lines up to its end.
func (r *jsonReader) token() (json.Token, error) {
	t, err := r.dec.Token()
	end := int(r.dec.InputOffset())
	r.line += bytes.Count(r.data[r.seen:end], []byte{'\n'})
	r.seen = end
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at := min(int(syntax.Offset), len(r.data))
		return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(r.data[:at], []byte{'\n'}), err)
	}
	return t, err
}

func (r *jsonReader) value(depth int) (*node, error) {
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	return r.after(t, depth)
}

// after reads the value that begins with a token.
func (r *jsonReader) after(t json.Token, depth int) (*node, error) {
	switch v := t.(type) {
	case nil:
		return r.node(nullNode, r.line, depth)
	case bool:
		return r.scalar(boolNode, strconv.FormatBool(v), depth)
	case json.Number:
		return r.scalar(numberNode, v.String(), depth)
	case string:
		return r.scalar(textNode, v, depth)
	case json.Delim:
		if v == '{' {
			return r.object(depth)
		}
		return r.list(depth)
	}
	return nil, fmt.Errorf("line %d: unexpected %v", r.line, t)
}

func (r *jsonReader) scalar(k nodeKind, text string, depth int) (*node, error) {
	n, err := r.node(k, r.line, depth)
	if err == nil {
		n.text = text
	}
	return n, err
}

func (r *jsonReader) object(depth int) (*node, error) {
	n, err := r.node(objectNode, r.line, depth+1)
	if err != nil {
		return nil, err
	}
	for {
		t, err := r.token()
		if err != nil {
			return nil, r.inside(err)
		}
		if t == json.Delim('}') {
			return n, nil
		}
		name, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("line %d: unexpected %v", r.line, t)
		}
		item, err := r.value(depth + 1)
		if err == nil {
			err = n.add(name, item)
		}
		if err != nil {
			return nil, r.inside(err)
		}
	}
}

func (r *jsonReader) list(depth int) (*node, error) {
	n, err := r.node(listNode, r.line, depth+1)
	if err != nil {
		return nil, err
	}
	for {
		t, err := r.token()
		if err != nil {
			return nil, r.inside(err)
		}
		if t == json.Delim(']') {
			return n, nil
		}
		item, err := r.after(t, depth+1)
		if err != nil {
			return nil, r.inside(err)
		}
		n.items = append(n.items, item)
	}
}

// inside turns the end of the input into an error, inside of a value.
func (r *jsonReader) inside(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: %w", r.line, io.ErrUnexpectedEOF)
	}
	return err
}

// yamlReader builds trees from YAML nodes.
type yamlReader struct{ builder }

func readYAML(data []byte) ([]*node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	r := &yamlReader{}
	var trees []*node
	for {
		var y yaml.Node
		err := dec.Decode(&y)
		if errors.Is(err, io.EOF) {
			return trees, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read YAML: %w", err)
		}
		n, err := r.value(&y, 0)
		if err != nil {
			return nil, err
		}
		if n.kind != nullNode { // nothing between two ---
			trees = append(trees, n)
		}
	}
}

func (r *yamlReader) value(y *yaml.Node, depth int) (*node, error) {
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) != 1 {
			return r.node(nullNode, y.Line, depth)
		}
		return r.value(y.Content[0], depth)
	case yaml.AliasNode:
		// A cycle of aliases ends at the limit of depth.
		return r.value(y.Alias, depth+1)
	case yaml.MappingNode:
		return r.object(y, depth)
	case yaml.SequenceNode:
		n, err := r.node(listNode, y.Line, depth+1)
		if err != nil {
			return nil, err
		}
		for _, c := range y.Content {
			item, err := r.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		return n, nil
	}
	return r.scalar(y, depth)
}

func (r *yamlReader) object(y *yaml.Node, depth int) (*node, error) {
	n, err := r.node(objectNode, y.Line, depth+1)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(y.Content); i += 2 {
		name := y.Content[i]
		if name.Kind != yaml.ScalarNode || name.ShortTag() == "!!merge" {
			return nil, fmt.Errorf("line %d: a field name must be plain text", name.Line)
		}
		item, err := r.value(y.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if err := n.add(name.Value, item); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (r *yamlReader) scalar(y *yaml.Node, depth int) (*node, error) {
	k := textNode
	text := y.Value
	switch y.ShortTag() {
	case "!!null":
		k, text = nullNode, ""
	case "!!int", "!!float":
		k = numberNode
	case "!!bool":
		var b bool
		if err := y.Decode(&b); err != nil {
			return nil, fmt.Errorf("line %d: %w", y.Line, err)
		}
		k, text = boolNode, strconv.FormatBool(b)
	case "!!binary":
		return nil, fmt.Errorf("line %d: binary values are not read", y.Line)
	}
	n, err := r.node(k, y.Line, depth)
	if err == nil {
		n.text = text
	}
	return n, err
}

// exactNumber keeps a number as it was written when JSON can write it so, and
// as text when it cannot (YAML's 0x1f, 1_000, .inf).
func exactNumber(text string) any {
	if json.Valid([]byte(text)) {
		return json.Number(text)
	}
	return text
}
