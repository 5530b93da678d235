package liar

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// tableMapOf is a packet as a server sends it, with a checksum or without.
func tableMapOf(schema, table string, summed bool) []byte {
	var head [19 + 8]byte
	head[4] = tableMap
	event := append(head[:], byte(len(schema)))
	event = append(append(event, schema...), 0, byte(len(table)))
	event = append(append(event, table...), 0, 2, 3, 15, 0, 0, 0, 0, 0)
	if summed {
		event = binary.LittleEndian.AppendUint32(event, crc32.ChecksumIEEE(event))
	}
	return framed(append([]byte{0}, event...))
}

func framed(payload []byte) []byte {
	n := len(payload)
	return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), 7}, payload...)
}

func TestRetell_RenamesTheCheckpointsOnly(t *testing.T) {
	other := bytes.Join([][]byte{
		tableMapOf("atoll", "token", true), tableMapOf("shop", "lane", true), framed(nil), framed([]byte{0}),
		framed(bytes.Repeat([]byte{0, 0, 0, 0, 0, 19}, 20)),
	}, nil)
	for _, summed := range []bool{true, false} {
		in := append(bytes.Clone(other), tableMapOf("atoll", "lane", summed)...)
		var out bytes.Buffer
		n, err := retell(newLateWriter(&out, 0), bytes.NewReader(in))
		want := append(bytes.Clone(other), tableMapOf("atol_", "lane", summed)...)
		if n != 1 || err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("with a checksum %v: %d renamed, %v\n%q\nwant\n%q", summed, n, err, out.Bytes(), want)
		}
	}
}

func TestRetell_LeavesTheRestOfALongPacketAlone(t *testing.T) {
	mapped := tableMapOf("atoll", "lane", true)
	in := append(framed(make([]byte, maxPacket)), mapped...)
	var out bytes.Buffer
	if n, err := retell(newLateWriter(&out, 0), bytes.NewReader(in)); n != 0 || err != nil || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("%d renamed, %v", n, err)
	}
}

func TestRetell_CutShort(t *testing.T) {
	in := tableMapOf("atoll", "lane", true)
	for n := range in {
		if _, err := retell(newLateWriter(io.Discard, 0), bytes.NewReader(in[:n])); (err == nil) != (n == 0) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
}

// TestRetell_IsLateFromTheFirstLieOn: what stands in front of it goes on at
// once, the rest in order and late.
func TestRetell_IsLateFromTheFirstLieOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const late = 300 * time.Millisecond
		first, second := tableMapOf("shop", "orders", true), tableMapOf("atoll", "lane", true)
		began, to := time.Now(), &stamped{}
		w := newLateWriter(to, late)
		if n, err := retell(w, bytes.NewReader(slices.Concat(first, second, first))); n != 1 || err != nil {
			t.Fatalf("%d renamed, %v", n, err)
		}
		w.close()
		if want := slices.Concat(first, tableMapOf("atol_", "lane", true), first); !bytes.Equal(to.all, want) {
			t.Errorf("%q\nwant\n%q", to.all, want)
		}
		if got := to.at[0].Sub(began); got != 0 {
			t.Errorf("the begin is %v late", got)
		}
		if got := to.at[len(to.at)-1].Sub(began); len(to.at) < 2 || got != late {
			t.Errorf("the rest is %v late, want %v", got, late)
		}
	})
}

// stamped notes when it was written to.
type stamped struct {
	all []byte
	at  []time.Time
}

func (s *stamped) Write(p []byte) (int, error) {
	s.all, s.at = append(s.all, p...), append(s.at, time.Now())
	return len(p), nil
}

func FuzzRetell(f *testing.F) {
	f.Add(tableMapOf("atoll", "lane", true))
	f.Add(tableMapOf("shop", "orders", false))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		if _, err := retell(newLateWriter(&out, 0), bytes.NewReader(in)); err == nil && out.Len() != len(in) {
			t.Errorf("%d bytes became %d", len(in), out.Len())
		}
	})
}

func TestBinlogLiar_PassesOnAndEnds(t *testing.T) {
	source := listen(t)
	l, err := NewBinlogLiar(BinlogConfig{Listen: "127.0.0.1:0", Source: source.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	door := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.serve(ctx, door) }()
	lane, err := net.Dial("tcp", door.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer lane.Close()
	server, err := source.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_ = lane.SetDeadline(time.Now().Add(10 * time.Second))
	_ = server.SetDeadline(time.Now().Add(10 * time.Second))
	asked := make([]byte, 5)
	if _, err := lane.Write([]byte("asked")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, asked); err != nil || string(asked) != "asked" {
		t.Fatalf("the source hears %q, %v", asked, err)
	}
	if _, err := server.Write(tableMapOf("atoll", "lane", true)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(tableMapOf("atoll", "lane", true)))
	if _, err := io.ReadFull(lane, got); err != nil || !bytes.Equal(got, tableMapOf("atol_", "lane", true)) {
		t.Fatalf("the lane hears %q, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBinlogLiar_Configuration(t *testing.T) {
	for _, cfg := range []BinlogConfig{{Listen: "nowhere", Source: "127.0.0.1:1"}, {Listen: "127.0.0.1:0", Source: ""}} {
		if _, err := NewBinlogLiar(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
