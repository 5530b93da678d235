package space

import (
	"fmt"
	"reflect"
	"strconv"
)

// decode puts a tree into a document type. What does not fit is reported, and
// the field keeps its zero value; what is not known goes into Extra.
func (r *reporter) decode(at *place, n *node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		r.decodeStruct(at, n, v)
	case reflect.Slice:
		r.decodeList(at, n, v)
	case reflect.Map:
		r.decodeLabels(at, n, v)
	case reflect.String:
		if text, ok := r.scalar(at, n); ok {
			v.SetString(word(v.Type(), text))
		}
	case reflect.Int:
		r.decodeInt(at, n, v)
	case reflect.Bool:
		r.decodeBool(at, n, v)
	case reflect.Interface:
		if g := n.generic(); g != nil {
			v.Set(reflect.ValueOf(g))
		}
	default:
		panic(fmt.Sprintf("space: no way to read a %s", v.Type()))
	}
}

func (r *reporter) decodeStruct(at *place, n *node, v reflect.Value) {
	if n.kind == nullNode {
		return
	}
	if n.kind != objectNode {
		r.refuse(at, "", "wants an object, not %s", n.kind)
		return
	}
	s := shapeOf(v.Type())
	given := make([]string, len(s.fields))
	for i, item := range n.items {
		name := n.names[i]
		index, ok := s.byName[name]
		if !ok {
			r.keep(at.field(name), s, name, item, v)
			continue
		}
		f := s.fields[index]
		if given[index] != "" {
			r.refuse(at.field(name), "leave one of them out", "%q and %q are the same field", given[index], name)
			continue
		}
		given[index] = name
		r.decode(at.field(f.name), item, v.Field(f.index))
	}
}

// keep puts a field that Atoll does not know into the Extra of its object.
func (r *reporter) keep(at *place, s *shape, name string, item *node, v reflect.Value) {
	p := Problem{Reason: "unknown field", Mend: "it is kept but does nothing; look for a misspelling", Warning: true, Unknown: true}
	if s.extra < 0 {
		p.Mend, p.Warning = "remove it: unknown fields are not kept here", false
	} else {
		extra := v.Field(s.extra)
		if extra.IsNil() {
			extra.Set(reflect.ValueOf(map[string]any{}))
		}
		extra.Interface().(map[string]any)[name] = item.generic()
	}
	r.add(at, p)
}

func (r *reporter) decodeList(at *place, n *node, v reflect.Value) {
	if n.kind == nullNode {
		return
	}
	if n.kind != listNode {
		r.refuse(at, "", "wants a list, not %s", n.kind)
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		r.decode(at.item(i), item, list.Index(i))
	}
	v.Set(list)
}

func (r *reporter) decodeLabels(at *place, n *node, v reflect.Value) {
	if n.kind == nullNode {
		return
	}
	if n.kind != objectNode {
		r.refuse(at, "", "wants an object, not %s", n.kind)
		return
	}
	labels := make(map[string]string, len(n.items))
	for i, item := range n.items {
		if text, ok := r.scalar(at.field(n.names[i]), item); ok {
			labels[n.names[i]] = text
		}
	}
	v.Set(reflect.ValueOf(labels))
}

// scalar is the exact text of a scalar; null is the empty text.
func (r *reporter) scalar(at *place, n *node) (text string, ok bool) {
	if n.kind >= listNode {
		r.refuse(at, "", "wants text, not %s", n.kind)
		return "", false
	}
	return n.text, true
}

// maxInt bounds numbers of documents: JoyLive reads them as int32.
const maxInt = 1<<31 - 1

func (r *reporter) decodeInt(at *place, n *node, v reflect.Value) {
	if n.kind == nullNode {
		return
	}
	i, err := strconv.ParseInt(n.text, 10, 64)
	switch {
	case n.kind != numberNode && n.kind != textNode, err != nil:
		r.refuse(at, "", "wants a whole number, not %s", quoted(n))
	case i < -maxInt || i > maxInt:
		r.refuse(at, "", "%d is not between -%d and %d", i, maxInt, maxInt)
	default:
		v.SetInt(i)
	}
}

func (r *reporter) decodeBool(at *place, n *node, v reflect.Value) {
	if n.kind == nullNode {
		return
	}
	b, err := strconv.ParseBool(n.text)
	if n.kind != boolNode && n.kind != textNode || err != nil {
		r.refuse(at, "", "wants true or false, not %s", quoted(n))
		return
	}
	v.SetBool(b)
}

// quoted names a value that does not fit.
func quoted(n *node) string {
	if n.kind >= listNode {
		return n.kind.String()
	}
	const most = 40
	if len(n.text) > most {
		return strconv.Quote(n.text[:most]) + "…"
	}
	return strconv.Quote(n.text)
}
