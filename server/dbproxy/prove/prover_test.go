package prove

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func prover(t testing.TB, bytes int) *Prover {
	p, err := New(Config{CacheBytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestLargeTexts sends what could exhaust the stack or the time of a parser.
func TestLargeTexts(t *testing.T) {
	repeat := func(head, part, tail string, n int) string { return head + strings.Repeat(part, n) + tail }
	p, s := prover(t, 0), schemas(t)["refuse"]
	for name, c := range map[string]struct {
		text string
		keys int // 0: refused
	}{
		"insert of 20,000 rows":   {repeat("INSERT INTO orders (id, buyer_id, note) VALUES (1, 'bob', NULL)", ", (-1, 'bob', NOW())", "", 20_000), 1},
		"insert with 8 MB blobs":  {"INSERT INTO orders (buyer_id, note) VALUES ('bob', '" + repeat("", "\xff\\'\x00x", "", 2<<20) + "')", 1},
		"20,000 keys":             {"DELETE FROM wallets WHERE user_id IN (0" + numbers(20_000) + ")", 20_001},
		"20,000 arms":             {repeat("DELETE FROM orders WHERE buyer_id = 'bob'", " OR buyer_id = 'bob'", "", 20_000), 1},
		"20,000 conditions":       {repeat("DELETE FROM orders WHERE buyer_id = 'bob'", " AND buyer_id = 'bob'", "", 20_000), 1},
		"long sum":                {repeat("DELETE FROM orders WHERE buyer_id = 'bob' AND 1", "+1", "", 90_000), 1},
		"too long sum":            {repeat("DELETE FROM orders WHERE buyer_id = 'bob' AND 1", "+1", "", 8<<20), 0},
		"deep parentheses":        {repeat("DELETE FROM orders WHERE buyer_id = 'bob' AND ", "(", "1", 500) + strings.Repeat(")", 500), 1},
		"too deep parentheses":    {repeat("DELETE FROM orders WHERE buyer_id = 'bob' AND ", "(", "1", 1<<20) + strings.Repeat(")", 1<<20), 0},
		"deep subqueries":         {repeat("DELETE FROM orders WHERE buyer_id = 'bob' AND 1 IN ", "(SELECT 1 FROM products WHERE 1 IN ", "(1)", 300) + strings.Repeat(")", 300), 0},
		"too many NOTs":           {repeat("DELETE FROM orders WHERE buyer_id = 'bob' AND ", "NOT ", "1", 1<<20), 0},
		"too many tables":         {repeat("SELECT 1 FROM products", ", products", "", 300), 0},
		"far too many tables":     {repeat("SELECT 1 FROM products", ", products", "", 200_000), 0},
		"many comments":           {repeat("DELETE FROM orders ", "/* x */ ", "WHERE buyer_id = 'bob'", 1<<20), 1},
		"many statements":         {repeat("", "SELECT 1;", "", 1<<16), 0},
		"union of 5,000":          {repeat("SELECT id FROM orders WHERE buyer_id = 'bob'", " UNION SELECT 1", "", 5_000), 1},
		"larger than the largest": {repeat("SELECT '", "x", "'", MaxText), 0},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			plan := p.Plan(s, Session{}, []byte(c.text))
			keys, why := plan.Resolve(nil)
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if (why != nil) != (c.keys == 0) || len(keys) != c.keys {
				t.Errorf("%d keys, %v", len(keys), why)
			}
		})
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ", %d", i+1)
	}
	return b.String()
}

// TestCache holds the cache to its bound and to what plans depend on.
func TestCache(t *testing.T) {
	p, all := prover(t, 1<<20), schemas(t)
	text := []byte("SELECT * FROM unknown WHERE x = 1")
	first := p.Plan(all["refuse"], Session{}, text)
	if p.Plan(all["refuse"], Session{}, text) != first {
		t.Error("a refusal is not cached")
	}
	if again := p.Plan(all["local"], Session{}, text); again.Refusal != nil {
		t.Errorf("another schema got the old plan: %v", again.Refusal)
	}
	if p.Plan(all["refuse"], Session{Narrow: true}, text) == first || p.Plan(all["refuse"], Session{Database: "mysql"}, text) == first {
		t.Error("another session got the old plan")
	}
	copy(text, "DELETE")
	if p.Plan(all["refuse"], Session{}, []byte("SELECT * FROM unknown WHERE x = 1")) != first {
		t.Error("the cache keeps the caller's bytes")
	}
	if f := p.Figures(); f.Hits != 2 || f.Misses != 4 || f.Refused != 2 {
		t.Errorf("figures %+v", f)
	}
	long := []byte("SELECT '" + strings.Repeat("x", MaxCachedText) + "'")
	once, again := p.Plan(all["refuse"], Session{}, long), p.Plan(all["refuse"], Session{}, long)
	if once == again {
		t.Error("a long text is cached")
	}
}

