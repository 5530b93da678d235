package space

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// encode writes a document type as JSON in its canonical form: fields in the
// order of the type, unknown fields behind them by name, lists never null, a
// value of a closed set left out when it is empty.
func encode(v any) ([]byte, error) {
	var e encoder
	e.value(reflect.Indirect(reflect.ValueOf(v)))
	return e.Bytes(), e.err
}

type encoder struct {
	bytes.Buffer
	err error
}

func (e *encoder) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		e.object(v)
	case reflect.Slice:
		e.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				e.WriteByte(',')
			}
			e.value(v.Index(i))
		}
		e.WriteByte(']')
	case reflect.String:
		if v.Type() == reflect.TypeFor[Scope]() && v.Len() == 0 {
			e.WriteString("null") // as JoyLive writes it
			return
		}
		e.any(v.String())
	case reflect.Int:
		e.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Bool:
		e.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Map:
		if v.Len() == 0 {
			e.WriteString("{}")
			return
		}
		e.any(v.Interface())
	case reflect.Interface:
		e.any(v.Interface())
	default:
		e.err = fmt.Errorf("no way to write a %s", v.Type())
	}
}

// any writes plain values as encoding/json does, without escaping HTML.
func (e *encoder) any(v any) {
	enc := json.NewEncoder(&e.Buffer)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		e.err = err
		return
	}
	e.Truncate(e.Len() - 1) // the encoder ends with a newline
}

func (e *encoder) object(v reflect.Value) {
	s := shapeOf(v.Type())
	e.WriteByte('{')
	first := true
	name := func(name string) {
		if !first {
			e.WriteByte(',')
		}
		first = false
		e.any(name)
		e.WriteByte(':')
	}
	for _, f := range s.fields {
		field := v.Field(f.index)
		if f.omitEmpty && isEmpty(field) || isUnsaid(field) {
			continue
		}
		name(f.name)
		e.value(field)
	}
	if s.extra >= 0 {
		extra := v.Field(s.extra).Interface().(map[string]any)
		names := make([]string, 0, len(extra))
		for n := range extra {
			if _, own := s.byName[n]; !own {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		for _, n := range names {
			name(n)
			e.any(extra[n])
		}
	}
	e.WriteByte('}')
}

func isEmpty(v reflect.Value) bool {
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

// isUnsaid tells whether a value of a closed set is empty: JoyLive refuses the
// empty text there.
func isUnsaid(v reflect.Value) bool {
	return v.Kind() == reflect.String && v.Len() == 0 && words[v.Type()] != nil && v.Type() != reflect.TypeFor[Scope]()
}
