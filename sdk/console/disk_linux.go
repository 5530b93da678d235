package console

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData brings what was written to the disk. Times of a file are not part
// of it, and its size only when it has changed.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
