package move

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-live/atoll/space"
)

// world is a small model of everything around the machine: a store with
// compares, movers of which former leaders live on, proxies that obey
// snapshots when these reach them, clients that write through them, and two
// lanes. Every message can be late, doubled or lost; every process can die.
type world struct {
	r      *rand.Rand
	broken string // the rule that is switched off, for negative controls
	now    time.Time
	err    string
	trace  []string

	store   stored
	movers  []*modelMover
	proxies []*proxy
	syncs   map[string]*lanes
	logs    map[string][]entry // unit → its binlog
	applied map[string]int     // unit → how far the other unit's log is applied there
	rows    map[string]map[int]bool
	row     int
	wire    []message
	moves   []State // those that are over
	ended   map[string]Phase
}

type stored struct {
	state    State
	rev      int
	leader   string
	owner    string
	snapshot view
	views    []view // all that were ever published
	planes   map[string]Plane
}

type view struct {
	epoch  int64
	owner  string
	fenced bool
	move   string
	fence  int64
}

type modelMover struct {
	name  string
	state State
	rev   int
}

// proxy is a database proxy. Its registration outlives it.
type proxy struct {
	name, unit string
	inc        int
	up, known  bool // known: registered in this life
	leased     bool
	view       view  // in force
	stored     view  // what a crash leaves of it; it tells of no other
	open       []int // rows written in transactions that are not over
	left       []int // what its former life left at the server
}

// lanes is the sync process of one unit: it writes its unit's tokens and
// carries the other unit's log in.
type lanes struct {
	unit string
	inc  int
}

type entry struct {
	row   int
	token string // "id/epoch", "" for a row
	kind  tokenKind
}

type tokenKind string

const (
	closes  tokenKind = "CLOSE"
	barrier tokenKind = "BARRIER"
	opens   tokenKind = "OPEN"
)

type message struct {
	Reported
	move map[string][]Answer // move id → answers
}

func newWorld(seed int64, broken string) *world {
	w := &world{
		r: rand.New(rand.NewSource(seed)), broken: broken, now: time.Unix(1_800_000_000, 0).UTC(),
		syncs: map[string]*lanes{"a": {unit: "a"}, "b": {unit: "b"}}, logs: map[string][]entry{},
		applied: map[string]int{}, rows: map[string]map[int]bool{"a": {}, "b": {}}, ended: map[string]Phase{},
	}
	w.store.owner = "a"
	w.store.planes = map[string]Plane{}
	w.store.snapshot = view{epoch: 1, owner: "a"}
	w.store.views = []view{w.store.snapshot}
	w.proxies = []*proxy{{name: "pa1", unit: "a"}, {name: "pa2", unit: "a"}, {name: "pb", unit: "b"}}
	for _, p := range w.proxies[:1+w.r.Intn(3)] {
		w.restart(p)
	}
	for _, unit := range []string{"a", "b"} {
		w.store.planes["s"+unit] = Plane{Kind: "dbsync", Unit: unit, Incarnation: "0"}
	}
	w.store.leader = "m0"
	w.begin()
	return w
}

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	if w.err == "" {
		w.err = fmt.Sprintf(format, args...)
	}
}

func other(unit string) string {
	if unit == "a" {
		return "b"
	}
	return "a"
}

// begin starts a move away from the present owner.
func (w *world) begin() {
	from := w.store.owner
	parts := Participants([]string{"a", "b"})[1:]
	if w.broken == "no-barrier" {
		parts = parts[:1]
	}
	s, err := New(Plan{ID: fmt.Sprintf("mv%d", len(w.moves)+1), Space: "s", Rule: "r", From: from, To: other(from),
		Keys: space.KeySet{Keys: []string{"k"}}, Epoch: w.store.snapshot.epoch, Participants: parts,
		Limits: testLimits(), Leader: w.store.leader}, w.now)
	if err != nil {
		panic(err)
	}
	w.store.state = s
	w.store.rev++
	w.say("begin %s from %s", s.ID, from)
	w.elect()
}

