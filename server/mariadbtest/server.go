package mariadbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// The account that every server has, with all rights.
const (
	User     = "atoll"
	Password = "atoll-test"
)

const startLimit = 60 * time.Second

// Options of one server; the zero value is good.
type Options struct {
	Port     int      // 0: a free one
	ServerID int      // server_id and gtid_domain_id; 1 when zero
	Database string   // created empty; "shop" when empty
	Args     []string // more mariadbd options, they win over ours
}

// Server is one running mariadbd, reached at 127.0.0.1:Port.
type Server struct {
	Host     string
	Port     int
	User     string
	Password string
	Database string
	Dir      string // holds data, socket and error log

	args []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone; nil when never started
}

// Start starts a server and stops it, with its data, when the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if o.ServerID == 0 {
		o.ServerID = 1
	}
	if o.Database == "" {
		o.Database = "shop"
	}
	if o.Port == 0 {
		o.Port = freePort(tb)
	}
	s := &Server{Host: "127.0.0.1", Port: o.Port, User: User, Password: Password, Database: o.Database, Dir: tempDir(tb)}
	if err := s.prepare(o); err != nil {
		tb.Fatalf("prepare mariadb: %v", err)
	}
	tb.Cleanup(s.Kill)
	s.Restart(tb)
	return s
}

// tempDir is not tb.TempDir: a test's name can make the socket path longer
// than the 107 bytes that the kernel takes.
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "atolldb") //nolint:usetesting // see above
	if err != nil {
		tb.Fatalf("make data directory: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) prepare(o Options) error {
	template, err := templateDir()
	if err != nil {
		return err
	}
	data := filepath.Join(s.Dir, "data")
	if err := os.CopyFS(data, os.DirFS(template)); err != nil {
		return fmt.Errorf("copy data directory: %w", err)
	}
	// Not /tmp: a server that starts removes every temporary table it finds in
	// its tmpdir, and the server whose table it was then crashes.
	tmp := filepath.Join(s.Dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("make the directory for temporary tables: %w", err)
	}
	init := filepath.Join(s.Dir, "init.sql")
	var text strings.Builder
	fmt.Fprintf(&text, "CREATE DATABASE IF NOT EXISTS `%s`;\n", o.Database)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		fmt.Fprintf(&text, "CREATE USER IF NOT EXISTS '%s'@'%s' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%s'@'%s' WITH GRANT OPTION;\n",
			User, host, Password, User, host)
	}
	if err := os.WriteFile(init, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write init file: %w", err)
	}
	id := strconv.Itoa(o.ServerID)
	s.args = []string{
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + tmp, "--socket=" + filepath.Join(s.Dir, "s"), "--pid-file=" + filepath.Join(s.Dir, "pid"),
		"--log-error=" + filepath.Join(s.Dir, "error.log"), "--init-file=" + init,
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(o.Port), "--skip-name-resolve", "--max-connections=500",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--local-infile=1",
		"--server-id=" + id, "--gtid-domain-id=" + id, "--log-bin=binlog", "--log-slave-updates", "--gtid-strict-mode=1",
		"--binlog-format=ROW", "--binlog-row-image=FULL", "--binlog-row-metadata=FULL", "--binlog-annotate-row-events=OFF",
		"--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1",
		"--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--performance-schema=OFF",
	}
	s.args = append(s.args, runAs()...)
	s.args = append(s.args, o.Args...)
	return nil
}

// runAs is needed by root only, whom mariadbd refuses to serve as by accident.
func runAs() []string {
	if os.Geteuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

// Restart starts the server again on its data and returns when it answers.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	bin, err := find("mariadbd")
	if err != nil {
		tb.Fatal(err)
	}
	s.mu.Lock()
	s.done = make(chan struct{})
	started := make(chan error, 1)
	go s.own(bin, s.done, started)
	err = <-started
	s.mu.Unlock()
	if err != nil {
		tb.Fatalf("start mariadbd: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		text, _ := os.ReadFile(filepath.Join(s.Dir, "error.log"))
		tb.Fatalf("mariadbd is not ready: %v\n%s", err, text)
	}
}

// own starts the process and waits for it on one locked thread: the kernel
// sends the death signal when the *thread* that forked ends, so that a killed
// test binary leaves no server behind.
func (s *Server) own(bin string, done chan struct{}, started chan<- error) {
	runtime.LockOSThread()
	defer close(done)
	cmd := exec.Command(bin, s.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err := cmd.Start()
	s.cmd = cmd // the starter holds mu and waits for started
	started <- err
	if err == nil {
		_ = cmd.Wait()
	}
}

func (s *Server) ready(ctx context.Context) error {
	db, err := open(s.DSN())
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ping: %w", err)
		case <-s.gone():
			return errors.New("the process ended")
		case <-tick.C:
		}
	}
}

func (s *Server) gone() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// Stop ends the server in good order.
func (s *Server) Stop() { s.signal(syscall.SIGTERM) }

// Kill ends the server as kill -9 does.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Pause freezes the server and Resume wakes it: connections stay, nothing answers.
func (s *Server) Pause() { s.send(syscall.SIGSTOP) }

// Resume wakes a paused server.
func (s *Server) Resume() { s.send(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	if s.send(sig) {
		<-s.gone()
	}
}

func (s *Server) send(sig syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil || s.cmd.Process == nil {
		return false
	}
	_ = s.cmd.Process.Signal(sig)
	return true
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// DSN is for go-sql-driver/mysql, into Database.
func (s *Server) DSN() string {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = s.User, s.Password, "tcp", s.Addr(), s.Database
	return c.FormatDSN()
}

// Open opens a pool that is closed when the test ends.
func (s *Server) Open(tb testing.TB) *sql.DB {
	tb.Helper()
	db, err := open(s.DSN())
	if err != nil {
		tb.Fatalf("open mariadb: %v", err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// open keeps the driver silent: a server that is still starting, or was
// killed on purpose, is no news.
func open(dsn string) (*sql.DB, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	c.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Exec runs statements one after the other.
func (s *Server) Exec(tb testing.TB, statements ...string) {
	tb.Helper()
	db := s.Open(tb)
	defer db.Close()
	for _, q := range statements {
		if _, err := db.Exec(q); err != nil {
			tb.Fatalf("%s: %v", q, err)
		}
	}
}
