package prove

// ParamKind is the kind of a bound value.
type ParamKind uint8

// The kinds of bound values.
const (
	ParamNull     ParamKind = iota
	ParamInt                // signed integer types, in Int
	ParamUint               // unsigned integer types, in Uint
	ParamString             // character strings, in Bytes
	ParamBytes              // BLOB and BINARY types, in Bytes
	ParamFloat              // FLOAT, DOUBLE: never a key
	ParamLongData           // sent by COM_STMT_SEND_LONG_DATA: never a key
	ParamOther              // decimals, dates, …: never a key
)

// Param is a value bound to one ? marker.
type Param struct {
	Kind  ParamKind
	Int   int64
	Uint  uint64
	Bytes []byte // not kept by Resolve
}
