package retention

import (
	"context"
	"errors"
	"fmt"

	"failback/replication"
	"failback/replication/block"
)

// Mend saves from the disks what is lost of the journal and they still hold, standing at the head; of a file of which nothing can be read it notes what the disks hold, where nothing is lost by that. It returns how many bytes that were. While the disks move it does nothing (ErrInUse); disks are read only.
func (j *Journal) Mend(ctx context.Context, disks []Disk) (mended int64, err error) {
	if err := j.now.Load().ours(); err != nil {
		return 0, err
	}
	if c := j.now.Load(); !c.anyLost() && len(c.blind) == 0 {
		return 0, nil
	}
	if err := j.checkDisks(disks); err != nil {
		return 0, err
	}
	buried, berr := j.buryWhole(ctx)
	if j.usable() != nil || !j.now.Load().anyLost() {
		return buried, berr
	}
	defer func() { err = errors.Join(err, berr) }()
	r, err := j.Repair(j.Head())
	if err != nil {
		return 0, err
	}
	defer r.leave()
	if err := r.fromDisks(ctx, j.now.Load().spread(disks)); err != nil {
		return 0, errors.Join(fmt.Errorf("mend from the disks: %w", err), r.Abort())
	}
	mended, err = r.Commit()
	return buried + mended, err
}

