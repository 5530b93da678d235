package mover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/guard"
	"github.com/atoll-live/atoll/move"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// sim plays moves of one key after another over three units, with the real
// machine, the real mover and the real guard, in one goroutine and in a time
// of its own. Around them everything is fake: a store that fails before or
// after it wrote, consoles of which former leaders live on, proxies and lanes,
// messages that are late, doubled, lost or overtake each other. What happens
// follows from the seed alone.
//
// Every write of the key has a number. It must be made where the key's owner
// is by the tokens in that unit's own log, on top of the last acknowledged
// write, and at no older price than that one; every read must show the last
// acknowledged write; in the end all units have it. Prices are rows of a
// center-unit table: only the center writes them.
type sim struct {
	seed    uint64
	r       *rand.Rand
	mistake mistake // the rule that is broken on purpose, "" for none
	now     time.Time
	err     string
	trace   []string
	talk    bool // keep the trace

	ttl      time.Duration
	memory   *store.Memory
	revision int64               // of the snapshot last read
	views    []*route.View       // all that were published, in order
	outcomes map[string]ended    // of moves
	fencedAt map[int64]time.Time // fence epoch → when it was committed
	consoles []*simConsole       // the last one leads
	proxies  []*simProxy
	syncs    map[string]*simSync
	wire     []simMessage
	leased   map[string]time.Time // plane/incarnation → end of its leases, by the consoles' clock

	truth   int // the last acknowledged write
	price   int // at which it was made
	write   int // the last number given out
	moves   int // begun
	named   int // ids given out
	elected int // consoles, one after the other
	ends    map[space.Outcome]int
	dead    map[string]bool // plane/incarnation that was forgotten: it may not come back
}

// mistake is a rule broken on purpose. Each is told by a fake, or by a store
// or a wire that lies; nothing in the real parts knows of them.
type mistake string

const (
	none         mistake = ""
	ownClock     mistake = "fence-opens-by-its-own-clock"
	earlyToken   mistake = "position-before-the-drain"
	earlyRelease mistake = "opened-before-every-proxy-knows"
	staleLease   mistake = "lease-for-an-older-epoch"
	undrained    mistake = "undrained-plane-renewed"
	revived      mistake = "lapsed-lease-revived"
	anyToken     mistake = "token-of-an-aborted-attempt"
	zombie       mistake = "zombie-aborts-after-the-switch"
	judgeNow     mistake = "lane-judges-by-the-moment"
	centerBehind mistake = "lane-of-the-center-not-waited-for"
)

var mistakes = []mistake{ownClock, earlyToken, earlyRelease, staleLease, undrained, revived, anyToken, zombie, judgeNow, centerBehind}

const (
	simSpace = "shop"
	simRule  = "r"
	simKey   = "k"
	simGrace = 200 * time.Millisecond // no admitted statement is unsent, and no machine stands still with one, for longer
)

var simUnits = []string{"unit-a", "unit-b", "unit-c"}

func newSim(seed uint64, m mistake, talk bool) *sim {
	s := &sim{
		seed: seed, r: rand.New(rand.NewPCG(seed, 7)), mistake: m, talk: talk, now: time.Unix(1_800_000_000, 0).UTC(),
		memory: store.NewMemory(), fencedAt: map[int64]time.Time{}, syncs: map[string]*simSync{}, leased: map[string]time.Time{},
		ends: map[space.Outcome]int{}, outcomes: map[string]ended{}, dead: map[string]bool{},
	}
	s.ttl = []time.Duration{0, 400 * time.Millisecond, 2 * time.Second}[s.r.IntN(3)]
	s.apply()
	for _, unit := range simUnits {
		s.syncs[unit] = newSimSync(s, unit)
	}
	for i, name := range []string{"pa", "pb", "pc", "pa2", "pb2"} {
		p := &simProxy{s: s, name: name, unit: simUnits[i%3], rate: 0.99 + 0.02*s.r.Float64(), offset: time.Duration(s.r.IntN(1000)) * time.Second}
		p.stubborn = s.r.IntN(4) == 0
		s.proxies = append(s.proxies, p)
		if i < 3 || s.r.IntN(2) == 0 {
			p.start()
			p.register()
		}
	}
	s.elect()
	return s
}

