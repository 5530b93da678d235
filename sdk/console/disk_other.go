//go:build !linux

package console

import "os"

func syncData(f *os.File) error { return f.Sync() }
