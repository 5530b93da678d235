package mysql

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// execution builds an execute packet of one parameter per (type, value).
func execution(nulls []byte, types []byte, values []byte) []byte {
	p := []byte{byte(ComStmtExecute), 1, 0, 0, 0, 1, 1, 0, 0, 0}
	p = append(p, nulls...)
	if types != nil {
		p = append(append(p, 1), types...)
	} else {
		p = append(p, 0)
	}
	return append(p, values...)
}

func TestExecuteValues(t *testing.T) {
	types := []byte{typeLongLong, 0, typeLongLong, unsignedFlag, typeTiny, 0, typeShort, unsignedFlag, typeLong, 0,
		typeVarString, 0, typeBlob, 0, typeNull, 0, typeDouble, 0, typeDatetime, 0, typeString, 0, typeString, 0}
	values := []byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0x80,
		0xff, 0xff,
		42, 0, 0, 0,
		3, 'b', 'o', 'b',
		1, 0,
		0, 0, 0, 0, 0, 0, 0, 0,
		4, 1, 2, 3, 4,
	}
	p := execution([]byte{0, 0b0000_0100}, types, values)
	e, err := ParseExecute(p, 12, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := make([]bool, 12)
	long[11] = true
	got, err := e.Values(nil, long)
	if err != nil {
		t.Fatal(err)
	}
	want := []Value{
		{Kind: Int, Int: -1}, {Kind: Uint, Uint: 1<<64 - 1}, {Kind: Int, Int: -128}, {Kind: Uint, Uint: 65535}, {Kind: Int, Int: 42},
		{Kind: Text, Bytes: []byte("bob")}, {Kind: Blob, Bytes: []byte{0}}, {Kind: Null}, {Kind: Float}, {Kind: Other}, {Kind: Null}, {Kind: LongData},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestExecuteRemembersTypes(t *testing.T) {
	first, err := ParseExecute(execution([]byte{0}, []byte{typeLong, 0}, []byte{42, 0, 0, 0}), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := execution([]byte{0}, nil, []byte{43, 0, 0, 0})
	e, err := ParseExecute(again, 1, first.Types())
	if err != nil {
		t.Fatal(err)
	}
	if v, err := e.Values(nil, nil); err != nil || v[0].Kind != Int || v[0].Int != 43 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := ParseExecute(again, 1, nil); err == nil {
		t.Error("types that were never sent were found")
	}
	typed := execution([]byte{0}, []byte{typeLong, 0}, []byte{43, 0, 0, 0})
	typed[1], typed[5] = 9, 0
	if got := e.For(nil, 9, true); !bytes.Equal(got, typed) {
		t.Errorf("got  %x\nwant %x", got, typed)
	}
	again[1], again[5] = 9, 0
	if got := e.For(nil, 9, false); !bytes.Equal(got, again) {
		t.Errorf("got  %x\nwant %x", got, again)
	}
}

func TestExecuteWithoutParametersComesInTwoLengths(t *testing.T) {
	short := []byte{byte(ComStmtExecute), 1, 0, 0, 0, 0, 1, 0, 0, 0}
	for _, p := range [][]byte{short, append(short[:10:10], 0), append(short[:10:10], 0, 1)} {
		e, err := ParseExecute(p, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.For(nil, 1, true); !bytes.Equal(got, short) {
			t.Errorf("%x became %x", p, got)
		}
	}
}
