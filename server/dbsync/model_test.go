package dbsync

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/atoll-live/atoll/server/sitedb"
	"github.com/atoll-live/atoll/space"
)

// The model plays moves over units whose databases are maps and whose binary
// logs are lists. Planes are real: they judge by their books. It checks what
// notes on the protocol found to go wrong: a row that its owner wrote is lost,
// parked, or overwritten by an older one; a stray row is applied.
type model struct {
	t      *testing.T
	random *rand.Rand
	harsh  bool // moves leave the snapshot at once; then no plane misses a snapshot
	trace  []string

	units  []string
	planes map[string]*Sync
	logs   map[string][]entry
	at     map[string]int            // lane → entries of its origin consumed
	data   map[string]map[string]int // unit → key → value
	truth  map[string]int            // key → last value that its owner wrote
	value  int
	owner  map[string]string // who may write, by the guards
	fenced map[string]bool

	snap  *space.Snapshot
	move  *space.Transfer // the active one
	phase int
	abort bool // how the active one will end
	moves int
	old   []*space.Snapshot // published, for planes that take them one by one
}

// entry of a binary log: a row, or a token.
type entry struct {
	key   string
	value int
	good  bool // its writer owned the key at this place
	token tokenID
}

func newModel(t *testing.T, seed uint64, harsh bool) *model {
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 2)), harsh: harsh, units: []string{"unit-a", "unit-b", "unit-c"},
		planes: map[string]*Sync{}, logs: map[string][]entry{}, at: map[string]int{}, data: map[string]map[string]int{},
		truth: map[string]int{}, owner: map[string]string{}, fenced: map[string]bool{}}
	doc := &space.Space{APIVersion: space.APIVersionSpace, Kind: space.KindSpace, Metadata: space.Metadata{Name: "shop"},
		Spec: space.Spec{ID: "1", Code: "shop", Version: "1",
			Variables: []space.Variable{{Name: "user", Type: "string", Sources: []space.Source{{Name: "q", Scope: space.ScopeQuery, Key: "user", Func: "BKDRHash"}}}}}}
	rule := space.UnitRule{ID: "r", LiveType: space.CrossRegion, Variable: "user", VariableSource: "q", VariableFunction: "BKDRHash", Modulo: 100}
	db := &space.Database{Metadata: space.Metadata{Name: "shop"}, Spec: space.DatabaseSpec{Space: "shop", Rule: "r",
		Tables: []space.Table{{Name: "orders", Kind: space.TableUnit, Key: "buyer"}}}}
	keys := []string{"k1", "k2"}
	for i, u := range m.units {
		kind := space.Regular
		if i == 0 {
			kind = space.Center
		}
		doc.Spec.Units = append(doc.Spec.Units, space.Unit{Code: u, Type: kind, Cells: []space.Cell{{Code: u + "1"}}})
		route := space.UnitRoute{Code: u, Ranges: []space.Range{{From: i * 100 / 3, To: (i + 1) * 100 / 3}}}
		if i == 0 {
			route.Allows = keys
		}
		rule.Units = append(rule.Units, route)
		db.Spec.Sources = append(db.Spec.Sources, space.DataSource{Unit: u, Host: u, Port: 1, Database: "shop"})
		m.data[u] = map[string]int{}
	}
	for _, k := range keys {
		m.owner[k] = "unit-a"
	}
	doc.Spec.UnitRules = []space.UnitRule{rule}
	m.snap = &space.Snapshot{Space: "shop", Epoch: 1, Document: doc, Databases: []*space.Database{db}}
	m.old = []*space.Snapshot{m.snap}
	for _, u := range m.units {
		s, err := New(Config{Unit: u, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		m.planes[u] = s
		m.install(u, m.snap)
		for _, l := range s.lanes {
			l.loaded = true
		}
	}
	return m
}

func (m *model) install(unit string, s *space.Snapshot) {
	if err := m.planes[unit].Install(context.Background(), s); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) say(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	for _, line := range m.trace {
		m.t.Log(line)
	}
	m.t.Fatalf(format, args...)
}

func (m *model) publish(change func(*space.Snapshot)) {
	next := *m.snap
	next.Epoch++
	next.Moves = nil
	for _, t := range m.snap.Moves {
		c := *t
		next.Moves = append(next.Moves, &c)
	}
	change(&next)
	m.snap = &next
	m.old = append(m.old, m.snap)
}

// write lets a unit write a key. It is good when the unit owns the key and no
// fence stands; others are strays that no guard let pass.
func (m *model) write(unit, key string, good bool) {
	m.value++
	if good {
		if got := m.data[unit][key]; got != m.truth[key] {
			m.fail("%s owns %s and sees value %d, the last one is %d", unit, key, got, m.truth[key])
		}
		m.data[unit][key] = m.value
		m.truth[key] = m.value
	}
	m.say("%s writes %s=%d good=%v", unit, key, m.value, good)
	m.logs[unit] = append(m.logs[unit], entry{key: key, value: m.value, good: good})
}

func (m *model) token(unit, kind string) {
	m.say("%s writes %s of %s", unit, kind, m.move.ID)
	m.logs[unit] = append(m.logs[unit], entry{token: tokenID{"shop", m.move.ID, m.move.FenceEpoch, kind}})
}

// passed tells whether a lane has passed a token of the active move.
func (m *model) passed(from, to, kind string) bool {
	return m.planes[to].lanes[laneName(from, to)].hasLocked(tokenID{"shop", m.move.ID, m.move.FenceEpoch, kind})
}

// advance takes the mover one step further.
func (m *model) advance() {
	switch m.phase {
	case 0: // FENCE
		key := []string{"k1", "k2"}[m.random.IntN(2)]
		from := m.owner[key]
		to := m.units[m.random.IntN(3)]
		if to == from || len(m.snap.Moves) > 3 {
			m.settleMoves()
			return
		}
		m.publish(func(s *space.Snapshot) {
			m.move = &space.Transfer{ID: fmt.Sprintf("m%d", s.Epoch), Rule: "r", From: from, To: to, Keys: space.KeySet{Keys: []string{key}}, Fenced: true, FenceEpoch: s.Epoch}
			s.Moves = append(s.Moves, m.move)
		})
		m.fenced[key] = true
		m.say("move %s of %s: %s to %s", m.move.ID, key, from, to)
		m.phase = 1
	case 1: // BARRIER
		m.token(m.move.From, sitedb.TokenClose)
		m.token(m.move.To, sitedb.TokenBarrier)
		m.phase, m.abort = 2, m.random.IntN(4) == 0
		m.moves++
	case 2: // SWITCH or abort
		key := m.move.Keys.Keys[0]
		if m.abort {
			m.publish(func(s *space.Snapshot) {
				t := find(s.Moves, m.move.ID)
				t.Outcome, t.Fenced = space.OutcomeAborted, false
			})
			m.say("move %s aborted", m.move.ID)
			m.fenced[key], m.phase = false, 0
			m.settleMoves()
			return
		}
		if !m.passed(m.move.From, m.move.To, sitedb.TokenClose) || !m.passed(m.move.To, m.move.From, sitedb.TokenBarrier) {
			return
		}
		m.publish(func(s *space.Snapshot) {
			t := find(s.Moves, m.move.ID)
			doc, err := switchDoc(s.Document, t)
			if err != nil {
				m.t.Fatal(err)
			}
			s.Document, t.Outcome = doc, space.OutcomeSwitched
		})
		m.say("move %s switched", m.move.ID)
		m.phase = 3
	case 3: // RELEASE
		m.token(m.move.To, sitedb.TokenOpen)
		key := m.move.Keys.Keys[0]
		m.owner[key], m.fenced[key], m.phase = m.move.To, false, 0
		m.publish(func(s *space.Snapshot) { find(s.Moves, m.move.ID).Fenced = false })
		m.settleMoves()
	}
}

// settleMoves drops moves from the snapshot: in harsh mode any that is over,
// else those that every lane out of their two units has acked, as the mover
// does.
func (m *model) settleMoves() {
	m.publish(func(s *space.Snapshot) {
		s.Moves = slices.DeleteFunc(s.Moves, func(t *space.Transfer) bool {
			return t.Outcome != space.OutcomeNone && m.random.IntN(2) == 0 && (m.harsh && t.Outcome == space.OutcomeSwitched || m.everybodyPassed(t))
		})
	})
}

func (m *model) everybodyPassed(t *space.Transfer) bool {
	for _, u := range m.units {
		for _, l := range m.planes[u].lanes {
			if l.origin == t.From && !l.hasLocked(tokenID{"shop", t.ID, t.FenceEpoch, sitedb.TokenClose}) ||
				l.origin == t.To && !l.hasLocked(tokenID{"shop", t.ID, t.FenceEpoch, sitedb.TokenBarrier}) {
				return false
			}
		}
	}
	return true
}

// follow lets a lane take its next entry if it may.
func (m *model) follow(from, to string) bool {
	s := m.planes[to]
	l := s.lanes[laneName(from, to)]
	n := m.at[l.name]
	if n == len(m.logs[from]) {
		return false
	}
	e := m.logs[from][n]
	if e.key == "" {
		if _, waits := s.closing(l, e.token); waits || s.epoch("shop") < e.token.epoch {
			return false
		}
		s.tokensPassed(l, []*token{{tokenID: e.token, seq: int64(n), transfer: s.transfer(l, e.token)}})
		m.at[l.name]++
		m.say("%s passes %s of %s", l.name, e.token.kind, e.token.move)
		return true
	}
	b, err := s.book(l, "shop")
	if err != nil {
		m.fail("book: %v", err)
	}
	j := b.judge("r", e.key)
	if j.verdict == wait || (&applier{lane: l}).early(j) {
		return false
	}
	m.say("%s judges %s=%d: owned=%v", l.name, e.key, e.value, j.verdict == owned)
	if (j.verdict == owned) != e.good {
		m.fail("lane %s, %s=%d: owned %v, but its writer owned it: %v", l.name, e.key, e.value, j.verdict == owned, e.good)
	}
	if e.good {
		m.data[to][e.key] = e.value
	}
	m.at[l.name]++
	return true
}

// learn gives a plane a snapshot: the next one, or when it may miss some, any
// later one.
func (m *model) learn(unit string) {
	now := m.planes[unit].epoch("shop")
	i := slices.IndexFunc(m.old, func(s *space.Snapshot) bool { return s.Epoch > now })
	if i < 0 {
		return
	}
	if !m.harsh {
		i += m.random.IntN(len(m.old) - i)
	}
	m.install(unit, m.old[i])
	m.say("%s learns epoch %d", unit, m.old[i].Epoch)
}

// restart gives a plane a new life: with its snapshot and the tokens that its
// lanes have passed, and, where moves leave the snapshot early, what it keeps.
func (m *model) restart(unit string) {
	old := m.planes[unit]
	s, err := New(old.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.planes[unit] = s
	m.install(unit, old.views["shop"].Snapshot)
	for name, l := range s.lanes {
		l.passed, l.loaded = old.lanes[name].passed, true
		if m.harsh {
			l.keepLocked("shop", old.lanes[name].kept["shop"])
		}
	}
	m.say("%s starts anew", unit)
}

func (m *model) step() {
	if m.random.IntN(40) == 0 {
		m.restart(m.units[m.random.IntN(3)])
	}
	from, to := m.units[m.random.IntN(3)], m.units[m.random.IntN(3)]
	switch m.random.IntN(10) {
	case 0, 1:
		m.advance()
	case 2, 3:
		m.learn(to)
	case 4, 5:
		key := []string{"k1", "k2"}[m.random.IntN(2)]
		if !m.fenced[key] {
			m.write(m.owner[key], key, true)
		}
	case 6:
		// A stray never stands where the book must call it good: its writer does
		// not own the key at this place of its own log.
		key := []string{"k1", "k2"}[m.random.IntN(2)]
		if from != m.owner[key] || m.phase >= 2 && !m.abort && m.move.Keys.Keys[0] == key {
			m.write(from, key, false)
		}
	default:
		for range m.random.IntN(5) {
			if from != to {
				m.follow(from, to)
			}
		}
	}
}

// finish lets everything come to rest and compares.
func (m *model) finish() {
	for m.phase != 0 {
		m.advance()
		m.drain()
	}
	m.drain()
	for _, from := range m.units {
		for _, to := range m.units {
			if from != to && m.at[laneName(from, to)] != len(m.logs[from]) {
				m.fail("lane %s>%s is stuck at entry %d: %+v", from, to, m.at[laneName(from, to)], m.logs[from][m.at[laneName(from, to)]])
			}
		}
		for key, want := range m.truth {
			if got := m.data[from][key]; got != want {
				m.fail("%s ends with %s=%d, want %d", from, key, got, want)
			}
		}
	}
}

func (m *model) drain() {
	for again := true; again; {
		again = false
		for _, to := range m.units {
			for m.planes[to].epoch("shop") < m.snap.Epoch {
				m.learn(to)
				again = true
			}
			for _, from := range m.units {
				for from != to && m.follow(from, to) {
					again = true
				}
			}
		}
	}
}

func TestModelOfMovesOverThreeUnits(t *testing.T) {
	base := uint64(time.Now().UnixNano())
	moves := 0
	for i := range uint64(150) {
		m := newModel(t, base+i, i%2 == 0)
		m.say("seed %d harsh %v", base+i, m.harsh)
		for range 1500 {
			m.step()
		}
		m.finish()
		moves += m.moves
	}
	if moves < 150*5 {
		t.Errorf("only %d moves were played", moves)
	}
}
