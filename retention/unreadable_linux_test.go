package retention

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"failback/blockio/blockiotest"
	"failback/replication"
)

func TestMain(m *testing.M) {
	blockiotest.ServeFaultyFile()
	os.Exit(m.Run())
}

// onStorage puts the files of a world's journal, which is closed, into a directory, the last segment with storage below it that fails as it is told to. The disks stay the world's.
func (w *world) onStorage(t *testing.T) (dir, name string, f *blockiotest.FaultyFile) {
	t.Helper()
	dir = t.TempDir()
	for n, b := range w.files() {
		path := filepath.Join(dir, filepath.FromSlash(n))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(n, "seg/3-") {
			name = path
		}
	}
	return dir, name, blockiotest.NewFaultyFile(t, name)
}

// TestUnreadableBlockIsQuarantined has storage that can't read a block: once, and then it is as if nothing had been; or for good: that is damage like any other, found before the disks are touched, and named.
func TestUnreadableBlockIsQuarantined(t *testing.T) {
	w := goldenWorld(t)
	w.j.Close()
	dir, name, f := w.onStorage(t)
	reopen := func() {
		t.Helper()
		var err error
		if w.j, err = open(osVolume{}, dir, "web", w.t); err != nil {
			t.Fatal(err)
		}
	}
	bad := blockiotest.Fault{Operation: blockiotest.Read, Errno: unix.EIO, Off: fileHeaderSize + entryFixed + 2*extentSize + 9, End: fileHeaderSize + entryFixed + 2*extentSize + 10}
	once := bad
	once.Times = 1
	f.Faults(once)
	reopen()
	if err := w.check("an error that passes"); err != nil {
		t.Fatal(err)
	}
	if err := w.j.Move(t.Context(), w.m.targets(), 3, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.j.Move(t.Context(), w.m.targets(), 2, nil); err != nil {
		t.Fatal(err)
	}
	w.j.Close()
	reopen()
	w.j.t.trust = 0
	f.Faults(bad)
	var c *Corruption
	err := w.j.Move(t.Context(), w.m.targets(), 3, nil)
	if !errors.As(err, &c) || c.File != name || c.Off != fileHeaderSize || !strings.Contains(c.Reason, "points 3") || w.j.Head() != 2 || w.j.Unfinished() != nil {
		t.Fatalf("got %v, head %d want a Corruption at %d of %s", err, w.j.Head(), fileHeaderSize, name)
	}
	d, err := w.j.Damage(t.Context())
	if err != nil || len(d.Parts) != 1 || !strings.Contains(d.Parts[0].What, "can't be read, tried twice") || !strings.Contains(d.Parts[0].What, syscall.EIO.Error()) || len(d.Points) != 1 || d.Points[0].Point != 3 {
		t.Errorf("damage: %+v, %v", d, err)
	}
	w.flips, w.harmed = 1, allHarmed(w)
	if err := w.check("what can't be read"); err != nil || w.denied == 0 {
		t.Errorf("%v, %d pages denied", err, w.denied)
	}
	w.j.Close()
}

// TestUnreadableFrameIsBlind has storage that can't read a file's header or footer. It can't be made again either: nothing takes the place of what is mounted.
func TestUnreadableFrameIsBlind(t *testing.T) {
	w := goldenWorld(t)
	size := int64(0)
	for _, s := range w.j.now.Load().files {
		if s.hdr.point == 3 && s.hdr.kind == segmentFile {
			size = s.foot.size()
		}
	}
	w.j.Close()
	dir, name, f := w.onStorage(t)
	for what, at := range map[string][2]int64{"header": {0, 1}, "footer": {size - 1, size}} {
		for _, times := range []int{1, 0} {
			t.Run(fmt.Sprintf("%s/%d", what, times), func(t *testing.T) {
				f.Faults(blockiotest.Fault{Operation: blockiotest.Read, Errno: unix.EIO, Off: at[0], End: at[1], Times: times})
				var err error
				if w.j, err = open(osVolume{}, dir, "web", w.t); err != nil {
					t.Fatal(err)
				}
				defer w.j.Close()
				w.flips, w.blinds, w.denied = 1, []replication.PointID{3}, 0
				if err := w.check(what); err != nil {
					t.Error(err)
				}
				blind := w.j.now.Load().blind
				if (len(blind) > 0) != (times == 0) || (w.denied > 0) != (times == 0) {
					t.Errorf("%d files are blind, %d pages denied", len(blind), w.denied)
				}
				for _, b := range blind {
					if b.name != name || !strings.Contains(b.bad.Error(), "can't be read, tried twice") {
						t.Errorf("%s is blind: %v", b.name, b.bad)
					}
				}
			})
		}
	}
}
