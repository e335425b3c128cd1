package retention

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"failback/replication"
	"failback/replication/block"
)

// save copies what a move to a point will overwrite, and only the disks hold, to a save file, sealed and durable when it returns (I4). The disks are not touched.
func (m *mover) save(ctx context.Context, c *catalog, to replication.PointID, e MoveEstimate) (*sealed, error) {
	j := m.j
	if err := j.roomFor(e.Save); err != nil {
		return nil, err
	}
	m.start(PhaseSave, e.Save, e.Write)
	name := j.path(saveDir, fmt.Sprintf("%d%s", c.saved+1, saveSuffix))
	if err := removeIfThere(j.vol, name+newSuffix); err != nil {
		return nil, err
	}
	hdr := fileHeader{kind: saveFile, journal: j.journal, point: c.head, generation: c.generation, group: j.id.Group}
	w, err := createWriter(j.vol, name+newSuffix, hdr, &j.t)
	if err != nil {
		return nil, err
	}
	w.synced = true // its name is made durable when it has the right one
	s := &saver{w: w}
	err = m.eachDisk(ctx, func(ctx context.Context, d replication.DiskNo) error {
		x := &diskSaver{s: s, no: d, from: m.disks[d], advance: m.advance}
		defer x.wait()
		return x.run(ctx, c, to)
	})
	var foot footer
	if err == nil {
		foot, _, err = w.seal()
	}
	err = errors.Join(err, w.close())
	if err == nil {
		err = j.vol.Rename(name+newSuffix, name)
	}
	if err == nil && !leftOut(ruleSaveNameDurable) {
		err = syncDir(j.vol, j.path(saveDir))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("save what the disks hold: %w", noSpace(err)), removeIfThere(j.vol, name+newSuffix), removeIfThere(j.vol, name))
	}
	return w.sealed(name, j.files, foot), nil
}

// roomFor says whether a save of raw bytes fits, with its headers and index.
func (j *Journal) roomFor(raw int64) error {
	free, err := j.vol.Free(j.dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if want := raw + raw/32 + j.t.reserve; want > free {
		return fmt.Errorf("%w: the move has to save up to %d bytes that only the disks hold, and keeps a reserve of %d; %d are free", ErrNoSpace, raw+raw/32, j.t.reserve, free)
	}
	return nil
}

// saver is the save file that the disks' savers share.
type saver struct {
	mu sync.Mutex
	w  *writer
}

func (s *saver) append(b *block.Block, version replication.PointID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.append(b, version)
}

// diskSaver reads one disk. Scattered extents share blocks; zeros become ranges.
type diskSaver struct {
	s       *saver
	no      replication.DiskNo
	from    Disk
	advance func(n int64) // called with what was read; nil: nobody counts

	enc     block.Encoder
	ahead   []*aheadRead       // under way, in the order of the disk
	unused  [][]byte           // of savePart
	want    replication.Extent // to be saved, not read yet
	version replication.PointID

	data    replication.Extent // where the disk may hold data, as far as it told
	raw     []byte             // content of exts
	exts    []replication.Extent
	zeros   []replication.Extent
	payload []byte
}

func (x *diskSaver) run(ctx context.Context, c *catalog, to replication.PointID) error {
	err := c.differing(x.no, c.head, to, c.head, 0, func(sp span) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if sp.journaled() {
			return nil
		}
		if x.want.End == sp.ext.Off && x.version == sp.version && !x.want.Empty() {
			x.want.End = sp.ext.End
		} else {
			if err := x.take(); err != nil {
				return err
			}
			if x.version != sp.version {
				if err := x.flush(); err != nil {
					return err
				}
			}
			x.want, x.version = sp.ext, sp.version
			if leftOut(ruleSaveLabel) {
				x.version = c.head
			}
		}
		if x.want.Len() >= int64(x.s.w.t.writeBytes) {
			return x.take()
		}
		return nil
	})
	if err == nil {
		err = x.take()
	}
	if err == nil {
		err = x.flush()
	}
	return err
}

// take reads what is wanted, by what the disk tells of its holes.
func (x *diskSaver) take() error {
	for x.want.Off < x.want.End {
		if x.want.Off >= x.data.End {
			s, e, err := x.from.NextData(x.want.Off)
			if err != nil {
				return fmt.Errorf("holes of disk %d at %d: %w", x.no, x.want.Off, err)
			}
			if e <= s { // none up to the end
				s, e = x.from.Size(), x.from.Size()+1
			}
			x.data = replication.Extent{Off: s, End: e}
		}
		e := replication.Extent{Off: x.want.Off, End: min(x.want.End, x.data.Off)}
		if !e.Empty() {
			if err := x.zero(e); err != nil {
				return err
			}
		} else {
			e.End = min(x.want.End, x.data.End, e.Off+savePart)
			if err := x.read(e); err != nil {
				return err
			}
		}
		x.want.Off = e.End
		if x.advance != nil {
			x.advance(e.Len())
		}
	}
	return nil
}

