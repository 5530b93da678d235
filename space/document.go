package space

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is one document of any kind: exactly one of Space and Database is
// set.
type Document struct {
	Space    *Space
	Database *Database
	File     string // where it was read, for the problems; set by the reader

	tree *node // what it was read from, nil when it was not
}

// Kind is the kind of the document.
func (d Document) Kind() string {
	if d.Database != nil {
		return KindDatabase
	}
	return KindSpace
}

// Name is what people call the document by: the code of a space, the name of
// anything else.
func (d Document) Name() string {
	switch {
	case d.Database != nil:
		return d.Database.Metadata.Name
	case d.Space != nil:
		return d.Space.Spec.Code
	}
	return ""
}

// String is kind and name.
func (d Document) String() string { return strings.TrimSpace(d.Kind() + " " + d.Name()) }

// value is the document as a pointer to its type.
func (d Document) value() any {
	if d.Database != nil {
		return d.Database
	}
	return d.Space
}

// MarshalJSON writes the document in its canonical form.
func (d Document) MarshalJSON() ([]byte, error) { return encode(d.value()) }

// Parse reads JSON or YAML: one document, a list of documents, or several one
// after another, of any kinds. Problems are fields of a wrong form, and unknown
// ones, which are warnings. An error means that the input cannot be read at
// all: it is too large, too deep, no JSON or YAML, or has a field twice.
func Parse(data []byte) ([]Document, Problems, error) {
	trees, err := read(data)
	if err != nil {
		return nil, nil, err
	}
	var docs []Document
	var problems Problems
	for _, tree := range flatten(trees) {
		r := &reporter{tree: tree}
		if doc, ok := r.readDocument(tree); ok {
			docs = append(docs, doc)
		}
		problems = append(problems, r.problems...)
	}
	switch {
	case len(docs)+len(problems) == 0:
		return nil, nil, errors.New("there is no document in it")
	case len(docs) > MaxDocuments:
		return nil, nil, fmt.Errorf("%d documents are more than %d", len(docs), MaxDocuments)
	}
	return docs, problems, nil
}

// flatten takes documents out of lists.
func flatten(trees []*node) []*node {
	var docs []*node
	for _, t := range trees {
		if t.kind == listNode {
			docs = append(docs, t.items...)
		} else {
			docs = append(docs, t)
		}
	}
	return docs
}

// readDocument reads one document by its kind.
func (r *reporter) readDocument(tree *node) (Document, bool) {
	var root *place
	if tree.kind != objectNode {
		r.refuse(root, "", "a document is an object, not %s", tree.kind)
		return Document{}, false
	}
	var kind string
	if n := tree.field("kind"); n != nil {
		kind = n.text
	}
	doc := Document{tree: tree}
	switch kind {
	case KindSpace:
		doc.Space = &Space{}
	case KindDatabase:
		doc.Database = &Database{}
	case "":
		r.refuse(root.field("kind"), "write kind: "+KindSpace+" or "+KindDatabase, "the document does not say what it is")
		return Document{}, false
	default:
		r.refuse(root.field("kind"), "known kinds are "+KindSpace+" and "+KindDatabase, "unknown kind %q", kind)
		return Document{}, false
	}
	r.decode(root, tree, reflect.ValueOf(doc.value()).Elem())
	for i := range r.problems {
		r.problems[i].Document = doc.String()
	}
	return doc, true
}

// Read reads a single document from JSON, as Get of the console and the store
// give it. Unknown fields are kept in silence.
func Read(data []byte) (Document, error) {
	docs, problems, err := Parse(data)
	if err == nil {
		err = problems.Err()
	}
	if err != nil {
		return Document{}, err
	}
	if len(docs) != 1 {
		return Document{}, fmt.Errorf("%d documents where one is wanted", len(docs))
	}
	return docs[0], nil
}

// JSON writes documents in their canonical form with two blanks of
// indentation: one document as an object, several as a list.
func JSON(docs ...Document) ([]byte, error) {
	var v any = docs
	if len(docs) == 1 {
		v = docs[0]
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return b.Bytes(), nil
}

// YAML writes documents in their canonical form, one after another.
func YAML(docs ...Document) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	for _, d := range docs {
		data, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", d, err)
		}
		trees, err := readJSON(data)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", d, err)
		}
		if err := enc.Encode(trees[0].yaml()); err != nil {
			return nil, fmt.Errorf("write %s: %w", d, err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return b.Bytes(), nil
}

// yaml turns a tree into a YAML node in block style. Text that YAML would read
// as something else is quoted by the encoder.
func (n *node) yaml() *yaml.Node {
	y := &yaml.Node{Kind: yaml.ScalarNode, Value: n.text}
	switch n.kind {
	case nullNode:
		y.Tag, y.Value = "!!null", "null"
	case boolNode:
		y.Tag = "!!bool"
	case numberNode:
		y.Tag = "!!int"
		if strings.ContainsAny(n.text, ".eE") {
			y.Tag = "!!float"
		}
	case textNode:
		y.Tag = "!!str"
	case listNode:
		y.Kind, y.Tag = yaml.SequenceNode, "!!seq"
		for _, item := range n.items {
			y.Content = append(y.Content, item.yaml())
		}
	case objectNode:
		y.Kind, y.Tag = yaml.MappingNode, "!!map"
		for i, item := range n.items {
			y.Content = append(y.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: n.names[i]}, item.yaml())
		}
	}
	return y
}
