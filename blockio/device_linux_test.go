package blockio

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestDeviceByUUID(t *testing.T) {
	const uuid, serial = "60 00 C2 9e a7 e8 26 9c-7d 20 45 4c 72 2a af 40", "6000c29ea7e8269c7d20454c722aaf40"
	dir := t.TempDir()
	link := func(name, to string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, to), nil, 0o600), os.Symlink(to, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := deviceByUUID(dir, uuid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v, want os.ErrNotExist", err)
	}
	link("scsi-3"+serial, "sdb")
	link("wwn-0x"+serial, "sdb")
	if got, err := deviceByUUID(dir, uuid); err != nil || filepath.Base(got) != "sdb" {
		t.Errorf("one: %q, %v, want sdb", got, err)
	}
	if err := os.Remove(filepath.Join(dir, "wwn-0x"+serial)); err != nil {
		t.Fatal(err)
	}
	link("wwn-0x"+serial, "sdc")
	if _, err := deviceByUUID(dir, uuid); !errors.Is(err, ErrInUse) {
		t.Errorf("two: %v, want ErrInUse", err)
	}
	if _, err := deviceByUUID(dir, "../../sda"); err == nil {
		t.Error("a path was taken for a UUID")
	}
}