// apply publishes the first snapshot: unit-a owns the key.
func (s *sim) apply() {
	doc := testDocument()
	doc.Spec.Units = append(doc.Spec.Units, space.Unit{Code: "unit-c", Type: space.Regular})
	doc.Spec.UnitRules = []space.UnitRule{{
		ID: simRule, LiveType: space.CrossRegion, Variable: "user", VariableSource: "user", VariableFunction: "BKDRHash", Modulo: 3,
		Units: []space.UnitRoute{
			{Code: "unit-a", Ranges: []space.Range{{From: 0, To: 1}}, Allows: []string{simKey}},
			{Code: "unit-b", Ranges: []space.Range{{From: 1, To: 2}}},
			{Code: "unit-c", Ranges: []space.Range{{From: 2, To: 3}}},
		},
	}}
	db := testDatabase()
	db.Spec.Rule = simRule
	db.Spec.Tables = append(db.Spec.Tables, space.Table{Name: "prices", Kind: space.TableCenterUnit})
	db.Spec.Sources = append(db.Spec.Sources, space.DataSource{Unit: "unit-c", Host: "127.0.0.1", Port: 3313, Database: "shop", User: "atoll"})
	first := &space.Snapshot{Space: simSpace, Document: doc, Databases: []*space.Database{db},
		Settings: space.Settings{FenceTTL: s.ttl, FenceDeadline: 400 * time.Millisecond}}
	txn, err := publish.Txn(publish.Current{}, first, publish.Why{By: "ann", Action: "apply", Object: simSpace, At: s.now})
	if err == nil {
		_, err = s.memory.Commit(context.Background(), txn)
	}
	if err != nil {
		panic(err)
	}
	s.look()
}

func (s *sim) say(format string, args ...any) {
	if s.talk {
		s.trace = append(s.trace, fmt.Sprintf("%9.3f  ", s.now.Sub(time.Unix(1_800_000_000, 0)).Seconds())+fmt.Sprintf(format, args...))
	}
}

func (s *sim) fail(format string, args ...any) {
	if s.err == "" {
		s.err = fmt.Sprintf(format, args...)
		s.say("VIOLATION: %s", s.err)
	}
}

// look learns what was published since.
func (s *sim) look() *route.View {
	it, err := s.memory.Get(context.Background(), store.SnapshotKey(simSpace))
	if err != nil {
		panic(err)
	}
	if it.Revision == s.revision {
		return s.views[len(s.views)-1]
	}
	s.revision = it.Revision
	current, err := publish.Read(it)
	if err != nil {
		panic(err)
	}
	v, err := route.NewView(current.Snapshot)
	if err != nil {
		panic(err)
	}
	s.views = append(s.views, v)
	for _, m := range v.Snapshot.Moves {
		if _, known := s.outcomes[m.ID]; m.Outcome != space.OutcomeNone && !known {
			s.outcomes[m.ID] = ended{m.Outcome, v.Snapshot.Epoch}
			s.ends[m.Outcome]++
		}
		if _, known := s.fencedAt[m.FenceEpoch]; m.FenceEpoch != 0 && !known {
			s.fencedAt[m.FenceEpoch] = s.now
		}
	}
	if m := lastMove(v); m != nil {
		s.say("published epoch %d: %s %s>%s hold %v fenced %v %s", v.Snapshot.Epoch, m.ID, m.From, m.To, m.Hold, m.Fenced, m.Outcome)
	}
	return v
}

// ended is how a move ended, and by which epoch it was published.
type ended struct {
	outcome space.Outcome
	epoch   int64
}

// outcome of a move, for who has an epoch in force.
func (s *sim) outcome(id string, epoch int64) space.Outcome {
	if e, ok := s.outcomes[id]; ok && e.epoch <= epoch {
		return e.outcome
	}
	return space.OutcomeNone
}

// ---- consoles

// simConsole is one console's mover with the driver of the present move. One
// that was followed by another does not know, and goes on.
type simConsole struct {
	s      *sim
	name   string
	mover  *Mover
	leader *store.Leadership
	driver *driver
	heard  map[string]int64 // plane/incarnation → boot time of the newest report
}

// elect makes another console the leader.
func (s *sim) elect() {
	s.memory.EndLeases()
	s.elected++
	ctx := context.Background()
	c := &simConsole{s: s, name: fmt.Sprintf("c%d", s.elected), heard: map[string]int64{}}
	var err error
	if c.leader, err = store.Campaign(ctx, s.memory, "mover", c.name, time.Second); err != nil {
		panic(err)
	}
	c.mover, err = New(Config{
		Store: &simStore{Store: s.memory, c: c}, Member: c.name, Clock: func() time.Time { return s.now }, Grace: simGrace,
		FenceMargin: time.Duration(200+s.r.IntN(4000)) * time.Millisecond, GoneAfter: 10 * time.Second, Settle: 5 * time.Second,
		LeaseEnd: func(p *atollv1.Plane, _ string, _ time.Duration) (time.Time, bool) {
			end, ok := s.leased[p.GetName()+"/"+p.GetIncarnation()]
			return end, ok && s.ttl == 0
		},
	})
	if err != nil {
		panic(err)
	}
	c.mover.newID = func(at time.Time) string {
		s.named++
		return fmt.Sprintf("m%s-%06x", at.Format("20060102-150405"), s.named)
	}
	s.consoles = append(s.consoles, c)
	if len(s.consoles) > 3 {
		s.consoles = s.consoles[1:]
	}
	s.say("%s leads", c.name)
	c.follow()
}

