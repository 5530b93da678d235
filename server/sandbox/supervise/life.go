package supervise

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// forker starts children from one OS thread that it keeps for its whole life:
// the kernel sends a child its death signal when the *thread* that forked it
// ends, and the Go runtime ends threads as it likes.
type forker struct {
	jobs chan func()
	quit chan struct{}
}

func newForker() *forker { return &forker{jobs: make(chan func()), quit: make(chan struct{})} }

func (f *forker) stop() { close(f.quit) }

func (f *forker) run() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, and with it what it forked
	for {
		select {
		case job := <-f.jobs:
			job()
		case <-f.quit:
			return
		}
	}
}

// life is one run of a child.
type life struct {
	pid   int
	gone  chan struct{} // closed when the process was reaped
	ended string        // how; set before gone is closed

	mu   sync.Mutex
	proc *os.Process // nil once it was reaped, so that no signal reaches a stranger
}

// start forks a child in a process group of its own, so that a Ctrl-C in the
// terminal reaches the supervisor alone, which then stops all in order. The
// child is killed by the kernel when the supervisor dies.
func (f *forker) start(p Process) (*life, error) {
	out, err := openLog(p.Log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // its life is longer than any call
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	f.jobs <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	l := &life{pid: cmd.Process.Pid, gone: make(chan struct{}), proc: cmd.Process}
	go l.wait(cmd)
	return l, nil
}

func (l *life) wait(cmd *exec.Cmd) {
	err := cmd.Wait()
	l.mu.Lock()
	l.proc = nil
	l.mu.Unlock()
	l.ended = "ended with exit status 0"
	if err != nil {
		l.ended = "ended with " + err.Error()
	}
	close(l.gone)
}

// signal does nothing when the process is already gone.
func (l *life) signal(sig syscall.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.proc != nil {
		_ = l.proc.Signal(sig)
	}
}

// openLog opens a log for appending; one that grew too long is set aside.
func openLog(path string) (*os.File, error) {
	if path == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	if st, err := os.Stat(path); err == nil && st.Size() > logMax {
		_ = os.Rename(path, path+".old")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// lastWords is the last line of a log, for the one line that a failed start
// leaves on the terminal.
func lastWords(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const tail = 4096
	if st, err := f.Stat(); err == nil && st.Size() > tail {
		_, _ = f.Seek(-tail, 2)
	}
	text := make([]byte, tail)
	n, _ := f.Read(text)
	lines := bytes.Split(bytes.TrimSpace(text[:n]), []byte("\n"))
	last := strings.TrimSpace(string(lines[len(lines)-1]))
	if last == "" {
		return ""
	}
	if len(last) > 300 {
		last = last[:300] + "…"
	}
	return ": " + last
}