// savePart is the most that is read of a disk at a time to save it, in bytes.
const savePart = 256 << 10

// aheadRead is a read of a disk that is under way.
type aheadRead struct {
	ext  replication.Extent
	buf  []byte
	err  error
	done chan struct{}
}

// read reads an extent, while those before it may still be read: storage is slow to answer one read after the other.
func (x *diskSaver) read(e replication.Extent) error {
	r := &aheadRead{ext: e, done: make(chan struct{})}
	if n := len(x.unused); n > 0 {
		r.buf, x.unused = x.unused[n-1][:e.Len()], x.unused[:n-1]
	} else {
		r.buf = make([]byte, e.Len(), savePart)
	}
	x.ahead = append(x.ahead, r)
	if x.s.w.t.savesAhead <= 1 {
		r.read(x.from)
	} else {
		go r.read(x.from)
	}
	if len(x.ahead) < x.s.w.t.savesAhead {
		return nil
	}
	return x.land()
}

func (r *aheadRead) read(from Disk) {
	r.err = readFull(from, r.buf, r.ext.Off)
	close(r.done)
}

// land takes what the first of the reads under way brings.
func (x *diskSaver) land() error {
	r := x.ahead[0]
	<-r.done
	x.ahead = x.ahead[1:]
	if r.err != nil {
		return fmt.Errorf("read %d bytes at %d of disk %d: %w", len(r.buf), r.ext.Off, x.no, r.err)
	}
	err := x.copy(r.ext, r.buf)
	x.unused = append(x.unused, r.buf[:savePart])
	return err
}

// wait returns when nothing reads the disk any more.
func (x *diskSaver) wait() {
	for _, r := range x.ahead {
		<-r.done
	}
	x.ahead = nil
}

// copy tells an extent's pages of zeros from the rest.
func (x *diskSaver) copy(e replication.Extent, b []byte) error {
	for len(b) > 0 {
		zero := replication.IsZero(b[:min(len(b), replication.Page)])
		n := min(len(b), replication.Page)
		for n < len(b) && replication.IsZero(b[n:min(len(b), n+replication.Page)]) == zero {
			n = min(len(b), n+replication.Page)
		}
		var err error
		if part := (replication.Extent{Off: e.Off, End: e.Off + int64(n)}); zero {
			err = x.zero(part)
		} else {
			err = x.add(part, b[:n])
		}
		if err != nil {
			return err
		}
		b, e.Off = b[n:], e.Off+int64(n)
	}
	return nil
}

func (x *diskSaver) zero(e replication.Extent) error {
	if n := len(x.zeros); n > 0 && x.zeros[n-1].End == e.Off {
		x.zeros[n-1].End = e.End
		return nil
	}
	if len(x.zeros) == block.MaxRanges {
		if err := x.flushZeros(); err != nil {
			return err
		}
	}
	x.zeros = append(x.zeros, e)
	return nil
}

func (x *diskSaver) add(e replication.Extent, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), block.MaxRaw-len(x.raw))
		x.raw = append(x.raw, b[:n]...)
		part := replication.Extent{Off: e.Off, End: e.Off + int64(n)}
		if k := len(x.exts); k > 0 && x.exts[k-1].End == part.Off {
			x.exts[k-1].End = part.End
		} else {
			x.exts = append(x.exts, part)
		}
		b, e.Off = b[n:], part.End
		if len(x.raw) == block.MaxRaw || len(x.exts) == block.MaxExtents {
			if err := x.flushData(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes out what has gathered of one version.
func (x *diskSaver) flush() error {
	for len(x.ahead) > 0 {
		if err := x.land(); err != nil {
			return err
		}
	}
	return errors.Join(x.flushData(), x.flushZeros())
}

func (x *diskSaver) flushData() error {
	if len(x.exts) == 0 {
		return nil
	}
	b := block.Block{Disk: x.no, Kind: block.Data, Extents: x.exts, Raw: len(x.raw), CRC: block.Checksum(x.raw)}
	x.payload, b.Codec = x.enc.Encode(x.payload[:0], x.raw, x.s.w.t.saveLevel)
	b.Payload = x.payload
	if err := x.s.append(&b, x.version); err != nil {
		return err
	}
	x.raw, x.exts = x.raw[:0], x.exts[:0]
	return nil
}

func (x *diskSaver) flushZeros() error {
	if len(x.zeros) == 0 {
		return nil
	}
	b := block.Block{Disk: x.no, Kind: block.Zero, Extents: x.zeros}
	if err := x.s.append(&b, x.version); err != nil {
		return err
	}
	x.zeros = x.zeros[:0]
	return nil
}
