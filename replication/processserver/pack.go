package processserver

import (
	"time"

	"failback/replication"
	"failback/replication/block"
)

// packer gathers what one worker has to say into blocks and frames. Runs of at least a block are compressed, or pointed at, where they lie; smaller ones are copied
// together, up to a block: scattered pages compress better so. Not safe for concurrent use.
type packer struct {
	out   func(*block.Frame) error // takes the frame over
	level func(raw []byte) block.Level
	took  func(disk replication.DiskNo, begin time.Time) // told when a block was compressed; nil: nobody wants to know

	streams func(replication.DiskNo) bool // whose blocks may be parts of streams; nil: none

	most func() int64 // raw bytes that a frame holds at most; nil: as many as frames have

	region *block.Buffer // what the worker reads into: frames may point at it

	enc     block.Encoder
	frame   *block.Frame
	extents int // in frame
	scratch map[replication.DiskNo]*scrap
	notes   map[note]*block.Block // zero and equal extents that are not in a frame yet
}

type note struct {
	disk replication.DiskNo
	kind block.Kind
}

// scrap is a block being gathered.
type scrap struct {
	extents []replication.Extent
	raw     []byte
}

// noteExtents is how many extents are gathered before they are sent: often enough that the master target's progress is fresh.
const noteExtents = 256

// pages packs the content b of extent e, the zero pages of it as zeros.
func (p *packer) pages(d *diskShip, e replication.Extent, b []byte) error {
	for len(b) > 0 {
		n := min(replication.Page, len(b))
		zero := replication.IsZero(b[:n])
		for n < len(b) {
			m := min(n+replication.Page, len(b))
			if replication.IsZero(b[n:m]) != zero {
				break
			}
			n = m
		}
		part := replication.Extent{Off: e.Off, End: e.Off + int64(n)}
		var err error
		if zero {
			d.ledger.look(&d.ledger.zero, part.Len())
			err = p.note(d, block.Zero, part)
		} else {
			err = p.data(d, part, b[:n])
		}
		if err != nil {
			return err
		}
		e.Off, b = part.End, b[n:]
	}
	return nil
}

// equal packs word that the master target has e already.
func (p *packer) equal(d *diskShip, e replication.Extent) error { return p.note(d, block.Equal, e) }

func (p *packer) note(d *diskShip, kind block.Kind, e replication.Extent) error {
	if p.notes == nil {
		p.notes = map[note]*block.Block{}
	}
	k := note{d.Disk.No, kind}
	b := p.notes[k]
	if b == nil {
		b = &block.Block{Disk: d.Disk.No, Kind: kind}
		p.notes[k] = b
	}
	n := len(b.Extents)
	if n > 0 && b.Extents[n-1].End == e.Off {
		b.Extents[n-1].End = e.End
		return nil
	}
	if n > 0 && b.Extents[n-1].End > e.Off || n == noteExtents { // blocks want rising extents
		if err := p.add(*b, nil, nil); err != nil {
			return err
		}
		b.Extents = nil
	}
	b.Extents = append(b.Extents, e)
	return nil
}

// data packs the content b of extent e.
func (p *packer) data(d *diskShip, e replication.Extent, b []byte) error {
	for len(b) >= block.MaxRaw {
		part := replication.Extent{Off: e.Off, End: e.Off + block.MaxRaw}
		if err := p.add(block.Block{Disk: d.Disk.No, Extents: []replication.Extent{part}}, b[:block.MaxRaw], p.region); err != nil {
			return err
		}
		e.Off, b = part.End, b[block.MaxRaw:]
	}
	if len(b) == 0 {
		return nil
	}
	if p.scratch == nil {
		p.scratch = map[replication.DiskNo]*scrap{}
	}
	s := p.scratch[d.Disk.No]
	if s == nil {
		s = &scrap{raw: make([]byte, 0, block.MaxRaw)}
		p.scratch[d.Disk.No] = s
	}
	if n := len(s.extents); len(s.raw)+len(b) > block.MaxRaw || n > 0 && s.extents[n-1].End > e.Off {
		if err := p.addScrap(d.Disk.No, s); err != nil {
			return err
		}
	}
	s.extents = append(s.extents, e)
	s.raw = append(s.raw, b...)
	return nil
}

func (p *packer) addScrap(disk replication.DiskNo, s *scrap) error {
	if len(s.raw) == 0 {
		return nil
	}
	err := p.add(block.Block{Disk: disk, Extents: s.extents}, s.raw, nil)
	s.extents, s.raw = nil, s.raw[:0]
	return err
}

// add puts a block into the frame, and sends the frame when no further block of full size would fit. raw nil: a note. Owner is
// what raw lies in, where a frame may point at it.
func (p *packer) add(b block.Block, raw []byte, owner *block.Buffer) error {
	if p.frame == nil {
		p.frame = block.NewFrame()
	}
	if raw == nil {
		p.frame.Blocks = append(p.frame.Blocks, b)
	} else {
		level, begin := p.level(raw), time.Now()
		if level.Streams() && (p.streams == nil || !p.streams(b.Disk)) {
			level = block.LevelZstd2
		}
		p.frame.Add(&p.enc, b, raw, level, owner)
		if p.took != nil {
			p.took(b.Disk, begin)
		}
	}
	p.extents += len(b.Extents)
	most := int64(block.FrameRaw)
	if p.most != nil {
		most = p.most()
	}
	if p.frame.Raw()+block.MaxRaw <= most && len(p.frame.Blocks) < block.MaxFrameBlocks && p.extents+noteExtents <= block.MaxFrameExtents {
		return nil
	}
	return p.send()
}

// send sends the frame.
func (p *packer) send() error {
	f := p.frame
	p.frame, p.extents = nil, 0
	return p.out(f)
}

// flush sends all that is gathered.
func (p *packer) flush() error {
	for disk, s := range p.scratch {
		if err := p.addScrap(disk, s); err != nil {
			return err
		}
	}
	for _, b := range p.notes {
		if len(b.Extents) > 0 {
			if err := p.add(*b, nil, nil); err != nil {
				return err
			}
			b.Extents = nil
		}
	}
	if p.frame == nil {
		return nil
	}
	return p.send()
}

// drop forgets all that is gathered.
func (p *packer) drop() {
	if p.frame != nil {
		p.frame.Free()
		p.frame = nil
	}
}
