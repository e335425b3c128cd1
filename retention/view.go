package retention

import (
	"failback/replication"
)

// view tells, for extents of one disk that rise, where their content at a point lies. It walks the indexes upwards beside each other.
//
// The version of a byte at a point is the highest one up to that point of which any file has an entry. An entry has the content, or is gone: the disks hold it, as they hold what no
// file has an entry of. Of entries of one version those with content stand above.
type view struct {
	c     *catalog
	disk  replication.DiskNo
	point replication.PointID
	floor replication.PointID
	all   *overlay

	asFound bool // what a blind file may have had is not looked at
}

// layers lays the indexes of files over each other: their entries of versions in [from, to].
func layers(files []*sealed, disk replication.DiskNo, from, to replication.PointID) (*overlay, error) {
	fs := make([]feed, 0, len(files))
	for _, s := range files {
		fs = append(fs, newCursor(s, disk, from, to))
	}
	return newOverlay(fs)
}

func newView(c *catalog, disk replication.DiskNo, point replication.PointID) (*view, error) {
	all, err := layers(seeing(c.within(0, point)), disk, 0, point)
	return &view{c: c, disk: disk, point: point, floor: c.floor(), all: all}, err
}

// pieces appends spans that together are e, rising. One without a file is held by the disk alone. Extents must rise from call to call.
func (v *view) pieces(dst []span, e replication.Extent) ([]span, error) {
	if err := v.all.seek(v.disk, e.Off); err != nil {
		return dst, err
	}
	for e.Off < e.End {
		sp, ok, err := v.all.next(e.End)
		if err != nil {
			return dst, err
		}
		if !ok {
			return v.put(dst, v.onDisk(e))
		}
		if sp.ext.Off > e.Off {
			if dst, err = v.put(dst, v.onDisk(replication.Extent{Off: e.Off, End: sp.ext.Off})); err != nil {
				return dst, err
			}
		}
		if dst, err = v.put(dst, sp); err != nil {
			return dst, err
		}
		e.Off = sp.ext.End
	}
	return dst, nil
}

// put appends what was found, as far as it is sure.
func (v *view) put(dst []span, sp span) ([]span, error) {
	if v.asFound {
		return append(dst, sp), nil
	}
	n := len(dst)
	dst, err := v.c.sure(dst, sp, v.point)
	for i := range dst[n:] {
		dst[n+i] = dst[n+i].resolve()
	}
	return dst, err
}

func (v *view) onDisk(e replication.Extent) span {
	return span{entry: entry{disk: v.disk, ext: e, version: v.floor}}
}

// resolve returns the span without a file when the disks hold its content.
func (sp span) resolve() span {
	if sp.kind == gone {
		sp.in = nil
	}
	return sp
}

// differing calls fn with what lies between the points from and to on a disk, from start on: spans that rise and together are the bytes whose versions differ,
// each with its version at one end, at, and the file that holds it; no file: the disk does. Of a disk that left there are none: it does not move.
func (c *catalog) differing(disk replication.DiskNo, from, to, at replication.PointID, start int64, fn func(span) error) error {
	if c.departed(disk) != nil {
		return nil
	}
	lo, hi := min(from, to), max(from, to)
	w, err := layers(c.within(lo+1, hi), disk, lo+1, hi)
	if err != nil {
		return err
	}
	if err := w.seek(disk, start); err != nil {
		return err
	}
	var v *view
	if at != hi {
		if v, err = newView(c, disk, at); err != nil {
			return err
		}
	}
	var ps []span
	for {
		sp, ok, err := w.next(noLimit)
		if err != nil || !ok {
			return err
		}
		ps = append(ps[:0], sp.resolve())
		if v != nil {
			if ps, err = v.pieces(ps[:0], sp.ext); err != nil {
				return err
			}
		}
		for _, p := range ps {
			if err := fn(p); err != nil {
				return err
			}
		}
	}
}