// TestCacheBound fills the cache several times over.
func TestCacheBound(t *testing.T) {
	const limit = 256 << 10
	p, s := prover(t, limit), schemas(t)["refuse"]
	often := []byte("SELECT * FROM orders WHERE buyer_id = 'often'")
	kept := p.Plan(s, Session{}, often)
	for i := range 5_000 {
		p.Plan(s, Session{}, fmt.Appendf(nil, "SELECT * FROM orders WHERE buyer_id = 'b' AND id = %d", i))
		if p.Plan(s, Session{}, often) != kept {
			t.Fatalf("a text that is used all the time fell out after %d others", i)
		}
		if n := p.cache.bytes(); n > limit {
			t.Fatalf("%d bytes after %d texts, the bound is %d", n, i, limit)
		}
	}
	entries := 0
	for i := range p.cache.parts {
		part := &p.cache.parts[i]
		n, bytes := 0, 0
		for e := part.ring.next; e != &part.ring; e = e.next {
			n++
			bytes += e.bytes
		}
		if n != len(part.entries) || bytes != part.bytes {
			t.Errorf("shard %d: %d entries of %d bytes in the ring, %d of %d known", i, n, bytes, len(part.entries), part.bytes)
		}
		entries += n
	}
	if entries < 100 || entries > 1_000 {
		t.Errorf("%d entries kept", entries)
	}
}

// TestConcurrentPlans plans the same texts from many goroutines, under two
// schemas, with a cache that is far too small.
func TestConcurrentPlans(t *testing.T) {
	p, all := prover(t, 64<<10), schemas(t)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 500 {
				name := fmt.Sprintf("k%d", r.IntN(200))
				s := all[[]string{"refuse", "local"}[r.IntN(2)]]
				plan := p.Plan(s, Session{}, []byte("UPDATE orders SET n = n + 1 WHERE buyer_id IN ('"+name+"', ?)"))
				keys, why := plan.Resolve([]Param{{Kind: ParamString, Bytes: []byte("other")}})
				if why != nil || !cmp.Equal(keys, []string{name, "other"}) {
					t.Errorf("keys %q, %v, want %q", keys, why, name)
				}
			}
		})
	}
	wg.Wait()
}

// TestHitAllocatesNothing guards the path that every statement takes.
func TestHitAllocatesNothing(t *testing.T) {
	p, s := prover(t, 0), schemas(t)["refuse"]
	for _, text := range [][]byte{[]byte(pointSelect), []byte(insertRow), []byte("SELECT * FROM unknown")} {
		p.Plan(s, Session{}, text)
		if n := testing.AllocsPerRun(100, func() {
			_, _ = p.Plan(s, Session{}, text).Resolve(nil)
		}); n > 0 {
			t.Errorf("%s: %v allocations on a hit", text, n)
		}
	}
	bound := []byte("SELECT * FROM wallets WHERE user_id = ?")
	params := []Param{{Kind: ParamInt, Int: 123456789}}
	p.Plan(s, Session{}, bound)
	if n := testing.AllocsPerRun(100, func() { _, _ = p.Plan(s, Session{}, bound).Resolve(params) }); n > 2 {
		t.Errorf("%v allocations on a hit with a parameter, want the list and the key", n)
	}
}

// TestCharset tells wide, narrow and refused client character sets apart.
func TestCharset(t *testing.T) {
	for name, want := range map[string][2]bool{
		"utf8mb4": {false, true}, "UTF8": {false, true}, "binary": {false, true}, "latin1": {true, true}, "ascii": {true, true},
		"gbk": {true, false}, "sjis": {true, false}, "ucs2": {true, false}, "swe7": {true, false}, "": {true, false},
	} {
		if narrow, ok := Charset(name); [2]bool{narrow, ok} != want {
			t.Errorf("Charset(%q) = %v, %v", name, narrow, ok)
		}
	}
}

