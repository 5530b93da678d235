package atoll

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// setupTools are the real programs that scripts/setup.sh may use. All else on
// its PATH is a fake.
var setupTools = []string{"cat", "chmod", "dirname", "grep", "mktemp", "mv", "rm", "sed", "tail"}

// setupFakes stand for a Debian machine. What they were told is in $M/calls,
// dpkg's memory in $M/dpkg, one file a package.
var setupFakes = map[string]string{
	"id": `echo "${FAKE_UID:-1000}"`,
	"go": `echo "${FAKE_GO:-go1.26.0}"`,
	"dpkg-query": `for package; do :; done
[ -f "$M/dpkg/$package" ] || exit 1
cat "$M/dpkg/$package"`,
	"dpkg": `echo "dpkg $*" >>"$M/calls"
[ "$1" != --audit ] || ! grep -l half-configured "$M/dpkg/"*`,
	"update-rc.d": `echo "update-rc.d $*" >>"$M/calls"`,
	"systemctl":   `echo "systemctl $*" >>"$M/calls"`,
	"sudo":        `echo "sudo $*" >>"$M/calls"`,
	"apt-get": `echo "apt-get $*" >>"$M/calls"
[ "$1" != update ] || exit 0
ours=0
"$DPKG_ROOT/usr/sbin/policy-rc.d" mariadb start || ours=$?
others=0
(unset ATOLL_SETUP; "$DPKG_ROOT/usr/sbin/policy-rc.d" mariadb start) || others=$?
echo "policy: ours $ours, others $others" >>"$M/calls"
[ -z "${FAKE_BROKEN:-}" ] || { echo "E: no such archive"; exit 100; }
for program in mariadbd mariadb-install-db redis-server; do
	printf '#!/bin/sh\n' >"$DPKG_ROOT/usr/sbin/$program"
	chmod 755 "$DPKG_ROOT/usr/sbin/$program"
done
for package in ${FAKE_PACKAGES:-mariadb-server redis-server}; do
	echo "${FAKE_STATE:-installed}" >"$M/dpkg/$package"
done
case ${FAKE_END:-} in
kill) kill -9 "$PPID" ;;
fail) exit 100 ;;
esac`,
}

// debian is a machine of fakes on which scripts/setup.sh runs.
type debian struct {
	t         *testing.T
	dir, root string
}

func newDebian(t *testing.T) *debian {
	t.Helper()
	// Read here, so that the go tool's test cache notices each change.
	if _, err := os.ReadFile("scripts/setup.sh"); err != nil {
		t.Fatal(err)
	}
	d := &debian{t: t, dir: t.TempDir()}
	d.root = filepath.Join(d.dir, "root")
	for _, dir := range []string{"bin", "dpkg", "tmp", "root/usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(d.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tool := range setupTools {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(d.dir, "bin", tool)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range setupFakes {
		d.write("bin/"+name, "#!/bin/sh\n"+text+"\n")
	}
	return d
}

func (d *debian) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o755); err != nil {
		d.t.Fatal(err)
	}
}

func (d *debian) remove(names ...string) {
	d.t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *debian) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	return string(text)
}

