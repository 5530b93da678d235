package space

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// shape is how a struct type is read and written: its json names, in order.
type shape struct {
	fields  []shapeField
	byName  map[string]int // of fields, aliases included
	extra   int            // index of the Extra field, -1 when the type keeps none
	aliases map[string]string
}

type shapeField struct {
	name      string
	index     int
	omitEmpty bool
}

var shapes sync.Map // reflect.Type → *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{byName: map[string]int{}, extra: -1, aliases: aliases[t]}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "Extra" {
			s.extra = i
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		omit := slices.Contains(strings.Split(options, ","), "omitempty")
		s.byName[name] = len(s.fields)
		s.fields = append(s.fields, shapeField{name, i, omit})
	}
	for alias, name := range s.aliases {
		s.byName[alias] = s.byName[name]
	}
	shapes.Store(t, s)
	return s
}
