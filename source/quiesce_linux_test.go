package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// TestFreezeThatCannotBeKilledHoldsNoThawUp: it writes to a file system that the other machine's froze, where it sleeps in the kernel until that one is thawed.
func TestFreezeThatCannotBeKilledHoldsNoThawUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	sh := func(line string) error {
		out, err := exec.Command("/bin/sh", "-c", line, "sh", image, mount).CombinedOutput()
		if err != nil {
			t.Logf("%s: %v: %s", line, err, out)
		}
		return err
	}
	if os.Getuid() != 0 || sh("mkdir $2 && truncate -s 16M $1 && mkfs.ext4 -q $1 && mount -o loop $1 $2") != nil {
		t.Skip("no file system can be mounted and frozen here")
	}
	t.Cleanup(func() { sh("fsfreeze -u $2; umount $2") })
	s := twoCopied(t, dir, "")
	db := noting(dir, "db", "fsfreeze -f "+mount+" && touch "+dir+"/frozen", "fsfreeze -u "+mount)
	web := noting(dir, "web", "until test -e "+dir+"/frozen; do sleep 0.01; done; echo >"+mount+"/file", "")
	web.Timeout = 3 * time.Second
	cut := make(chan replication.Cut, 1)
	go func() {
		c, _ := s.Cut(t.Context(), 1, 0, db, web)
		cut <- c
	}()
	select {
	case c := <-cut:
		if c.App || !strings.Contains(c.NotApp, "machine web: the freeze command did not end within 3s") {
			t.Errorf("cut %+v", c)
		}
	case <-time.After(3 * time.Minute):
		sh("fsfreeze -u $2")
		t.Fatal("all stay frozen while one freeze command can't be killed")
	}
	if err := os.WriteFile(filepath.Join(mount, "file"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	if len(Frozen(s.dir)) != 2 {
		t.Errorf("noted as frozen: %v; one may have been, after it was thawed", Frozen(s.dir))
	}
}
