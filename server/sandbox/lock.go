package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const lockFile = "supervisor.pid"

// lock is held by the supervisor for as long as it lives: the kernel lets go
// of it however the supervisor ends, so a stale file tells no lie. It is a
// lock of the open file, so that looking at it does not take it.
type lock struct{ f *os.File }

// takeLock makes this process the supervisor of dir.
func takeLock(dir string) (*lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock of %s: %w", dir, err)
	}
	want := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &want); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("a sandbox already runs in %s with pid %d: use it, end it with `atoll sandbox down --dir %s`, or choose another --dir", dir, readPID(f), dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	text := []byte(strconv.Itoa(os.Getpid()) + "\n")
	_, err = f.WriteAt(text, 0)
	if err := errors.Join(err, f.Truncate(int64(len(text)))); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write the lock of %s: %w", dir, err)
	}
	return &lock{f}, nil
}

func (l *lock) release() { _ = l.f.Close() }

func readPID(f *os.File) int {
	text := make([]byte, 20)
	n, _ := f.ReadAt(text, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}

// runningIn is the pid of the supervisor of dir, 0 when none lives.
func runningIn(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open the lock of %s: %w", dir, err)
	}
	defer f.Close()
	look := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &look); err != nil {
		return 0, fmt.Errorf("look at the lock of %s: %w", dir, err)
	}
	if look.Type == unix.F_UNLCK {
		return 0, nil
	}
	return readPID(f), nil
}