// fromDisks takes what the disks, as files number them, show. What was read is of its version, wherever they move afterwards.
func (r *Repair) fromDisks(ctx context.Context, disks []Disk) error {
	j := r.j
	if !j.moving.TryLock() {
		return fmt.Errorf("%w: the disks are moving", ErrInUse)
	}
	defer j.moving.Unlock()
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	if c.move != nil || c.head != r.point {
		return fmt.Errorf("%w: the disks stand between points", ErrInUse)
	}
	for d, disk := range disks {
		if disk == nil { // it has left
			continue
		}
		no := replication.DiskNo(d)
		err := c.eachLost(no, func(sp span, _, _ replication.PointID, spare bool) error {
			if !spare && !leftOut(ruleMendShown) {
				return ctx.Err()
			}
			for e := sp.ext; !e.Empty(); {
				part := replication.Extent{Off: e.Off, End: min(e.End, e.Off+block.MaxRaw)}
				raw := make([]byte, part.Len())
				if err := readFull(disk, raw, part.Off); err != nil {
					return fmt.Errorf("read %d bytes at %d of disk %d: %w", len(raw), part.Off, d, err)
				}
				if err := r.put(no, part, sp.version, raw); err != nil {
					return err
				}
				e.Off = part.End
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Lost is an extent of a disk that a point shows and nobody has, with the version of what is lost.
type Lost struct {
	Disk    replication.DiskNo
	Extent  replication.Extent
	Version replication.PointID
}

// Lost returns what a point shows that is lost, by disk and offset: what a Repair would bring back. At most maxLostFound extents.
func (j *Journal) Lost(ctx context.Context, p replication.PointID) (out []Lost, err error) {
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	if _, err := c.point(p); err != nil {
		return nil, err
	}
	for d := range c.id.Disks {
		err := c.eachDoubt(ctx, replication.DiskNo(d), p, func(sp span) {
			if len(out) < maxLostFound {
				out = append(out, Lost{c.number(sp.disk), sp.ext, sp.version})
			}
		})
		if err != nil {
			return nil, err
		}
		err = c.eachLost(replication.DiskNo(d), func(sp span, since, before replication.PointID, spare bool) error {
			if since <= p && (before == 0 || p < before) && !spare && len(out) < maxLostFound {
				out = append(out, Lost{c.number(sp.disk), sp.ext, sp.version})
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Repair takes in, from elsewhere, content of a listed point that is lost here. What is not lost is left as it is. Not safe for concurrent use. It ends with Commit or Abort.
type Repair struct {
	j     *Journal
	point replication.PointID
	w     *writer // nil: nothing came yet
	name  string
	enc   block.Encoder
	bytes int64
	ended bool
}

// repairName is a pack in the making that becomes one of a number when it is whole.
const repairName = "repair" + packSuffix + newSuffix

// Repair begins to repair what is lost of a point. There is one at a time: others wait until it ends.
func (j *Journal) Repair(p replication.PointID) (*Repair, error) {
	if err := j.usable(); err != nil {
		return nil, err
	}
	if _, err := j.now.Load().point(p); err != nil {
		return nil, err
	}
	j.mending.Lock()
	return &Repair{j: j, point: p}, nil
}

// Append takes a block of the point's content, which the caller has decoded and checked: raw are its bytes, nil for zeros.
func (r *Repair) Append(b *block.Block, raw []byte) error {
	disk := r.j.Slot(b.Disk)
	size := r.j.id.size(disk)
	if size < 0 {
		return fmt.Errorf("%w: disk %d", ErrDisks, b.Disk)
	}
	if err := b.Check(size); err != nil {
		return fmt.Errorf("repair point %d: %w", r.point, err)
	}
	if b.Kind != block.Data && b.Kind != block.Zero {
		return fmt.Errorf("repair point %d: a block of kind %d has no content", r.point, b.Kind)
	}
	c := r.j.shelf.pin()
	defer r.j.shelf.unpin(c)
	if _, err := c.point(r.point); err != nil {
		return err
	}
	for _, e := range b.Extents {
		ps, err := c.lookup(r.j.chunks, disk, r.point, e)
		if err != nil {
			return fmt.Errorf("repair point %d: %w", r.point, err)
		}
		for _, sp := range ps {
			if sp.kind != lost {
				continue
			}
			var part []byte
			if b.Kind == block.Data {
				part = raw[sp.ext.Off-e.Off : sp.ext.End-e.Off]
			}
			if err := r.put(disk, sp.ext, sp.version, part); err != nil {
				return err
			}
		}
		if b.Kind == block.Data {
			raw = raw[e.Len():]
		}
	}
	return nil
}

// put writes content, or zeros, of an extent, of at most block.MaxRaw bytes of content.
func (r *Repair) put(disk replication.DiskNo, e replication.Extent, version replication.PointID, raw []byte) error {
	if err := r.begin(); err != nil {
		return err
	}
	x := block.Block{Disk: disk, Kind: block.Zero, Extents: []replication.Extent{e}}
	if raw != nil && !replication.IsZero(raw) {
		x.Kind, x.Raw, x.CRC = block.Data, len(raw), block.Checksum(raw)
		x.Payload, x.Codec = r.enc.Encode(nil, raw, r.j.t.saveLevel)
	}
	r.bytes += e.Len()
	if err := r.w.append(&x, version); err != nil {
		return fmt.Errorf("repair point %d: %w", r.point, noSpace(err))
	}
	return nil
}

// begin makes the pack, when there is something to go into it.
func (r *Repair) begin() error {
	if r.w != nil {
		return nil
	}
	j := r.j
	c := j.now.Load()
	last, _ := c.last()
	r.name = j.path(packDir, repairName)
	if err := removeIfThere(j.vol, r.name); err != nil {
		return err
	}
	w, err := createWriter(j.vol, r.name, fileHeader{kind: packFile, journal: j.journal, point: last.ID, generation: c.generation, group: j.id.Group}, &j.t)
	if err != nil {
		return err
	}
	w.synced = true // its name is made durable when it has the right one
	r.w = w
	return nil
}

// Commit makes what came part of the journal, in one record, and returns how many bytes that were. A crash leaves all of it or nothing.
func (r *Repair) Commit() (mended int64, err error) {
	defer r.leave()
	if r.w == nil {
		return 0, nil
	}
	j := r.j
	foot, _, err := r.w.seal()
	if err = errors.Join(err, r.w.close()); err != nil {
		return 0, j.note(errors.Join(fmt.Errorf("repair point %d: %w", r.point, err), removeIfThere(j.vol, r.name)))
	}
	j.packing.Lock()
	defer j.packing.Unlock()
	name := j.path(packDir, fmt.Sprintf("%d%s", j.now.Load().packed+1, packSuffix))
	err = j.vol.Rename(r.name, name)
	if err == nil && !leftOut(rulePackNameDurable) {
		err = syncDir(j.vol, j.path(packDir))
	}
	if err != nil {
		return 0, j.note(errors.Join(fmt.Errorf("repair point %d: %w", r.point, err), removeIfThere(j.vol, r.name), removeIfThere(j.vol, name)))
	}
	pack := r.w.sealed(name, j.files, foot)
	err = j.commit(kindFilesReplaced, func(*state) (any, error) {
		return replaceRecord{Gone: []string{}, Files: []fileRecord{pack.record()}}, nil
	}, pack)
	if err != nil {
		if j.usable() == nil { // else the record may be there, and needs its pack
			j.files.forget(name)
			err = errors.Join(err, removeIfThere(j.vol, name))
		}
		return 0, fmt.Errorf("repair point %d: %w", r.point, err)
	}
	return r.bytes, nil
}

// Abort gives up what came. It does nothing after Commit.
func (r *Repair) Abort() (err error) {
	defer r.leave()
	if r.w != nil && !r.ended {
		err = errors.Join(r.w.close(), removeIfThere(r.j.vol, r.name))
	}
	return err
}

func (r *Repair) leave() {
	if !r.ended {
		r.ended = true
		r.j.mending.Unlock()
	}
}
