package space

import (
	"errors"
	"fmt"
	"reflect"
)

// Every document type is read and written by encoding/json as Parse and
// Marshal do it, so that unknown fields survive wherever it stands.

// unmarshal reads one JSON value. Unknown fields are kept, other problems are
// errors.
func unmarshal(data []byte, into any) error {
	trees, err := readJSON(data)
	if err != nil {
		return err
	}
	if len(trees) != 1 {
		return errors.New("wants one JSON value")
	}
	v := reflect.ValueOf(into).Elem()
	v.SetZero()
	r := &reporter{tree: trees[0]}
	r.decode(nil, trees[0], v)
	if err := r.problems.Err(); err != nil {
		return fmt.Errorf("read %s: %w", v.Type().Name(), err)
	}
	return nil
}

func (x Space) MarshalJSON() ([]byte, error)            { return encode(x) }
func (x *Space) UnmarshalJSON(data []byte) error        { return unmarshal(data, x) }
func (x Database) MarshalJSON() ([]byte, error)         { return encode(x) }
func (x *Database) UnmarshalJSON(data []byte) error     { return unmarshal(data, x) }
func (x Metadata) MarshalJSON() ([]byte, error)         { return encode(x) }
func (x *Metadata) UnmarshalJSON(data []byte) error     { return unmarshal(data, x) }
func (x Spec) MarshalJSON() ([]byte, error)             { return encode(x) }
func (x *Spec) UnmarshalJSON(data []byte) error         { return unmarshal(data, x) }
func (x Unit) MarshalJSON() ([]byte, error)             { return encode(x) }
func (x *Unit) UnmarshalJSON(data []byte) error         { return unmarshal(data, x) }
func (x Cell) MarshalJSON() ([]byte, error)             { return encode(x) }
func (x *Cell) UnmarshalJSON(data []byte) error         { return unmarshal(data, x) }
func (x Variable) MarshalJSON() ([]byte, error)         { return encode(x) }
func (x *Variable) UnmarshalJSON(data []byte) error     { return unmarshal(data, x) }
func (x Source) MarshalJSON() ([]byte, error)           { return encode(x) }
func (x *Source) UnmarshalJSON(data []byte) error       { return unmarshal(data, x) }
func (x UnitRule) MarshalJSON() ([]byte, error)         { return encode(x) }
func (x *UnitRule) UnmarshalJSON(data []byte) error     { return unmarshal(data, x) }
func (x UnitRoute) MarshalJSON() ([]byte, error)        { return encode(x) }
func (x *UnitRoute) UnmarshalJSON(data []byte) error    { return unmarshal(data, x) }
func (x CellRoute) MarshalJSON() ([]byte, error)        { return encode(x) }
func (x *CellRoute) UnmarshalJSON(data []byte) error    { return unmarshal(data, x) }
func (x Domain) MarshalJSON() ([]byte, error)           { return encode(x) }
func (x *Domain) UnmarshalJSON(data []byte) error       { return unmarshal(data, x) }
func (x UnitDomain) MarshalJSON() ([]byte, error)       { return encode(x) }
func (x *UnitDomain) UnmarshalJSON(data []byte) error   { return unmarshal(data, x) }
func (x Path) MarshalJSON() ([]byte, error)             { return encode(x) }
func (x *Path) UnmarshalJSON(data []byte) error         { return unmarshal(data, x) }
func (x BizRule) MarshalJSON() ([]byte, error)          { return encode(x) }
func (x *BizRule) UnmarshalJSON(data []byte) error      { return unmarshal(data, x) }
func (x DatabaseSpec) MarshalJSON() ([]byte, error)     { return encode(x) }
func (x *DatabaseSpec) UnmarshalJSON(data []byte) error { return unmarshal(data, x) }
func (x DataSource) MarshalJSON() ([]byte, error)       { return encode(x) }
func (x *DataSource) UnmarshalJSON(data []byte) error   { return unmarshal(data, x) }
func (x Table) MarshalJSON() ([]byte, error)            { return encode(x) }
func (x *Table) UnmarshalJSON(data []byte) error        { return unmarshal(data, x) }
