package mariadbtest_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/atoll-live/atoll/server/mariadbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKilledServerKeepsWhatItCommitted(t *testing.T) {
	s := mariadbtest.Start(t, mariadbtest.Options{ServerID: 7})
	s.Exec(t, "CREATE TABLE a (id INT PRIMARY KEY)", "INSERT INTO a VALUES (1)")
	s.Kill()
	s.Restart(t)
	var n, id int
	if err := s.Open(t).QueryRow("SELECT COUNT(*), @@gtid_domain_id FROM a").Scan(&n, &id); err != nil {
		t.Fatal(err)
	}
	if n != 1 || id != 7 {
		t.Fatalf("rows %d, domain %d after the restart", n, id)
	}
}

// Servers of several tests run beside each other, and one that starts clears
// its directory for temporary tables.
func TestStart_LeavesTemporaryTablesOfOthersAlone(t *testing.T) {
	f, err := os.CreateTemp("", "#sql-temptable-test-*.MAI") //nolint:usetesting // the directory that all servers would share
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mariadbtest.Start(t, mariadbtest.Options{})
	if _, err := os.Stat(f.Name()); err != nil {
		t.Fatalf("a server that started removed a file of another: %v", err)
	}
}
