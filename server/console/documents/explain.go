package documents

import (
	"context"
	"encoding/json"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	"github.com/atoll-live/atoll/route"
	"github.com/atoll-live/atoll/space"
)

// Explain says where a request or a key goes by the snapshot in force, and why.
func (s *Service) Explain(ctx context.Context, r *connect.Request[atollv1.ExplainRequest]) (*connect.Response[atollv1.ExplainResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	st, err := load(ctx, s.cfg.Store)
	if err != nil {
		return nil, failure(err)
	}
	in, err := st.toExplain(r.Msg)
	if err != nil {
		return nil, err
	}
	table, err := route.Compile(in.Document)
	if err != nil {
		return nil, failure(err)
	}
	e, err := explain(table, r.Msg)
	if err != nil {
		return nil, invalid("%w", err)
	}
	e.Epoch = &in.Epoch
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, failure(err)
	}
	return connect.NewResponse(&atollv1.ExplainResponse{Explanation: raw}), nil
}

// toExplain is the snapshot of the space that is named; of none named, the
// only one there is.
func (st *state) toExplain(r *atollv1.ExplainRequest) (*space.Snapshot, error) {
	code := r.GetSpace()
	codes := st.codes()
	switch {
	case code == "" && len(codes) == 1:
		code = codes[0]
	case code == "":
		return nil, invalid("name the space with --space: there are %d", len(codes))
	}
	c, ok := st.spaces[code]
	if !ok {
		return nil, notFound(space.KindSpace, code)
	}
	return c.Snapshot, nil
}

func explain(t *route.Table, r *atollv1.ExplainRequest) (route.Explanation, error) {
	if r.GetRule() != "" {
		return route.ExplainKey(t, r.GetRule(), r.GetKey())
	}
	return route.Explain(t, route.NewRequest(r.GetHost(), r.GetPath(), values(r.GetQuery()), values(r.GetHeader()), values(r.GetCookie()))), nil
}

// values keeps the first of several values of one name, as gateways do.
func values(pairs []*atollv1.Pair) route.Values {
	v := route.Values{}
	for _, p := range pairs {
		if _, twice := v[p.GetName()]; !twice {
			v[p.GetName()] = p.GetValue()
		}
	}
	return v
}
