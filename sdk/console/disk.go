package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/atoll-live/atoll/space"
)

// A space's snapshot is kept in two files, which are written in turn and in
// place: a crash in the middle of one leaves the other. To replace a file by a
// new one would be shorter, but it takes two commits of the file system's
// journal, and those wait for all that anyone writes on a busy machine; a move
// waits for the slowest of its planes four times.
//
// A file is a line, which says how long the text after it is and what it sums
// up to, that text, and whatever else is left of a longer one.
const (
	snapshotSuffix = ".snapshot"
	snapshotLine   = "atoll snapshot %10d bytes crc32c %08x\n"
	snapshotRoom   = 16 << 10 // bytes by which a file grows, so that most texts fit in place
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// disk keeps snapshots in a folder. One goroutine uses it.
type disk struct {
	dir    string          // "" keeps none
	next   map[string]int  // space → which of its two files is written next
	listed map[string]bool // files whose names are known to be on disk
}

func newDisk(dir string) *disk {
	return &disk{dir: dir, next: map[string]int{}, listed: map[string]bool{}}
}

// store replaces the snapshot of a space, durably: it is on disk, or the
// former one is, whenever the machine stops.
func (d *disk) store(code string, raw []byte) error {
	if d.dir == "" {
		return nil
	}
	n := d.next[code]
	text := fmt.Appendf(nil, snapshotLine, len(raw), crc32.Checksum(raw, castagnoli))
	if err := d.write(d.file(code, n), append(text, raw...)); err != nil {
		return fmt.Errorf("store snapshot of %q: %w", code, err)
	}
	d.next[code] = 1 - n
	return nil
}

func (d *disk) file(code string, n int) string {
	return filepath.Join(d.dir, fmt.Sprintf("%s.%d%s", url.PathEscape(code), n, snapshotSuffix))
}

// write puts text at the begin of a file, which grows when it must.
func (d *disk) write(name string, text []byte) error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if int64(len(text)) > info.Size() {
		rooms := (len(text) + snapshotRoom - 1) / snapshotRoom
		text = append(text, bytes.Repeat([]byte{'\n'}, rooms*snapshotRoom-len(text))...)
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	if err := syncData(f); err != nil {
		return err
	}
	if d.listed[name] {
		return nil
	}
	if err := syncDir(d.dir); err != nil {
		return err
	}
	d.listed[name] = true
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load reads the newest whole snapshot of each space. It refuses when one of
// them cannot be read, or when none of a space's files is whole.
func (d *disk) load() ([]*space.Snapshot, error) {
	if d.dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load snapshots: %w", err)
	}
	var all []*space.Snapshot
	seen := map[string]bool{}
	for _, e := range entries {
		code, ok := spaceOf(e.Name())
		if !ok || seen[code] {
			continue
		}
		seen[code] = true
		s, err := d.newest(code)
		if err != nil {
			return nil, fmt.Errorf("load snapshot of %q: %w", code, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func spaceOf(name string) (code string, ok bool) {
	for _, n := range []string{".0", ".1"} {
		if escaped, ok := strings.CutSuffix(name, n+snapshotSuffix); ok {
			code, err := url.PathUnescape(escaped)
			return code, err == nil
		}
	}
	return "", false
}

// newest reads both files of a space. One of them may be torn, the one that
// was being written when the machine stopped: no console was told of it.
func (d *disk) newest(code string) (*space.Snapshot, error) {
	var best *space.Snapshot
	var torn error
	for n := range 2 {
		text, err := os.ReadFile(d.file(code, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := decodeStored(text)
		if err != nil {
			torn = fmt.Errorf("%s: %w (remove the file to fetch it from the console again)", d.file(code, n), err)
			continue
		}
		if best == nil || s.Epoch > best.Epoch {
			best, d.next[code] = s, 1-n
		}
	}
	if best == nil {
		return nil, torn
	}
	return best, nil
}

func decodeStored(text []byte) (*space.Snapshot, error) {
	line, rest, _ := bytes.Cut(text, []byte{'\n'})
	var length int
	var sum uint32
	if _, err := fmt.Sscanf(string(line)+"\n", snapshotLine, &length, &sum); err != nil {
		return nil, errors.New("not a stored snapshot")
	}
	if length < 0 || length > len(rest) {
		return nil, fmt.Errorf("%d bytes are announced, %d are there", length, len(rest))
	}
	rest = rest[:length]
	if crc32.Checksum(rest, castagnoli) != sum {
		return nil, errors.New("torn: the text does not add up to its sum")
	}
	s := new(space.Snapshot)
	if err := json.Unmarshal(rest, s); err != nil {
		return nil, err
	}
	return s, nil
}
