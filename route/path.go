package route

import (
	"fmt"
	"strings"
)

// pathTrie finds the longest path rule, by segments, that begins a request
// path. A segment `*` or `{name}` of a rule stands for any one segment. The
// search is complete: among rules of one length a literal segment beats a
// wildcard, from left to right.
type pathTrie struct {
	root pathNode
}

type pathNode struct {
	literal  map[string]*pathNode
	wildcard *pathNode
	path     *path // the rule that ends here
}

// add puts a rule's path in. Two rules with the same segments are refused.
func (t *pathTrie) add(pattern string, p *path) error {
	n := &t.root
	for rest := pattern; ; {
		segment, after, ok := nextSegment(rest)
		if !ok {
			break
		}
		n = n.child(segment)
		rest = after
	}
	if n.path != nil {
		return fmt.Errorf("path %q means the same as %q", pattern, n.path.text)
	}
	n.path = p
	return nil
}

func (n *pathNode) child(segment string) *pathNode {
	if isWildcard(segment) {
		if n.wildcard == nil {
			n.wildcard = &pathNode{}
		}
		return n.wildcard
	}
	c := n.literal[segment]
	if c == nil {
		if n.literal == nil {
			n.literal = map[string]*pathNode{}
		}
		c = &pathNode{}
		n.literal[segment] = c
	}
	return c
}

func isWildcard(segment string) bool {
	return segment == "*" || len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}'
}

// match returns the rule of a request path, nil when there is none. The empty
// path matches nothing. Each node is visited at most once.
func (t *pathTrie) match(request string) *path {
	if request == "" {
		return nil
	}
	p, _ := t.root.longest(request, 0)
	return p
}

// longest returns the deepest rule at or below n for the rest of a path, and
// its depth.
func (n *pathNode) longest(rest string, depth int) (best *path, at int) {
	best, at = n.path, depth
	if best == nil {
		at = -1
	}
	segment, after, ok := nextSegment(rest)
	if !ok {
		return best, at
	}
	if c := n.literal[segment]; c != nil {
		if p, d := c.longest(after, depth+1); d > at {
			best, at = p, d
		}
	}
	if n.wildcard != nil {
		if p, d := n.wildcard.longest(after, depth+1); d > at {
			best, at = p, d
		}
	}
	return best, at
}

// nextSegment cuts the first segment off a path. Empty segments are skipped,
// so leading, doubled and trailing slashes do not matter.
func nextSegment(path string) (segment, rest string, ok bool) {
	i := 0
	for i < len(path) && path[i] == '/' {
		i++
	}
	path = path[i:]
	if path == "" {
		return "", "", false
	}
	if end := strings.IndexByte(path, '/'); end >= 0 {
		return path[:end], path[end:], true
	}
	return path, "", true
}