// TestSQLMode checks the modes that a server may start sessions with.
func TestSQLMode(t *testing.T) {
	for mode, ok := range map[string]bool{
		"": true, "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION": true,
		"strict_all_tables": true, "ANSI_QUOTES": false, "NO_BACKSLASH_ESCAPES": false, "STRICT_ALL_TABLES,PIPES_AS_CONCAT": false,
		"IGNORE_SPACE": false, "HIGH_NOT_PRECEDENCE": false, "ORACLE": false, "EMPTY_STRING_IS_NULL": false, "NEW_MODE": false,
	} {
		if why := SQLMode(mode); (why == nil) != ok {
			t.Errorf("SQLMode(%q) = %v", mode, why)
		}
	}
}

// TestNewSchema refuses what no proof can stand on.
func TestNewSchema(t *testing.T) {
	key := Column{Name: "k", Type: Integer, Bits: 64}
	for name, c := range map[string]struct {
		database string
		standard space.TableKind
		table    Table
		ok       bool
	}{
		"good":            {"shop", "", Table{Kind: space.TableUnit, Key: key}, true},
		"no database":     {"", "", Table{Kind: space.TableUnit, Key: key}, false},
		"system database": {"MySQL", "", Table{Kind: space.TableUnit, Key: key}, false},
		"unit by default": {"shop", space.TableUnit, Table{Kind: space.TableUnit, Key: key}, false},
		"no kind":         {"shop", "", Table{Key: key}, false},
		"refuse as kind":  {"shop", "", Table{Kind: space.TableRefuse}, false},
		"no key":          {"shop", "", Table{Kind: space.TableUnit}, false},
		"no width":        {"shop", "", Table{Kind: space.TableUnit, Key: Column{Name: "k", Type: Integer}}, false},
		"no length":       {"shop", "", Table{Kind: space.TableUnit, Key: Column{Name: "k", Type: Text, Collation: "utf8mb4_bin"}}, false},
		"unknown type":    {"shop", "", Table{Kind: space.TableUnit, Key: Column{Name: "k"}}, true},
		"center":          {"shop", space.TableLocal, Table{Kind: space.TableCenter}, true},
	} {
		_, err := NewSchema(c.database, c.standard, map[string]Table{"t": c.table}, nil)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const (
	pointSelect = "SELECT id, status, amount FROM orders WHERE buyer_id = 'bob12345' AND id = 1234567"
	insertRow   = "INSERT INTO orders (id, buyer_id, status, amount, product, qty, note) VALUES (123456, 'bob12345', 1, 995, 17, 2, 'a note of some length')"
)

func BenchmarkHit(b *testing.B) {
	p, s := prover(b, 0), schemas(b)["refuse"]
	for name, text := range map[string][]byte{"select": []byte(pointSelect), "insert": []byte(insertRow)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = p.Plan(s, Session{}, text).Resolve(nil)
			}
		})
	}
	b.Run("bound", func(b *testing.B) {
		b.ReportAllocs()
		text := []byte("SELECT id, status, amount FROM orders WHERE buyer_id = ? AND id = ?")
		params := []Param{{Kind: ParamString, Bytes: []byte("bob12345")}, {Kind: ParamInt, Int: 7}}
		for b.Loop() {
			_, _ = p.Plan(s, Session{}, text).Resolve(params)
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	s := schemas(b)["refuse"]
	for name, text := range map[string][]byte{"select": []byte(pointSelect), "insert": []byte(insertRow)} {
		b.Run(name, func(b *testing.B) {
			p := prover(b, 0)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = p.make(s, Session{}, text).Resolve(nil)
			}
		})
	}
	b.Run("cached", func(b *testing.B) { // with the cost of keeping it, and of dropping others
		p := prover(b, 1<<20)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			p.Plan(s, Session{}, fmt.Appendf(nil, "SELECT id, status, amount FROM orders WHERE buyer_id = 'bob12345' AND id = %d", i))
		}
	})
}
