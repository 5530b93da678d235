package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

func TestHTTPOutcome(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		answer answer
		sent   bool
		err    error
		want   Outcome
	}{
		{"created", http.StatusCreated, answer{OrderID: "1"}, true, nil, Acked},
		{"the same order again", http.StatusOK, answer{OrderID: "1"}, true, nil, Acked},
		{"success without an order is no acknowledgement", http.StatusOK, answer{}, true, nil, Unknown},
		{"says not done", http.StatusServiceUnavailable, answer{Done: false}, true, nil, NotDone},
		{"says unknown", http.StatusInternalServerError, answer{Done: "unknown"}, true, nil, Unknown},
		{"bare 503", http.StatusServiceUnavailable, answer{}, true, nil, Unknown},
		{"refused by 4xx", http.StatusForbidden, answer{}, true, nil, NotDone},
		{"never dialed", 0, answer{}, false, errors.New("refused"), NotDone},
		{"lost on the way", 0, answer{}, true, errors.New("reset"), Unknown},
		{"lost in the answer", http.StatusCreated, answer{}, true, errors.New("reset"), Unknown},
	} {
		if got := httpOutcome(c.status, c.answer, c.sent, c.err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestPauses_WindowKeysAndHeldTime(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	writes := []Write{
		{Key: "m", Outcome: Acked, Scheduled: at(-1), Done: at(900)}, // before HOLD
		{Key: "m", Outcome: Acked, Scheduled: at(0), Done: at(100)},
		{Key: "m", Outcome: Acked, Scheduled: at(10), Done: at(510), Held: 400 * time.Millisecond},
		{Key: "m", Outcome: NotDone, Scheduled: at(10), Done: at(700)}, // its repeat counts
		{Key: "other", Outcome: Acked, Scheduled: at(10), Done: at(900)},
		{Key: "m", Outcome: Acked, Scheduled: at(500), Done: at(900)}, // after RELEASE
	}
	p := Summary(Pauses(writes, func(k string) bool { return k == "m" }, at(0), at(500)))
	if p != (Pause{P50: 100, P99: 100, Max: 100, N: 2}) {
		t.Errorf("pauses %+v, want two of 100 ms", p)
	}
}

func TestSummary_NearestRank(t *testing.T) {
	var delays []time.Duration
	for i := 100; i > 0; i-- {
		delays = append(delays, time.Duration(i)*time.Millisecond)
	}
	if p := Summary(delays); p != (Pause{P50: 50, P99: 99, Max: 100, N: 100}) {
		t.Errorf("summary %+v", p)
	}
	if p := Summary(nil); p != (Pause{}) {
		t.Errorf("summary of nothing %+v", p)
	}
}

// A refusal of one try says nothing about a try before it whose outcome is
// not known.
func TestPlace_RefusalAfterUnknownIsUnknown(t *testing.T) {
	l := &Load{cfg: Config{}, ledger: NewLedger()}
	outcomes := []Outcome{NotDone, Unknown, NotDone, Acked}
	var ids []string
	o := order{key: "k", via: ViaHTTP, scheduled: time.Now()}
	id, ok := l.place(t.Context(), o, func(_ context.Context, _ *Ledger, _ order, clientID string, try int) attempt {
		ids = append(ids, clientID)
		return attempt{outcome: outcomes[try], orderID: "7"}
	})
	if !ok || id != "7" || len(ids) != 4 {
		t.Fatalf("placed %v as %q after %d tries", ok, id, len(ids))
	}
	if ids[0] == ids[1] || ids[1] != ids[2] || ids[2] != ids[3] {
		t.Errorf("client ids %v: want a new one after a refusal, and the same while a try may have been done", ids)
	}
	writes := l.ledger.Writes()
	if len(writes) != 2 || writes[0].Outcome != NotDone || writes[1].Outcome != Acked || writes[1].ClientID != ids[1] {
		t.Errorf("ledger %+v", writes)
	}
	if o, ok := l.recent.pick(rand.New(rand.NewPCG(1, 1))); !ok || o.id != "7" || o.key != "k" {
		t.Errorf("remembered %+v %v", o, ok)
	}
}
