package dbproxy

import (
	"slices"
	"strings"

	"github.com/atoll-live/atoll/server/dbproxy/prove"
)

// maxSettings bounds the SET statements that a session remembers.
const maxSettings = 64

// settings are the SET statements of a session that hold, for a connection to
// the center, which must read texts and dates as the one at home does.
type settings struct {
	list []setting
	sent int  // how many of them the center connection has
	lost bool // there were too many to remember: the center must not be written
}

type setting struct {
	text  string
	names []string
	plain bool // the values do not depend on what was set before
}

// add remembers a SET. Those whose variables it sets anew are forgotten: pools
// and drivers send the same few again and again.
func (t *settings) add(text []byte, plan *prove.Plan) {
	n := setting{text: string(text), plain: true}
	for _, set := range plan.Settings {
		if strings.HasSuffix(set.Name, "_once") {
			continue // for the next transaction only
		}
		n.names = append(n.names, set.Name)
		n.plain = n.plain && !strings.Contains(set.Value, "@")
	}
	if len(n.names) == 0 || t.lost {
		return
	}
	for i := len(t.list) - 1; n.plain && i >= 0 && t.list[i].plain; i-- {
		if covers(n.names, t.list[i].names) {
			t.list = slices.Delete(t.list, i, i+1)
			if i < t.sent {
				t.sent--
			}
		}
	}
	if t.lost = len(t.list) >= maxSettings; t.lost {
		t.list = nil
		return
	}
	t.list = append(t.list, n)
}

func covers(all, some []string) bool {
	for _, name := range some {
		if !slices.Contains(all, name) {
			return false
		}
	}
	return true
}
