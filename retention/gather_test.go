package retention

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"failback/replication"
	"failback/replication/block"
)

// badVolume has a sector of a kind of file that can't be read, and counts reads.
type badVolume struct {
	volume
	reads, bad *atomic.Int64 // bad: an offset in every file; below zero: none
}

type badFile struct {
	file
	v badVolume
}

func (v badVolume) Open(name string) (file, error) {
	f, err := v.volume.Open(name)
	return badFile{f, v}, err
}

func (f badFile) ReadAt(b []byte, off int64) (int, error) {
	f.v.reads.Add(1)
	if at := f.v.bad.Load(); at >= 0 && off <= at && at < off+int64(len(b)) {
		return 0, syscall.EIO
	}
	return f.file.ReadAt(b, off)
}

// random makes a point of so many pages at random, some of them zeros, and has image changed with them.
func (s *stand) random(r *rand.Rand, image []byte, pages int) replication.PointID {
	a := s.begin()
	all := r.Perm(len(image) / replication.Page)[:pages]
	slices.Sort(all)
	for len(all) > 0 {
		n := min(1+r.IntN(16), len(all))
		x := block.Block{Kind: block.Data}
		var raw []byte
		zero := r.IntN(5) == 0
		for _, p := range all[:n] {
			e := replication.Extent{Off: int64(p) * replication.Page, End: int64(p+1) * replication.Page}
			page := image[e.Off:e.End]
			clear(page)
			if !zero {
				for i := range page[:r.IntN(replication.Page)] {
					page[i] = byte(r.Uint32())
				}
			}
			raw = append(raw, page...)
			if k := len(x.Extents); k > 0 && x.Extents[k-1].End == e.Off {
				x.Extents[k-1].End = e.End
			} else {
				x.Extents = append(x.Extents, e)
			}
		}
		if zero {
			x.Kind = block.Zero
		} else {
			x.Raw, x.CRC = len(raw), block.Checksum(raw)
			x.Payload, x.Codec = s.enc.Encode(nil, raw, []block.Level{block.Raw, block.LevelLZ4}[r.IntN(2)])
		}
		s.must(a.Append(&x))
		all = all[n:]
	}
	return s.end(a)
}

// TestMovesReadAhead moves to and fro over points of scattered pages, small batches of which are read ahead by several, after each opening with a proof, and compares the disk each time.
func TestMovesReadAhead(t *testing.T) {
	const size = 4 << 20
	s := newStand(t, size)
	image := make([]byte, size)
	s.must(one(s.disk.File.ReadAt(image, 0)))
	images := map[replication.PointID][]byte{1: bytes.Clone(image)}
	r := rand.New(rand.NewPCG(5, 6))
	for range 12 {
		p := s.random(r, image, 200)
		images[p] = bytes.Clone(image)
	}
	points := s.j.Points()
	tuned := defaultTuning
	tuned.writeBytes, tuned.moveBlocks, tuned.readerBlocks, tuned.progressBytes = 64<<10, 3, 3, 512<<10
	for k := range fewer(60) {
		if k%4 == 0 {
			s.must(s.j.Close())
			var err error
			s.j, err = open(osVolume{}, s.j.dir, "g", tuned)
			s.must(err)
			t.Cleanup(func() { s.j.Close() })
		}
		to := points[r.IntN(len(points))].ID
		s.must(s.j.Move(t.Context(), []Disk{s.disk}, to, nil))
		got := make([]byte, size)
		s.must(one(s.disk.File.ReadAt(got, 0)))
		if !bytes.Equal(got, images[to]) {
			t.Fatalf("move %d, to point %d: the disk is not what it was", k, to)
		}
		at := points[r.IntN(len(points))].ID
		rd, err := s.j.Reader(at, 0, s.disk)
		s.must(err)
		for range 50 {
			b := make([]byte, (1+r.IntN(3))*replication.Page)
			off := r.Int64N(size - int64(len(b)))
			s.must(one(rd.ReadAt(b, off)))
			if !bytes.Equal(b, images[at][off:off+int64(len(b))]) {
				t.Fatalf("move %d: point %d differs at %d", k, at, off)
			}
		}
		rd.Close()
	}
}

