package space

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Difference is one value that two documents have otherwise. Items of lists
// are named by what they are called: spec.units[unit-a].accessMode.
type Difference struct {
	Path   string `json:"path"`
	Before string `json:"before,omitempty"` // JSON; "" when it was not there
	After  string `json:"after,omitempty"`  // JSON; "" when it is no more
}

// Diff says what changed from a to b, in the order of the document. An empty
// Document stands for none.
func Diff(a, b Document) ([]Difference, error) {
	before, err := a.canonical()
	if err != nil {
		return nil, err
	}
	after, err := b.canonical()
	if err != nil {
		return nil, err
	}
	var d differ
	d.compare("", before, after)
	return d, nil
}

// canonical is the document as a tree of its canonical form, nil for none.
func (d Document) canonical() (*node, error) {
	if d.Space == nil && d.Database == nil {
		return nil, nil
	}
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("diff %s: %w", d, err)
	}
	trees, err := readJSON(data)
	if err != nil {
		return nil, fmt.Errorf("diff %s: %w", d, err)
	}
	return trees[0], nil
}

type differ []Difference

func (d *differ) compare(path string, a, b *node) {
	if a != nil && b != nil {
		switch {
		case a.kind == objectNode && b.kind == objectNode:
			d.objects(path, a, b)
			return
		case a.kind == listNode && b.kind == listNode:
			if x, y := a.byName(), b.byName(); x != nil && y != nil {
				d.lists(path, x, y)
				return
			}
		}
	}
	if before, after := a.json(), b.json(); before != after {
		*d = append(*d, Difference{path, before, after})
	}
}

func (d *differ) objects(path string, a, b *node) {
	if path != "" {
		path += "."
	}
	for i, name := range a.names {
		d.compare(path+name, a.items[i], b.field(name))
	}
	for i, name := range b.names {
		if a.field(name) == nil {
			d.compare(path+name, nil, b.items[i])
		}
	}
}

func (d *differ) lists(path string, a, b *node) {
	for i, name := range a.names {
		d.compare(path+"["+name+"]", a.items[i], b.field(name))
	}
	for i, name := range b.names {
		if a.field(name) == nil {
			d.compare(path+"["+name+"]", nil, b.items[i])
		}
	}
	both := func(x, y *node) []string {
		return slices.DeleteFunc(slices.Clone(x.names), func(name string) bool { return y.field(name) == nil })
	}
	if before, after := both(a, b), both(b, a); !slices.Equal(before, after) {
		x, y := &node{kind: listNode}, &node{kind: listNode}
		for i := range before {
			x.items = append(x.items, &node{kind: textNode, text: before[i]})
			y.items = append(y.items, &node{kind: textNode, text: after[i]})
		}
		*d = append(*d, Difference{path, x.json(), y.json()})
	}
}

// nameFields are the fields that name an item of a list, the first that it has.
var nameFields = []string{"code", "id", "unit", "name", "host", "path", "value"}

// byName turns a list of objects that all have a name of their own into an
// object. It is nil for any other list.
func (n *node) byName() *node {
	named := &node{kind: objectNode}
	for _, item := range n.items {
		name := ""
		for _, f := range nameFields {
			if v := item.field(f); v != nil && v.kind == textNode {
				name = v.text
				break
			}
		}
		if name == "" || named.add(name, item) != nil {
			return nil
		}
	}
	return named
}

// json is the value as JSON text, "" for none.
func (n *node) json() string {
	if n == nil {
		return ""
	}
	var e encoder
	e.any(n.generic())
	return e.String()
}
