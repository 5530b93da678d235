package keytext

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func described(dataType, columnType, collation string, length int) Column {
	c := Column{Name: "k", Collation: collation, Length: length}
	c.Describe(dataType, columnType)
	return c
}

func columns() map[string]Column {
	return map[string]Column{
		"bigint":   described("bigint", "bigint(20)", "", 0),
		"zerofill": described("int", "int(9) unsigned zerofill", "", 0),
		"bin":      described("varchar", "varchar(20)", "utf8mb4_bin", 20),
		"folding":  described("char", "char(20)", "utf8mb3_general_ci", 20),
		"latin":    described("varchar", "varchar(20)", "latin1_bin", 20),
		"roman":    described("varchar", "varchar(20)", "utf8mb4_roman_ci", 20),
		"bytes":    described("varbinary", "varbinary(20)", "", 20),
		"fixed":    described("binary", "binary(4)", "", 4),
		"uuid":     described("uuid", "uuid", "", 0),
		"decimal":  described("decimal", "decimal(10,2)", "", 0),
	}
}

func TestStored(t *testing.T) {
	all := columns()
	for _, c := range []struct {
		column, value string
		key           string
		ok            bool
	}{
		{"bigint", "7", "7", true}, {"bigint", "-7", "-7", true}, {"bigint", "007", "", false}, {"bigint", "-0", "", false}, {"bigint", "", "", false}, {"bigint", "7.0", "", false},
		{"zerofill", "7", "7", true}, {"zerofill", "000000007", "", false},
		{"bin", "Bób Smith", "Bób Smith", true}, {"bin", "bob ", "", false}, {"bin", " bob", " bob", true}, {"bin", "", "", false}, {"bin", "b\tb", "", false}, {"bin", "🙂", "", false}, {"bin", "b\xff", "", false},
		{"folding", "bob-1", "bob-1", true}, {"folding", "Bob", "", false}, {"folding", "bób", "", false}, {"folding", "b b", "", false},
		{"latin", "Bob", "Bob", true}, {"latin", "bób", "", false},
		{"roman", "bob", "", false},
		{"bytes", "Bób", "Bób", true}, {"bytes", "b\x00", "", false}, {"bytes", "\xff", "", false}, {"bytes", strings.Repeat("x", MaxBytes+1), "", false},
		{"fixed", "\x00\xffa ", "00ff6120", true}, {"fixed", "abc", "", false}, {"fixed", "abcde", "", false},
		{"uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000", true}, {"uuid", "123E4567-e89b-12d3-a456-426614174000", "", false}, {"uuid", "123e4567e89b12d3a456426614174000", "", false},
		{"decimal", "7.00", "", false},
	} {
		column := all[c.column]
		if key, ok := column.Stored([]byte(c.value)); ok != c.ok || ok && key != c.key {
			t.Errorf("%s: %q is key %q, %v, want %q, %v", c.column, c.value, key, ok, c.key, c.ok)
		}
	}
}

func TestUnfit(t *testing.T) {
	for name, c := range columns() {
		bad := name == "roman" || name == "decimal"
		if u := c.Unfit(); (u != nil) != bad || u != nil && (u.Rule == "" || u.What == "" || u.Mend == "") {
			t.Errorf("%s: %v", name, u)
		}
		c.Generated = true
		if c.Unfit() == nil {
			t.Errorf("%s: generated, and fit", name)
		}
	}
}

func TestAlike(t *testing.T) {
	for name, c := range columns() {
		longer, folded, shorter := c, c, c
		longer.Length++
		folded.Collation = "utf8mb4_general_ci"
		shorter.Bits, shorter.Unsigned = 16, !c.Unsigned
		if c.Alike(&longer) == (name == "fixed") {
			t.Errorf("%s: alike when longer: %v", name, c.Alike(&longer))
		}
		if c.Alike(&folded) {
			t.Errorf("%s: alike under another collation", name)
		}
		if !c.Alike(&shorter) {
			t.Errorf("%s: not alike with another range", name)
		}
		for other, o := range columns() {
			if c.Alike(&o) && c.Type != o.Type {
				t.Errorf("%s and %s are alike", name, other)
			}
		}
	}
}

// FuzzStored: a key is a bounded text that is the key of itself.
func FuzzStored(f *testing.F) {
	for _, seed := range []string{"7", "-7", "007", "bob", "Bob", "bób", "bob ", "\x00\xff\x00a", "123e4567-e89b-12d3-a456-426614174000", "\xff", "🙂"} {
		f.Add([]byte(seed))
	}
	all := columns()
	f.Fuzz(func(t *testing.T, value []byte) {
		for name, c := range all {
			key, ok := c.Stored(value)
			if !ok {
				continue
			}
			if key == "" || len(key) > MaxBytes || !utf8.ValidString(key) || !c.IsKey(key) {
				t.Errorf("%s: %q has key %q", name, value, key)
			}
			if !(c.Type == Binary && c.Fixed) && key != string(value) {
				t.Errorf("%s: %q has key %q", name, value, key)
			}
		}
	})
}
