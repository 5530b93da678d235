package documents

import (
	"context"
	"fmt"
	"sort"

	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// applyKey is written by every apply and compared by it: so two applies never
// validate against each other's past. The mover's publications do not touch
// it; against those the snapshots are compared.
const applyKey = store.Root + "apply"

// state is all documents there are, as of one moment.
type state struct {
	spaces map[string]publish.Current // by space code
	apply  store.Item
}

func load(ctx context.Context, s store.Store) (*state, error) {
	apply, err := s.Get(ctx, applyKey) // first: what follows is at least as new
	if err != nil {
		return nil, fmt.Errorf("read the documents: %w", err)
	}
	l, err := s.List(ctx, store.SnapshotPrefix, 0)
	if err != nil {
		return nil, fmt.Errorf("read the documents: %w", err)
	}
	st := &state{spaces: map[string]publish.Current{}, apply: apply}
	for _, it := range l.Items {
		c, err := publish.Read(it)
		if err != nil {
			return nil, err
		}
		st.spaces[c.Snapshot.Space] = c
	}
	return st, nil
}

// current is what stands of a space; of a new one, a snapshot to be created.
func (st *state) current(code string) publish.Current {
	if c, ok := st.spaces[code]; ok {
		return c
	}
	return publish.Current{Item: store.Item{Key: store.SnapshotKey(code)}}
}

// find is the document of a kind and name that stands now.
func (st *state) find(kind, name string) (space.Document, string, bool) {
	for code, c := range st.spaces {
		for _, d := range inSnapshot(c.Snapshot) {
			if d.Kind() == kind && d.Name() == name {
				return d, code, true
			}
		}
	}
	return space.Document{}, "", false
}

// merged is every document as it would stand after the input: first what the
// input leaves alone, then the input, so that a problem between two of them is
// told of the input.
func (st *state) merged(input []space.Document) []space.Document {
	replaced := map[string]bool{}
	for _, d := range input {
		replaced[d.String()] = true
	}
	var all []space.Document
	for _, code := range st.codes() {
		for _, d := range inSnapshot(st.spaces[code].Snapshot) {
			if !replaced[d.String()] {
				all = append(all, d)
			}
		}
	}
	return append(all, input...)
}

func (st *state) codes() []string {
	var codes []string
	for code := range st.spaces {
		codes = append(codes, code)
	}
	sort.Strings(codes)
	return codes
}

func inSnapshot(s *space.Snapshot) []space.Document {
	docs := []space.Document{{Space: s.Document}}
	for _, db := range s.Databases {
		docs = append(docs, space.Document{Database: db})
	}
	return docs
}

// spaceOf is the code of the space that a document belongs to.
func spaceOf(d space.Document) string {
	if d.Database != nil {
		return d.Database.Spec.Space
	}
	return d.Name()
}