// follow reads the store, as the watch does, and takes over what is not over.
func (c *simConsole) follow() {
	if _, err := c.mover.list(context.Background()); err != nil {
		return // again later
	}
	if c.driver != nil && !c.driver.state.Phase.Over() {
		return
	}
	c.drop()
	for _, st := range c.mover.active() {
		if d := c.mover.newDriver(st, c.leader); d != nil && d.reload(context.Background()) == nil {
			c.driver = d
		}
	}
}

func (c *simConsole) drop() {
	if c.driver != nil {
		c.mover.hide(c.driver.id)
		c.driver = nil
	}
}

func (s *sim) leader() *simConsole { return s.consoles[len(s.consoles)-1] }

// turn is one of the driver's.
func (c *simConsole) turn() {
	if c.driver == nil {
		return
	}
	was := c.driver.state.Phase
	err := c.driver.turn(context.Background())
	c.s.look()
	if now := c.driver.state.Phase; now != was {
		c.s.say("%s: %s is in %s %s", c.name, c.driver.id, now, c.driver.state.Reason)
	}
	if err != nil && !errors.Is(err, errAgain) && c.s.mistake != zombie {
		c.drop()
	}
}

// begin starts a move to another unit, if none is under way.
func (s *sim) begin() {
	c := s.leader()
	if c.driver != nil && !c.driver.state.Phase.Over() {
		return
	}
	from := s.look().DecideKey(simRule, simKey).Unit
	to := simUnits[s.r.IntN(3)]
	if to == from || s.moves >= 5 {
		return
	}
	_, err := c.mover.Start(context.Background(), connect.NewRequest(&atollv1.MoveRequest{
		Space: simSpace, Rule: simRule, From: from, To: to, Keys: []string{simKey}, Override: CheckNames,
	}))
	if err != nil {
		return
	}
	s.moves++
	c.follow()
	s.say("%s begins a move %s>%s", c.name, from, to)
}

// simStore fails now and then: before it wrote, or after, when nobody learns
// that it did. A former leader that makes the zombie mistake compares nothing.
type simStore struct {
	store.Store
	c *simConsole
}

func (g *simStore) Commit(ctx context.Context, t store.Txn) (int64, error) {
	s := g.c.s
	luck := s.r.IntN(60)
	if luck == 0 {
		return 0, store.ErrUnavailable
	}
	before := s.look()
	if s.mistake == zombie && g.c != s.leader() {
		t.If = nil
	}
	revision, err := g.Store.Commit(ctx, t)
	s.judgePublished(before, s.look())
	if err == nil && luck == 1 {
		return 0, store.ErrUnavailable
	}
	return revision, err
}

// judgePublished looks for a move that went back over its commit point.
func (s *sim) judgePublished(before, after *route.View) {
	for _, m := range before.Snapshot.Moves {
		if m.Outcome != space.OutcomeSwitched {
			continue
		}
		i := slices.IndexFunc(after.Snapshot.Moves, func(n *space.Transfer) bool { return n.ID == m.ID })
		if i >= 0 && after.Snapshot.Moves[i].Outcome != space.OutcomeSwitched {
			s.fail("move %s was switched and is %q at epoch %d", m.ID, after.Snapshot.Moves[i].Outcome, after.Snapshot.Epoch)
		}
	}
}

// List fails now and then; what the driver must read to go on at all does not.
func (g *simStore) List(ctx context.Context, prefix string, revision int64) (store.Listing, error) {
	if g.c.s.r.IntN(60) == 0 {
		return store.Listing{}, store.ErrUnavailable
	}
	return g.Store.List(ctx, prefix, revision)
}

// ---- the wire

// simMessage is a report on its way to a console, or a lease on its way back.
type simMessage struct {
	report *atollv1.ReportRequest
	plane  *atollv1.Plane
	proxy  *simProxy // of a lease, and of a report that may get one
	inc    int
	epoch  int64
	until  time.Duration
}

func (s *sim) send(m simMessage) {
	if len(s.wire) < 64 && s.r.IntN(20) != 0 {
		s.wire = append(s.wire, m)
	}
}

// deliver brings one message, any of those under way. It may come again.
func (s *sim) deliver(i int) {
	if i < 0 || i >= len(s.wire) {
		return
	}
	m := s.wire[i]
	if s.r.IntN(5) != 0 || len(s.wire) > 40 {
		s.wire = slices.Delete(s.wire, i, i+1)
	}
	if m.report == nil {
		if m.proxy.up && m.proxy.inc == m.inc {
			m.proxy.renew(m.epoch, m.until)
		}
		return
	}
	c := s.leader()
	if s.r.IntN(8) == 0 {
		c = s.consoles[s.r.IntN(len(s.consoles))]
	}
	c.hear(m)
}

