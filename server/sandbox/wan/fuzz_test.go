package wan

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"testing"
)

// Whatever the control API is asked, it answers, and a refused order changes
// nothing.
func FuzzControl(f *testing.F) {
	for _, seed := range []string{"unit=unit-a", "unit=unit-a&link=x", "between=unit-a,unit-b", "between=,", "link=x&for=1ms", "link=x&for=-1h", "link=x&by=20ms", "%zz", ""} {
		f.Add("cut", seed)
		f.Add("heal", seed)
		f.Add("slow", seed)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		if _, err := url.Parse("http://x/" + path + "?" + query); err != nil {
			return
		}
		r, err := New(Config{Status: "127.0.0.1:0", Links: []Link{{Name: "x", From: "unit-a", To: "unit-b", Listen: "127.0.0.1:0", Target: "127.0.0.1:1"}}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer r.cuts.stop()
		req, err := http.NewRequest(http.MethodPost, "http://x/"+path+"?"+query, nil)
		if err != nil {
			return
		}
		w := &answer{header: http.Header{}, code: http.StatusOK}
		r.handler(t.Context()).ServeHTTP(w, req)
		if s := r.Links()[0]; w.code >= 300 && (s.Cut || s.DelayMs != 0) {
			t.Errorf("%s?%s was answered %d and changed the link to %+v", path, query, w.code, s)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"status":"127.0.0.1:1","rttMs":30,"links":[{"name":"x","from":"a","to":"b","listen":"127.0.0.1:2","target":"127.0.0.1:3"}]}`))
	f.Add([]byte(`{"status":"[::1]:1","rttMs":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Config
		if json.Unmarshal(text, &c) != nil || c.Validate() != nil {
			return
		}
		for _, l := range c.Links {
			if l.From == l.To || loopback(l.Listen) != nil || loopback(l.Target) != nil {
				t.Errorf("accepted link %+v", l)
			}
		}
	})
}
