package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
)

// formerKept is how many replaced incarnations of a plane are remembered.
const formerKept = 16

// PlaneRecord is what stands under a PlaneKey.
type PlaneRecord struct {
	Plane      *atollv1.Plane
	Registered time.Time // when this incarnation was
	// Former are the incarnations that this one replaced, the newest last. None
	// of them may come back: two processes of one name would take each other's
	// place for ever.
	Former []string
	Item   Item // as read, for compares; not part of the record
}

type planeJSON struct {
	Plane      json.RawMessage `json:"plane"`
	Registered time.Time       `json:"registered"`
	Former     []string        `json:"former,omitempty"`
}

// ReadPlane decodes a plane's key. An absent one gives a record without Plane.
func ReadPlane(it Item) (PlaneRecord, error) {
	r := PlaneRecord{Item: it}
	if !it.Exists() {
		return r, nil
	}
	var j planeJSON
	if err := json.Unmarshal(it.Value, &j); err != nil {
		return r, fmt.Errorf("read plane %s: %w", Name(it.Key), err)
	}
	r.Plane, r.Registered, r.Former = new(atollv1.Plane), j.Registered, j.Former
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(j.Plane, r.Plane); err != nil {
		return r, fmt.Errorf("read plane %s: %w", Name(it.Key), err)
	}
	return r, nil
}

// Replace is the record after another life of the plane has registered.
func (r PlaneRecord) Replace(plane *atollv1.Plane, at time.Time) PlaneRecord {
	next := PlaneRecord{Plane: plane, Registered: at, Former: slices.Clone(r.Former), Item: r.Item}
	if was := r.Plane.GetIncarnation(); r.Plane != nil && was != plane.GetIncarnation() {
		next.Former = append(next.Former, was)
		if over := len(next.Former) - formerKept; over > 0 {
			next.Former = next.Former[over:]
		}
	}
	return next
}

// Remove takes the plane out of the registered ones and keeps in mind which
// incarnations of it may not come back.
func (r PlaneRecord) Remove() ([]Op, error) {
	former := r.Replace(&atollv1.Plane{}, time.Time{}).Former
	raw, err := json.Marshal(former)
	if err != nil {
		return nil, fmt.Errorf("remove plane %s: %w", r.Plane.GetName(), err)
	}
	return []Op{Delete(r.Item.Key), Put(FormerKey(r.Plane.GetName()), raw)}, nil
}

// ReadFormer decodes a FormerKey.
func ReadFormer(it Item) ([]string, error) {
	if !it.Exists() {
		return nil, nil
	}
	var former []string
	if err := json.Unmarshal(it.Value, &former); err != nil {
		return nil, fmt.Errorf("read the former lives of plane %s: %w", Name(it.Key), err)
	}
	return former, nil
}

// Put writes the record under its key.
func (r PlaneRecord) Put() (Op, error) {
	plane, err := protojson.Marshal(r.Plane)
	if err != nil {
		return Op{}, fmt.Errorf("write plane %s: %w", r.Plane.GetName(), err)
	}
	raw, err := json.Marshal(planeJSON{Plane: plane, Registered: r.Registered, Former: r.Former})
	if err != nil {
		return Op{}, fmt.Errorf("write plane %s: %w", r.Plane.GetName(), err)
	}
	return Put(PlaneKey(r.Plane.GetName()), raw), nil
}

// Planes are all registered planes by name, as of one revision that is not
// before any Commit that had returned. A mover counts these, not the planes
// that it happens to hear.
func Planes(ctx context.Context, s Store) ([]PlaneRecord, int64, error) {
	l, err := s.List(ctx, PlanePrefix, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("read the registered planes: %w", err)
	}
	planes := make([]PlaneRecord, len(l.Items))
	for i, it := range l.Items {
		if planes[i], err = ReadPlane(it); err != nil {
			return nil, 0, err
		}
	}
	return planes, l.Revision, nil
}
