package space

import (
	"fmt"
	"strconv"
)

// Limits of what Parse reads. Beyond them it refuses the whole input.
const (
	MaxSize      = 8 << 20 // bytes of input
	MaxDepth     = 32      // lists and objects inside one another
	MaxNodes     = 1 << 20 // values, aliases of YAML counted each time they are used
	MaxDocuments = 1000
)

// nodeKind is the kind of a value that was read.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	textNode
	listNode
	objectNode
)

func (k nodeKind) String() string {
	return [...]string{"null", "a truth value", "a number", "text", "a list", "an object"}[k]
}

// node is one value of a JSON or YAML input with the line it stands on. A
// scalar keeps its exact text, so that no id or version loses a digit.
type node struct {
	kind  nodeKind
	line  int
	text  string   // scalars
	names []string // objects: the name of each item
	items []*node
	index map[string]int // of names, once there are many
}

// manyNames is from where on an object keeps an index of its names.
const manyNames = 32

// add puts a named value into an object. A name that stands there already is
// refused: which of the two was meant, nobody can say.
func (n *node) add(name string, item *node) error {
	if n.field(name) != nil {
		return fmt.Errorf("line %d: %q stands twice in one object", item.line, name)
	}
	n.names = append(n.names, name)
	n.items = append(n.items, item)
	if n.index != nil {
		n.index[name] = len(n.items) - 1
	} else if len(n.names) > manyNames {
		n.index = make(map[string]int, 2*manyNames)
		for i, name := range n.names {
			n.index[name] = i
		}
	}
	return nil
}

func (n *node) field(name string) *node {
	if n.index != nil {
		if i, ok := n.index[name]; ok {
			return n.items[i]
		}
		return nil
	}
	for i, have := range n.names {
		if have == name {
			return n.items[i]
		}
	}
	return nil
}

// place is where a value stands: a field of its parent or one of its items.
// It is written out only when something is wrong there.
type place struct {
	parent *place
	name   string // "" for an item
	index  int
}

func (p *place) field(name string) *place { return &place{parent: p, name: name} }
func (p *place) item(i int) *place        { return &place{parent: p, index: i} }

// String is the path: spec.units[0].code.
func (p *place) String() string {
	if p == nil {
		return ""
	}
	before := p.parent.String()
	switch {
	case p.name == "":
		return before + "[" + strconv.Itoa(p.index) + "]"
	case before == "":
		return p.name
	}
	return before + "." + p.name
}

// line finds the line of a place in the tree, or of the nearest value above it
// that stands in the input. It is 0 without a tree.
func (n *node) lineOf(p *place) int {
	if n == nil {
		return 0
	}
	at := n
	for _, step := range p.steps() {
		next := at.step(step)
		if next == nil {
			break
		}
		at = next
	}
	return at.line
}

func (p *place) steps() []*place {
	if p == nil {
		return nil
	}
	return append(p.parent.steps(), p)
}

func (n *node) step(p *place) *node {
	if p.name == "" {
		if n.kind == listNode && p.index < len(n.items) {
			return n.items[p.index]
		}
		return nil
	}
	if f := n.field(p.name); f != nil {
		return f
	}
	for alias, name := range aliasesOf(p.name) {
		if f := n.field(alias); f != nil && name == p.name {
			return f
		}
	}
	return nil
}

// generic turns a value that Atoll does not know into plain Go values, with
// numbers as json.Number.
func (n *node) generic() any {
	switch n.kind {
	case nullNode:
		return nil
	case boolNode:
		return n.text == "true"
	case numberNode:
		return exactNumber(n.text)
	case listNode:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.generic()
		}
		return list
	case objectNode:
		object := make(map[string]any, len(n.items))
		for i, item := range n.items {
			object[n.names[i]] = item.generic()
		}
		return object
	}
	return n.text
}