// setup runs the script; env has words such as FAKE_UID=0, args the rest.
func (d *debian) setup(env []string, args ...string) (status int, said string) {
	d.t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"scripts/setup.sh"}, args...)...)
	cmd.Env = append([]string{"PATH=" + filepath.Join(d.dir, "bin"), "M=" + d.dir, "DPKG_ROOT=" + d.root, "TMPDIR=" + filepath.Join(d.dir, "tmp")}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// wants runs the script and compares everything that it says.
func (d *debian) wants(status int, said string, env []string, args ...string) {
	d.t.Helper()
	if gotStatus, got := d.setup(env, args...); gotStatus != status || got != said {
		d.t.Errorf("setup.sh %v %v: status %d, %q\nwant status %d, %q", env, args, gotStatus, got, status, said)
	}
}

const fakePolicy = "root/usr/sbin/policy-rc.d"

var (
	fakeRoot       = []string{"FAKE_UID=0"}
	fakePrograms   = []string{"root/usr/sbin/mariadbd", "root/usr/sbin/mariadb-install-db", "root/usr/sbin/redis-server"}
	fakeInstalling = "setup: installing mariadb-server redis-server\n"
)

func fakeAsk(t *testing.T, missing, before, after string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return "setup: missing:" + missing + ": run this, which starts no service, and then make again: " + before + "sh '" + dir + "/scripts/setup.sh' packages" + after + "\n"
}

func TestSetup_AsksForRoot(t *testing.T) {
	d := newDebian(t)
	d.wants(1, fakeAsk(t, " mariadb-server redis-server", "sudo ", ""), nil)
	d.write("root/usr/sbin/redis-server", "")
	d.wants(1, fakeAsk(t, " mariadb-server", "sudo ", ""), nil)
	d.remove("bin/sudo")
	d.wants(1, fakeAsk(t, " mariadb-server", `su -c "`, `"`), nil)
	if calls := d.read("calls"); calls != "" {
		t.Errorf("without root it did: %s", calls)
	}
}

func TestSetup_SilentWhenNothingIsMissing(t *testing.T) {
	d := newDebian(t)
	for _, program := range fakePrograms {
		d.write(program, "")
	}
	d.wants(0, "", nil)
	d.wants(0, "", fakeRoot)
	if calls := d.read("calls"); calls != "" {
		t.Errorf("with nothing missing it did: %s", calls)
	}
}

func TestSetup_SaysWhatIsWrong(t *testing.T) {
	d := newDebian(t)
	d.wants(1, "setup: unknown argument all: want none, or packages\n", nil, "all")
	d.wants(1, "setup: go is go1.19.8: install Go 1.26 or later (https://go.dev/dl)\n", []string{"FAKE_UID=0", "FAKE_GO=go1.19.8"})
	d.remove("bin/go")
	d.wants(1, "setup: go is not on the PATH: install Go 1.26 or later (https://go.dev/dl)\n", fakeRoot)
	d.remove("bin/apt-get")
	d.wants(1, "setup: missing: mariadb-server redis-server; install MariaDB 10.11 and Redis 7 so that mariadbd, mariadb-install-db and redis-server are on the PATH\n", fakeRoot, "packages")
	if calls := d.read("calls"); calls != "" {
		t.Errorf("before it stopped it did: %s", calls)
	}
}

func TestSetup_InstallsAndStartsNothing(t *testing.T) {
	d := newDebian(t)
	d.wants(0, fakeInstalling, fakeRoot)
	calls := d.read("calls")
	for _, want := range []string{
		"--no-install-recommends mariadb-server redis-server\n", "policy: ours 101, others 0\n",
		"systemctl --root=/ --quiet disable mariadb.service\nupdate-rc.d mariadb disable\n",
		"systemctl --root=/ --quiet disable redis-server.service\nupdate-rc.d redis-server disable\n",
	} {
		if !strings.Contains(calls, want) {
			t.Errorf("it never did %q, only:\n%s", want, calls)
		}
	}
	if left := d.read(fakePolicy); left != "" {
		t.Errorf("it left its policy-rc.d: %s", left)
	}
	d.wants(0, "", fakeRoot)
	d.wants(0, "", nil)
}

func TestSetup_KeepsTheMachinesOwn(t *testing.T) {
	d := newDebian(t)
	own := "#!/bin/sh\nexit 101\n"
	d.write(fakePolicy, own)
	// MariaDB is the machine's own too, only a program of it is missing.
	d.write("dpkg/mariadb-server", "installed")
	d.wants(0, fakeInstalling, fakeRoot)
	if got := d.read(fakePolicy); got != own {
		t.Errorf("the machine's own policy-rc.d is now %q", got)
	}
	if calls := d.read("calls"); strings.Contains(calls, "mariadb disable") || !strings.Contains(calls, "redis-server disable") {
		t.Errorf("want redis-server disabled and the machine's own mariadb left alone:\n%s", calls)
	}
}

func TestSetup_FailureLeavesNoPolicy(t *testing.T) {
	d := newDebian(t)
	status, said := d.setup([]string{"FAKE_UID=0", "FAKE_BROKEN=1"})
	if status != 1 || !strings.Contains(said, "E: no such archive\nsetup: apt-get failed (the whole output is in "+d.dir) {
		t.Errorf("status %d, %q", status, said)
	}
	if left := d.read(fakePolicy); left != "" {
		t.Errorf("it left its policy-rc.d: %s", left)
	}
}

// TestSetup_MendsWhatWasCutShort ends the script, or apt-get, halfway: all
// programs are there, and yet the packages are not.
func TestSetup_MendsWhatWasCutShort(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    []string
		status int
		own    string // policy of the machine's own
	}{
		{"killed in dpkg", []string{"FAKE_END=kill", "FAKE_STATE=half-configured"}, -1, ""},
		{"killed after dpkg", []string{"FAKE_END=kill"}, -1, ""},
		{"killed in dpkg, own policy", []string{"FAKE_END=kill", "FAKE_STATE=unpacked"}, -1, "#!/bin/sh\nexit 101\n"},
		{"failed in dpkg", []string{"FAKE_END=fail", "FAKE_STATE=half-configured"}, 1, ""},
		{"failed in a dependency", []string{"FAKE_END=fail", "FAKE_STATE=half-configured", "FAKE_PACKAGES=redis-tools"}, 1, ""},
		{"failed after dpkg", []string{"FAKE_END=fail"}, 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDebian(t)
			if c.own != "" {
				d.write(fakePolicy, c.own)
			}
			if status, said := d.setup(append(c.env, fakeRoot...)); status != c.status {
				t.Fatalf("cut short: status %d, want %d: %q", status, c.status, said)
			}
			d.wants(1, fakeAsk(t, " mariadb-server redis-server", "sudo ", ""), nil)
			d.remove("calls")
			d.wants(0, fakeInstalling, fakeRoot)
			want := []string{"dpkg --configure -a\n"}
			if c.own == "" {
				want = append(want, "policy: ours 101, others 0\n", "update-rc.d mariadb disable\n", "update-rc.d redis-server disable\n")
			}
			calls := d.read("calls")
			for _, w := range want {
				if !strings.Contains(calls, w) {
					t.Errorf("it never did %q, only:\n%s", w, calls)
				}
			}
			if left := d.read(fakePolicy); left != c.own {
				t.Errorf("policy-rc.d is now %q, was %q", left, c.own)
			}
			d.wants(0, "", nil)
		})
	}
}
