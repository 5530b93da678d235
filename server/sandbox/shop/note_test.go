package shop

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestNote(t *testing.T) {
	db := database(t)
	_, url := start(t, db, nil)
	at := url + "/note?user=anna"
	for _, step := range []struct {
		method, body string
		status       int
		value        float64
	}{
		{"GET", "", 200, 0},
		{"POST", `{"value":5,"was":4}`, 409, 0},
		{"POST", `{"value":5,"was":0}`, 200, 5}, // no note is as good as 0
		{"GET", "", 200, 5},
		{"POST", `{"value":6,"was":0}`, 409, 0},
		{"POST", `{"value":6}`, 200, 6},
		{"POST", `{"value":6}`, 200, 6}, // the server changes no row
		{"POST", `{"value":7,"was":6}`, 200, 7},
		{"POST", `{"value":8,"was":6}`, 409, 0},
		{"GET", "", 200, 7},
		{"POST", `{"value":"x"}`, 400, 0},
	} {
		got := do(t, step.method, at, step.body)
		if got.status != step.status || got.status == 200 && got.fields["value"] != step.value || got.status != 200 && got.fields["done"] != false {
			t.Errorf("%s %s: %d %s", step.method, step.body, got.status, got.body)
		}
	}
	if got := do(t, "POST", url+"/note?user=bob", `{"value":3}`); got.status != 200 || got.fields["value"] != 3.0 {
		t.Errorf("a first note: %d %s", got.status, got.body)
	}
	if got := do(t, "POST", url+"/note", `{"value":3}`); got.status != 400 {
		t.Errorf("nobody's note: %d %s", got.status, got.body)
	}
}

// TestNote_OneOfManySwaps also has the first note made by many at once.
func TestNote_OneOfManySwaps(t *testing.T) {
	db := database(t)
	_, url := start(t, db, nil)
	at := url + "/note?user=anna"
	for round := range 5 {
		now := do(t, "GET", at, "").fields["value"].(float64)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var swapped []int
		for i := range 8 {
			wg.Go(func() {
				next := 100*(round+1) + i
				switch got := do(t, "POST", at, fmt.Sprintf(`{"value":%d,"was":%.0f}`, next, now)); got.status {
				case 200:
					mu.Lock()
					swapped = append(swapped, next)
					mu.Unlock()
				case 409:
				default:
					t.Errorf("swap: %d %s", got.status, got.body)
				}
			})
		}
		wg.Wait()
		if got := do(t, "GET", at, "").fields["value"].(float64); len(swapped) != 1 || float64(swapped[0]) != got {
			t.Errorf("round %d: swapped %v, the note is %.0f", round, swapped, got)
		}
	}
}

func TestBasket(t *testing.T) {
	db := database(t)
	_, url := start(t, db, nil)
	at := url + "/basket?user=anna"
	items := func(r reply) string { return fmt.Sprint(r.fields["items"]) }
	if got := do(t, "GET", at, ""); got.status != 200 || items(got) != "[]" || !strings.Contains(got.body, `"items":[]`) {
		t.Errorf("no basket: %d %s", got.status, got.body)
	}
	db.Exec(t, "INSERT INTO baskets VALUES ('empty', '')")
	for _, user := range []string{"anna", "empty"} {
		for i, want := range []string{"[i0]", "[i0 i1]", "[i0 i1 i2]"} {
			if got := do(t, "POST", url+"/basket?user="+user, fmt.Sprintf(`{"item":"i%d"}`, i)); got.status != 200 || items(got) != want {
				t.Errorf("put aside: %d %s, want %s", got.status, got.body, want)
			}
		}
	}
	if got := do(t, "GET", at, ""); got.status != 200 || items(got) != "[i0 i1 i2]" {
		t.Errorf("basket: %d %s", got.status, got.body)
	}
	for _, wrong := range []string{`{"item":""}`, `{"item":"a,b"}`, `{"item":"` + strings.Repeat("x", 65) + `"}`} {
		if got := do(t, "POST", at, wrong); got.status != 400 || got.fields["done"] != false {
			t.Errorf("%s: %d %s", wrong, got.status, got.body)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			item := fmt.Sprintf("many%d", i)
			if got := do(t, "POST", url+"/basket?user=carol", `{"item":"`+item+`"}`); got.status != 200 || !strings.HasSuffix(items(got), item+"]") {
				t.Errorf("put aside beside others: %d %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if got := do(t, "GET", url+"/basket?user=carol", ""); len(got.fields["items"].([]any)) != 8 {
		t.Errorf("basket of eight: %s", got.body)
	}
	full := strings.TrimSuffix(strings.Repeat("x,", itemsMax), ",")
	db.Exec(t, "INSERT INTO baskets VALUES ('full', '"+full+"')")
	if got := do(t, "POST", url+"/basket?user=full", `{"item":"one"}`); got.status != 400 || !strings.Contains(got.body, "1000") {
		t.Errorf("a full basket: %d %s", got.status, got.body)
	}
}
