package prove

import (
	"hash/maphash"
	"sync"
)

// shards of the cache, so that sessions on several cores seldom meet.
const shards = 16

// identity is all that a plan depends on. The text is compared in full: a
// hash that met another's would be a wrong route.
type identity struct {
	schema   *Schema
	database string
	narrow   bool
	text     string
}

// cache holds plans, the least recently used going first when it is full.
type cache struct {
	seed  maphash.Seed
	parts [shards]part
}

// part is one shard: a map and a ring of its entries, most recent first.
type part struct {
	mu      sync.Mutex
	entries map[identity]*entry
	ring    entry // sentinel
	bytes   int
	limit   int
}

type entry struct {
	identity   identity
	plan       *Plan
	bytes      int
	prev, next *entry
}

func newCache(bytes int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.parts {
		p := &c.parts[i]
		p.entries = map[identity]*entry{}
		p.limit = bytes / shards
		p.ring.prev, p.ring.next = &p.ring, &p.ring
	}
	return c
}

func (c *cache) part(text []byte) *part {
	return &c.parts[maphash.Bytes(c.seed, text)%shards]
}

// find returns the plan, or nil. It does not allocate.
func (c *cache) find(s *Schema, ses Session, text []byte) *Plan {
	p := c.part(text)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[identity{schema: s, database: ses.Database, narrow: ses.Narrow, text: string(text)}]
	if e == nil {
		return nil
	}
	p.unlink(e)
	p.front(e)
	return e.plan
}

// keep stores a plan. One that is larger than a shard is not kept.
func (c *cache) keep(s *Schema, ses Session, text []byte, plan *Plan) {
	id := identity{schema: s, database: ses.Database, narrow: ses.Narrow, text: string(text)}
	e := &entry{identity: id, plan: plan, bytes: len(text) + plan.size()}
	p := c.part(text)
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.bytes > p.limit {
		return
	}
	if old := p.entries[id]; old != nil {
		p.drop(old)
	}
	p.entries[id] = e
	p.front(e)
	for p.bytes += e.bytes; p.bytes > p.limit; {
		p.drop(p.ring.prev)
	}
}

func (p *part) front(e *entry) {
	e.prev, e.next = &p.ring, p.ring.next
	e.prev.next, e.next.prev = e, e
}

func (p *part) unlink(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (p *part) drop(e *entry) {
	p.unlink(e)
	delete(p.entries, e.identity)
	p.bytes -= e.bytes
}

// bytes is what the cache holds.
func (c *cache) bytes() int {
	n := 0
	for i := range c.parts {
		p := &c.parts[i]
		p.mu.Lock()
		n += p.bytes
		p.mu.Unlock()
	}
	return n
}
