package mariadbtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// templateDir is an installed, never started data directory. It is made once
// for a machine, user and version and kept among the temporary files, since
// mariadb-install-db takes seconds and a copy takes none.
var templateDir = sync.OnceValues(func() (string, error) {
	server, err := find("mariadbd")
	if err != nil {
		return "", err
	}
	install, err := find("mariadb-install-db")
	if err != nil {
		return "", err
	}
	version, err := exec.Command(server, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask mariadbd for its version: %w", err)
	}
	name := fmt.Sprintf("atoll-mariadb-%d-%x", os.Geteuid(), sha256.Sum256(version))[:40]
	dir := filepath.Join(os.TempDir(), name)
	if _, err := os.Stat(filepath.Join(dir, "mysql")); err == nil {
		return dir, nil
	}
	return dir, installInto(install, dir)
})

// installInto builds beside dir and renames, so that two test binaries that
// start together each find a whole template.
func installInto(install, dir string) error {
	tmp, err := os.MkdirTemp(os.TempDir(), "atoll-mariadb-new")
	if err != nil {
		return fmt.Errorf("make template directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	// Installations that share a directory for temporary files can meet in it.
	scratch, err := os.MkdirTemp(os.TempDir(), "atoll-mariadb-tmp")
	if err != nil {
		return fmt.Errorf("make template directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	args := append([]string{"--no-defaults", "--datadir=" + tmp, "--tmpdir=" + scratch, "--skip-test-db", "--auth-root-authentication-method=normal",
		"--skip-name-resolve", "--innodb-log-file-size=16M"}, runAs()...)
	if out, err := exec.Command(install, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	err = os.Rename(tmp, dir)
	if err != nil && !errors.Is(err, os.ErrExist) {
		if _, there := os.Stat(filepath.Join(dir, "mysql")); there != nil {
			return fmt.Errorf("keep template: %w", err)
		}
	}
	return nil
}

// find looks also where distributions put servers, which is often not on a
// user's PATH.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/usr/libexec"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && !st.IsDir() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}