func (w *world) readState() State {
	raw, err := json.Marshal(w.store.state)
	if err != nil {
		panic(err)
	}
	var s State
	if err := json.Unmarshal(raw, &s); err != nil {
		panic(err)
	}
	return s
}

// elect makes another mover the leader. The former ones live on.
func (w *world) elect() {
	w.store.leader = fmt.Sprintf("m%d", w.store.rev)
	m := &modelMover{name: w.store.leader, state: w.readState(), rev: w.store.rev}
	w.movers = append(w.movers, m)
	if len(w.movers) > 3 {
		w.movers = w.movers[1:]
	}
	w.say("leader %s", m.name)
	w.feed(m, TakenOver{At: w.now, Leader: m.name})
	w.feed(m, Checked{At: w.now, Checks: []CheckResult{{Name: "all", OK: true}}})
}

func (w *world) feed(m *modelMover, e Event) {
	next, commands := Step(m.state, e)
	m.state = next
	w.carryOut(m, commands, 0)
}

func (w *world) carryOut(m *modelMover, commands []Command, depth int) {
	if depth > 10 {
		w.fail("the machine does not come to rest")
		return
	}
	for _, c := range commands {
		if c.Kind == Audit {
			continue
		}
		if w.r.Intn(30) == 0 { // the store does not answer, nothing is written
			w.reread(m)
			return
		}
		holds := w.store.leader == m.name && w.store.rev == m.rev
		if !holds && w.broken != "no-compare" {
			w.reread(m)
			return
		}
		next, more := m.state, []Command(nil)
		if c.Kind.Publishes() {
			next, more = Step(m.state, Published{At: w.now, What: c.Kind, Epoch: w.store.snapshot.epoch + 1})
		}
		w.write(m, c, next)
		if w.r.Intn(20) == 0 { // written, but the mover does not learn it
			w.reread(m)
			return
		}
		m.state, m.rev = w.readState(), w.store.rev
		w.carryOut(m, more, depth+1)
	}
}

func (w *world) reread(m *modelMover) {
	m.rev = w.store.rev
	m.state, _ = Step(w.readState(), Conflict{At: w.now})
}

// write is one transaction: state and snapshot.
func (w *world) write(m *modelMover, c Command, next State) {
	w.say("%s writes %s: %s -> %s", m.name, c.Kind, w.store.state.Phase, next.Phase)
	w.store.rev++
	was := w.store.state
	w.store.state = next
	if c.Kind.Publishes() {
		t := next.Transfer()
		owner := w.store.snapshot.owner
		switch {
		case next.Phase.Committed():
			owner = next.To
		case c.Kind == PublishAbort:
			owner = next.From
		}
		w.store.owner = owner
		w.store.snapshot = view{epoch: w.store.snapshot.epoch + 1, owner: owner, fenced: t.Fenced, move: next.ID, fence: t.FenceEpoch}
		w.store.views = append(w.store.views, w.store.snapshot)
	}
	if was.Phase.Committed() && !next.Phase.Committed() && was.ID == next.ID {
		w.fail("%s went back from %s to %s", next.ID, was.Phase, next.Phase)
	}
	if next.Phase.Over() {
		w.ended[next.ID] = next.Phase
	}
}

// ---- planes

func (w *world) restart(p *proxy) {
	p.left = nil // it ends what its former life left before it says anything
	p.inc++
	p.up, p.known, p.open = true, false, nil
	p.leased = p.leased && w.broken == "told-early"
	p.view = p.stored
	w.say("%s starts as %d", p.name, p.inc)
}

func (w *world) register(p *proxy) {
	p.known = true
	w.store.planes[p.name] = Plane{Kind: "dbproxy", Unit: p.unit, Incarnation: fmt.Sprint(p.inc)}
	w.say("%s registers", p.name)
}

func (p *proxy) writable() bool {
	return p.up && p.leased && p.view.owner == p.unit && !p.view.fenced
}

// grant is rule L1 and L2.
func (w *world) grant(p *proxy) {
	undrained := p.view.fenced && len(p.open) > 0
	if p.up && p.known && p.stored.epoch == w.store.snapshot.epoch && !undrained {
		p.leased = true
	}
}

