package sandbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-live/atoll/server/pause"
)

const installLimit = 2 * time.Minute

// FindPrograms looks for the servers on the PATH and where Debian puts them.
func FindPrograms() (Programs, error) {
	return findPrograms("/usr/sbin", "/usr/local/sbin", "/sbin")
}

func findPrograms(dirs ...string) (Programs, error) {
	var p Programs
	var missing []string
	for name, at := range map[string]*string{"mariadbd": &p.MariaDB, "mariadb-install-db": &p.InstallDB, "redis-server": &p.Redis} {
		if *at = find(name, dirs); *at == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return p, fmt.Errorf("%s not found on PATH or in /usr/sbin: run `make setup`, or install the packages mariadb-server and redis-server", strings.Join(slices.Sorted(slices.Values(missing)), ", "))
	}
	self, err := os.Executable()
	if err != nil {
		return p, fmt.Errorf("find the atoll program: %w", err)
	}
	p.Atoll = self
	return p, nil
}

func find(name string, dirs []string) string {
	if path, err := exec.LookPath(name); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// claimDir makes the directory, or accepts one that is empty or that a
// sandbox made before.
func claimDir(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o755); err != nil {
		return fmt.Errorf("make directory %s: %w (choose another --dir)", dir, plain(err))
	}
	probe, err := os.CreateTemp(dir, ".writable")
	if err != nil {
		return fmt.Errorf("write into directory %s: %w (choose another --dir)", dir, plain(err))
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return ownDir(dir)
}

// ownDir refuses a directory with files that no sandbox made.
func ownDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read directory %s: %w (choose another --dir)", dir, plain(err))
	}
	if _, err := os.Stat(filepath.Join(dir, optionsFile)); err == nil {
		return nil
	}
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != "log" {
			return fmt.Errorf("%s holds files that no sandbox made (such as %s): choose another --dir", dir, e.Name())
		}
	}
	return nil
}

// plain drops the path that an error of the os package repeats.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

const optionsFile = "options.json"

// adopt compares the options with those of the sandbox that made the
// directory. Its documents name ports, spaces, units and cells, so these stay.
func adopt(o Options) error {
	text, err := os.ReadFile(filepath.Join(o.Dir, optionsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the options of the sandbox in %s: %w", o.Dir, err)
	}
	var before Options
	if err := json.Unmarshal(text, &before); err != nil {
		return fmt.Errorf("read the options of the sandbox in %s: %w", o.Dir, err)
	}
	if before, err = before.WithDefaults(); err != nil {
		return err
	}
	if before.PortBase != o.PortBase {
		return invalid("the sandbox in %s was made with --port-base %d: use that, add --fresh to begin anew, or choose another --dir", o.Dir, before.PortBase)
	}
	if before.Units != o.Units || before.Cells != o.Cells || before.Spaces != o.Spaces {
		return invalid("the sandbox in %s was made with --units %d --cells %d --spaces %d: use these, add --fresh to begin anew, or choose another --dir",
			o.Dir, before.Units, before.Cells, before.Spaces)
	}
	return nil
}

// wipe removes what an ended sandbox left. The lock file and the supervisor's
// log stay: they are open.
func wipe(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, optionsFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// The options go last, so that a wipe cut short is gone on with.
	for _, d := range []string{dir, filepath.Join(dir, "log")} {
		entries, err := os.ReadDir(d)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read directory %s: %w", d, err)
		}
		for _, e := range entries {
			path := filepath.Join(d, e.Name())
			if slices.Contains([]string{lockFile, optionsFile, "log", filepath.Base(supervisorLog)}, e.Name()) {
				continue
			}
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("remove what the last sandbox left: %w", err)
			}
		}
	}
	return os.Remove(filepath.Join(dir, optionsFile))
}

