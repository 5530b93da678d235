package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/atoll-live/atoll/space"
)

const snapshotSuffix = ".snapshot.json"

// storeSnapshot replaces the snapshot of a space in dir, durably: it is on
// disk, or the former one is, whenever the machine stops.
func storeSnapshot(dir, code string, raw []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("store snapshot: %w", err)
	}
	name := filepath.Join(dir, url.PathEscape(code)+snapshotSuffix)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("store snapshot: %w", err)
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("store snapshot of %q: %w", code, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// loadSnapshots reads what storeSnapshot stored.
func loadSnapshots(dir string) ([]*space.Snapshot, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load snapshots: %w", err)
	}
	var all []*space.Snapshot
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), snapshotSuffix) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("load snapshots: %w", err)
		}
		s := new(space.Snapshot)
		if err := json.Unmarshal(raw, s); err != nil {
			return nil, fmt.Errorf("load snapshot %s: %w (remove the file to fetch it from the console again)", e.Name(), err)
		}
		all = append(all, s)
	}
	return all, nil
}
