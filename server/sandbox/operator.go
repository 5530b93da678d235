package sandbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/sdk/console"
	"github.com/atoll-live/atoll/server/pause"
	"github.com/atoll-live/atoll/server/sandbox/shop"
	"github.com/atoll-live/atoll/space"
)

const (
	operatorLimit = 90 * time.Second // for one wait
	callLimit     = 15 * time.Second // for one call of the console
	lagGood       = 2 * time.Second  // a lane behind no more than this runs well
)

// operator does in a new sandbox what an operator does in a new installation.
type operator struct {
	layout *Layout
	hooks  Hooks
	client *console.Client
	epochs map[string]int64 // space → that at which its documents were applied
}

func newOperator(r *runner) (*operator, error) {
	client, err := console.NewClient(r.layout.Info.Console, "")
	if err != nil {
		return nil, err
	}
	return &operator{layout: r.layout, hooks: r.hooks, client: client, epochs: map[string]int64{}}, nil
}

// before is done when the servers and the console run: tables in each unit,
// then the documents. Planes that start later find them.
func (o *operator) before(ctx context.Context) error {
	o.hooks.progress("making the shop's tables in each unit")
	for _, s := range o.layout.Info.Spaces() {
		for _, u := range s.Units {
			if err := makeTables(ctx, u); err != nil {
				return fmt.Errorf("make the tables of %s in %s: %w", s.Space, u.Code, err)
			}
		}
	}
	o.hooks.progress("applying the shop's documents")
	return o.apply(ctx)
}

// after is done when the planes serve: it waits until all of them obey the
// documents and all lanes run, and until the shop can sell in each unit.
func (o *operator) after(ctx context.Context) error {
	o.hooks.progress("waiting for planes and lanes")
	if err := o.until(ctx, "the planes", o.planes); err != nil {
		return err
	}
	o.hooks.progress("waiting for the shop's products in each unit")
	return o.until(ctx, "the shop's products", o.products)
}

func open(s ServerInfo) *sql.DB {
	return openDB(net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), s.User, s.Password, s.Database)
}

func makeTables(ctx context.Context, u UnitInfo) error {
	db := open(u.Database)
	defer db.Close()
	for _, statement := range shop.Statements(u.Type == string(space.Center)) {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// apply gives the console the documents that it does not have. In a sandbox
// that is started again they are there, and moves may have changed them.
func (o *operator) apply(ctx context.Context) error {
	var missing []space.Document
	for _, d := range o.layout.documents() {
		there, err := o.has(ctx, d)
		if err != nil {
			return fmt.Errorf("look for %s: %w", d, plainCall(err))
		}
		if !there {
			missing = append(missing, d)
		}
	}
	if len(missing) > 0 {
		text, err := space.JSON(missing...)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		answer, err := o.client.Documents().Apply(ctx, connect.NewRequest(&atollv1.ApplyRequest{Documents: text, Strict: true}))
		if err != nil {
			return fmt.Errorf("apply the shop's documents: %w", plainCall(err))
		}
		for _, a := range answer.Msg.GetApplied() {
			o.epochs[a.GetSpace()] = max(o.epochs[a.GetSpace()], a.GetEpoch())
		}
	}
	return nil
}

func (o *operator) has(ctx context.Context, d space.Document) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	answer, err := o.client.Documents().Get(ctx, connect.NewRequest(&atollv1.GetRequest{Kind: d.Kind(), Name: d.Name()}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return len(answer.Msg.GetDocuments()) > 0, nil
}

// plainCall drops the code that a connect error begins with.
func plainCall(err error) error {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return errors.New(e.Message())
	}
	return err
}

// until asks again until nothing is missing.
func (o *operator) until(ctx context.Context, what string, missing func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, operatorLimit)
	defer cancel()
	last := "nothing heard"
	for {
		text, err := missing(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("wait for %s: %s: %w (logs are in %s/log)", what, last, context.Cause(ctx), o.layout.Options.Dir)
		case err != nil:
			last = plainCall(err).Error()
		case text == "":
			return nil
		default:
			last = text
		}
		pause.For(ctx, 100*time.Millisecond)
	}
}

// planes says which plane or lane is not yet in good order.
func (o *operator) planes(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	answer, err := o.client.Planes().List(ctx, connect.NewRequest(&atollv1.ListPlanesRequest{}))
	if err != nil {
		return "", err
	}
	heard := map[string]*atollv1.PlaneStatus{}
	for _, p := range answer.Msg.GetPlanes() {
		heard[p.GetPlane().GetName()] = p
	}
	lanes := map[string]*atollv1.LaneReport{}
	for _, stage := range o.layout.Planes {
		for _, p := range stage {
			status := heard[p.Name]
			if text := o.obeys(status); text != "" {
				return p.Name + " " + text, nil
			}
			for _, l := range status.GetReport().GetLanes() {
				lanes[l.GetName()+" of "+l.GetSpace()] = l
			}
		}
	}
	for _, s := range o.layout.Info.Spaces() {
		if text := o.lanes(s, lanes); text != "" {
			return text, nil
		}
	}
	return "", nil
}

func (o *operator) obeys(p *atollv1.PlaneStatus) string {
	if p == nil {
		return "has not registered"
	}
	if !p.GetConnected() {
		return "is not connected"
	}
	inForce := map[string]int64{}
	for _, s := range p.GetReport().GetSpaces() {
		inForce[s.GetSpace()] = s.GetEpoch()
	}
	for _, s := range o.layout.Info.Spaces() {
		if at := inForce[s.Space]; at > 0 && at >= o.epochs[s.Space] {
			continue
		}
		if trouble := p.GetReport().GetTrouble(); trouble != "" {
			return "has trouble: " + trouble
		}
		return fmt.Sprintf("has not put epoch %d of %s in force", o.epochs[s.Space], s.Space)
	}
	return ""
}

func (o *operator) lanes(of SpaceInfo, heard map[string]*atollv1.LaneReport) string {
	for _, from := range of.Units {
		for _, to := range of.Units {
			if from.Code == to.Code {
				continue
			}
			name := from.Code + ">" + to.Code + " of " + of.Space
			switch l := heard[name]; {
			case l == nil:
				return "lane " + name + " is not reported"
			case l.GetState() != "running":
				return fmt.Sprintf("lane %s is %s: %s", name, l.GetState(), l.GetReason())
			case time.Duration(l.GetLagMs())*time.Millisecond > lagGood:
				return fmt.Sprintf("lane %s is %d ms behind", name, l.GetLagMs())
			}
		}
	}
	return ""
}

// products says in which unit a shop has nothing to sell yet. The center's
// application puts its products in, and lanes take them to the other units.
func (o *operator) products(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	for _, s := range o.layout.Info.Spaces() {
		if text, err := productsOf(ctx, s); text != "" || err != nil {
			return text, err
		}
	}
	return "", nil
}

func productsOf(ctx context.Context, of SpaceInfo) (string, error) {
	for _, u := range of.Units {
		tables := []string{"products"}
		if u.Type == string(space.Center) {
			tables = append(tables, "stock")
		}
		for _, table := range tables {
			n, err := count(ctx, u, table)
			if err != nil {
				return "", err
			}
			if n < len(shop.Products) {
				return fmt.Sprintf("%s has %d of %d rows of %s.%s", u.Code, n, len(shop.Products), of.Space, table), nil
			}
		}
	}
	return "", nil
}

func count(ctx context.Context, u UnitInfo, table string) (n int, err error) {
	db := open(u.Database)
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&n)
	return n, err
}