func (w *world) admit(p *proxy) {
	if !p.writable() {
		return
	}
	w.row++
	p.open = append(p.open, w.row)
	w.say("%s admits row %d at epoch %d", p.name, w.row, p.view.epoch)
	for _, q := range w.proxies {
		if q.unit != p.unit && (q.writable() || len(q.open)+len(q.left) > 0) {
			w.fail("%s of %s admits while %s of %s can write", p.name, p.unit, q.name, q.unit)
		}
	}
	for row := range w.rows[other(p.unit)] {
		if !w.rows[p.unit][row] {
			w.fail("%s admits in %s without row %d of %s", p.name, p.unit, row, other(p.unit))
		}
	}
}

func (w *world) commitOne(p *proxy) {
	from := &p.open
	if !p.up {
		from = &p.left
	}
	if len(*from) == 0 {
		return
	}
	row := (*from)[0]
	*from = (*from)[1:]
	if !w.owns(p.unit) && w.broken != "no-barrier" { // without lanes there are no tokens
		w.fail("row %d commits in %s, which does not own the keys by the tokens in its log", row, p.unit)
	}
	w.logs[p.unit] = append(w.logs[p.unit], entry{row: row})
	w.rows[p.unit][row] = true
	w.say("row %d commits in %s", row, p.unit)
}

func (w *world) crash(p *proxy) {
	if p.up {
		p.left = append(p.left, p.open...)
		p.up, p.leased, p.open = false, p.leased && w.broken == "told-early", nil
		w.say("%s dies with %v left", p.name, p.left)
	}
}

// lapse ends a lease, and with it what it admitted (rule L3).
func (w *world) lapse(p *proxy) {
	if p.up && p.leased {
		p.leased, p.open = false, nil
		w.say("lease of %s ends", p.name)
	}
}

func (w *world) install(p *proxy) {
	if !p.up {
		return
	}
	v := w.store.views[w.r.Intn(len(w.store.views))]
	if w.r.Intn(2) == 0 {
		v = w.store.snapshot
	}
	if v.epoch > p.view.epoch {
		p.view = v
	}
	if w.r.Intn(2) == 0 { // the disk may take longer
		w.keep(p)
	}
}

// keep brings what is in force to the proxy's disk.
func (w *world) keep(p *proxy) {
	full := w.broken == "told-early" && p.stored.epoch > 0
	if p.up && !full {
		p.stored = p.view
	}
}

func (w *world) reportProxy(p *proxy) {
	if !p.up || !p.known && w.broken != "no-register" {
		return
	}
	told := p.stored
	if w.broken == "told-early" { // and its disk is full, and it writes after a restart before it has heard a console
		told = p.view
	}
	m := message{Reported: Reported{Plane: p.name, Incarnation: fmt.Sprint(p.inc), Epoch: told.epoch}, move: map[string][]Answer{}}
	if told.fenced && p.view.fence == told.fence && len(p.open) == 0 {
		m.move[told.move] = []Answer{{Joint: Drained, Epoch: told.fence}}
	}
	w.wire = append(w.wire, m)
}

// ask lets a sync process do what the persisted state asks of it.
func (w *world) ask(l *lanes) {
	s := w.store.state
	switch s.Ask("dbsync", l.unit) {
	case AskClose:
		kind := barrier
		if l.unit == s.From {
			kind = closes
		}
		w.token(l.unit, kind, s)
		if w.broken == "early-open" && l.unit == s.To {
			w.token(l.unit, opens, s)
		}
	case AskOpen:
		if w.broken != "no-open" {
			w.token(l.unit, opens, s)
		}
	}
}

// token writes a token once.
func (w *world) token(unit string, kind tokenKind, s State) {
	e := entry{token: fmt.Sprintf("%s/%d", s.ID, s.FenceEpoch), kind: kind}
	if !slices.Contains(w.logs[unit], e) {
		w.logs[unit] = append(w.logs[unit], e)
		w.say("%s %s in %s", kind, e.token, unit)
	}
}