// readSecrets gives those of the sandbox that made dir, or new ones.
func readSecrets(dir string) (Secrets, error) {
	var s Secrets
	text, err := os.ReadFile(filepath.Join(dir, "secrets.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Secrets{Database: newSecret(), Proxy: newSecret(), Hop: newSecret()}, nil
	}
	if err != nil {
		return s, fmt.Errorf("read secrets: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read secrets: %w", err)
	}
	return s, nil
}

func newSecret() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// checkPorts listens on every port for a moment. What ended a second ago may
// still be going, so a port has until limit to become free.
func checkPorts(ctx context.Context, ports []Port, limit time.Duration) error {
	end := time.Now().Add(limit)
	for _, p := range ports {
		for {
			err := tryPort(ctx, p.Number)
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("listen on port %d for %s: %w (choose another --port-base)", p.Number, p.Owner, err)
			}
			if time.Now().After(end) || ctx.Err() != nil {
				return fmt.Errorf("port %d, wanted for %s, is in use: end what listens there, or choose another --port-base", p.Number, p.Owner)
			}
			pause.For(ctx, 50*time.Millisecond)
		}
	}
	return nil
}

func tryPort(ctx context.Context, port int) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", loopback(port))
	if err != nil {
		return err
	}
	return l.Close()
}

// writeFiles writes the layout's files, the options first: they mark the
// directory as a sandbox's.
func writeFiles(l *Layout) error {
	if err := replaceFile(filepath.Join(l.Options.Dir, optionsFile), []byte(jsonText(l.Options)), 0o644); err != nil {
		return err
	}
	for _, f := range l.Files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return fmt.Errorf("make directory for %s: %w", f.Path, err)
		}
		if err := replaceFile(f.Path, []byte(f.Text), f.Mode); err != nil {
			return err
		}
	}
	return nil
}

// installDatabases makes data directories, all at the same time.
func installDatabases(ctx context.Context, program string, databases []Database, asRoot bool) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, d := range databases {
		group.Go(func() error { return installDatabase(ctx, program, d, asRoot) })
	}
	return group.Wait()
}

// installDatabase works beside the final place and renames, so that an
// install cut short is not taken for a whole one.
func installDatabase(ctx context.Context, program string, d Database, asRoot bool) error {
	tmp := d.Dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("prepare the database of %s: %w", d.Unit, err)
	}
	// Two installations that share a directory for temporary tables meet there.
	if err := os.MkdirAll(d.Tmp, 0o755); err != nil {
		return fmt.Errorf("prepare the database of %s: %w", d.Unit, err)
	}
	args := []string{"--no-defaults", "--datadir=" + tmp, "--tmpdir=" + d.Tmp, "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=32M"}
	if asRoot {
		args = append(args, "--user=root")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if text, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("prepare the database of %s: %w", d.Unit, context.Cause(ctx))
		}
		_ = os.WriteFile(d.Log, text, 0o644)
		return fmt.Errorf("prepare the database of %s: mariadb-install-db: %w: %s (its output: %s)", d.Unit, err, errorLine(text), d.Log)
	}
	if err := os.Rename(tmp, d.Dir); err != nil {
		return fmt.Errorf("prepare the database of %s: %w", d.Unit, err)
	}
	return nil
}

// errorLine finds what went wrong in the words of a server, the last line
// when nothing looks like it.
func errorLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, l := range lines {
		if strings.Contains(l, "ERROR") {
			return l
		}
	}
	return lines[len(lines)-1]
}

// databaseReady is the probe of a database server: the account works.
func databaseReady(addr, password string) func(context.Context) error {
	return func(ctx context.Context) error {
		db := openDB(addr, databaseUser, password, "")
		defer db.Close()
		return db.PingContext(ctx)
	}
}

// openDB keeps the driver silent: a server that is still starting is no news.
func openDB(addr, user, password, database string) *sql.DB {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = user, password, "tcp", addr, database
	c.Timeout = 5 * time.Second
	c.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(c)
	if err != nil {
		panic(fmt.Sprintf("mysql config of our own: %v", err))
	}
	return sql.OpenDB(connector)
}
