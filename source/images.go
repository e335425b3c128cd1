package source

import (
	"context"
	"errors"
	"log/slog"

	"failback/replication"
)

// Spec is one disk of a group, as the plan has it.
type Spec struct {
	Disk     replication.Disk // No, ID; Size 0 = not known yet
	Path     string           // regular file or block device
	Snapshot string           // command that makes a stable view and prints its path; "" = none given
	Release  string           // command that lets go of a view
	Changes  string           // command that prints what changed between two points; "" = find by hashing
}

// The errors that a caller can act on.
var (
	ErrGone        = errors.New("source is gone")        // a source or view has shrunk, vanished or become another: cut again, or tell the operator
	ErrNotHeld     = errors.New("point is not held")     // the point was never cut here, or has been let go of
	ErrNotReleased = errors.New("view is not let go of") // a release command failed; the view is kept for another try
	ErrSealed      = errors.New("table is sealed")       // a sealed table does not change
)

// Images are the disks of one group.
type Images struct{}

// Open takes up the state directory of a group.
func Open(dir string, group replication.GroupID, specs []Spec, log *slog.Logger) (*Images, error) {
	return nil, errors.ErrUnsupported
}

// Probe returns the size of a readable file or block device.
func Probe(path string) (size int64, err error) { return 0, errors.ErrUnsupported }

// Cut makes one point over all disks.
func (s *Images) Cut(ctx context.Context, point, base replication.PointID) (replication.Cut, error) {
	return replication.Cut{}, errors.ErrUnsupported
}

// Untracked says why the point's cut is not tracked, "" when it is.
func (s *Images) Untracked(point replication.PointID) string { return "" }

// Kind says how the disk's views are made: "reflink", "command" or "none".
func (s *Images) Kind(disk replication.DiskNo) string { return "" }

// NeedsTable says whether the disk's changes are found by hashing.
func (s *Images) NeedsTable(disk replication.DiskNo) bool { return false }

// View opens the disk as it was at the point. The caller closes it.
func (s *Images) View(point replication.PointID, disk replication.DiskNo) (*View, error) {
	return nil, errors.ErrUnsupported
}

// Changed returns what the changes command told at the cut of point, rounded outward to pages. known is false for a disk without one.
func (s *Images) Changed(ctx context.Context, point, base replication.PointID, disk replication.DiskNo) (set *replication.Set, known bool, err error) {
	return nil, false, errors.ErrUnsupported
}

// Table returns the hashes of the disk at the point; made empty when there is none yet. Every call returns the same one; Release and Close close it.
func (s *Images) Table(point replication.PointID, disk replication.DiskNo) (*Table, error) {
	return nil, errors.ErrUnsupported
}

// Release lets go of every point but keep.
func (s *Images) Release(ctx context.Context, keep replication.PointID) error {
	return errors.ErrUnsupported
}

// Forget lets go of everything and removes the state.
func (s *Images) Forget(ctx context.Context) error { return errors.ErrUnsupported }

// Close closes tables and the lock. Views stay.
func (s *Images) Close() error { return nil }

// View is one disk at one point.
type View struct{}

// ReadAt implements io.ReaderAt.
func (v *View) ReadAt(p []byte, off int64) (int, error) { return 0, errors.ErrUnsupported }

// Size returns the disk's size in bytes.
func (v *View) Size() int64 { return 0 }

// NextData returns the first range at or after off that may hold data; start = end = Size when only zeros follow.
func (v *View) NextData(off int64) (start, end int64, err error) { return 0, 0, errors.ErrUnsupported }

// Close closes the view; the point stays held.
func (v *View) Close() error { return nil }

// Table holds the hashes of one disk's pages at one point.
type Table struct{}

// Put keeps the hashes of a region's pages.
func (t *Table) Put(region int64, pages []replication.Hash) error { return errors.ErrUnsupported }

// Get appends the hashes of a region's pages to dst[:0]. ok is false when they are not known: take every page of the region as changed.
func (t *Table) Get(region int64, dst []replication.Hash) (pages []replication.Hash, ok bool, err error) {
	return nil, false, errors.ErrUnsupported
}

// Regions returns the number of regions of the disk.
func (t *Table) Regions() int64 { return 0 }

// Complete says whether every region has been put.
func (t *Table) Complete() (bool, error) { return false, errors.ErrUnsupported }

// Seal makes a complete table durable: only then it counts as a base.
func (t *Table) Seal() error { return errors.ErrUnsupported }
