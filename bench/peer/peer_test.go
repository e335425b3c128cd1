package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
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

func TestCopiesOverNBDAreCopies(t *testing.T) {
	if m := Missing(NBDKit, NBDCopy, QEMUImg); m != "" {
		t.Skip(m)
	}
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
	for name, run := range map[string]func(context.Context, string, string, string) (Copied, error){"nbdcopy": CopyByNBDCopy, "qemu-img": CopyByQEMUImg} {
		c, err := run(t.Context(), certs, source, filepath.Join(dir, name+".vmdk"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := os.ReadFile(c.Flat); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: its copy differs (%v)", name, err)
		}
		if c.Seconds <= 0 || c.CPU <= 0 {
			t.Errorf("%s took %v s and %v s of CPU", name, c.Seconds, c.CPU)
		}
	}
}

func TestFailedProgramIsAnError(t *testing.T) {
	if _, err := CatInTurn(t.Context(), filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("no error")
	}
}
