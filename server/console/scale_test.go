package console_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	atollv1 "github.com/atoll-live/atoll/api/atoll/v1"
	sdk "github.com/atoll-live/atoll/sdk/console"
)

// BenchmarkConsole_Reports is the answer to one report of a plane that has a
// hundred spaces, 8 planes at a time. A console with 1,000 planes must answer
// 1,000 a second.
func BenchmarkConsole_Reports(b *testing.B) {
	c, spaces := manySpaces(b, 100)
	ctx := context.Background()
	var boottime atomic.Int64
	var leases atomic.Int64
	var wg sync.WaitGroup
	left := atomic.Int64{}
	left.Store(int64(b.N))
	b.ResetTimer()
	for i := range 8 {
		p := &atollv1.Plane{Name: fmt.Sprint("dbproxy", i), Kind: "dbproxy", Unit: "unit-a", Incarnation: "x"}
		if _, err := c.Planes().Register(ctx, connect.NewRequest(&atollv1.RegisterRequest{Plane: p})); err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				res, err := c.Planes().Report(ctx, connect.NewRequest(&atollv1.ReportRequest{
					Plane: p.Name, Incarnation: "x", BoottimeNs: boottime.Add(1), Spaces: spaces,
				}))
				if err != nil {
					b.Error(err)
					return
				}
				leases.Add(int64(len(res.Msg.GetLeases())))
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(leases.Load())/float64(b.N), "leases/report")
}

// BenchmarkConsole_Publish is the time from an apply to the last of 1,000
// planes that has the snapshot.
func BenchmarkConsole_Publish(b *testing.B) {
	c, _ := manySpaces(b, 1)
	const planes = 1000
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	b.Cleanup(func() { cancel(); wg.Wait() })
	got := make(chan struct{}, planes)
	for i := range planes {
		name := fmt.Sprint("gateway", i)
		p := &atollv1.Plane{Name: name, Kind: "gateway", Unit: "unit-a", Incarnation: "x"}
		if _, err := c.Planes().Register(ctx, connect.NewRequest(&atollv1.RegisterRequest{Plane: p})); err != nil {
			b.Fatal(err)
		}
		stream, err := c.Planes().Watch(ctx, connect.NewRequest(&atollv1.WatchRequest{Plane: name, Incarnation: "x"}))
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer stream.Close()
			for stream.Receive() {
				if len(stream.Msg().GetSnapshots()) > 0 {
					got <- struct{}{}
				}
			}
		})
	}
	await := func() {
		for range planes {
			<-got
		}
	}
	await()
	doc := shopNamed(b, "s0", "first")
	for i := 0; b.Loop(); i++ {
		text := strings.Replace(doc, "name: first", fmt.Sprint("name: n", i), 1)
		if _, err := c.Documents().Apply(ctx, connect.NewRequest(&atollv1.ApplyRequest{Documents: []byte(text)})); err != nil {
			b.Fatal(err)
		}
		await()
	}
}

func shopNamed(b *testing.B, code, name string) string {
	b.Helper()
	data, err := os.ReadFile("documents/testdata/shop.yaml")
	if err != nil {
		b.Fatal(err)
	}
	return strings.NewReplacer("code: shop", "code: "+code, "{name: shop}", "{name: "+code+"}", "shop.atoll.test", code+".atoll.test", "name: Shop", "name: "+name).Replace(string(data))
}

// manySpaces is a console with this many spaces, and a report of them all.
func manySpaces(b *testing.B, n int) (*sdk.Client, []*atollv1.SpaceReport) {
	b.Helper()
	r := start(b, config(b.TempDir()))
	c, err := sdk.NewClient([]string{r.url}, "")
	if err != nil {
		b.Fatal(err)
	}
	var all strings.Builder
	var spaces []*atollv1.SpaceReport
	for i := range n {
		code := fmt.Sprint("s", i)
		all.WriteString(shopNamed(b, code, "first") + "---\n")
		spaces = append(spaces, &atollv1.SpaceReport{Space: code, Epoch: 1})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.Documents().Apply(ctx, connect.NewRequest(&atollv1.ApplyRequest{Documents: []byte(all.String())})); err != nil {
		b.Fatal(err)
	}
	return c, spaces
}
