package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// leftover is a process that a sandbox's info names, and that runs by the same
// command line as then.
type leftover struct {
	name string
	pid  int
}

// leftovers are the processes of info.json that still run. A process id that
// was given out again is known by its command line, which does not speak of dir.
func leftovers(dir string) []leftover {
	text, err := os.ReadFile(filepath.Join(dir, infoFile))
	if err != nil {
		return nil
	}
	var info Info
	if json.Unmarshal(text, &info) != nil {
		return nil
	}
	var left []leftover
	for _, p := range info.Processes {
		if p.PID > 0 && ours(p.PID, dir) {
			left = append(left, leftover{p.Name, p.PID})
		}
	}
	return left
}

// ours tells whether a process lives and its command line names dir.
func ours(pid int, dir string) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	if _, rest, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(rest, "Z") {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), dir)
}

// sweep waits until what a supervisor left is gone, and kills what stays.
func sweep(ctx context.Context, dir string, left []leftover) error {
	gone := func() bool {
		for _, l := range left {
			if ours(l.pid, dir) {
				return false
			}
		}
		return true
	}
	if !waitFor(ctx, leftoverLimit, gone) {
		for _, l := range left {
			if ours(l.pid, dir) {
				_ = syscall.Kill(l.pid, syscall.SIGKILL)
			}
		}
		if !waitFor(ctx, killLimit, gone) {
			return fmt.Errorf("processes of the sandbox in %s do not end: %s", dir, names(left, func(l leftover) string { return fmt.Sprintf("%s (pid %d)", l.name, l.pid) }))
		}
	}
	if pid, err := runningIn(dir); err != nil || pid != 0 {
		return err
	}
	if err := os.Remove(filepath.Join(dir, infoFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", infoFile, err)
	}
	return nil
}
