package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
)

func TestMissingNamesThePackage(t *testing.T) {
	gone := Program{Name: "no-such-program", Package: "no-such-package"}
	if got, want := Missing(Cat, gone), "apt-get install no-such-package"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Missing(Cat); got != "" {
		t.Errorf("got %q for a program that is there", got)
	}
	if d := gone.Describe(); d.Version != "" {
		t.Errorf("a program that is not there has version %q", d.Version)
	}
}

func TestCopiesOverTLSAreCopies(t *testing.T) {
	dir := t.TempDir()
	content := make([]byte, 1<<20)
	rand.Read(content)
	source, certs := filepath.Join(dir, "source"), filepath.Join(dir, "certs")
	if err := os.WriteFile(source, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := MakeCerts(certs); err != nil {
		t.Fatal(err)
	}
	for name, way := range map[string]struct {
		needs []Program
		run   func(context.Context, string, string, string) (Copied, error)
	}{
		"nbdcopy":  {[]Program{NBDKit, NBDCopy}, CopyByNBDCopy},
		"qemu-img": {[]Program{NBDKit, QEMUImg}, CopyByQEMUImg},
		"rsync":    {[]Program{Rsync, Socat}, RsyncNew},
		"zstd":     {[]Program{Zstd, Socat}, ZstdNew},
	} {
		t.Run(name, func(t *testing.T) {
			if m := Missing(way.needs...); m != "" {
				t.Skip(m)
			}
			c, err := way.run(t.Context(), certs, source, filepath.Join(dir, name+".vmdk"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(c.Flat); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: its copy differs (%v)", name, err)
			}
			if c.Seconds <= 0 || c.CPU <= 0 {
				t.Errorf("%s took %v s and %v s of CPU", name, c.Seconds, c.CPU)
			}
		})
	}
}

func TestFailedProgramIsAnError(t *testing.T) {
	if _, err := CatInTurn(t.Context(), filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("no error")
	}
}

// TestBackupPushesWhatWasWritten: all of it, and nothing else.
func TestBackupPushesWhatWasWritten(t *testing.T) {
	if m := Missing(QEMUDaemon); m != "" {
		t.Skip(m)
	}
	dir, err := os.MkdirTemp("", "backup") // a short path, for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	source, target, next, certs := filepath.Join(dir, "source"), filepath.Join(dir, "target"), filepath.Join(dir, "next"), filepath.Join(dir, "certs")
	content := make([]byte, 1<<20)
	for _, path := range []string{source, target} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rand.Read(content[128<<10 : 132<<10])
	rand.Read(content[700<<10 : 704<<10]) // which is not written
	if err := errors.Join(os.WriteFile(next, content, 0o644), MakeCerts(certs)); err != nil {
		t.Fatal(err)
	}
	clear(content[700<<10 : 704<<10])
	b, err := NewBackup(t.Context(), dir, certs, source, target)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Write(next, []replication.Extent{{Off: 128 << 10, End: 132 << 10}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second has nothing to do
		if _, err := b.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the target differs (%v)", err)
		}
	}
}

func TestRsyncInPlaceMakesEqual(t *testing.T) {
	if m := Missing(Rsync, Socat); m != "" {
		t.Skip(m)
	}
	dir := t.TempDir()
	source, target, certs := filepath.Join(dir, "source"), filepath.Join(dir, "target"), filepath.Join(dir, "certs")
	content := make([]byte, 1<<20)
	rand.Read(content)
	if err := errors.Join(os.WriteFile(source, content, 0o644), os.WriteFile(target, make([]byte, 1<<20), 0o644), MakeCerts(certs)); err != nil {
		t.Fatal(err)
	}
	if _, err := RsyncInPlace(t.Context(), certs, source, target); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the target differs (%v)", err)
	}
}
