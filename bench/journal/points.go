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
	"failback/bench/peer"
	"failback/bench/report"
	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// keeper keeps points of one disk, the first of them the disk as it was made.
type keeper interface {
	point(at []replication.Extent, content func(replication.Extent) []byte) (took time.Duration, err error) // changes the disk, and makes a durable point of that
	old() (peer.ReaderAtCloser, error)                                                                      // the disk at the first point
	disk() io.ReaderAt                                                                                      // as it stands
	thin() error                                                                                            // to the first point and one in keptOf, until the space of the others is free
	back() error                                                                                            // has the disk stand at the first point again, durably
	taken() (int64, error)                                                                                  // bytes on storage, the disk's included
	close() error
}

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
	life := func(fs string, open func(context.Context, *peer.Volume) (keeper, error)) func(context.Context, int) (report.Sample, error) {
		return func(ctx context.Context, _ int) (report.Sample, error) {
			return l.life(ctx, base, size, changed, fs, open)
		}
	}
	err = l.Alternate(l, s, []harness.Way{
		{Name: "failback", Lacks: lacks, Run: life("ext4", func(_ context.Context, v *peer.Volume) (keeper, error) { return l.keepOurs(v, size) })},
		{Name: "btrfs snapshots", Peer: true, Needs: btrfs, Lacks: lacks, Run: life("btrfs", func(ctx context.Context, v *peer.Volume) (keeper, error) {
			k, err := peer.NewSnapshots(ctx, v, base, "")
			return snapshots{k, v}, err
		})},
		{Name: "btrfs snapshots, changes found by rsync --inplace", Peer: true, Needs: append(btrfs, peer.Rsync), Lacks: lacks, Run: life("btrfs", func(ctx context.Context, v *peer.Volume) (keeper, error) {
			k, err := peer.NewSnapshots(ctx, v, base, source)
			return snapshots{k, v}, err
		})},
		{Name: "qcow2 overlays", Peer: true, Needs: []peer.Program{peer.QEMUDaemon, peer.QEMUImg}, Lacks: lacks, Run: life("ext4", func(ctx context.Context, v *peer.Volume) (keeper, error) {
			k, err := peer.NewOverlays(ctx, v, base)
			return overlays{k, v, ctx}, err
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
func (l *lab) life(ctx context.Context, base string, size, changed int64, fs string, open func(context.Context, *peer.Volume) (keeper, error)) (one report.Sample, err error) {
	v, err := peer.NewVolume(ctx, l.Dir, fs, 6*size+512<<20) // clusters of qcow2 have 64 KiB
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	k, err := open(ctx, v)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if err := v.Sync(); err != nil {
		return one, err
	}
	before, err := k.taken()
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
			took, err := k.point(split(scattered(r, size, changed).Extents()), content)
			if err != nil {
				return s, fmt.Errorf("point %d: %w", n+1, err)
			}
			s.Seconds += took.Seconds()
		}
		return s, nil
	})
	if err != nil {
		return one, err
	}
	after, err := k.taken()
	if err != nil {
		return one, err
	}
	one.Figures = map[string]float64{"MiB taken": float64(after-before) / (1 << 20)}
	old, err := k.old()
	if err != nil {
		return one, err
	}
	if one.Figures["reads/s, oldest"], err = reads(old, size, base); err == nil {
		one.Figures["reads/s, disk"], err = reads(k.disk(), size, "")
	}
	if err = errors.Join(err, old.Close()); err != nil {
		return one, err
	}
	begin := time.Now()
	if err := k.thin(); err != nil {
		return one, fmt.Errorf("thin: %w", err)
	}
	one.Figures["thin s"] = time.Since(begin).Seconds()
	if after, err = k.taken(); err != nil {
		return one, err
	}
	one.Figures["MiB then"] = float64(after-before) / (1 << 20)
	begin = time.Now()
	if err := k.back(); err != nil {
		return one, fmt.Errorf("go back: %w", err)
	}
	one.Figures["back s"] = time.Since(begin).Seconds()
	return one, same(k.disk(), base, size)
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

// ours is a journal as keeper.
type ours struct {
	*stand
	volume *peer.Volume
	last   replication.PointID
}

// keepOurs makes a journal, and its disk, on a volume.
func (l *lab) keepOurs(v *peer.Volume, size int64) (keeper, error) {
	there, inner := *l, *l.Lab
	inner.Dir, there.Lab = v.Dir, &inner
	s, err := there.stand("journal", size, blockio.CachingBuffered)
	return &ours{s, v, 1}, err
}

func (o *ours) point(at []replication.Extent, content func(replication.Extent) []byte) (time.Duration, error) {
	begin, err := time.Now(), error(nil)
	if o.last, err = o.cycle(at, 1, block.Raw); err != nil {
		return 0, err
	}
	err = o.j.Move(o.l, []retention.Disk{o.stand.disk}, o.last, nil)
	return time.Since(begin), err
}

func (o *ours) old() (peer.ReaderAtCloser, error) { return o.j.Reader(1, 0, o.stand.disk) }
func (o *ours) disk() io.ReaderAt                 { return o.stand.disk }
func (o *ours) taken() (int64, error)             { return used(o.volume) }
func (o *ours) back() error                       { return o.j.Move(o.l, []retention.Disk{o.stand.disk}, 1, nil) }
func (o *ours) close() error                      { return o.stand.close() }

func (o *ours) thin() error {
	_, err := o.stand.thin(o.last)
	return err
}

// snapshots are btrfs's as keeper.
type snapshots struct {
	*peer.Snapshots
	volume *peer.Volume
}

func (s snapshots) point(at []replication.Extent, content func(replication.Extent) []byte) (time.Duration, error) {
	begin := time.Now()
	if err := s.Change(at, content); err != nil {
		return 0, err
	}
	if s.Finds() { // what changes at the source is no part of it
		begin = time.Now()
	}
	err := s.Keep()
	return time.Since(begin), err
}

func (s snapshots) old() (peer.ReaderAtCloser, error) { return s.Old(0) }
func (s snapshots) disk() io.ReaderAt                 { return s.Disk() }
func (s snapshots) taken() (int64, error)             { return used(s.volume) }
func (s snapshots) thin() error                       { return s.Thin(kept) }
func (s snapshots) back() error                       { return s.Back(0) }
func (s snapshots) close() error                      { return s.Close() }

// overlays are QEMU's as keeper.
type overlays struct {
	*peer.Overlays
	volume *peer.Volume
	ctx    context.Context
}

func (o overlays) point(at []replication.Extent, content func(replication.Extent) []byte) (time.Duration, error) {
	begin := time.Now()
	if err := o.Change(at, content); err != nil {
		return 0, err
	}
	err := o.Keep()
	return time.Since(begin), err
}

func (o overlays) old() (peer.ReaderAtCloser, error) { return o.Old(0) }
func (o overlays) disk() io.ReaderAt                 { return o.Disk() }
func (o overlays) taken() (int64, error)             { return used(o.volume) }
func (o overlays) thin() error                       { return o.Thin(o.ctx, kept) }
func (o overlays) back() error                       { return o.Back(o.ctx) }
func (o overlays) close() error                      { return o.Close() }

// kept says which points thinning leaves, of points that are numbered from 0.
func kept(n int) bool { return n%keptOf == 0 }

// used is what a volume's files take, once all is written.
func used(v *peer.Volume) (int64, error) {
	if err := v.Sync(); err != nil {
		return 0, err
	}
	return v.Used()
}