// owns tells what a lane that reads the unit's log to its end takes for true:
// does the unit own the keys, by the tokens alone?
func (w *world) owns(unit string) bool {
	owns := unit == "a"
	for _, e := range w.logs[unit] {
		id, _ := moveOf(e)
		switch {
		case w.ended[id] == Aborted && e.kind == opens:
			w.fail("%s of %s in %s, which was aborted", e.kind, e.token, unit)
		case w.ended[id] == Aborted:
		case e.kind == opens:
			owns = true
		case e.kind == closes:
			owns = false
		}
	}
	return owns
}

func (w *world) carry(l *lanes) {
	source := w.logs[other(l.unit)]
	if at := w.applied[l.unit]; at < len(source) {
		if e := source[at]; e.token == "" {
			w.rows[l.unit][e.row] = true
		}
		w.applied[l.unit]++
	}
}

func (w *world) reportLanes(l *lanes) {
	m := message{Reported: Reported{Plane: "s" + l.unit, Incarnation: fmt.Sprint(l.inc), Epoch: w.store.snapshot.epoch}, move: map[string][]Answer{}}
	for _, e := range w.logs[other(l.unit)][:w.applied[l.unit]] {
		id, epoch := moveOf(e)
		if e.kind == opens || id == "" {
			continue
		}
		m.move[id] = append(m.move[id], Answer{Joint: Passed, Lane: Lane(other(l.unit), l.unit), Epoch: epoch})
	}
	for _, e := range w.logs[l.unit] {
		if id, epoch := moveOf(e); e.kind == opens {
			m.move[id] = append(m.move[id], Answer{Joint: Opened, Epoch: epoch})
		}
	}
	s := w.store.state
	if w.broken == "no-open" && l.unit == s.To {
		m.move[s.ID] = append(m.move[s.ID], Answer{Joint: Opened, Epoch: s.FenceEpoch})
	}
	if l.unit == s.To && s.Phase == Settle {
		m.move[s.ID] = append(m.move[s.ID], Answer{Joint: Settled, Epoch: s.FenceEpoch})
	}
	w.wire = append(w.wire, m)
}

// moveOf is the id and the fence epoch of a token's move, "" for a row.
func moveOf(e entry) (id string, epoch int64) {
	id, number, _ := strings.Cut(e.token, "/")
	epoch, _ = strconv.ParseInt(number, 10, 64)
	return id, epoch
}

// deliver brings a message to a mover. It may come again.
func (w *world) deliver(m *modelMover) {
	if len(w.wire) > 0 {
		w.deliverAt(m, w.r.Intn(len(w.wire)))
	}
}

func (w *world) deliverAt(m *modelMover, i int) {
	if i < 0 {
		return
	}
	e := w.wire[i]
	if w.r.Intn(4) != 0 || len(w.wire) > 30 {
		w.wire = slices.Delete(w.wire, i, i+1)
	}
	e.Answers = e.move[m.state.ID]
	if w.broken == "any-ack" {
		e.Answers = nil
		for _, answers := range e.move {
			for _, a := range answers {
				a.Epoch = m.state.epochOf(a.Joint)
				e.Answers = append(e.Answers, a)
			}
		}
	}
	e.At = w.now
	w.feed(m, e.Reported)
}

func (w *world) readRegistry(m *modelMover) {
	asOf := w.store.snapshot.epoch
	planes := maps.Clone(w.store.planes)
	if w.broken == "early-set" { // the set of the former reading counts
		asOf = 1 << 40
		for name := range planes {
			if name == "pa2" || name == "pb" {
				delete(planes, name)
			}
		}
	}
	w.feed(m, Registered{At: w.now, AsOf: asOf, Planes: planes})
}

// tellLapsed says of a proxy without a lease of before SWITCH that it is past.
func (w *world) tellLapsed(m *modelMover, p *proxy) {
	s := w.store.state
	if s.SwitchEpoch == 0 || p.leased && p.view.epoch < s.SwitchEpoch {
		return
	}
	// A dead proxy's server threads are gone once its lease is: they are ended
	// by another process of its site.
	if !p.up {
		p.left = nil
	}
	w.feed(m, Lapsed{At: w.now, Plane: p.name, Incarnation: fmt.Sprint(p.inc)})
}