// hear is what the Planes service does with a report.
func (c *simConsole) hear(m simMessage) {
	s := c.s
	id := m.plane.GetName() + "/" + m.plane.GetIncarnation()
	record := s.record(m.plane.GetName())
	if record.Plane.GetIncarnation() != m.plane.GetIncarnation() {
		if m.proxy != nil && m.proxy.inc == m.inc && s.dead[id] {
			m.proxy.crash() // it is told that it may not come back
		}
		return
	}
	if c.heard[id] >= m.report.GetBoottimeNs() {
		return
	}
	c.heard[id] = m.report.GetBoottimeNs()
	c.mover.Heard(m.plane, s.told(m.report))
	if m.proxy != nil {
		s.grant(m)
	}
}

// grant is the rules of leases: L1, the epoch is the one that stands in the
// store now; L2, nothing to a plane with an undrained fence.
func (s *sim) grant(m simMessage) {
	sp := m.report.GetSpaces()
	if len(sp) == 0 || sp[0].GetUndrained() && s.mistake != undrained || sp[0].GetEpoch() != s.look().Snapshot.Epoch && s.mistake != staleLease {
		return
	}
	until := guard.Forever
	id := m.plane.GetName() + "/" + m.plane.GetIncarnation()
	if s.ttl > 0 {
		until = time.Duration(m.report.GetBoottimeNs()) + s.ttl
		if end := s.now.Add(s.ttl * 102 / 100); end.After(s.leased[id]) {
			s.leased[id] = end
		}
	} else {
		s.leased[id] = s.now
	}
	s.send(simMessage{proxy: m.proxy, inc: m.inc, epoch: sp[0].GetEpoch(), until: until})
}

// told is what a mover hears of a report: the report, or with a mistake of the
// wire something else.
func (s *sim) told(r *atollv1.ReportRequest) *atollv1.ReportRequest {
	if s.mistake != earlyRelease && s.mistake != anyToken && s.mistake != centerBehind {
		return r
	}
	lie := &atollv1.ReportRequest{Plane: r.GetPlane(), Incarnation: r.GetIncarnation(), BoottimeNs: r.GetBoottimeNs(), Spaces: r.GetSpaces(), Acks: slices.Clone(r.GetAcks())}
	current := s.look()
	if s.mistake == earlyRelease && len(r.GetSpaces()) > 0 {
		lie.Spaces = []*atollv1.SpaceReport{{Space: simSpace, Epoch: current.Snapshot.Epoch}}
	}
	if m := lastMove(current); s.mistake == centerBehind && m != nil && m.From != simUnits[0] && m.To != simUnits[0] {
		lie.Acks = append(lie.Acks, &atollv1.Ack{Space: simSpace, Move: m.ID, Epoch: m.FenceEpoch, Step: string(move.Passed), Lane: move.Lane(simUnits[0], m.To)})
	}
	if m := lastMove(current); s.mistake == anyToken && m != nil && m.FenceEpoch != 0 {
		for _, a := range r.GetAcks() {
			if a.GetStep() == string(move.Passed) {
				lie.Acks = append(lie.Acks, &atollv1.Ack{Space: simSpace, Move: m.ID, Epoch: m.FenceEpoch, Step: a.GetStep(), Lane: a.GetLane()})
			}
		}
	}
	return lie
}

func (s *sim) record(plane string) store.PlaneRecord {
	it, err := s.memory.Get(context.Background(), store.PlaneKey(plane))
	if err != nil {
		panic(err)
	}
	r, err := store.ReadPlane(it)
	if err != nil {
		panic(err)
	}
	return r
}

func (s *sim) enroll(p *atollv1.Plane) {
	op, err := s.record(p.GetName()).Replace(p, s.now).Put()
	if err == nil {
		_, err = s.memory.Commit(context.Background(), store.Txn{Then: []store.Op{op}})
	}
	if err != nil {
		panic(err)
	}
	s.tellOfPlanes()
}

// tellOfPlanes is the consoles' watch of the registered planes: some hear of a
// change late, with their next reading.
func (s *sim) tellOfPlanes() {
	for _, c := range s.consoles {
		if s.r.IntN(2) == 0 {
			c.mover.rereadPlanes()
		}
	}
}

// lastMove is the youngest move of a snapshot, nil without one.
func lastMove(v *route.View) *space.Transfer {
	if n := len(v.Snapshot.Moves); n > 0 {
		return v.Snapshot.Moves[n-1]
	}
	return nil
}
