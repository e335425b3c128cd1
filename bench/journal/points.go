package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"failback/bench/harness"
	"failback/bench/loop"
	"failback/bench/peer"
	"failback/bench/report"
	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

const lifeReads = 4000 // of 4 KiB

// points keeps as many points of a disk as there are in two hours, reads the oldest and the disk itself, thins them and goes back: beside btrfs snapshots and QEMU's overlays. Each has a file system of its own on a
// loop device.
func (l *lab) points() error {
	size := int64(1 << 30)
	if l.Quick {
		size = 128 << 20
	}
	base, err := l.fill(size)
	if err != nil {
		return err
	}
	lacks := ""
	if os.Geteuid() != 0 {
		lacks = "to be run as root: file systems are mounted"
	}
	changed := size / 32
	s := &report.Scenario{Name: "journal/points", Bytes: changed * dayPoints, About: fmt.Sprintf(
		"%d points of a disk of %s that does not compress, of each %s changed in pieces of 16 KiB, eight of ten within a fifth of the disk: until the last is kept durably, and the disk shows it", dayPoints, report.Size(size), report.Size(changed))}
	source := filepath.Join(l.Dir, "source.raw")
	defer os.Remove(source)
	btrfs := []peer.Program{peer.Btrfs, peer.MkfsBtrfs}
	life := func(fs string, open func(context.Context, *loop.Volume) (peer.Points, error)) func(context.Context, int) (report.Sample, error) {
		return func(ctx context.Context, _ int) (report.Sample, error) {
			return l.life(ctx, base, size, changed, fs, open)
		}
	}
	err = l.Alternate(l, s, []harness.Way{
		{Name: "failback", Lacks: lacks, Run: life("ext4", func(_ context.Context, v *loop.Volume) (peer.Points, error) { return l.keepOurs(v, size) })},
		{Name: "btrfs snapshots", Peer: true, Needs: btrfs, Lacks: lacks, Run: life("btrfs", func(ctx context.Context, v *loop.Volume) (peer.Points, error) {
			k, err := peer.NewSnapshots(ctx, v, base, "")
			return k, err
		})},
		{Name: "btrfs snapshots, changes found by rsync --inplace", Peer: true, Needs: append(btrfs, peer.Rsync), Lacks: lacks, Run: life("btrfs", func(ctx context.Context, v *loop.Volume) (peer.Points, error) {
			k, err := peer.NewSnapshots(ctx, v, base, source)
			return k, err
		})},
		{Name: "qcow2 overlays", Peer: true, Needs: []peer.Program{peer.QEMUDaemon, peer.QEMUImg}, Lacks: lacks, Run: life("ext4", func(ctx context.Context, v *loop.Volume) (peer.Points, error) {
			k, err := peer.NewOverlays(ctx, v, base)
			return k, err
		})},
	}, nil)
	if err != nil {
		return err
	}
	s.Finish()
	s.Note("each read is of 4 KiB at random, one at a time, from storage: of the first point, and of the disk as it stands after the last; qcow2 is read over NBD on a unix socket")
	s.Note("thinned to the first point and one in %d: for ours until files that are half dead are rewritten, for btrfs until the subvolumes are cleaned, for qcow2 until layers are merged", keptOf)
	s.Note("what a snapshot or an overlay goes back to needs its file system, or QEMU, to be read; ours moves the content into a disk that is a plain file or VMDK, of the format and on the storage that the hypervisor wants")
	s.Note("after each life the disk was compared with the first point, byte by byte, and what was read of that point as well")
	l.tell(s)
	return nil
}

