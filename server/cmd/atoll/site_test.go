package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// flags parses a command line of the site's processes without running it.
func flags(t *testing.T, args ...string) (GatewayCmd, AppCmd, error) {
	t.Helper()
	var c struct {
		Gateway GatewayCmd `cmd:""`
		App     AppCmd     `cmd:""`
	}
	var out bytes.Buffer
	p, err := kong.New(&c, kong.Writers(&out, &out), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return c.Gateway, c.App, err
}

func TestGatewayFlags(t *testing.T) {
	g, _, err := flags(t, "gateway", "--unit", "unit-a", "--console", "http://c1,http://c2", "--listen", "127.0.0.1:26001",
		"--backend", "b1=http://h:1", "--backend", "http://h:2/?a=b,c", "--peer", "unit-b=http://h:3", "--data", "d")
	if err != nil || g.Unit != "unit-a" || len(g.Console) != 2 || len(g.Backend) != 2 || g.Data != "d" {
		t.Fatalf("%+v %v", g, err)
	}
	m, err := pairs("backend", g.Backend, true)
	if err != nil || m["b1"] != "http://h:1" || m[""] != "http://h:2/?a=b,c" {
		t.Errorf("%v %v", m, err)
	}
	for _, bad := range [][]string{{"http://h:1"}, {"=http://h:1"}, {"unit-b"}, {"u=http://h", "u=http://i"}} {
		if _, err := pairs("peer", bad, false); err == nil {
			t.Errorf("--peer %v passes", bad)
		}
	}
}

func TestAppFlags(t *testing.T) {
	password := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(password, []byte("se/cr@et\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	common := []string{"app", "--unit", "unit-a", "--console", "http://c", "--listen", "127.0.0.1:26002"}
	for more, want := range map[string]*bool{"": nil, "--center": new(true), "--no-center": new(false)} {
		args := append(slices.Clone(common), "--dbproxy", "127.0.0.1:26003", "--user", "u", "--password-file", password)
		if more != "" {
			args = append(args, more)
		}
		_, a, err := flags(t, args...)
		if err != nil || (a.Center == nil) != (want == nil) || want != nil && *a.Center != *want {
			t.Errorf("%q: center %v, %v", more, a.Center, err)
		}
		if dsn, err := a.dsn(); err != nil || dsn != "u:se/cr@et@tcp(127.0.0.1:26003)/shop" && !strings.HasPrefix(dsn, "u:se/cr@et@tcp(127.0.0.1:26003)/shop?") {
			t.Errorf("dsn %q, %v", dsn, err)
		}
	}
	_, a, err := flags(t, common...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.dsn(); err == nil || !strings.Contains(err.Error(), "--dbproxy") {
		t.Errorf("no database: %v", err)
	}
}

// A secret's file that cannot be read is told by the name of its flag.
func TestSecretFiles(t *testing.T) {
	site := []string{"--unit", "unit-a", "--console", "http://c", "--listen", "127.0.0.1:0"}
	for flag, args := range map[string][]string{
		"--hop-secret-file": append([]string{"gateway", "--backend", "http://h:1"}, site...),
		"--password-file":   append([]string{"dbproxy", "--user", "u"}, site...),
		"--token-file":      append([]string{"dbsync"}, site[:4]...),
	} {
		args = append(args, flag, "/no/such/file")
		code, out, errs := atoll(t, args...)
		want := "atoll: " + flag + ": open /no/such/file: no such file or directory (name a file that can be read)\n"
		if code != exitUsage || out != "" || errs != want {
			t.Errorf("%v: exit status %d, %q%q, want %q", args, code, out, errs, want)
		}
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(" se cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if secret, err := secretFile("token-file", file); secret != "se cret" || err != nil {
		t.Errorf("%q, %v", secret, err)
	}
}
