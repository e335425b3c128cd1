package peer

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"testing"

	"failback/bench/loop"
	"failback/replication"
)

// TestPointsOfPeers keeps points of a disk by btrfs and by QEMU, thins them and goes back: what is read is what was written, of each point.
func TestPointsOfPeers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("file systems are mounted by root only")
	}
	const size, points = 1 << 20, 4
	was := [][]byte{make([]byte, size)} // by point
	rand.Read(was[0])
	base := filepath.Join(t.TempDir(), "base")
	if err := os.WriteFile(base, was[0], 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(n int) []replication.Extent {
		return []replication.Extent{{Off: int64(n) << 16, End: int64(n)<<16 + 8192}, {Off: 900 << 10, End: 904 << 10}}
	}
	kept := func(n int) bool { return n%points == 0 }
	shows := func(t *testing.T, what string, from io.ReaderAt, want []byte) {
		t.Helper()
		got := make([]byte, size)
		if _, err := from.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: other content (%v)", what, err)
		}
	}
	life := func(name string, needs []Program, fs string, open func(*testing.T, *loop.Volume) (Points, error)) {
		t.Run(name, func(t *testing.T) {
			if m := Missing(needs...); m != "" {
				t.Skip(m)
			}
			v, err := loop.New(t.TempDir(), fs, fs, 256<<20)
			if err != nil {
				t.Skip(err)
			}
			defer func() {
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}()
			d, err := open(t, v)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer d.Close()
			was := was[:1:1]
			old := func(n int) {
				t.Helper()
				o, err := d.Old(n)
				if err != nil {
					t.Errorf("%s: point %d: %v", name, n, err)
					return
				}
				shows(t, name+", old", o, was[n])
				if err := o.Close(); err != nil {
					t.Error(err)
				}
			}
			for n := 1; n <= 2*points; n++ {
				now := bytes.Clone(was[n-1])
				err := d.Change(at(n), func(x replication.Extent) []byte { rand.Read(now[x.Off:x.End]); return now[x.Off:x.End] })
				if err == nil {
					err = d.Keep()
				}
				if err != nil {
					t.Errorf("%s: point %d: %v", name, n, err)
					return
				}
				was = append(was, now)
			}
			shows(t, name+", the disk", d.Disk(), was[2*points])
			for n := range was {
				old(n)
			}
			if err := d.Thin(kept); err != nil {
				t.Errorf("%s: thin: %v", name, err)
				return
			}
			for n := 0; n <= 2*points; n += points {
				old(n)
			}
			if err := d.Back(); err != nil {
				t.Errorf("%s: back: %v", name, err)
				return
			}
			shows(t, name+", gone back", d.Disk(), was[0])
		})
	}
	for name, rsync := range map[string]string{"btrfs": "", "btrfs by rsync": filepath.Join(t.TempDir(), "source")} {
		life(name, []Program{Btrfs, MkfsBtrfs, Rsync}, "btrfs", func(t *testing.T, v *loop.Volume) (Points, error) { return NewSnapshots(t.Context(), v, base, rsync) })
	}
	life("qcow2", []Program{QEMUDaemon, QEMUImg}, "ext4", func(t *testing.T, v *loop.Volume) (Points, error) { return NewOverlays(t.Context(), v, base) })
}
