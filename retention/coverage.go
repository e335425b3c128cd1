package retention

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

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
	sets    map[replication.DiskNo]*replication.Set

	f   file // nil until there is something to keep
	end int64
}

// newCoverage returns an empty one; a file is made when there is something to keep, in the place of one that may be there.
func newCoverage(vol volume, name string, journal uuid, point replication.PointID) *coverageFile {
	return &coverageFile{vol: vol, name: name, journal: journal, point: point, sets: map[replication.DiskNo]*replication.Set{}}
}

// openCoverage reads the coverage file of a cycle; one of another cycle is removed.
func openCoverage(vol volume, name string, id *Identity, journal uuid, point replication.PointID) (*coverageFile, error) {
	c := newCoverage(vol, name, journal, point)
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
			c.set(x.disk).Add(x.ext)
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

func (c *coverageFile) set(d replication.DiskNo) *replication.Set {
	s := c.sets[d]
	if s == nil {
		s = &replication.Set{}
		c.sets[d] = s
	}
	return s
}

// add makes extents durable, and part of sets.
func (c *coverageFile) add(cs []covered) error {
	if len(cs) == 0 {
		return nil
	}
	if err := c.write(cs); err != nil {
		return err
	}
	if err := syncFile(c.f, c.name); err != nil {
		return err
	}
	merged := 0
	for _, x := range cs {
		c.set(x.disk).Add(x.ext)
	}
	for _, s := range c.sets {
		merged += len(s.Extents())
	}
	if c.end > coverageSlack+2*int64(merged)*coverageEntry {
		return c.rewrite()
	}
	return nil
}

// write appends batches, making the file when there is none.
func (c *coverageFile) write(cs []covered) error {
	if c.f == nil {
		f, err := c.fresh(nil)
		if err != nil {
			return err
		}
		c.f, c.end = f, coverageStart
	}
	end, b := c.end, []byte(nil)
	for n := 0; n < len(cs); n += maxBatch {
		b = padded(appendBatch(b, end+int64(len(b)), cs[n:min(len(cs), n+maxBatch)]))
	}
	if _, err := c.f.WriteAt(b, end); err != nil {
		return fmt.Errorf("write %s: %w", base(c.name), noSpace(err)) // the next write goes to the same place
	}
	c.end += int64(len(b))
	return nil
}

// fresh puts a new file with the given batches in the place of the old one, durably.
func (c *coverageFile) fresh(cs []covered) (_ file, err error) {
	if err := removeIfThere(c.vol, c.name+newSuffix); err != nil {
		return nil, fmt.Errorf("remove %s: %w", base(c.name)+newSuffix, err)
	}
	f, err := c.vol.Create(c.name + newSuffix)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", base(c.name), noSpace(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	b := padded(putCoverageHeader(c.journal, c.point))
	for n := 0; n < len(cs); n += maxBatch {
		b = padded(appendBatch(b, int64(len(b)), cs[n:min(len(cs), n+maxBatch)]))
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, fmt.Errorf("write %s: %w", base(c.name), noSpace(err))
	}
	if err := syncFile(f, c.name); err != nil {
		return nil, err
	}
	if err := c.vol.Rename(c.name+newSuffix, c.name); err != nil {
		return nil, fmt.Errorf("rename %s: %w", base(c.name), err)
	}
	if err := syncDir(c.vol, filepath.Dir(c.name)); err != nil { // which of the two files a crash would leave is not known
		return nil, err
	}
	return f, nil
}

// padded fills the last sector with zeros.
func padded(b []byte) []byte {
	return append(b, make([]byte, alignUp(int64(len(b)))-int64(len(b)))...)
}

// rewrite makes the file as small as its sets are.
func (c *coverageFile) rewrite() error {
	var cs []covered
	for d, s := range c.sets {
		for _, e := range s.Extents() {
			cs = append(cs, covered{d, e})
		}
	}
	f, err := c.fresh(cs)
	if err != nil {
		return err
	}
	old := c.f
	c.f, c.end = f, coverageStart
	for n := 0; n < len(cs); n += maxBatch {
		c.end += alignUp(coverageBatch + int64(min(len(cs)-n, maxBatch))*coverageEntry)
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
