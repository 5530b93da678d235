package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/atoll-live/atoll/server/pause"
)

const supervisorLog = "log/supervisor.log"

// Message is one line that a background supervisor writes to whoever started
// it. Exactly one of its fields is set.
type Message struct {
	Progress string `json:"progress,omitempty"`
	Ready    bool   `json:"ready,omitempty"`
	Error    string `json:"error,omitempty"`
	Invalid  string `json:"invalid,omitempty"` // an InvalidError
}

// Up starts a sandbox in the background and returns when it is ready. The
// program calls itself for this; args are the arguments that make it run the
// sandbox with these options in the foreground and report on the descriptor
// that follows them, as Report does. Progress is told each step. When ctx
// ends before all is ready, the start is undone.
func Up(ctx context.Context, o Options, args []string, progress func(string)) (*Info, error) {
	o, programs, err := preflight(ctx, o)
	if err != nil {
		return nil, err
	}
	if pid, err := stillRunningIn(ctx, o.Dir); err != nil {
		return nil, err
	} else if pid != 0 {
		return nil, fmt.Errorf("a sandbox already runs in %s with pid %d: use it, end it with `atoll sandbox down --dir %s`, or choose another --dir", o.Dir, pid, o.Dir)
	}
	if err := claimDir(o.Dir); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(filepath.Join(o.Dir, supervisorLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the supervisor's log: %w", err)
	}
	defer out.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer read.Close()
	// The child is asked to stop in good order when ctx ends before it is ready.
	cmd := exec.Command(programs.Atoll, append(args, "3")...) //nolint:noctx // the child outlives this call
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		return nil, fmt.Errorf("start the supervisor: %w", err)
	}
	if err := follow(ctx, cmd, read, progress); err != nil {
		return nil, err
	}
	_ = cmd.Process.Release()
	return ReadInfo(o.Dir)
}

// follow reads what the supervisor says until it is ready or has ended.
func follow(ctx context.Context, cmd *exec.Cmd, read *os.File, progress func(string)) error {
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	said := ""
	lines := bufio.NewScanner(read)
	for lines.Scan() {
		var m Message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			continue
		}
		switch {
		case m.Ready:
			return nil
		case m.Progress != "":
			progress(m.Progress)
		case m.Invalid != "":
			_ = cmd.Wait()
			return &InvalidError{m.Invalid}
		default:
			said = m.Error
		}
	}
	err := cmd.Wait()
	if said != "" {
		return errors.New(said)
	}
	return fmt.Errorf("the supervisor ended before the sandbox was ready: %w (its log is in the sandbox's directory: %s)", err, supervisorLog)
}

// Reporter writes Messages for Up.
type Reporter struct{ f *os.File }

// NewReporter takes the descriptor that Up passed.
func NewReporter(fd int) (*Reporter, error) {
	f := os.NewFile(uintptr(fd), "report-"+strconv.Itoa(fd))
	if f == nil {
		return nil, invalid("--report-fd %d is no descriptor", fd)
	}
	syscall.CloseOnExec(fd) // the children must not keep it open
	return &Reporter{f}, nil
}

// Say writes one message. That nobody reads it any more is no error: the
// sandbox goes on.
func (r *Reporter) Say(m Message) {
	if text, err := json.Marshal(m); err == nil {
		_, _ = r.f.Write(append(text, '\n'))
	}
}

// Close ends the conversation.
func (r *Reporter) Close() { _ = r.f.Close() }

const (
	downLimit = 90 * time.Second
	killLimit = 10 * time.Second
)

// Down ends the sandbox in dir and returns when none of its processes is left.
// It tells whether one was running. Progress may be nil.
func Down(ctx context.Context, dir string, progress func(string)) (bool, error) {
	if progress == nil {
		progress = func(string) {}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false, fmt.Errorf("find directory %s: %w", dir, err)
	}
	pid, err := runningIn(dir)
	if err != nil {
		return false, err
	}
	left := leftovers(dir)
	if pid == 0 {
		return len(left) > 0, sweep(ctx, dir, left)
	}
	progress(fmt.Sprintf("stopping the sandbox in %s", dir))
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return true, fmt.Errorf("stop the supervisor with pid %d: %w", pid, err)
	}
	gone := func() bool { now, err := runningIn(dir); return err == nil && now != pid }
	if !waitFor(ctx, downLimit, gone) {
		if ctx.Err() != nil {
			return true, fmt.Errorf("wait for the sandbox to stop: %w", context.Cause(ctx))
		}
		progress("the supervisor does not stop, it is killed")
		_ = syscall.Kill(pid, syscall.SIGKILL)
		if !waitFor(ctx, killLimit, gone) {
			return true, fmt.Errorf("the supervisor with pid %d does not end", pid)
		}
	}
	return true, sweep(ctx, dir, left)
}

// dyingLimit bounds how long the lock of a supervisor that was killed outlives
// its children: it goes with the last of its threads.
const dyingLimit = time.Second

// stillRunningIn is runningIn, with time for a supervisor that is dying.
func stillRunningIn(ctx context.Context, dir string) (pid int, err error) {
	waitFor(ctx, dyingLimit, func() bool {
		pid, err = runningIn(dir)
		return err != nil || pid == 0
	})
	return pid, err
}

func waitFor(ctx context.Context, limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	for !done() {
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
		pause.For(ctx, 20*time.Millisecond)
	}
	return true
}