// life takes a disk from its first point to the last and back.
func (l *lab) life(ctx context.Context, base string, size, changed int64, fs string, open func(context.Context, *loop.Volume) (peer.Points, error)) (one report.Sample, err error) {
	v, err := loop.New(l.Dir, fs, fs, 6*size+512<<20) // clusters of qcow2 have 64 KiB
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	k, err := open(ctx, v)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	before, err := v.Used()
	if err != nil {
		return one, err
	}
	one, err = harness.Measure(func() (s report.Sample, err error) {
		r := rand.New(rand.NewPCG(1, 2))
		for n := range dayPoints {
			at := n * 7 << 10
			content := func(x replication.Extent) []byte {
				if at += 5 << 10; at+int(x.Len()) > len(l.noise) {
					at %= 1 << 20
				}
				return l.noise[at : at+int(x.Len())]
			}
			extents, begin := split(scattered(r, size, changed).Extents()), time.Now()
			err := k.Change(extents, content)
			if k.Finds() { // what changes at the source is no part of it
				begin = time.Now()
			}
			if err == nil {
				err = k.Keep()
			}
			if err != nil {
				return s, fmt.Errorf("point %d: %w", n+1, err)
			}
			s.Seconds += time.Since(begin).Seconds()
		}
		return s, nil
	})
	if err != nil {
		return one, err
	}
	after, err := v.Used()
	if err != nil {
		return one, err
	}
	one.Figures = map[string]float64{"MiB taken": float64(after-before) / (1 << 20)}
	old, err := k.Old(0)
	if err != nil {
		return one, err
	}
	if one.Figures["reads/s, oldest"], err = reads(old, size, base); err == nil {
		one.Figures["reads/s, disk"], err = reads(k.Disk(), size, "")
	}
	if err = errors.Join(err, old.Close()); err != nil {
		return one, err
	}
	begin := time.Now()
	if err := k.Thin(kept); err != nil {
		return one, fmt.Errorf("thin: %w", err)
	}
	one.Figures["thin s"] = time.Since(begin).Seconds()
	if after, err = v.Used(); err != nil {
		return one, err
	}
	one.Figures["MiB then"] = float64(after-before) / (1 << 20)
	begin = time.Now()
	if err := k.Back(); err != nil {
		return one, fmt.Errorf("go back: %w", err)
	}
	one.Figures["back s"] = time.Since(begin).Seconds()
	return one, same(k.Disk(), base, size)
}

// reads returns how many reads of a disk there are in a second, with nothing of it in the page cache at the start. What is read is held against base, if one is named.
func reads(from io.ReaderAt, size int64, base string) (float64, error) {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return 0, err
	}
	r := rand.New(rand.NewPCG(5, 6))
	got := make([]byte, lifeReads*replication.Page)
	var at []int64
	begin := time.Now()
	for n := range lifeReads {
		at = append(at, r.Int64N(size/replication.Page)*replication.Page)
		if _, err := from.ReadAt(got[n*replication.Page:(n+1)*replication.Page], at[n]); err != nil {
			return 0, err
		}
	}
	took := time.Since(begin).Seconds()
	if base == "" {
		return lifeReads / took, nil
	}
	f, err := os.Open(base)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	want := make([]byte, replication.Page)
	for n, off := range at {
		if _, err := f.ReadAt(want, off); err != nil {
			return 0, err
		}
		if !bytes.Equal(got[n*replication.Page:(n+1)*replication.Page], want) {
			return 0, fmt.Errorf("the oldest point is read wrong at %d", off)
		}
	}
	return lifeReads / took, nil
}

// same returns an error where a disk is not what a file holds.
func same(disk io.ReaderAt, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, want := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(got)) {
		n := min(int64(len(got)), size-off)
		if _, err := disk.ReadAt(got[:n], off); err != nil {
			return err
		}
		if _, err := f.ReadAt(want[:n], off); err != nil {
			return err
		}
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("the disk is not what it was at the first point, within %d bytes at %d", n, off)
		}
	}
	return nil
}

// ours is a journal as peer.Points.
type ours struct {
	*stand
	last    replication.PointID
	changed []replication.Extent // what the next point has
}

// keepOurs makes a journal, and its disk, on a volume.
func (l *lab) keepOurs(v *loop.Volume, size int64) (peer.Points, error) {
	there, inner := *l, *l.Lab
	inner.Dir, there.Lab = v.Dir, &inner
	s, err := there.stand("journal", size, blockio.CachingBuffered)
	return &ours{stand: s, last: 1}, err
}

// Change implements peer.Points: the content is the stand's own.
func (o *ours) Change(at []replication.Extent, _ func(replication.Extent) []byte) error {
	o.changed = at
	return nil
}

// Keep implements peer.Points.
func (o *ours) Keep() (err error) {
	if o.last, err = o.cycle(o.changed, 1, block.Raw); err != nil {
		return err
	}
	return o.move(o.last)
}

func (o *ours) move(to replication.PointID) error {
	return o.j.Move(o.l, []retention.Disk{o.disk}, to, nil)
}

// Finds implements peer.Points.
func (o *ours) Finds() bool { return false }

// Old implements peer.Points.
func (o *ours) Old(n int) (peer.ReaderAtCloser, error) {
	return o.j.Reader(replication.PointID(n+1), 0, o.disk)
}

// Disk implements peer.Points.
func (o *ours) Disk() io.ReaderAt { return o.disk }

// Thin implements peer.Points: the points that kept leaves, until the files are rewritten that are half dead.
func (o *ours) Thin(func(int) bool) error {
	_, err := o.thin(o.last)
	return err
}

// Back implements peer.Points.
func (o *ours) Back() error { return o.move(1) }

// Close implements peer.Points.
func (o *ours) Close() error { return o.close() }

// kept says which points thinning leaves, of points that are numbered from 0.
func kept(n int) bool { return n%keptOf == 0 }
