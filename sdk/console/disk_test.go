package console

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// text is a snapshot of which no part is that of a neighbouring epoch.
func text(epoch int64, length int) []byte {
	return fmt.Appendf(nil, `{"space":"shop","epoch":%d,"x":%q}`, epoch, strings.Repeat(string(rune('a'+epoch%20)), length))
}

// stored is the epoch that a restart would find.
func stored(t *testing.T, dir string) int64 {
	t.Helper()
	all, err := newDisk(dir).load()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatalf("%d snapshots are stored, want 1", len(all))
	}
	return all[0].Epoch
}

func TestDisk_NewestOfAnyLength(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	d := newDisk(dir)
	for epoch := int64(1); epoch <= 60; epoch++ {
		if err := d.store("shop", text(epoch, r.IntN(3*snapshotRoom))); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, dir); got != epoch {
			t.Fatalf("epoch %d is stored, want %d", got, epoch)
		}
		if r.IntN(4) == 0 { // a new life goes on where the former stopped
			d = newDisk(dir)
			if _, err := d.load(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDisk_TornWrite cuts the write of an epoch short at every kind of place:
// the former epoch is found.
func TestDisk_TornWrite(t *testing.T) {
	for _, lengths := range [][2]int{{100, 100}, {9000, 100}, {100, 40_000}} {
		dir := t.TempDir()
		d := newDisk(dir)
		for epoch := range int64(2) {
			if err := d.store("shop", text(epoch+1, lengths[0])); err != nil {
				t.Fatal(err)
			}
		}
		file := d.file("shop", d.next["shop"])
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.store("shop", text(3, lengths[1])); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole := len(snapshotLine) + len(text(3, lengths[1]))
		for _, cut := range []int{1, 20, len(snapshotLine), whole / 2, whole - 10} {
			torn := slices.Concat(after[:cut], before[min(cut, len(before)):])
			if err := os.WriteFile(file, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := stored(t, dir); got != 2 {
				t.Errorf("cut at %d of %d: epoch %d is found, want 2", cut, whole, got)
			}
		}
	}
}

func TestDisk_NoneWhole(t *testing.T) {
	dir := t.TempDir()
	d := newDisk(dir)
	for epoch := range int64(2) {
		if err := d.store("shop", text(epoch+1, 10)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 2 {
		file := d.file("shop", n)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(snapshotLine)+3] ^= 1
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := newDisk(dir).load()
	if err == nil || !strings.Contains(err.Error(), "remove the file") || !strings.Contains(err.Error(), filepath.Join(dir, "shop.1.snapshot")) {
		t.Fatalf("load gave %v, want the file and the mend", err)
	}
}

func FuzzDecodeStored(f *testing.F) {
	d := newDisk(f.TempDir())
	if err := d.store("shop", text(7, 10)); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(d.file("shop", 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("atoll snapshot         -1 bytes crc32c 00000000\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decodeStored(text)
		if (s == nil) == (err == nil) {
			t.Fatalf("snapshot %v with error %v", s, err)
		}
	})
}

func BenchmarkStore(b *testing.B) {
	d := newDisk(b.TempDir())
	raw := text(7, 6000)
	for b.Loop() {
		if err := d.store("shop", raw); err != nil {
			b.Fatal(err)
		}
	}
}
