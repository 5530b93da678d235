package mover

import (
	"testing"

	"github.com/atoll-live/atoll/server/console/store"
)

// FuzzParseMoveKey: what a key was made of comes out again, whatever the names
// hold, and no key is taken for another's.
func FuzzParseMoveKey(f *testing.F) {
	f.Add("shop", "m20261121-120000-abcdef")
	f.Add("a/b", "active")
	f.Add("", "%2F/..")
	f.Add("id", "abort")
	f.Fuzz(func(t *testing.T, code, id string) {
		for key, want := range map[string]moveKey{
			store.ActiveMoveKey(code): {space: code, what: "active"},
			store.MoveKey(code, id):   {space: code, what: "id", id: id},
			wishKey(code, id):         {space: code, what: "abort", id: id},
		} {
			if got, ok := parseMoveKey(key); !ok || got != want {
				t.Errorf("%s is read as %+v, %v; want %+v", key, got, ok, want)
			}
		}
		_, _ = parseMoveKey(code)
		_, _ = decode(store.Item{Key: code, Revision: 1, Value: []byte(id)})
	})
}
