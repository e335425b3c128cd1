package retention

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"

	"failback/replication"
)

// coverageSlack is how many bytes a coverage file may have beyond twice what its content needs, before it is rewritten.
const coverageSlack = 1 << 20

// coverageFile keeps, beside the segment files, what else is durable of the open cycle: what was written through to the disks, and what they were found to
// hold already. Losing a part of it costs sending that part again, so a damaged batch and what follows it is cut off.
type coverageFile struct {
	vol     volume
	name    string
	journal uuid
	point   replication.PointID
	sets    []*replication.Pages // by disk

	f     file // nil until there is something to keep
	end   int64
	again int64 // where the file ends when it is next looked at whether it should be rewritten
}

// newCoverage returns an empty one; a file is made when there is something to keep, in the place of one that may be there.
func newCoverage(vol volume, name string, id *Identity, journal uuid, point replication.PointID) *coverageFile {
	c := &coverageFile{vol: vol, name: name, journal: journal, point: point, again: coverageSlack}
	for _, d := range id.Disks {
		c.sets = append(c.sets, replication.NewPages(d.Size))
	}
	return c
}

// openCoverage reads the coverage file of a cycle; one of another cycle is removed.
func openCoverage(vol volume, name string, id *Identity, journal uuid, point replication.PointID) (*coverageFile, error) {
	c := newCoverage(vol, name, id, journal, point)
	f, err := vol.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", base(name), err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("size of %s: %w", base(name), err), f.Close())
	}
	h := make([]byte, min(size, coverageHeader))
	if err := readFull(f, h, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", base(name), err), f.Close())
	}
	u, p, err := parseCoverageHeader(h)
	if errors.Is(err, ErrNewer) {
		return nil, errors.Join(corrupt(name, 0, err), f.Close())
	}
	if err != nil || u != journal || p != point {
		return c, errors.Join(f.Close(), removeIfThere(vol, name))
	}
	c.f, c.end = f, coverageStart
	for c.end < size {
		cs, n, err := readBatch(f, c.end, size, id)
		if errors.Is(err, errFormat) {
			break
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", base(name), err), f.Close())
		}
		for _, x := range cs {
			c.sets[x.disk].Add(x.ext)
		}
		c.end = alignUp(c.end + n)
	}
	if c.end != size {
		if err := f.Truncate(c.end); err != nil {
			return nil, errors.Join(fmt.Errorf("cut %s: %w", base(name), err), f.Close())
		}
	}
	// What was read is acknowledged from now on, and may not have been durable.
	if err := f.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("sync %s: %w", base(name), err), f.Close())
	}
	return c, nil
}

func readBatch(f file, at, size int64, id *Identity) ([]covered, int64, error) {
	h := make([]byte, coverageBatch)
	if at+coverageBatch > size {
		return nil, 0, malformed("batch is cut off")
	}
	if err := readFull(f, h, at); err != nil {
		return nil, 0, err
	}
	n, err := batchLen(h)
	if err != nil {
		return nil, 0, err
	}
	if at+int64(n) > size {
		return nil, 0, malformed("batch is cut off")
	}
	b := make([]byte, n)
	if err := readFull(f, b, at); err != nil {
		return nil, 0, err
	}
	cs, err := parseBatch(b, at, id.size)
	return cs, int64(n), err
}

// add makes extents durable, and part of sets.
func (c *coverageFile) add(cs []covered) error {
	if len(cs) == 0 {
		return nil
	}
	if err := c.write(slices.Values(cs)); err != nil {
		return err
	}
	if err := syncFile(c.f, c.name); err != nil {
		return err
	}
	for _, x := range cs {
		c.sets[x.disk].Add(x.ext)
	}
	if c.end < c.again {
		return nil
	}
	merged := int64(0)
	for _, s := range c.sets {
		merged += int64(s.Extents())
	}
	if c.end > coverageSlack+2*merged*coverageEntry {
		return c.rewrite()
	}
	c.again = c.end + coverageSlack + c.end/8 // counting takes time
	return nil
}

// write appends batches, making the file when there is none. What it does not come to the end of is as if it was not written.
func (c *coverageFile) write(cs iter.Seq[covered]) error {
	if c.f == nil {
		if err := c.fresh(slices.Values([]covered(nil))); err != nil {
			return err
		}
	}
	end, err := writeBatches(c.f, c.end, cs)
	if err != nil {
		return fmt.Errorf("write %s: %w", base(c.name), noSpace(err)) // the next write goes to the same place
	}
	c.end = end
	return nil
}

// writeBatches writes extents to a file from end on, and returns where it ends then.
func writeBatches(f file, end int64, cs iter.Seq[covered]) (int64, error) {
	var batch []covered
	var b []byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		b = padded(appendBatch(b[:0], end, batch))
		if _, err := f.WriteAt(b, end); err != nil {
			return err
		}
		end, batch = end+int64(len(b)), batch[:0]
		return nil
	}
	for x := range cs {
		if batch = append(batch, x); len(batch) == maxBatch {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	return end, flush()
}

// fresh puts a new file with the given extents in the place of the old one, durably.
func (c *coverageFile) fresh(cs iter.Seq[covered]) (err error) {
	if err := removeIfThere(c.vol, c.name+newSuffix); err != nil {
		return fmt.Errorf("remove %s: %w", base(c.name)+newSuffix, err)
	}
	f, err := c.vol.Create(c.name + newSuffix)
	if err != nil {
		return fmt.Errorf("create %s: %w", base(c.name), noSpace(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if _, err := f.WriteAt(padded(putCoverageHeader(c.journal, c.point)), 0); err != nil {
		return fmt.Errorf("write %s: %w", base(c.name), noSpace(err))
	}
	end, err := writeBatches(f, coverageStart, cs)
	if err != nil {
		return fmt.Errorf("write %s: %w", base(c.name), noSpace(err))
	}
	if err := syncFile(f, c.name); err != nil {
		return err
	}
	if err := c.vol.Rename(c.name+newSuffix, c.name); err != nil {
		return fmt.Errorf("rename %s: %w", base(c.name), err)
	}
	if err := syncDir(c.vol, filepath.Dir(c.name)); err != nil { // which of the two files a crash would leave is not known
		return err
	}
	c.f, c.end, c.again = f, end, end+coverageSlack
	return nil
}

// padded fills the last sector with zeros.
func padded(b []byte) []byte {
	return append(b, make([]byte, alignUp(int64(len(b)))-int64(len(b)))...)
}

// rewrite makes the file as small as its sets are.
func (c *coverageFile) rewrite() error {
	old := c.f
	err := c.fresh(func(yield func(covered) bool) {
		for d, s := range c.sets {
			for e := range s.All() {
				if !yield(covered{replication.DiskNo(d), e}) {
					return
				}
			}
		}
	})
	if err != nil {
		return err
	}
	return old.Close()
}

// remove lets go of the file and removes it.
func (c *coverageFile) remove() error {
	return errors.Join(c.close(), removeIfThere(c.vol, c.name))
}

func (c *coverageFile) close() error {
	if c.f == nil {
		return nil
	}
	err := c.f.Close()
	c.f = nil
	return err
}
