package processserver

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// TestPackerLosesNothing packs random runs of several disks and rebuilds them from the frames.
func TestPackerLosesNothing(t *testing.T) {
	const size = 2 << 20
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 5))
		disks := make([]*diskShip, 3)
		want, got := make([][]byte, len(disks)), make([][]byte, len(disks))
		equal, gotEqual := make([]replication.Set, len(disks)), make([]replication.Set, len(disks))
		for i := range disks {
			disks[i] = &diskShip{Source: link.Source{Disk: replication.Disk{No: replication.DiskNo(i), Size: size}}}
			want[i] = make([]byte, size)
			got[i] = bytes.Repeat([]byte{0xee}, size)
		}
		raw := make([]byte, block.MaxRaw)
		enc, dec := block.NewStreamEncoder(), block.NewStreamDecoder()
		p := packer{level: func([]byte) block.Level { return block.Level(r.IntN(levels)) }, streams: func(d replication.DiskNo) bool { return d != 1 }, out: func(f *block.Frame) error {
			f.Stream(enc)
			if f.Raw() > block.MaxFrameRaw || len(f.Blocks) > block.MaxFrameBlocks {
				t.Fatalf("seed %d: frame of %d bytes, %d blocks", seed, f.Raw(), len(f.Blocks))
			}
			for i := range f.Blocks {
				b := &f.Blocks[i]
				if err := b.CheckOnLane(size); err != nil || b.Codec == block.Stream && b.Disk == 1 {
					t.Fatalf("seed %d: disk %d, %v: %v", seed, b.Disk, b.Codec, err)
				}
				var content []byte
				if b.Kind == block.Data {
					decode := b.Decode
					if b.Codec == block.Stream {
						decode = func(dst []byte) ([]byte, error) { return dec.Decode(b, dst) }
					}
					var err error
					if content, err = decode(raw); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
				for _, e := range b.Extents {
					switch b.Kind {
					case block.Data:
						copy(got[b.Disk][e.Off:e.End], content)
						content = content[e.Len():]
					case block.Zero:
						clear(got[b.Disk][e.Off:e.End])
					case block.Equal:
						gotEqual[b.Disk].Add(e)
						copy(got[b.Disk][e.Off:e.End], want[b.Disk][e.Off:e.End])
					}
				}
			}
			f.Free()
			return nil
		}}
		at := make([]int64, len(disks)) // offsets rise within a disk; now and then a worker goes back
		for at[0] < size || at[1] < size || at[2] < size {
			i := r.IntN(len(disks))
			n := min(size-at[i], replication.Page*(1+r.Int64N(40)))
			if n <= 0 {
				continue
			}
			e := replication.Extent{Off: at[i], End: at[i] + n}
			b := want[i][e.Off:e.End]
			for off := 0; off < len(b); off += replication.Page {
				if r.IntN(3) > 0 {
					for k := range b[off:min(off+replication.Page, len(b))] {
						b[off+k] = byte(r.IntN(7) * k)
					}
				}
			}
			var err error
			if r.IntN(4) == 0 {
				equal[i].Add(e)
				err = p.equal(disks[i], e)
			} else {
				owner := block.NewBuffer()
				p.region = owner
				n := copy(owner.Bytes, b)
				err = p.pages(disks[i], e, owner.Bytes[:n])
				if !owner.Shared() { // nobody needs it any more
					for k := range owner.Bytes[:n] {
						owner.Bytes[k] ^= 0x55
					}
				}
				owner.Release()
			}
			if err != nil {
				t.Fatal(err)
			}
			at[i] += n
		}
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		for i := range disks {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("seed %d: disk %d came out wrong", seed, i)
			}
			if gotEqual[i].Digest() != equal[i].Digest() {
				t.Fatalf("seed %d: disk %d: equal %v want %v", seed, i, gotEqual[i].Extents(), equal[i].Extents())
			}
		}
	}
}

func TestPackerBoundsTheExtentsOfAFrame(t *testing.T) {
	d := &diskShip{}
	frames := 0
	p := packer{level: func([]byte) block.Level { return block.Raw }, out: func(f *block.Frame) error {
		n := 0
		for i := range f.Blocks {
			n += len(f.Blocks[i].Extents)
		}
		if n > block.MaxFrameExtents {
			t.Errorf("a frame of %d extents, at most %d", n, block.MaxFrameExtents)
		}
		frames++
		f.Free()
		return nil
	}}
	for i := range int64(3 * block.MaxFrameExtents) {
		if err := p.equal(d, replication.Extent{Off: i * 2 * replication.Page, End: (i*2 + 1) * replication.Page}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil || frames < 3 {
		t.Errorf("%d frames, %v", frames, err)
	}
}
