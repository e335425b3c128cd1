package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"failback/replication"
)

const (
	maxExtents = 1 << 18 // ranges that are kept of one disk's changes: 4 MiB; beyond, neighbours are taken together
	maxRanges  = 1 << 30 // lines that a changes command may print
)

// ranges gathers what a changes command prints. It only ever holds more bytes of the disk than were told, never fewer.
type ranges struct {
	size    int64
	granule int64 // what ranges are rounded outward to: a page, more when there are too many
	x       []replication.Extent
	n       int64 // lines
}

func newRanges(size int64) *ranges { return &ranges{size: size, granule: replication.Page} }

// add takes one line.
func (r *ranges) add(line []byte) error {
	if r.n++; r.n > maxRanges {
		return fmt.Errorf("it prints more than %d lines", maxRanges)
	}
	e, err := parseRange(line, r.size)
	if err != nil {
		return fmt.Errorf("line %d: %w", r.n, err)
	}
	if e.Empty() {
		return nil
	}
	e = r.round(e)
	if n := len(r.x); n > 0 && r.x[n-1].Off <= e.Off && e.Off <= r.x[n-1].End { // rising and touching
		r.x[n-1].End = max(r.x[n-1].End, e.End)
		return nil
	}
	if len(r.x) == maxExtents {
		r.shrink()
	}
	r.x = append(r.x, e)
	return nil
}

func (r *ranges) round(e replication.Extent) replication.Extent {
	return replication.Extent{
		Off: e.Off &^ (r.granule - 1),
		End: min((e.End+r.granule-1)&^(r.granule-1), r.size),
	}
}

// shrink makes room: it merges, and takes neighbours together until a quarter is free.
func (r *ranges) shrink() {
	r.merge()
	for len(r.x) > maxExtents*3/4 {
		r.granule *= 2
		for i := range r.x {
			r.x[i] = r.round(r.x[i])
		}
		r.merge()
	}
}

// merge sorts, and joins what overlaps or touches.
func (r *ranges) merge() {
	slices.SortFunc(r.x, func(a, b replication.Extent) int { return cmp.Compare(a.Off, b.Off) })
	out := r.x[:0]
	for _, e := range r.x {
		if n := len(out); n > 0 && e.Off <= out[n-1].End {
			out[n-1].End = max(out[n-1].End, e.End)
		} else {
			out = append(out, e)
		}
	}
	r.x = out
}

func (r *ranges) extents() []replication.Extent {
	r.merge()
	return r.x
}

// parseRange reads "offset length", decimal or 0x…; an empty line is an empty range.
func parseRange(line []byte, size int64) (e replication.Extent, err error) {
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return e, nil
	}
	if len(fields) != 2 {
		return e, fmt.Errorf("%.80q is not \"offset length\"", line)
	}
	off, err := parseNumber(fields[0])
	if err != nil {
		return e, fmt.Errorf("offset %.80q: %w", fields[0], err)
	}
	length, err := parseNumber(fields[1])
	if err != nil {
		return e, fmt.Errorf("length %.80q: %w", fields[1], err)
	}
	if off > size || length > size-off {
		return e, fmt.Errorf("%d bytes at %d are outside the disk of %d bytes", length, off, size)
	}
	return replication.Extent{Off: off, End: off + length}, nil
}

// parseNumber reads a number that is decimal even with leading zeros, or hexadecimal after 0x.
func parseNumber(b []byte) (int64, error) {
	s, base := string(b), 10
	if h, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		s, base = h, 16
	}
	n, err := strconv.ParseUint(s, base, 63)
	if err != nil {
		return 0, errors.Unwrap(err)
	}
	return int64(n), nil
}

// askChanges runs a disk's changes command and keeps the answer durably, unless it is there already. The disk is told by its places in the two cuts.
func (s *Images) askChanges(ctx context.Context, from, to *cut, was, is int, line string) error {
	h := changesHeader{to.id(is), from.Point}
	path := s.file(to.Point, replication.DiskNo(is), "chg")
	if _, err := readChanges(path, h); err == nil {
		return nil
	}
	x, err := s.changes(ctx, &from.Disks[was], &to.Disks[is], from.Point, to.Point, line)
	if err != nil {
		return err
	}
	if err := replaceFile(path, appendChanges(nil, h, x)); err != nil {
		return fmt.Errorf("keep changes: %w", err)
	}
	s.step("changes kept")
	return nil
}

// readChanges returns the changes that a file holds, if it is of that cut and base.
func readChanges(path string, want changesHeader) (*replication.Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, changesFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	h, set, err := parseChanges(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if h != want {
		return nil, fmt.Errorf("read %s: it is of another cut (point %d, base %d): %w", path, h.point, h.base, errFormat)
	}
	return set, nil
}

// Changed returns the pages of the disk that the changes command said, at the cut of point, to have changed since base: the set is rounded outward, and may
// hold more than was told, never less. known is false for a disk whose changes are found by hashing against the base's Table, and where the cut was
// not tracked. The caller owns set.
func (s *Images) Changed(ctx context.Context, point, base replication.PointID, disk replication.DiskNo) (set *replication.Set, known bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	c, place, err := s.held(point, disk)
	if err != nil {
		return nil, false, err
	}
	if s.specs[disk].Changes == "" || c.Tracking == nil || c.Tracking.Base != base || c.Tracking.Why != "" {
		return nil, false, nil
	}
	set, err = readChanges(s.file(point, replication.DiskNo(place), "chg"), changesHeader{c.id(place), base})
	if err != nil {
		return nil, false, err
	}
	return set, true, nil
}