// TestGather: neighbours are read together, and where that fails, only what is bad is missing.
func TestGather(t *testing.T) {
	s := newStand(t, 8<<20)
	p := s.cycle(64<<10, 128<<10, 0)
	s.must(s.j.Close())
	v := badVolume{volume: osVolume{}, reads: &atomic.Int64{}, bad: &atomic.Int64{}}
	v.bad.Store(-1)
	j, err := open(v, s.j.dir, "g", defaultTuning)
	s.must(err)
	defer j.Close()
	var keys []blockKey
	s.must(j.now.Load().differing(0, 1, p, p, 0, func(sp span) error {
		keys = append(keys, blockKey{sp.in, sp.at})
		return nil
	}))
	slices.SortFunc(keys, inOrder)
	keys = slices.Compact(keys)
	if len(keys) != 64 {
		t.Fatalf("got %d blocks", len(keys))
	}
	gather := func() (bad []int64, reads int64) {
		v.reads.Store(0)
		g := &gatherer{id: &j.id}
		n := 0
		s.must(g.each(keys, func(k blockKey, b *block.Block, version replication.PointID, err error) error {
			if k != keys[n] {
				return fmt.Errorf("got block %v want %v", k.at, keys[n].at)
			}
			n++
			if err != nil {
				bad = append(bad, k.at)
				return nil
			}
			if raw, err := b.Decode(make([]byte, block.MaxRaw)); err != nil || len(raw) != 64<<10 || version != p {
				return fmt.Errorf("block at %d of version %d: %w", k.at, version, err)
			}
			return nil
		}))
		if n != len(keys) {
			t.Errorf("got %d blocks want %d", n, len(keys))
		}
		return bad, v.reads.Load()
	}
	if bad, reads := gather(); bad != nil || reads > 8 {
		t.Errorf("%d blocks: %d reads, bad %v", len(keys), reads, bad)
	}
	for _, i := range []int{0, 1, 5, 62, 63} {
		for _, at := range []int64{keys[i].at, keys[i].at + 1000} {
			v.bad.Store(at)
			if bad, _ := gather(); !slices.Equal(bad, []int64{keys[i].at}) {
				t.Errorf("a bad sector at %d, in block %d at %d: got %v", at, i, keys[i].at, bad)
			}
		}
	}
	v.bad.Store(-1)
	f, err := osVolume{}.Open(keys[0].in.name)
	s.must(err)
	defer f.Close()
	for _, i := range []int{0, 7, 63} {
		for _, in := range []int64{0, 20, 34, 38, 60, 5000} { // magic, version, lengths, extents, payload
			b := make([]byte, 1)
			s.must(one(f.ReadAt(b, keys[i].at+in)))
			s.must(one(f.WriteAt([]byte{b[0] ^ 4}, keys[i].at+in)))
			if bad, _ := gather(); !slices.Equal(bad, []int64{keys[i].at}) {
				t.Errorf("a flipped bit at %d of block %d: got %v want %v", in, i, bad, keys[i].at)
			}
			s.must(one(f.WriteAt(b, keys[i].at+in)))
		}
	}
}

// TestNeighboursDontHurt: a block that ends where a bad sector begins can be read.
func TestNeighboursDontHurt(t *testing.T) {
	s := newStand(t, 1<<20)
	p := s.cycle(4<<10, 128<<10, 0) // one block
	q := s.cycle(60<<10, 512<<10, 0)
	s.must(s.j.Close())
	v := badVolume{volume: osVolume{}, reads: &atomic.Int64{}, bad: &atomic.Int64{}}
	v.bad.Store(-1)
	j, err := open(v, s.j.dir, "g", defaultTuning)
	s.must(err)
	defer j.Close()
	var spans []span
	s.must(j.now.Load().differing(0, p, q, q, 0, func(sp span) error {
		spans = append(spans, sp)
		return nil
	}))
	in := spans[0].in
	n := in.extent(spans[0].at, &j.id)
	v.bad.Store(spans[0].at + n + 4096) // in the second block; what the last took is as long as the first
	in.life.usual.Store(n + 8192)
	if _, _, err := in.block(spans[0].at, &j.id); err != nil {
		t.Errorf("the block before the bad one: %v", err)
	}
	if _, _, err := in.block(spans[len(spans)-1].at, &j.id); !errors.Is(err, syscall.EIO) {
		t.Errorf("the bad block: got %v want EIO", err)
	}
}

// startedFile notes what is started.
type startedFile struct {
	file
	bytes *atomic.Int64
}

func (f startedFile) startWriting(off, n int64) { f.bytes.Add(n) }

type startedVolume struct {
	volume
	bytes *atomic.Int64
}

func (v startedVolume) Create(name string) (file, error) {
	f, err := v.volume.Create(name)
	return startedFile{f, v.bytes}, err
}

// TestArrivalsAreOnTheirWay: what arrives is on its way to storage before it is synced.
func TestArrivalsAreOnTheirWay(t *testing.T) {
	s := newStand(t, 64<<20)
	s.must(s.j.Close())
	v := startedVolume{osVolume{}, &atomic.Int64{}}
	var err error
	s.j, err = open(v, s.j.dir, "g", defaultTuning)
	s.must(err)
	defer s.j.Close()
	s.cycle(64<<10, 64<<10, 0) // 64 MiB, half of it zeros
	if got := v.bytes.Load(); got < 24<<20 {
		t.Errorf("%d bytes of about 32 MiB were on their way before the sync", got)
	}
}
