package prove

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the parser's literals
)

// Config bounds a Prover.
type Config struct {
	CacheBytes int // of the plan cache; 0 means DefaultCacheBytes
}

// Bounds.
const (
	DefaultCacheBytes = 64 << 20
	MaxCachedText     = 64 << 10 // longer texts are parsed each time
)

// Validate says what is wrong with the bounds.
func (c Config) Validate() error {
	if c.CacheBytes < 0 {
		return errors.New("plan cache: bytes below zero")
	}
	return nil
}

// Session is the part of a session's state that changes what a text means.
// The zero value is a session in the schema's database with a wide character
// set.
type Session struct {
	Database string // the current database; empty means the schema's
	Narrow   bool   // the client's or connection's character set is narrow, see Charset
}

// Figures are what a Prover counted since it began.
type Figures struct {
	Hits, Misses uint64 // of the plan cache
	Refused      uint64 // plans made that refuse
	CacheBytes   int    // now
}

// Prover makes plans and caches them. All methods are safe for concurrent
// use.
type Prover struct {
	cache                 *cache
	parsers               sync.Pool
	hits, misses, refused atomic.Uint64
}

// New returns a Prover.
func New(cfg Config) (*Prover, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("prover: %w", err)
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = DefaultCacheBytes
	}
	p := &Prover{cache: newCache(cfg.CacheBytes)}
	p.parsers.New = func() any { return parser.New() }
	return p, nil
}

// Figures returns the counters.
func (p *Prover) Figures() Figures {
	return Figures{Hits: p.hits.Load(), Misses: p.misses.Load(), Refused: p.refused.Load(), CacheBytes: p.cache.bytes()}
}

// Plan returns what is proven of the text, from the cache when it can, and
// then without allocating. The plan holds for this schema and session only:
// keep the text of a prepared statement and ask again at each execution.
// Plans of a former schema are never found again and go when room is needed.
// Text is not kept.
func (p *Prover) Plan(s *Schema, ses Session, text []byte) *Plan {
	cached := len(text) <= MaxCachedText
	if cached {
		if plan := p.cache.find(s, ses, text); plan != nil {
			p.hits.Add(1)
			return plan
		}
	}
	p.misses.Add(1)
	plan := p.make(s, ses, text)
	if plan.Refusal != nil {
		p.refused.Add(1)
	}
	if cached {
		p.cache.keep(s, ses, text, plan)
	}
	return plan
}

// make plans a text.
func (p *Prover) make(s *Schema, ses Session, text []byte) *Plan {
	sc, why := scan(text, ses.Narrow)
	if why != nil {
		return refusedPlan(why)
	}
	plan := p.read(s, ses, sc)
	if sc.dated {
		switch plan.Class {
		case Read, Show, Set, SetAutocommit, Begin, Refused:
		default:
			return refusedPlan(executable())
		}
	}
	return plan
}

// read plans a text that has been scanned.
func (p *Prover) read(s *Schema, ses Session, sc scanned) *Plan {
	list, ok := p.parse(sc.clean)
	switch {
	case !ok:
		return p.unread(s, ses, sc)
	case len(list) == 0:
		return &Plan{Class: Read}
	case len(list) == 1:
		a := newAnalyzer(s, ses, sc)
		a.statement(list[0])
		a.finish()
		return a.plan
	}
	return refusedPlan(unprovable("several statements", "the text holds more than one statement", "send them one by one"))
}

// unread plans a text that the parser cannot read at once.
func (p *Prover) unread(s *Schema, ses Session, sc scanned) *Plan {
	a := newAnalyzer(s, ses, sc)
	defer a.finish()
	if text, ok := withoutWork(sc.clean); ok {
		if list, ok := p.parse(text); ok && len(list) == 1 {
			a.statement(list[0])
			return a.plan
		}
	}
	if text, fields, ok := returning(sc.clean); ok {
		list, ok := p.parse(text)
		clause, also := p.parse(fields)
		if ok && also && len(list) == 1 && len(clause) == 1 && a.returns(clause[0]) {
			a.statement(list[0])
			return a.plan
		}
	}
	a.unread()
	return a.plan
}

func newAnalyzer(s *Schema, ses Session, sc scanned) *analyzer {
	return &analyzer{schema: s, session: ses, scanned: sc, plan: &Plan{Params: len(sc.markers)}}
}

// parse reads a clean text. Words that only newer servers reserve, such as
// rank and groups, are tried as names too.
func (p *Prover) parse(clean string) (list []ast.StmtNode, ok bool) {
	reader := p.parsers.Get().(*parser.Parser)
	defer func() {
		// The parser is not ours: a text that breaks it is one that cannot be
		// read. The broken parser is left to the collector.
		if recover() != nil {
			list, ok = nil, false
		}
	}()
	for _, windows := range []bool{true, false} {
		reader.EnableWindowFunc(windows)
		found, _, err := reader.ParseSQL(clean)
		if err == nil {
			list, ok = append(list, found...), true // found is the parser's own
			break
		}
	}
	p.parsers.Put(reader)
	return list, ok
}
