package peer

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"failback/bench/loop"
	"failback/replication"
)

// Points keeps points of a disk in another way than a journal does. Point 0 is the disk as it was made; Keep makes the next.
type Points interface {
	// Change writes what is not a point yet.
	Change(at []replication.Extent, content func(replication.Extent) []byte) error
	// Keep makes a point of it, durably.
	Keep() error
	// Finds says whether Keep finds the changes: what Change does happens at the source.
	Finds() bool
	// Old opens the disk at a point.
	Old(n int) (ReaderAtCloser, error)
	// Disk is the disk as it stands.
	Disk() io.ReaderAt
	// Thin gives up the points that are not kept; point 0 is. It returns when their space is free.
	Thin(kept func(n int) bool) error
	// Back has the disk stand at point 0 again, durably.
	Back() error
	Close() error
}

// ReaderAtCloser is a disk that can be read.
type ReaderAtCloser interface {
	io.ReaderAt
	io.Closer
}

// Snapshots keeps points of a disk, a raw file on btrfs, as snapshots of the subvolume that it lies in.
type Snapshots struct {
	ctx    context.Context
	volume *loop.Volume
	rsync  string // where changes come from: the whole disk as it is at the source; "": they are known
	disk   *os.File
	points int
}

// NewSnapshots makes a disk of the content of base, and point 0 of it, on a btrfs volume. Where rsync is named, it is a copy of the disk that takes all changes first, and rsync finds them in it.
func NewSnapshots(ctx context.Context, v *loop.Volume, base, rsync string) (*Snapshots, error) {
	s := &Snapshots{ctx: ctx, volume: v, rsync: rsync, points: -1}
	err := run(ctx, "btrfs", "-q", "subvolume", "create", s.live())
	if err == nil {
		err = run(ctx, "cp", "--sparse=never", "--reflink=never", base, s.path())
	}
	if err == nil && rsync != "" {
		err = run(ctx, "cp", "--sparse=never", base, rsync)
	}
	if err == nil {
		err = s.open()
	}
	if err == nil {
		err = s.snapshot()
	}
	return s, err
}

func (s *Snapshots) live() string       { return filepath.Join(s.volume.Dir, "live") }
func (s *Snapshots) path() string       { return filepath.Join(s.live(), "disk.raw") }
func (s *Snapshots) point(n int) string { return filepath.Join(s.volume.Dir, strconv.Itoa(n)) }

func (s *Snapshots) open() (err error) {
	s.disk, err = os.OpenFile(s.path(), os.O_RDWR, 0)
	return err
}

// Finds implements Points: rsync does.
func (s *Snapshots) Finds() bool { return s.rsync != "" }

// Change implements Points: it writes to the disk, or where rsync finds it.
func (s *Snapshots) Change(at []replication.Extent, content func(replication.Extent) []byte) error {
	to := s.disk
	if s.rsync != "" {
		f, err := os.OpenFile(s.rsync, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		to = f
	}
	for _, x := range at {
		if _, err := to.WriteAt(content(x), x.Off); err != nil {
			return err
		}
	}
	return nil
}

// Keep implements Points.
func (s *Snapshots) Keep() error {
	if s.rsync != "" {
		if err := run(s.ctx, "rsync", "--ignore-times", "--inplace", "--no-whole-file", s.rsync, s.path()); err != nil {
			return err
		}
	}
	if err := s.disk.Sync(); err != nil {
		return err
	}
	return s.snapshot()
}

func (s *Snapshots) snapshot() error {
	s.points++
	return errors.Join(run(s.ctx, "btrfs", "-q", "subvolume", "snapshot", "-r", s.live(), s.point(s.points)), s.volume.Sync())
}

// Old implements Points.
func (s *Snapshots) Old(n int) (ReaderAtCloser, error) {
	return os.Open(filepath.Join(s.point(n), "disk.raw"))
}

// Disk implements Points.
func (s *Snapshots) Disk() io.ReaderAt { return s.disk }

// Thin implements Points: it deletes snapshots, and waits until the file system has cleaned up.
func (s *Snapshots) Thin(kept func(n int) bool) error {
	for n := range s.points + 1 {
		if !kept(n) {
			if err := run(s.ctx, "btrfs", "-q", "subvolume", "delete", "--commit-after", s.point(n)); err != nil {
				return err
			}
		}
	}
	return run(s.ctx, "btrfs", "subvolume", "sync", s.volume.Dir)
}

// Back implements Points.
func (s *Snapshots) Back() error {
	err := errors.Join(s.disk.Close(), run(s.ctx, "btrfs", "-q", "subvolume", "delete", s.live()), run(s.ctx, "btrfs", "-q", "subvolume", "snapshot", s.point(0), s.live()), s.volume.Sync())
	return errors.Join(err, s.open())
}

// Close implements Points: all stays as it is.
func (s *Snapshots) Close() error { return s.disk.Close() }
